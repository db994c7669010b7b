"""Attacks on the mathematics graders: nothing runs, nothing is touched, nothing raises or hangs.

Fuzzing is derandomised: the same 12,000 and more inputs in each run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.textgym.grading import hostile_math
from textgym.grading.math import equivalent, equivalent_many

PER_EXAMPLE = 10
fuzzing = settings(
    max_examples=400,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@cache
def cases() -> list[dict[str, Any]]:
    return hostile_math.rows("math_cases.jsonl")


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What hostile_math.main saw in a process and a folder of its own."""
    folder = tmp_path_factory.mktemp("audited")
    script = Path(hostile_math.__file__)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_grading_compiles_runs_opens_and_starts_nothing(audited: dict[str, Any]) -> None:
    """Of all that Python audits (exec, compile, open, import, sockets, processes, ...), nothing
    happens; `id` of an object is the one event that means nothing."""
    events = [event for event in audited["events"] if not event.startswith("builtins.id ")]
    assert audited["num_texts"] > 2000
    assert events == []


def test_no_attack_leaves_a_file(audited: dict[str, Any]) -> None:
    assert audited["files"] == []


def test_no_grader_raises_or_is_late_on_attacks(audited: dict[str, Any]) -> None:
    assert audited["raised"] == []
    assert audited["late"] == []


def test_no_grader_raises_or_is_late_on_megabytes() -> None:
    wrong = hostile_math.outcomes(hostile_math.attacks("huge"))
    assert wrong == {"raised": [], "late": []}


def paid(references: list[str], texts: list[str]) -> list[tuple[str, str]]:
    """(reference, the text's beginning) of those that are found equal."""
    pairs = [(reference, text) for reference in references for text in texts]
    verdicts = equivalent_many(pairs)
    return [(r, t[:60]) for (r, t), verdict in zip(pairs, verdicts, strict=True) if verdict.equal]


def test_no_attack_is_paid() -> None:
    texts = hostile_math.attacks("code", "runaway", "broken", "huge")
    assert paid(["42", r"\frac{2}{7}", "y^2-3", "[2,9)", r"\text{Friday}"], texts) == []


def test_no_number_is_picked_out_of_a_formula_that_is_too_much() -> None:
    """One is what most of these would be worth if a number in them were taken for the answer."""
    is_one = ["0^{0^{0^{0}}}", r"\sqrt[10^{100}]{2}"]  # the second to a hundred digits
    texts = [text for text in hostile_math.attacks("runaway") if text not in is_one]
    assert paid(["1"], texts) == []


# Inputs: any text; LaTeX's words in any order; a labelled answer with one place changed.
WORDS = r"""
\frac \sqrt \boxed \text \left \right \pi \infty \pm \cup \le \ne \log \sin \binom \overline \times
\begin{pmatrix} \end{pmatrix} \\ \{ \} \% \$ \circ \in \cdot { } ( ) [ ] | ^ _ ! + - * / = < > , . :
; & $ % ' #### ** <think> </think> the answer is or and not x y e i n f B cm kg e9 0 1 2 7 10 99
1,000 0.5 .3 1/2 ½ ² √ π ∞ ≤ −
"""
words = st.sampled_from([*WORDS.split(), " ", " is ", " or ", "#### ", "\n"])
latex = st.lists(words, max_size=24).map("".join)
anything = st.text(st.characters(exclude_categories=()), max_size=40)


@st.composite
def near_answers(draw: st.DrawFn) -> str:
    """A labelled answer in which one character is dropped, doubled or another."""
    answer = cases()[draw(st.integers(0, len(cases()) - 1))]["answer"][:300]
    place = draw(st.integers(0, len(answer)))
    piece = draw(st.one_of(st.just(""), words, st.characters(exclude_categories=())))
    return answer[:place] + piece + answer[place + draw(st.integers(0, 2)) :]


@fuzzing
@given(st.lists(latex, min_size=PER_EXAMPLE, max_size=PER_EXAMPLE))
def test_no_grader_raises_or_is_late_on_latex_at_random(texts: list[str]) -> None:
    assert hostile_math.outcomes(texts) == {"raised": [], "late": []}


@fuzzing
@given(st.lists(anything, min_size=PER_EXAMPLE, max_size=PER_EXAMPLE))
def test_no_grader_raises_or_is_late_on_text_at_random(texts: list[str]) -> None:
    assert hostile_math.outcomes(texts) == {"raised": [], "late": []}


@fuzzing
@given(st.lists(near_answers(), min_size=PER_EXAMPLE, max_size=PER_EXAMPLE))
def test_no_grader_raises_or_is_late_on_damaged_answers(texts: list[str]) -> None:
    assert hostile_math.outcomes(texts) == {"raised": [], "late": []}


# Expressions whose value is known: (text, value).
Valued = tuple[str, Fraction]
numbers = st.integers(-99, 999).map(lambda n: (str(n) if n >= 0 else f"({n})", Fraction(n)))
decimals = st.integers(1, 9999).map(lambda n: (f"{n // 100}.{n % 100:02}", Fraction(n, 100)))


def grown(inner: st.SearchStrategy[Valued]) -> st.SearchStrategy[Valued]:
    def sum_of(pair: tuple[Valued, Valued]) -> Valued:
        return f"({pair[0][0]}+{pair[1][0]})", pair[0][1] + pair[1][1]

    def difference_of(pair: tuple[Valued, Valued]) -> Valued:
        return rf"\left({pair[0][0]} - {pair[1][0]}\right)", pair[0][1] - pair[1][1]

    def product_of(pair: tuple[Valued, Valued]) -> Valued:
        return rf"{pair[0][0]}\cdot {pair[1][0]}", pair[0][1] * pair[1][1]

    def quotient_of(pair: tuple[Valued, Valued]) -> Valued:
        return rf"\frac{{{pair[0][0]}}}{{{pair[1][0]}}}", pair[0][1] / pair[1][1]

    def square_of(valued: Valued) -> Valued:
        return f"({valued[0]})^{{2}}", valued[1] ** 2

    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(sum_of),
        pairs.map(difference_of),
        pairs.map(product_of),
        pairs.filter(lambda pair: pair[1][1] != 0).map(quotient_of),
        inner.map(square_of),
    )


expressions = st.recursive(st.one_of(numbers, decimals), grown, max_leaves=6)


@settings(fuzzing, max_examples=150)
@given(st.lists(expressions, min_size=PER_EXAMPLE, max_size=PER_EXAMPLE))
def test_an_expression_of_numbers_is_its_value_and_no_other(valued: list[Valued]) -> None:
    for text, value in valued:
        number = f"{value.numerator}/{value.denominator}"
        assert equivalent(number, text).equal is True, (number, text)
        assert equivalent(text, number).equal is True, (text, number)
        other = f"{value.numerator + 1}/{value.denominator}"
        assert equivalent(other, text).equal is False, (other, text)
        assert equivalent(text, other).equal is False, (text, other)
        assert equivalent(text, text).equal is True, text


@settings(fuzzing, max_examples=150)
@given(st.lists(expressions, min_size=2, max_size=2), st.sampled_from(["x", "t", "a"]))
def test_equality_of_polynomials_is_symmetric(valued: list[Valued], name: str) -> None:
    (first, a), (second, b) = valued
    left, right = f"{first}{name}^2+{second}", f"{second} + {name}{name}({first})"
    assert equivalent(left, right).equal is equivalent(right, left).equal is True
    swapped = f"{second}{name}^2+{first}"
    assert equivalent(left, swapped).equal is (a == b)
    assert equivalent(swapped, left).equal is (a == b)


def test_what_is_understood_equals_itself() -> None:
    """Every reference of the labelled cases is a right answer to itself."""
    references = sorted({case["reference"] for case in cases()})
    verdicts = equivalent_many((reference, reference) for reference in references)
    assert len(references) > 300
    assert [r for r, v in zip(references, verdicts, strict=True) if v.equal is not True] == []


def test_verdicts_are_the_same_on_four_threads_at_once() -> None:
    pairs = [(case["reference"], case["answer"]) for case in cases()]
    pairs += [
        (reference, text) for reference in ("7", "x+1") for text in hostile_math.attacks("broken")
    ]
    alone = equivalent_many(pairs)
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda _: equivalent_many(pairs), range(4)))
    assert all(verdicts == alone for verdicts in together)
