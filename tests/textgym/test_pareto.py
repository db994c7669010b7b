"""Pareto fronts, hypervolumes and utilities against brute force and numbers worked out by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgym.pareto import even_weights, expected_utility, hypervolume, pareto_front

PAIRS = st.lists(st.tuples(*[st.integers(-2, 5)] * 2), max_size=8)
TRIPLES = st.lists(st.tuples(*[st.integers(-2, 5)] * 3), max_size=8)
QUADRUPLES = st.lists(st.tuples(*[st.integers(-1, 3)] * 4), max_size=4)


def as_points(points: list[tuple[int, ...]], num_components: int) -> np.ndarray:
    return np.array(points, dtype=float).reshape(-1, num_components)


def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(x >= y for x, y in zip(a, b, strict=True)) and a != b


@settings(max_examples=60, deadline=None)
@given(TRIPLES)
def test_the_front_is_what_nothing_dominates(points):
    expected = {p for p in points if not any(dominates(q, p) for q in points)}
    front = pareto_front(as_points(points, 3))
    assert front.shape == (len(expected), 3) and set(map(tuple, front.tolist())) == expected
    assert front.tolist() == sorted(front.tolist(), reverse=True)


def cells(points: list[tuple[int, ...]], num_components: int) -> int:
    """How many unit cells of the positive orthant lie below some point of whole numbers."""
    corners = product(range(1, 6), repeat=num_components)
    return sum(any(all(c <= x for c, x in zip(k, p, strict=True)) for p in points) for k in corners)


@pytest.mark.parametrize(("num_components", "points"), [(2, PAIRS), (3, TRIPLES), (4, QUADRUPLES)])
def test_a_hypervolume_is_the_number_of_cells_below_the_points(num_components, points):
    @settings(max_examples=40, deadline=None)
    @given(points)
    def check(points):
        array = as_points(points, num_components)
        assert hypervolume(array, [0] * num_components) == cells(points, num_components)

    check()


def test_hypervolumes_worked_out_by_hand():
    # Boxes 1 x 3, 2 x 2 and 3 x 1 that stand in one corner: a staircase of 6 squares.
    assert hypervolume([(1, 3), (2, 2), (3, 1)], (0, 0)) == 6
    assert hypervolume([(1, 3), (2, 2), (3, 1)], (1, 1)) == 1  # what is left above (1, 1)
    # Boxes of volume 2 each, each two of which share 1, and all three 1: 6 - 3 + 1.
    assert hypervolume([(2, 1, 1), (1, 2, 1), (1, 1, 2)], (0, 0, 0)) == 4
    assert hypervolume([(0.5,), (0.25,)], (0,)) == 0.5
    assert hypervolume(np.zeros((0, 2)), (0, 0)) == 0


def test_dominated_and_repeated_points_change_no_hypervolume():
    points = np.random.default_rng(0).random((40, 3))
    doubled = np.concatenate([points, points * 0.5, points])
    assert hypervolume(doubled, (0, 0, 0)) == pytest.approx(hypervolume(points, (0, 0, 0)))
    assert hypervolume(pareto_front(points), (0, 0, 0)) == hypervolume(points, (0, 0, 0))


def test_a_hypervolume_agrees_with_a_monte_carlo_estimate():
    rng = np.random.default_rng(0)
    points, darts = rng.random((30, 3)), rng.random((40_000, 3))
    share = (darts[:, None] <= points).all(-1).any(-1).mean()
    assert hypervolume(points, (0, 0, 0)) == pytest.approx(share, abs=0.01)  # 4 standard errors


def test_expected_utility_takes_the_best_point_for_each_weight():
    points = [(1, 0), (0, 1), (0.4, 0.4)]
    # Utilities 1, 0.75 and 0.5: (0.4, 0.4) has 0.4 throughout.
    assert expected_utility(points, [(1, 0), (0.25, 0.75), (0.5, 0.5)]) == pytest.approx(0.75)
    assert expected_utility([(0.4, 0.4)], even_weights(2, 10)) == pytest.approx(0.4)


def test_even_weights_are_all_multiples_with_the_sum_one():
    assert even_weights(2, 4).tolist() == [[0, 1], [0.25, 0.75], [0.5, 0.5], [0.75, 0.25], [1, 0]]
    weights = even_weights(3, 4)
    assert len(weights) == 15 == len(np.unique(weights, axis=0))
    assert np.allclose(weights.sum(axis=1), 1) and weights.min() == 0
    assert even_weights(1, 3).tolist() == [[1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hypervolume([(1, 2)], (0, 0, 0)), "reference has 3 components, expected .* 2"),
        (lambda: hypervolume([(np.nan, 2)], (0, 0)), "expected finite numbers"),
        (lambda: pareto_front([1, 2]), r"shape \(2,\), expected .* \[N, K\]"),
        (lambda: expected_utility(np.zeros((0, 2)), [(1, 0)]), "expected at least one"),
        (lambda: even_weights(2, 0), "divisions 0, expected at least 1"),
    ],
)
def test_what_is_no_set_of_points_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
