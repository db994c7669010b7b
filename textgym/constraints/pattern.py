"""From a pattern of Python's `re` to an expression over the bytes of the texts it matches.

Python's own parser reads the pattern, so that it means what it means to `re.fullmatch`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from re import _constants as sre  # Hypothesis, too, builds on this parser of Python's
from re import _parser
from typing import Any

from textgym.constraints.characters import (
    Ranges,
    byte_sequences,
    category,
    complement,
    union,
)
from textgym.constraints.expressions import Expression, Expressions

NEWLINE = ord("\n")

TYPE_FLAGS = int(re.ASCII | re.UNICODE)
"""One of them holds at a time."""

UNSUPPORTED = {
    "ASSERT": "a lookaround",
    "ASSERT_NOT": "a lookaround",
    "AT": "^, $ or \\b inside of it",
    "ATOMIC_GROUP": "an atomic group",
    "GROUPREF": "a backreference",
    "GROUPREF_EXISTS": "a condition on a group",
    "POSSESSIVE_REPEAT": "a possessive repetition",
}


def parse(pattern: str, make: Expressions) -> Expression:
    """The expression over UTF-8 bytes of exactly the texts that `re.fullmatch` accepts.

    `^` at the beginning and `$` at the end of the whole change nothing; lazy repetitions are
    repetitions, groups are brackets. (Texts are Unicode text: none has half a surrogate pair.)

    Raises:
        ValueError: for what is no pattern, or more than a regular expression.
    """
    try:
        tree = _parser.parse(pattern)
    except (re.error, OverflowError) as error:
        raise ValueError(str(error)) from None
    flags = tree.state.flags
    if flags & re.IGNORECASE:
        raise ValueError("the flag i is not supported: write [Aa]")
    items = list(tree)
    if (
        items
        and items[0][0] is sre.AT
        and items[0][1]
        in (
            sre.AT_BEGINNING,
            sre.AT_BEGINNING_STRING,
        )
    ):
        del items[0]
    if items and items[-1][0] is sre.AT and items[-1][1] in (sre.AT_END, sre.AT_END_STRING):
        del items[-1]
    return _Reader(make).sequence(items, flags)


class _Reader:
    """Turns a parse tree of `re` into expressions."""

    def __init__(self, make: Expressions) -> None:
        self._make = make
        self._read: dict[Any, Callable[[Any, int], Expression]] = {
            sre.LITERAL: lambda code, flags: self._characters(union([(code, code)])),
            sre.NOT_LITERAL: lambda code, flags: self._characters(complement(((code, code),))),
            sre.ANY: self._any,
            sre.IN: lambda items, flags: self._characters(_members(items, flags)),
            sre.BRANCH: self._branch,
            sre.SUBPATTERN: self._group,
            sre.MAX_REPEAT: self._repeat,
            sre.MIN_REPEAT: self._repeat,
        }

    def sequence(self, items: Iterable[tuple[Any, Any]], flags: int) -> Expression:
        parts = []
        for kind, value in items:
            if kind not in self._read:
                what = UNSUPPORTED.get(str(kind), f"{kind}".lower())
                raise ValueError(f"{what} is not supported")
            parts.append(self._read[kind](value, flags))
        return self._make.sequence(parts)

    def _characters(self, ranges: Ranges) -> Expression:
        return self._any_of(list(byte_sequences(ranges)))

    def _any_of(self, sequences: Sequence[Sequence[tuple[int, int]]]) -> Expression:
        """Any of some sequences of byte ranges, as a tree: there may be a thousand of them."""
        make = self._make
        if sequences == [()]:
            return make.empty
        rests: dict[tuple[int, int], list[Any]] = {}
        for first, *rest in sequences:
            rests.setdefault(first, []).append(tuple(rest))
        masks: dict[Expression, int] = {}  # what may follow -> the first bytes that it follows
        for (low, high), following in rests.items():
            rest = self._any_of(following)
            masks[rest] = masks.get(rest, 0) | (1 << high + 1) - (1 << low)
        return make.either(make.then(make.byte(mask), rest) for rest, mask in masks.items())

    def _any(self, value: None, flags: int) -> Expression:
        return self._characters(complement(() if flags & re.DOTALL else ((NEWLINE, NEWLINE),)))

    def _branch(self, value: Any, flags: int) -> Expression:
        return self._make.either([self.sequence(branch, flags) for branch in value[1]])

    def _group(self, value: Any, flags: int) -> Expression:
        _, added, removed, items = value
        if added & re.IGNORECASE:
            raise ValueError("the flag i is not supported: write [Aa]")
        if added & TYPE_FLAGS:
            flags &= ~TYPE_FLAGS
        return self.sequence(items, (flags | added) & ~removed)

    def _repeat(self, value: Any, flags: int) -> Expression:
        low, high, items = value
        bound = None if high is sre.MAXREPEAT else int(high)
        return self._make.repeat(self.sequence(items, flags), int(low), bound)


def _members(items: Sequence[tuple[Any, Any]], flags: int) -> Ranges:
    """The characters of a set in square brackets."""
    ranges: list[tuple[int, int]] = []
    for kind, value in items:
        if kind is sre.LITERAL:
            ranges.append((value, value))
        elif kind is sre.RANGE:
            ranges.append(value)
        elif kind is sre.CATEGORY:
            *_, negated, name = str(value).split("_")  # CATEGORY_DIGIT, CATEGORY_NOT_SPACE
            letter = {"DIGIT": "d", "SPACE": "s", "WORD": "w"}[name]
            found = category(letter, bool(flags & re.ASCII))
            ranges += complement(found) if negated == "NOT" else found
    found = union(ranges)
    return complement(found) if items[0][0] is sre.NEGATE else found
