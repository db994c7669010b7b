"""Regular expressions over bytes and their derivatives: what is left to match after a byte.

Brzozowski 1964, "Derivatives of Regular Expressions"; Owens, Reppy and Turon 2009, "Regular-
expression derivatives re-examined". A counted repetition stays one expression, however high the
count, and equal expressions are one object, so that derivatives are few and found in a dict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MAX_WORK = 1_000_000
"""Expressions looked at for one pattern: a second or two."""


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A set of byte strings, never empty but for `Expressions.nothing`.

    `nullable`: whether the empty string is in it. `first`: bit b says whether one begins with b.
    """

    kind: str
    parts: tuple[Any, ...]
    nullable: bool
    first: int


class Expressions:
    """Makes expressions; each one exists once, so that `is` means equal.

    Attributes:
        nothing: no string.
        empty: the empty string.
        masks: the sets of bytes that were asked for, as bits.
    """

    def __init__(self) -> None:
        self._known: dict[Any, Expression] = {}
        self._derivatives: dict[tuple[Expression, int], Expression] = {}
        self._work = 0
        self.masks: set[int] = set()
        self.nothing = self._make("nothing", (), False, 0)
        self.empty = self._make("empty", (), True, 0)

    def _make(self, kind: str, parts: tuple[Any, ...], nullable: bool, first: int) -> Expression:
        found = self._known.get((kind, parts))
        if found is None:
            found = self._known[kind, parts] = Expression(kind, parts, nullable, first)
        return found

    def byte(self, mask: int) -> Expression:
        """One byte, of those whose bits are set."""
        self.masks.add(mask)
        return self._make("byte", (mask,), False, mask) if mask else self.nothing

    def then(self, first: Expression, second: Expression) -> Expression:
        """The one, then the other."""
        if self.nothing in (first, second):
            return self.nothing
        if self.empty in (first, second):
            return second if first is self.empty else first
        start = first.first | (second.first if first.nullable else 0)
        return self._make("then", (first, second), first.nullable and second.nullable, start)

    def sequence(self, parts: Iterable[Expression]) -> Expression:
        """One after the other."""
        result = self.empty
        for part in reversed(list(parts)):
            result = self.then(part, result)
        return result

    def either(self, options: Iterable[Expression]) -> Expression:
        """Any of the options."""
        found: set[Expression] = set()
        mask = 0
        for option in options:
            for part in option.parts[0] if option.kind == "either" else (option,):
                if part.kind == "byte":
                    mask |= part.parts[0]
                else:
                    found.add(part)
        self._work += len(found)
        if mask:
            found.add(self._make("byte", (mask,), False, mask))
        found.discard(self.nothing)
        if any(part.nullable for part in found - {self.empty}):
            found.discard(self.empty)
        if len(found) < 2:
            return found.pop() if found else self.nothing
        start = 0
        for part in found:
            start |= part.first
        nullable = any(part.nullable for part in found)
        return self._make("either", (frozenset(found),), nullable, start)

    def repeat(self, part: Expression, low: int, high: int | None) -> Expression:
        """`low` to `high` times (None: or more)."""
        if part in (self.nothing, self.empty) or high == 0:
            return self.empty if part is self.empty or not low else self.nothing
        if part.nullable:
            low = 0
        if low == high == 1:
            return part
        return self._make("repeat", (part, low, high), not low, part.first)

    def derivative(self, of: Expression, byte: int) -> Expression:
        """What may follow `byte` where the whole is in `of`.

        Raises:
            ValueError: after MAX_WORK expressions.
        """
        if not of.first >> byte & 1:
            return self.nothing
        if of.kind == "byte":
            return self.empty
        found = self._derivatives.get((of, byte))
        if found is None:
            self._work += 1
            if self._work > MAX_WORK:
                raise ValueError("it needs too many steps to compile")
            found = self._derivatives[of, byte] = self._derive(of, byte)
        return found

    def _derive(self, of: Expression, byte: int) -> Expression:
        if of.kind == "either":
            parts = [part for part in of.parts[0] if part.first >> byte & 1]
            return self.either([self.derivative(part, byte) for part in parts])
        if of.kind == "then":
            first, second = of.parts
            rest = self.then(self.derivative(first, byte), second)
            if not first.nullable:
                return rest
            return self.either([rest, self.derivative(second, byte)])
        part, low, high = of.parts
        again = self.repeat(part, max(low - 1, 0), None if high is None else high - 1)
        return self.then(self.derivative(part, byte), again)
