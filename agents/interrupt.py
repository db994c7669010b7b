"""Ctrl-C between two iterations, not in the middle of one, where it would tear the weights."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NOTICE = (
    "\nStopping after this iteration. Ctrl-C again stops at once, with what is saved already.\n"
)


@contextmanager
def held_back_interrupts() -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C back; the function given tells whether there was one.

    The second one interrupts at once. Outside of the main thread, which alone hears of signals, and
    in programs that treat Ctrl-C in a way of their own, nothing is held back.
    """
    interrupted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        # Not print: the signal may have come in the middle of one, and streams allow no second.
        os.write(sys.__stderr__.fileno(), NOTICE.encode())

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
