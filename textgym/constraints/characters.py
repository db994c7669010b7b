"""Sets of characters as ranges of code points, and as the bytes of their UTF-8."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

Ranges = tuple[tuple[int, int], ...]
"""(first, last) code points, sorted, apart from each other, without surrogates."""

MAX_CODE = 0x10FFFF
SURROGATES = (0xD800, 0xDFFF)
"""Halves of pairs: no characters, and without UTF-8."""


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The characters that are in any of the ranges, which may overlap."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], high)
        else:
            merged.append((low, high))
    return tuple(part for low, high in merged for part in _without_surrogates(low, high))


def complement(ranges: Ranges) -> Ranges:
    """The characters that are in none of the ranges."""
    gaps, start = [], 0
    for low, high in ranges:
        gaps.append((start, low - 1))
        start = high + 1
    gaps.append((start, MAX_CODE))
    return union((low, high) for low, high in gaps if low <= high)


@cache
def category(letter: str, ascii_only: bool) -> Ranges:
    r"""The characters of `\d`, `\w` or `\s`, as Python's `re` has them."""
    every = "".join(map(chr, range(MAX_CODE + 1)))
    found = re.finditer(rf"\{letter}+", every, re.ASCII if ascii_only else 0)
    return union((match.start(), match.end() - 1) for match in found)


def byte_sequences(ranges: Ranges) -> Iterator[Sequence[tuple[int, int]]]:
    """The UTF-8 of a set: sequences of (first, last) bytes, each position free within its own."""
    for low, high in ranges:
        for last in (0x7F, 0x7FF, 0xFFFF, MAX_CODE):
            if low <= min(high, last):
                yield from _same_length(low, min(high, last))
                low = last + 1


def _same_length(low: int, high: int) -> Iterator[Sequence[tuple[int, int]]]:
    """Split until every byte behind the first that differs runs through all its 64 values."""
    length = len(chr(low).encode())
    for i in range(1, length):
        rest = (1 << 6 * i) - 1
        if low & ~rest != high & ~rest:
            if low & rest:
                yield from _same_length(low, low | rest)
                yield from _same_length((low | rest) + 1, high)
                return
            if high & rest != rest:
                yield from _same_length(low, (high & ~rest) - 1)
                yield from _same_length(high & ~rest, high)
                return
    yield list(zip(chr(low).encode(), chr(high).encode(), strict=True))


def _without_surrogates(low: int, high: int) -> Iterator[tuple[int, int]]:
    first, last = SURROGATES
    for start, end in ((low, min(high, first - 1)), (max(low, last + 1), high)):
        if start <= end:
            yield start, end
