"""What a response to a request is worth: the points that it makes, less the share that is false."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAX_ITEMS = 100
"""Items of a response that are looked at; those behind them count as false."""

MAX_CHARACTERS = 100
"""A longer item is no point of any request."""

_SEPARATOR = re.compile(r"[,;\n]|\band\b")
_MARKS = " .:*-"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for, and what a response may say.

    Args:
        prompt: the text.
        points: what a perfect response says, n items in lower case, no item twice.
        wrong: what might be said instead: at least n items, none of them a point.
        ordered: whether the points have to come in their order.
        key: the same for all ways to ask this.
    """

    prompt: str
    points: tuple[str, ...]
    wrong: tuple[str, ...]
    ordered: bool
    key: str


class Features(NamedTuple):
    """What a response's utility is made of, both from 0 to 1."""

    covered: float
    false: float

    @property
    def utility(self) -> float:
        """`covered - false`, from -1 to 1: 1 is perfect, 0 is said by saying nothing."""
        return self.covered - self.false


def features_of(request: Request, response: str) -> Features:
    """The features of any text.

    A response is a list of items, separated by commas, semicolons, newlines or `and`; case, blanks
    and the marks `.:*-` around an item don't matter. Of n points asked for, m are made: the largest
    number of items that are points, none counted twice, and in the right order if that is asked
    for. `covered` is m / n, and `false` the share of the items that are not among the m.
    """
    items = [piece for piece in _SEPARATOR.split(response) if piece.strip(_MARKS + "\t\r\v\f")]
    if not items:
        return Features(0.0, 0.0)
    said = [_plain(item) for item in items[:MAX_ITEMS]]
    match = _longest_common if request.ordered else _shared
    made = match(request.points, said)
    return Features(made / len(request.points), 1.0 - made / len(items))


def _plain(item: str) -> str:
    return " ".join(item.split()).strip(_MARKS).lower() if len(item) <= MAX_CHARACTERS else ""


def _shared(points: Sequence[str], items: Sequence[str]) -> int:
    return (Counter(points) & Counter(items)).total()


def _longest_common(points: Sequence[str], items: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(points) + 1)
    for item in items:
        before = row[:]
        for i, point in enumerate(points, start=1):
            row[i] = before[i - 1] + 1 if item == point else max(before[i], row[i - 1])
    return row[-1]
