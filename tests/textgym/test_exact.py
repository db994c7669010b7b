"""Exact answers: every form of the grammar, every form outside of it, and hostile texts."""

from __future__ import annotations

import random
import time
from fractions import Fraction

import pytest

from textgym.grading.exact import MAX_CHARACTERS, equal_rationals, parse_rational

ACCEPTED = {
    "7": 7,
    "-7": -7,
    "+7": 7,
    " 7 ": 7,
    "07": 7,
    "0": 0,
    "-0": 0,
    "+00": 0,
    "6/4": Fraction(3, 2),
    "-3/4": Fraction(-3, 4),
    "+3/4": Fraction(3, 4),
    "  -3/04 ": Fraction(-3, 4),
    "8/4": 2,
    "0/5": 0,
    "9" * MAX_CHARACTERS: 10**MAX_CHARACTERS - 1,
    "-" + "1/" + "9" * (MAX_CHARACTERS - 3): Fraction(-1, 10 ** (MAX_CHARACTERS - 3) - 1),
}

REFUSED = """
+ - / 3. .5 3.0 1_000 1,000 1e3 0x1F --3 +-3 3- 3+4 -+3 3/ /4 3/0 -3/000 3//4 1/2/3 3/-4 3/+4
½ ² ٣ ３ ३/४ −3 ∞ nan inf None True x 7x =7 7= (7) [7] {7} "7" '7' 7; __import__('os') 10**9 (3)/(4)
""".split()

REFUSED_WITH_SPACES = ["", " ", "3 4", "- 3", "3 /4", "3/ 4", "7\n", "\t7", "7\0", "\0", "7\u00a0"]


@pytest.mark.parametrize(("text", "number"), ACCEPTED.items())
def test_accepted_forms_denote_their_number(text: str, number: Fraction) -> None:
    assert parse_rational(text) == number


@pytest.mark.parametrize("text", REFUSED + REFUSED_WITH_SPACES)
def test_other_forms_denote_nothing(text: str) -> None:
    assert parse_rational(text) is None
    assert not equal_rationals("7", text)


@pytest.mark.parametrize(
    ("reference", "answer", "equal"),
    [
        ("46", "46", True),
        ("46", "+046 ", True),
        ("46", "92/2", True),
        ("46", "47", False),
        ("46", "-46", False),
        ("46", "461/10", False),
        ("3/2", "6/4", True),
        ("-3/4", "-6/8", True),
        ("-3/4", "3/4", False),
        ("3/2", "1", False),
        ("0", "-0", True),
        ("1/3", "33333333333/100000000000", False),
        ("red", "red", True),
        ("red", "blue", False),
        ("red", "7", False),
    ],
)
def test_equality_is_that_of_the_numbers(reference: str, answer: str, equal: bool) -> None:
    assert equal_rationals(reference, answer) is equal


@pytest.mark.parametrize(
    "text",
    [
        "9" * 10**6,
        "0" * 10**6 + "7",
        " " * 10**6 + "7",
        "7/" + "0" * 10**6,
        "-" * 10**6,
        "(" * 10**6 + ")" * 10**6,
        "\0" * 10**6,
        "\ud800" * 10**6,
        "\U0001d7d7" * 10**6,
        "9" * (MAX_CHARACTERS + 1),
    ],
    ids=lambda text: f"{text[:2]!a}x{len(text)}",
)
def test_texts_over_the_bound_are_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    assert not any(equal_rationals("7", text) for _ in range(1000))
    assert time.perf_counter() - start < 0.1  # 0.1 microseconds each; int() would take a second


@pytest.mark.parametrize(
    "text", ["\ud800", "7\udfff", "\ud835\udfd7", "7\0", "\0" * 40, " " * 40, "[" * 40, "/" * 40]
)
def test_hostile_short_texts_denote_nothing(text: str) -> None:
    assert parse_rational(text) is None


def test_no_text_raises_and_what_is_accepted_is_read_as_fraction_reads_it() -> None:
    rng = random.Random(0)
    num_accepted = 0
    for _ in range(3000):
        noise = rng.randbytes(rng.randrange(60))
        near = "".join(rng.choices("0123456789+-/ ._e", (1,) * 11 + (0.5,) * 6, k=rng.randrange(6)))
        for text in (noise.decode("latin-1"), noise.decode("utf-8", "surrogateescape"), near):
            number = parse_rational(text)
            num_accepted += number is not None
            assert equal_rationals("7", text) == (number == 7)
            assert number is None or number == Fraction(text)
    assert num_accepted > 500
