"""What is shown in a terminal: texts of unknown origin, and how far a long job has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

PATIENCE = 2.0
"""Seconds after which a job shows how far it has come."""


def printable(text: str) -> str:
    """A text without what a terminal would obey: control characters become ?."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def with_progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """The items, and on a terminal, from two seconds on, a line that says how many there were."""
    start = shown = time.monotonic()
    on_screen = False
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if sys.stderr.isatty() and now - start > PATIENCE and now - shown > 0.2:
            left = (now - start) / count * (total - count)
            bar = ("#" * (30 * count // total)).ljust(30, ".")
            print(
                f"\r[{bar}] {count:,} of {total:,} {what}, {left:.0f} s left ",
                end="",
                file=sys.stderr,
                flush=True,
            )
            shown, on_screen = now, True
    if on_screen:
        print(file=sys.stderr)
