"""MBPP's training split: references pass, mutants that a plain interpreter refuses fail."""

from pathlib import Path

import pytest

from benchmarks import mbpp
from textgym.grading.code import AssertTests, grade_many

PATH = Path(__file__).resolve().parents[4] / "shared" / "data" / "mbpp_train_374.jsonl"


@pytest.fixture(scope="module")
def rows():
    if not PATH.exists():
        pytest.skip(f"the data set {PATH.name} is not beside the repository")
    return mbpp.load(PATH)


def test_every_reference_passes(rows):
    items = [(row.code, AssertTests(row.asserts, row.entry_point)) for row in rows]
    verdicts = grade_many(items, timeout=20.0)
    failed = {
        row.task_id: verdict.error or verdict.results
        for row, verdict in zip(rows, verdicts, strict=True)
        if not verdict.passed
    }
    assert len(rows) == 374
    assert failed == {}


def test_every_reference_passes_all_of_its_asserts_one_by_one(rows):
    items = [(row.code, AssertTests(row.asserts, row.entry_point)) for row in rows[:40]]
    for verdict in grade_many(items, timeout=20.0):
        assert verdict.tests_passed == 1.0


def test_mutants_that_change_behaviour_fail(rows):
    mutants = mbpp.mutants(rows, seconds=0.5)
    items = [(m.code, AssertTests(m.row.asserts, m.row.entry_point)) for m in mutants]
    verdicts = grade_many(items, timeout=3.0)
    passed = [
        (mutant.row.task_id, mutant.kind)
        for mutant, verdict in zip(mutants, verdicts, strict=True)
        if verdict.passed
    ]
    kinds = {kind: sum(m.kind == kind for m in mutants) for kind in ("constant", "swapped")}
    assert kinds["constant"] > 350 and kinds["swapped"] > 150
    assert passed == []


def test_no_mutant_is_called_a_failure_of_the_sandbox(rows):
    mutants = mbpp.mutants(rows[:60], seconds=0.5)
    items = [(m.code, AssertTests(m.row.asserts, m.row.entry_point)) for m in mutants]
    assert [verdict.error for verdict in grade_many(items) if verdict.error] == []
