"""Choices: the few random integers that a question is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


class Choices:
    """Uniform choices, all made by `below`, so that a subclass can walk through all there are.

    A generator of questions calls these a bounded number of times and never draws again because it
    disliked what it got: then its questions can be counted by enumeration.
    """

    __slots__ = ("_random",)

    def __init__(self, rng: np.random.Generator) -> None:
        self._random = rng.random

    def below(self, bound: int) -> int:
        """An integer in [0, bound)."""
        # random() takes a tenth of the time of integers(), and no bound here comes near 2**53.
        return int(self._random() * bound)

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return low + self.below(high - low + 1)

    def nonzero(self, limit: int) -> int:
        """An integer in [-limit, limit], but not 0."""
        n = self.below(2 * limit) - limit
        return n + (n >= 0)

    def other(self, low: int, high: int, *taken: int) -> int:
        """An integer in [low, high], but none of those taken."""
        excluded = sorted({n for n in taken if low <= n <= high})
        n = self.between(low, high - len(excluded))
        for value in excluded:
            n += n >= value
        return n

    def distinct(self, count: int, low: int, high: int) -> list[int]:
        """Different integers in [low, high], in random order."""
        chosen: list[int] = []
        for _ in range(count):
            chosen.append(self.other(low, high, *chosen))
        return chosen

    def one_of(self, options: Sequence[Item]) -> Item:
        """One of the options."""
        return options[self.below(len(options))]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """The items in random order."""
        rest = list(items)
        return [rest.pop(self.below(len(rest))) for _ in range(len(rest))]
