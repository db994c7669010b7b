"""TextSequence against rules that are found anew from the prompt."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
import sympy

from tests.textgym.tasks.drawing import check, draw, parsed
from textgym.task import Problem
from textgym.tasks.math.sequence import TextSequence, _ordinal

N = sympy.Symbol("n")


def terms_of(text: str) -> list[Fraction]:
    return [Fraction(term) for term in text.split(",")]


def interpolated(terms: list[Fraction], n: int) -> Fraction:
    """The n-th value of the polynomial through (1, terms[0]), (2, terms[1]), ..."""
    total, rows = Fraction(0), list(terms)
    coefficient = Fraction(1)
    for k in range(len(terms)):
        total += rows[0] * coefficient
        rows = [b - a for a, b in zip(rows, rows[1:], strict=False)]
        coefficient = coefficient * (n - 1 - k) / (k + 1)
    return total


def predictions(terms: list[Fraction]) -> set[Fraction]:
    """What comes next by each of the rules that the terms follow."""
    found = set()
    last = terms[-1]
    ratios = {b / a for a, b in zip(terms, terms[1:], strict=False) if a}
    if len(ratios) == 1 and 0 not in terms:
        found.add(last * ratios.pop())
    second = [a - 2 * b + c for a, b, c in zip(terms, terms[1:], terms[2:], strict=False)]
    if len(set(second)) == 1 and len(second) > 1:
        found.add(interpolated(terms[:3], len(terms) + 1))
    if all(a + b == c for a, b, c in zip(terms, terms[1:], terms[2:], strict=False)):
        found.add(terms[-2] + last)
    if terms[1] != terms[0]:
        p = (terms[2] - terms[1]) / (terms[1] - terms[0])
        r = terms[1] - p * terms[0]
        if all(b == p * a + r for a, b in zip(terms, terms[1:], strict=False)):
            found.add(p * last + r)
    odd, even = terms[::2], terms[1::2]
    if len(terms) == 6 and len({b - a for a, b in zip(odd, odd[1:], strict=False)}) == 1:
        if len({b - a for a, b in zip(even, even[1:], strict=False)}) == 1:
            found.add(2 * odd[-1] - odd[-2])
    return found


def nth(n: str, kind: str, text: str) -> Fraction:
    terms = terms_of(text)
    if kind == "geometric":
        return terms[0] * (terms[1] / terms[0]) ** (int(n) - 1)
    return interpolated(terms[:3] if kind == "quadratic" else terms[:2], int(n))


def recurred(first: str, second: str, rule: str, n: str) -> int:
    a = {1: int(first), 2: int(second)}
    for i in range(3, int(n) + 1):
        text = rule.replace("a(n-1)", f"({a[i - 1]})").replace("a(n-2)", f"({a[i - 2]})")
        a[i] = int(parsed(text))
    return a[int(n)]


def series(text: str) -> Fraction:
    first, second, _ = (Fraction(term.strip("()")) for term in text.split("+"))
    return first / (1 - second / first)


def from_two(i: str, x: str, j: str, y: str, n: str) -> Fraction:
    step = (Fraction(y) - Fraction(x)) / (int(j) - int(i))
    return Fraction(x) + (int(n) - int(i)) * step


def how_many(text: str, total: str) -> int:
    first, second, _ = terms_of(text)
    count, rest, term = 0, Fraction(total), first
    while rest > 0:
        count, rest, term = count + 1, rest - term, term + second - first
    assert rest == 0
    return count


def combination(text: str) -> Fraction:
    a, b, c, d, *_ = terms = terms_of(text)
    if a * c == b * b:  # a geometric sequence goes on as it did
        return terms[-1] * b / a
    p = (c * b - a * d) / (b * b - a * c)
    q = (b * d - c * c) / (b * b - a * c)
    assert all(z == p * y + q * x for x, y, z in zip(terms, terms[1:], terms[2:], strict=False))
    return p * terms[-1] + q * terms[-2]


SOLVERS = {
    "nth": {
        r"What is the (\d+)\w\w term of the (\w+) sequence (.*),\.\.\.\?": nth,
        r"The \w+ sequence (.*),\.\.\. starts at n=1\. Its n-th term in n, as in 2n\+1:": (
            lambda text: None
        ),
    },
    "sum": {
        r"Calculate (-?\d+)([-+]\d+).*, the sum of (\d+) terms of an arithmetic sequence:": (
            lambda a, b, n: sum(int(a) + k * (int(b) - int(a)) for k in range(int(n)))
        ),
        r"What is the sum of the first (\d+) terms of the geometric sequence (.*),\.\.\.\?": (
            lambda n, text: sum(nth(k, "geometric", text) for k in range(1, int(n) + 1))
        ),
        r"Calculate the sum of (.*) for k from 1 to (\d+):": (
            lambda f, n: sum(parsed(f).subs("k", k) for k in range(1, int(n) + 1))
        ),
    },
    "hard": {
        r"a\(1\)=(.*), a\(2\)=(.*), a\(n\)=(.*)\. What is a\((\d+)\)\? a\(\4\)=": recurred,
        r"What is the sum of the infinite geometric series (.*)\+\.\.\.\?": series,
        r"In an arithmetic sequence a\((\d+)\)=(.*) and a\((\d+)\)=(.*)\. What is "
        r"a\((\d+)\)\? .*=": (from_two),
        r"How many terms of (.*),\.\.\. add up to (\d+)\?": how_many,
        r"(.*) follow a rule a\(n\)=p\*a\(n-1\)\+q\*a\(n-2\)\. What is the next term\?": (
            combination
        ),
    },
}


@pytest.mark.parametrize("level", SOLVERS)
def test_the_prompt_s_rule_gives_the_reference(level: str) -> None:
    check(draw("TextSequence-v0", level, 120), SOLVERS[level], per_kind=0)


@pytest.mark.parametrize("level", ["arithmetic", "next"])
def test_the_reference_is_what_a_rule_that_the_terms_follow_says(level: str) -> None:
    problems = draw("TextSequence-v0", level, 1000)
    num_ambiguous = 0
    for problem in problems:
        found = predictions(terms_of(problem.prompt.removeprefix("Next term: ").rstrip(",")))
        assert Fraction(problem.answer) in found, problem
        num_ambiguous += len(found) > 1
    assert num_ambiguous <= 5


def test_the_formula_gives_the_terms() -> None:
    problems = [p for p in draw("TextSequence-v0", "nth", 200) if "n-th term in n" in p.prompt]
    assert len(problems) > 20
    for problem in problems:
        terms = terms_of(re.search(r"sequence (.*),\.\.\.", problem.prompt)[1])
        formula = parsed(problem.answer)
        assert [formula.subs(N, n) for n in range(1, len(terms) + 1)] == terms


def test_ordinals() -> None:
    names = "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 33rd 60th".split()
    assert [_ordinal(int(re.match(r"\d+", name)[0])) for name in names] == names


def test_a_formula_has_to_be_expanded_and_a_term_worked_out() -> None:
    task = TextSequence()
    formula = Problem("?", "3n+2", {"form": "expanded"})
    for answer, grade in [("2+3n", 1), ("a_n=3n+2", 1), ("5+3(n-1)", 0), ("3n+1", 0), ("5", 0)]:
        assert task.grade(formula, answer)["correct"] == grade
    term = Problem("?", "12", {"form": "number"})
    for answer, grade in [("12", 1), ("23-11", 0), ("56,45,34,23,12", 0)]:
        assert task.grade(term, answer)["correct"] == grade
