"""How mathematics is written as plain text, and how choices are made."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from tests.textgym.tasks.drawing import Odometer
from textgym.grading.math import equivalent
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.writing import (
    added,
    decimal,
    in_braces,
    in_brackets,
    listed,
    polynomial,
    product_of,
    times,
    value_at,
)

F = Fraction


@pytest.mark.parametrize(
    ("coefficients", "text"),
    [
        ([-1, 3, 1], "x^2+3x-1"),
        ([0, -1], "-x"),
        ([5], "5"),
        ([0, 0, 0], "0"),
        ([F(-1, 4), F(1, 2)], "x/2-1/4"),
        ([0, F(-3, 2), 0, F(2, 3)], "2x^3/3-3x/2"),
    ],
)
def test_polynomials_go_without_what_goes_without_saying(coefficients, text: str) -> None:
    assert polynomial(coefficients) == text


def test_a_coefficient_stands_in_front_and_a_divisor_behind() -> None:
    factors = {1: "f", -1: "-f", 0: "0", 3: "3f", F(1, 2): "f/2", F(-5, 3): "-5f/3"}
    assert [times(c, "f") for c in factors] == list(factors.values())


def test_signs_join_terms() -> None:
    assert added("x", "-2", "0", "y") == "x-2+y"
    assert added("0", "0") == "0" == added()


def test_products_and_values_agree() -> None:
    f, g = [2, -3, 1], [4, 5]
    for x in range(-3, 4):
        assert value_at(product_of(f, g), x) == value_at(f, x) * value_at(g, x)
    assert value_at([1, 1, 1], F(1, 2)) == F(7, 4)


@pytest.mark.parametrize("number", [F(1, 8), F(-7, 20), F(3), F(1, 50), F(101, 1000), F(0), 12])
def test_decimals_are_exact(number) -> None:
    assert F(decimal(number)) == number
    assert decimal(number).endswith(tuple("123456789")) or F(number).denominator == 1


def test_a_decimal_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="1/3 is no terminating decimal"):
        decimal(F(1, 3))


def test_sets_tuples_and_lists() -> None:
    assert in_braces((1, F(3, 2))) == "{1,3/2}" and in_brackets("xy") == "(x,y)"
    assert listed("abc") == "a, b and c" and listed((2, 3), "or") == "2 or 3" and listed("a") == "a"


def test_what_is_written_is_read_as_what_was_meant() -> None:
    assert equivalent("2/3*x^3-3/2*x", polynomial([0, F(-3, 2), 0, F(2, 3)])).equal
    assert equivalent("-1/2*cos(2*x)", times(F(-1, 2), "cos(2x)")).equal


def test_choices_are_uniform_and_within_their_bounds() -> None:
    choose = Choices(np.random.default_rng(0))
    counts = Counter(choose.other(1, 6, 3, 9, 3) for _ in range(5000))
    assert set(counts) == {1, 2, 4, 5, 6} and min(counts.values()) > 900
    counts = Counter(choose.nonzero(2) for _ in range(4000))
    assert set(counts) == {-2, -1, 1, 2} and min(counts.values()) > 900
    orders = Counter(tuple(choose.shuffled("abc")) for _ in range(6000))
    assert len(orders) == 6 and min(orders.values()) > 900


def test_distinct_integers_are_distinct() -> None:
    choose = Choices(np.random.default_rng(1))
    orders = Counter(tuple(choose.distinct(2, 0, 2)) for _ in range(6000))
    assert len(orders) == 6 and min(orders.values()) > 900


def test_an_odometer_makes_every_sequence_of_choices_once() -> None:
    odometer, seen = Odometer(), []
    while True:
        first = odometer.between(1, 3)
        seen.append((first, odometer.below(first)))
        if not odometer.advance():
            break
    assert seen == [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]
