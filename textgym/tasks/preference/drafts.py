"""Responses of a known quality by construction, pairs of them, and how well these can be judged."""

from __future__ import annotations

import math
from functools import cache

from textgym.preferences.functions import bradley_terry
from textgym.tasks.math.choices import Choices
from textgym.tasks.preference.utility import Features, Request, features_of

MAX_FALSE = 2
"""False items that a draft may have."""

REFERENCE_UTILITY = 0.5
"""What every response of the reference policy is worth."""

Quality = tuple[int, int]
"""How many of the points a response makes, and how many false items it has beside them."""


def utility_of(num_points: int, quality: Quality) -> float:
    """What a response of this quality is worth where `num_points` are asked for."""
    made, false = quality
    return Features(made / num_points, 1.0 - made / (made + false)).utility


@cache
def qualities(num_points: int) -> tuple[Quality, ...]:
    """Those of drafts: at least one point is made, and at most MAX_FALSE items are false."""
    return tuple(
        (made, false) for made in range(1, num_points + 1) for false in range(MAX_FALSE + 1)
    )


@cache
def rivals(num_points: int, quality: Quality) -> tuple[Quality, ...]:
    """The qualities of drafts that are worth more or less than one of this quality."""
    value = utility_of(num_points, quality)
    return tuple(q for q in qualities(num_points) if utility_of(num_points, q) != value)


@cache
def reference_qualities(num_points: int) -> tuple[Quality, ...]:
    """All that are worth REFERENCE_UTILITY: half of the points, or all and as much nonsense, ..."""
    counts = range(num_points + 1)
    return tuple(
        (made, false)
        for made in counts[1:]
        for false in counts
        if utility_of(num_points, (made, false)) == REFERENCE_UTILITY
    )


def write(request: Request, quality: Quality, choose: Choices) -> str:
    """A response of this quality: some of the points, and false items anywhere between them.

    Where the order matters, a false item may also be a point in the wrong place.
    """
    made, false = quality
    places = choose.distinct(made, 0, len(request.points) - 1)
    kept = [request.points[i] for i in (sorted(places) if request.ordered else places)]
    misplaced = [point for point in request.points if point not in kept] if request.ordered else []
    text = _with(kept, choose.shuffled([*request.wrong, *misplaced])[:false], choose)
    if misplaced and features_of(request, text).covered * len(request.points) != made:
        return _with(kept, choose.shuffled(request.wrong)[:false], choose)  # one fell into place
    return text


def _with(items: list[str], false: list[str], choose: Choices) -> str:
    mixed = list(items)
    for item in false:
        mixed.insert(choose.below(len(mixed) + 1), item)
    return ", ".join(mixed)


def write_pair(request: Request, choose: Choices) -> tuple[str, str]:
    """Two drafts that are not worth the same: any quality, and any of its rivals."""
    num_points = len(request.points)
    first = choose.one_of(qualities(num_points))
    second = choose.one_of(rivals(num_points, first))
    return write(request, first, choose), write(request, second, choose)


def write_reference(request: Request, choose: Choices) -> str:
    """A response of the reference policy, which is worth REFERENCE_UTILITY."""
    return write(request, choose.one_of(reference_qualities(len(request.points))), choose)


@cache
def best_accuracy(num_points: int, beta: float, noise: float) -> float:
    """How often the label of a pair names its better draft: no judge agrees more often.

    The mean over pairs of noise + (1 - 2 noise) sigmoid(beta |difference of utilities|), with the
    probabilities by which `write_pair` draws their qualities.
    """
    means = []
    for first in qualities(num_points):
        gaps = [
            abs(utility_of(num_points, first) - utility_of(num_points, second))
            for second in rivals(num_points, first)
        ]
        means.append(math.fsum(bradley_terry(gap, beta, noise) for gap in gaps) / len(gaps))
    return math.fsum(means) / len(means)
