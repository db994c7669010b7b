"""The calculator: exact where it has a value, and a short text where it has none."""

from __future__ import annotations

import random
import time
from fractions import Fraction

import pytest

from textgym.grading.calculator import ERROR, MAX_CHARACTERS, MAX_RESULT, calculate

HOSTILE = [
    *("9^9999/7^9999+9^9998/5^9999+9^9997/11^9999", "9^9^9^9", "(" * 50 + "1" + ")" * 50),
    *("1" * 10**6, "(" * 10**6, "7\ud800", "\0", "<eos>", "__import__('os')", "1e999", "²", "٣"),
]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        *(("12*34", "408"), ("2+3*4", "14"), ("(2+3)*4", "20"), ("8-3-2", "3"), ("8/4/2", "1")),
        *(("-2^2", "-4"), ("2^3^2", "512"), ("2**10", "1024"), ("2^-3", "1/8"), ("0^0", "1")),
        *(("0.1+0.2", "3/10"), (".5*4", "2"), ("6/-4", "-3/2"), ("4^(1/2)", "2"), ("--3", "3")),
        *((" 1 + 1 ", "2"), ("2(3+4)", "14"), ("12×34÷2−1", "203"), ("9" * 40, "9" * 40)),
    ],
)
def test_a_value_is_exact(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        *(("1/0", "division by zero"), ("0^-1", "division by zero"), ("1/(3-3)", "division")),
        *(("", "no expression"), ("12-", "no expression"), ("1 2", "no expression")),
        *(("x+1", "no expression"), ("1,234", "no expression"), ("7!", "no expression")),
        *(("2^0.5", "no rational number"), ("(-8)^(1/3)", "no rational number")),
        *(("9^9^9", "too large"), ("9" * 41, "too large"), ("10^39/7", "too large")),
        ("+".join("1" * 51), f"more than {MAX_CHARACTERS} characters"),
    ],
)
def test_what_has_no_value_is_told_why(expression: str, why: str) -> None:
    assert calculate(expression).startswith(ERROR + why)


def random_expression(rng: random.Random, depth: int) -> tuple[str, Fraction]:
    """A text with all its brackets, and its value; ZeroDivisionError where it has none."""
    if not depth or rng.random() < 0.2:
        n = rng.randrange(20)
        return str(n), Fraction(n)
    (left, a), (right, b) = (random_expression(rng, depth - 1) for _ in range(2))
    sign = rng.choice("+-*/")
    value = a + b if sign == "+" else a - b if sign == "-" else a * b if sign == "*" else a / b
    return f"({left}{sign}{right})", value


def test_random_expressions_have_the_value_that_fractions_give() -> None:
    rng, num_checked = random.Random(0), 0
    while num_checked < 500:
        try:
            text, value = random_expression(rng, 3)
        except ZeroDivisionError:
            continue
        if len(text) <= MAX_CHARACTERS:
            assert calculate(text) == str(value)
            num_checked += 1


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_get_a_short_answer_at_once(text: str) -> None:
    start = time.process_time()
    answer = calculate(text)
    assert answer.startswith(ERROR) and len(answer) <= MAX_RESULT
    assert time.process_time() - start < 1.0  # 2 ms; hanging is what this is about
