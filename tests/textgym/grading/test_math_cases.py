"""The mathematics grader against labelled cases, hostile ones, and GSM8K's own solutions."""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from textgym.grading.math import equivalent, equivalent_many

TESTS = Path(__file__).resolve().parents[2]
OWN = TESTS / "data" / "math_cases.jsonl"
SHARED_DATA = TESTS.parent.parent / "shared" / "data"
SHARED = SHARED_DATA / "math_grading_cases.jsonl"
GSM8K = SHARED_DATA / "gsm8k_train_2000.jsonl"

MIN_ACCURACY = 0.99
MAX_FALSE_POSITIVES = 0.003
TIMEOUT = 2.0
MAX_SECONDS = 1.2 * TIMEOUT


@pytest.fixture(params=[OWN, SHARED], ids=["own", "shared"])
def cases(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return rows(request.param)


@cache
def rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        pytest.skip(f"no {path.parent.name}/{path.name} beside this repository")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def wrong(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases whose verdict is not their label; no verdict pays nothing."""
    verdicts = equivalent_many((case["reference"], case["answer"]) for case in cases)
    return [
        case
        for case, verdict in zip(cases, verdicts, strict=True)
        if (verdict.equal is True) != case["equal"]
    ]


def told(cases: list[dict[str, Any]]) -> str:
    lines = (
        f"{case['category']}: {case['reference']!r} and {case['answer']!r} labelled {case['equal']}"
        for case in cases
    )
    return "\n".join(line[:300] for line in lines)


def test_the_verdict_is_the_label_in_99_of_100_cases(cases: list[dict[str, Any]]) -> None:
    missed = wrong(cases)
    assert len(missed) <= (1 - MIN_ACCURACY) * len(cases), told(missed)


def test_at_most_3_of_1000_wrong_answers_are_paid(cases: list[dict[str, Any]]) -> None:
    unequal = [case for case in cases if not case["equal"] and case["category"] != "hostile"]
    paid = wrong(unequal)
    assert len(paid) <= MAX_FALSE_POSITIVES * len(unequal), told(paid)


def test_no_hostile_answer_is_paid(cases: list[dict[str, Any]]) -> None:
    hostile = [case for case in cases if case["category"] == "hostile" and not case["equal"]]
    assert len(hostile) >= 39
    assert not wrong(hostile), told(wrong(hostile))


def test_no_verdict_comes_after_its_deadline(cases: list[dict[str, Any]]) -> None:
    late = []
    for case in cases:
        start = time.thread_time()
        equivalent(case["reference"], case["answer"], timeout=TIMEOUT)
        if time.thread_time() - start > MAX_SECONDS:
            late.append(case)
    assert not late, told(late)


def test_the_labels_are_many_and_balanced() -> None:
    cases = [case for case in rows(OWN) if case["category"] != "hostile"]
    assert len(cases) >= 300
    assert 0.45 <= sum(case["equal"] for case in cases) / len(cases) <= 0.6
    assert len({(case["reference"], case["answer"]) for case in cases}) == len(cases)


def solutions() -> list[tuple[str, str, int]]:
    """(solution, its number as written, its number) of GSM8K's first 2,000 problems."""
    answers = [row["answer"] for row in rows(GSM8K)]
    numbers = [answer.rsplit("####", 1)[1].strip() for answer in answers]
    triples = zip(answers, numbers, strict=True)
    return [(answer, number, int(number.replace(",", ""))) for answer, number in triples]


def test_every_gsm8k_solution_answers_its_own_number() -> None:
    refused = [
        number
        for solution, number, value in solutions()
        if not equivalent(number, solution).equal
        or not equivalent(solution, number).equal
        or not equivalent(str(value), solution).equal
    ]
    assert not refused


def test_no_gsm8k_solution_answers_another_number() -> None:
    paid = [
        (number, step)
        for solution, number, value in solutions()
        for step in (-1, 1)
        if equivalent(str(value + step), solution).equal is not False
        or equivalent(solution, str(value + step)).equal is not False
    ]
    assert not paid
