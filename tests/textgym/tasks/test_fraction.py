"""TextFraction against exact arithmetic on its prompts."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from tests.textgym.tasks.drawing import check, draw, parsed
from textgym.task import Problem
from textgym.tasks.math.fraction import TextFraction

ID = "TextFraction-v0"
F = Fraction


def number(text: str) -> Fraction:
    """`2 1/3`, `0.75`, `-3/4` as a fraction."""
    return sum(map(Fraction, text.split()), Fraction(0))


def decimal(value: Fraction) -> str:
    return f"{(Decimal(value.numerator) / Decimal(value.denominator)).normalize():f}"


def mixed(value: Fraction) -> str:
    whole = value.numerator // value.denominator
    return f"{whole} {value - whole}"


def operation(a: str, sign: str, b: str) -> Fraction:
    x, y = number(a.strip("()")), number(b.strip("()"))
    return {"+": x + y, "-": x - y, "*": x * y, "/": x / y}[sign]


def repeating(whole: str, shown: str, block: str) -> Fraction:
    assert shown == 3 * block
    return int(whole) + sum(
        F(int(block), 10 ** (len(block) * k)) for k in range(1, 60)
    ).limit_denominator(999)


def changes(first: str, p: str, second: str, q: str) -> str:
    x, y = (int(n) if verb == "rises" else -int(n) for verb, n in ((first, p), (second, q)))
    return decimal(F(100) * (1 + F(x, 100)) * (1 + F(y, 100)))


def calculated(text: str) -> str:
    return str(parsed(text))


FRACTION, MIXED = r"\d+/\d+", r"\(\d+ \d+/\d+\)"
SOLVERS = {
    "simplify": {r"Simplify (\d+/\d+):": F},
    "convert": {
        r"Write ([\d.]+) as a fraction in lowest terms:": F,
        r"Write (\d+/\d+) as a decimal:": lambda text: decimal(F(text)),
        r"Write (\d+ \d+/\d+) as an improper fraction:": number,
        r"Write (\d+/\d+) as a mixed number such as 2 1/3:": lambda text: mixed(F(text)),
        r"Fill in the number: ([\d./]+) = \?%": lambda text: decimal(100 * F(text)),
    },
    "operations": {
        rf"(?:Calculate )?({FRACTION})([-+*])({FRACTION})(?: =|:)": operation,
        rf"(?:Calculate )?(\({FRACTION}\))(/)(\({FRACTION}\))(?: =|:)": operation,
        rf"(?:Calculate )?({MIXED})([-+*/])({MIXED})(?: =|:)": operation,
    },
    "percent": {
        r"What is (\d+)% of (\d+)\?": lambda p, n: decimal(F(p) * F(n) / 100),
        r"Fill in the number: ([\d.]+) is \?% of (\d+)\.": lambda part, n: decimal(
            100 * F(part) / F(n)
        ),
        r"([\d.]+) is (\d+)% of which number\?": lambda part, p: decimal(100 * F(part) / F(p)),
        r"A price (rises|falls) from \$(\d+) to \$(\d+)\. Fill in the number: it \1 by \?%\.": (
            lambda verb, old, new: decimal(abs(F(new) - F(old)) * 100 / F(old))
        ),
    },
    "hard": {
        r"After (an increase|a discount) of (\d+)% a coat costs \$(\d+)\. What did it cost before, "
        r"in dollars\?": lambda how, p, new: (
            F(new) / (1 + F(p) / 100 * (1 if how == "an increase" else -1))
        ),
        r"A share (rises|falls) by (\d+)% and then (rises|falls) by (\d+)%\. What "
        r"percentage of its "
        r"first price does it have in the end\? Give the number:": changes,
        r"Write the repeating decimal (\d)\.(\d+)\.\.\. \(the block (\d+) repeats\) as a "
        r"fraction in "
        r"lowest terms:": repeating,
        r"Calculate (\(.*\)/\(.*\)), in lowest terms:": calculated,
        r"Calculate (\d\+.*), in lowest terms:": calculated,
        r"Somebody spends (\d+/\d+) of the money and then (\d+/\d+) of what is left\. What "
        r"fraction "
        r"of the money remains\?": lambda a, b: (1 - F(a)) * (1 - F(b)),
    },
}


@pytest.mark.parametrize("level", TextFraction.difficulties)
def test_exact_arithmetic_finds_the_reference(level: str) -> None:
    check(draw(ID, level, 150), SOLVERS[level], per_kind=8)


@pytest.mark.parametrize(
    ("form", "reference", "right", "wrong"),
    [
        ("fraction", "3/4", ["3/4", r"\frac{3}{4}"], ["6/8", "0.75", "75%", "3/4*1"]),
        ("fraction", "11/4", ["11/4"], ["2 3/4", "2.75", "22/8"]),
        ("mixed", "2 3/4", ["2 3/4", r"2\frac{3}{4}"], ["11/4", "2.75", "2 6/8", "2+3/4"]),
        ("decimal", "0.75", ["0.75", ".75", "0.750"], ["3/4", "0.7", "1-0.25"]),
        ("decimal", "75", ["75", "75%", r"75\%"], ["0.75", "3/4", "150/2"]),
        ("number", "7/6", ["7/6", "14/12", "1 1/6"], ["1/2+2/3", "1.17", "7"]),
    ],
)
def test_an_answer_has_to_have_the_form_that_is_asked_for(form, reference, right, wrong) -> None:
    task, problem = TextFraction(), Problem("?", reference, {"form": form})
    assert [task.grade(problem, answer)["correct"] for answer in right] == [1.0] * len(right)
    assert [task.grade(problem, answer)["correct"] for answer in wrong] == [0.0] * len(wrong)
