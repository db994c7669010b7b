"""Ctrl-C between two iterations, not in the middle of one, where it would tear the weights."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from agents.distributed import num_ranks, rank

NOTICE = (
    "\nStopping after this iteration. Ctrl-C again stops at once, with what is saved already.\n"
)

ECHO = 1.0
"""Seconds in which a second signal is the first one's echo: a launcher of several processes passes
on what the terminal told them already."""


@contextmanager
def held_back_interrupts() -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C back; the function given tells whether there was one.

    The second one interrupts at once. Outside of the main thread, which alone hears of signals, and
    in programs that treat Ctrl-C in a way of their own, nothing is held back.
    """
    first: float | None = None

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if first is not None:
            if num_ranks() > 1 and time.monotonic() - first < ECHO:
                return
            raise KeyboardInterrupt
        first = time.monotonic()
        if rank() == 0:
            # Not print: the signal may have come in the middle of one, and streams allow no second.
            os.write(sys.__stderr__.fileno(), NOTICE.encode())

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: first is not None
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
