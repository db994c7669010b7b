"""Ctrl-C and SIGTERM between two iterations: in the middle of one they would tear the weights."""

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
    """Hold the first Ctrl-C or SIGTERM back; the function given tells whether there was one.

    The second one interrupts at once. Outside of the main thread, which alone hears of signals,
    nothing is held back, nor is a signal that the program treats in a way of its own.
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

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    # SIGTERM is what a scheduler, a container or `kill` ends a process with.
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    held = {number: way for number, way in usual.items() if signal.getsignal(number) is way}
    for number in held:
        signal.signal(number, note)
    try:
        yield lambda: first is not None
    finally:
        for number, way in held.items():
            signal.signal(number, way)
