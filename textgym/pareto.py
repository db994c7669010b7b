"""Sets of vectors in which more is better: which are undominated, and how much they cover.

What a multi-objective learner is scored by. No randomness, nothing but NumPy.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike


def pareto_front(points: ArrayLike) -> np.ndarray:
    """The points that no other one dominates, each once, by descending first component.

    One point dominates another if it is no worse in any component, and better in at least one.

    Args:
        points: [N, K].

    Returns:
        [M, K] float64.
    """
    found: list[np.ndarray] = []
    # From the largest first component down: what could dominate a point comes before it.
    for point in np.unique(_points(points), axis=0)[::-1]:
        if not any((other >= point).all() for other in found):
            found.append(point)
    return np.array(found).reshape(-1, np.shape(points)[1])


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """The volume of what `points` [N, K] dominate and `reference` [K] does not lie above. Exact.

    Zitzler & Thiele 1999. By slices along the last component, each of one dimension less: quick for
    K = 2 and for some hundred points of K = 3. A point that is not above the reference adds
    nothing.

    Raises:
        ValueError: if the shapes do not fit, or a number is not finite.
    """
    points, reference = _points(points), _points([reference])[0]
    if len(reference) != points.shape[1]:
        raise ValueError(
            f"reference has {len(reference)} components, expected those of points, "
            f"{points.shape[1]}"
        )
    return _volume(np.maximum(points - reference, 0.0))


def _volume(points: np.ndarray) -> float:
    """The volume between the origin and the non-negative points [N, K]."""
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(points.max())
    points = pareto_front(points)
    points = points[np.argsort(-points[:, -1], kind="stable")]
    heights = np.append(points[:, -1], 0.0)
    return sum(
        float(heights[i] - heights[i + 1]) * _volume(points[: i + 1, :-1])
        for i in range(len(points))
        if heights[i] > heights[i + 1]
    )


def expected_utility(points: ArrayLike, weights: ArrayLike) -> float:
    """The mean over `weights` [W, K] of the best weighted sum that one of `points` [N, K] has.

    Zintgraf et al. 2015. Weighted sums are linear, so a policy that mixes its responses, or answers
    one problem like this and another like that, never has more than the best of what it mixes: with
    mean returns, this is the measure in which nothing exceeds a true front.
    """
    points, weights = _points(points), _points(weights)
    if not len(points) or not len(weights) or points.shape[1] != weights.shape[1]:
        raise ValueError(
            f"points have shape {points.shape} and weights {weights.shape}, expected at least one "
            "of each, with as many components"
        )
    return float((points @ weights.T).max(axis=0).mean())


def even_weights(num_components: int, divisions: int) -> np.ndarray:
    """All weights that are multiples of 1 / divisions and whose sum is 1. Das & Dennis 1998.

    Returns:
        [W, num_components] float64, W = binomial(divisions + num_components - 1, divisions).
    """
    if num_components < 1 or divisions < 1:
        raise ValueError(
            f"num_components is {num_components} and divisions {divisions}, expected at least 1"
        )
    # Stars and bars: the gaps between the bars are the weights.
    size = divisions + num_components - 1
    bars = list(combinations(range(size), num_components - 1))
    edges = np.array([(-1, *chosen, size) for chosen in bars])
    return (np.diff(edges, axis=1) - 1) / divisions


def _points(points: ArrayLike) -> np.ndarray:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or not array.shape[1] or not np.isfinite(array).all():
        raise ValueError(
            f"points have shape {array.shape}, expected finite numbers of shape [N, K]"
        )
    return array
