"""Programming problems from rows of data sets: prompts, targets and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from textgym.grading.code import AssertTests, CallTests, StdioTests
from textgym.tasks.code.rows import Rows

MBPP = {
    "text": "Write a function to add.",
    "code": "def add(a, b):\r\n\treturn a + b",
    "test_list": ["assert add(1, 2) == 3", "assert add(2, 2) == 4"],
    "test_setup_code": "",
}
HUMAN_EVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """Sum."""\n',
    "canonical_solution": "    return sum(xs)\n",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n",
    "entry_point": "total",
}
APPS = {
    "question": "Read a number and write its double.",
    "input_output": json.dumps({"inputs": ["2\n", "5\n"], "outputs": ["4\n", "10\n"]}),
    "solutions": json.dumps(["print(2 * int(input()))"]),
    "starter_code": "",
}


def rows(tmp_path: Path, *content: object) -> Rows:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, content)))
    return Rows(file)


def only(source: Rows):
    (problem,) = source.list_problems()
    return problem, source.target(problem)


def test_mbpp_shows_the_first_assert_and_checks_all(tmp_path: Path) -> None:
    problem, target = only(rows(tmp_path, MBPP))
    assert problem.prompt == (
        "Write a function to add.\nYour code should pass this test:\nassert add(1, 2) == 3\n"
    )
    assert problem.answer == target.reference == "def add(a, b):\n\treturn a + b"
    assert target.tests == AssertTests("assert add(1, 2) == 3\nassert add(2, 2) == 4")
    assert target.header == ""


def test_mbpp_runs_its_setup_before_its_tests(tmp_path: Path) -> None:
    _, target = only(rows(tmp_path, {**MBPP, "test_setup_code": "x = 1\r\ny = 2"}))
    assert target.tests.source.startswith("x = 1\ny = 2\nassert add(1, 2) == 3\n")


def test_sanitized_mbpp_imports_what_its_tests_need(tmp_path: Path) -> None:
    row = {
        "prompt": "Add.",
        "code": "x",
        "test_list": ["assert f()"],
        "test_imports": ["import math"],
    }
    problem, target = only(rows(tmp_path, row))
    assert target.tests.source == "import math\nassert f()"
    assert problem.prompt == "Add.\nYour code should pass this test:\nassert f()\n"


def test_humaneval_is_continued_and_checked(tmp_path: Path) -> None:
    problem, target = only(rows(tmp_path, HUMAN_EVAL))
    assert problem.prompt == target.header == HUMAN_EVAL["prompt"]
    assert target.reference == HUMAN_EVAL["prompt"] + HUMAN_EVAL["canonical_solution"]
    assert target.tests.entry_point == target.entry_point == "total"
    assert target.tests.source == HUMAN_EVAL["test"]


def test_apps_reads_standard_input(tmp_path: Path) -> None:
    problem, target = only(rows(tmp_path, APPS))
    assert problem.answer == "print(2 * int(input()))"
    assert target.tests == StdioTests([("2\n", "4\n"), ("5\n", "10\n")])
    assert problem.prompt.endswith("double.\nRead standard input, write standard output.\n")


def test_apps_may_call_a_function(tmp_path: Path) -> None:
    tests = {"fn_name": "double", "inputs": [[2], [5]], "outputs": [[4], [10]]}
    row = {**APPS, "input_output": json.dumps(tests)}
    problem, target = only(rows(tmp_path, row))
    assert target.tests == CallTests("double", [((2,), 4), ((5,), 10)])
    assert problem.prompt.endswith("double.\nThe function is called double.\n")


def test_apps_results_that_are_not_all_lists_of_one_stay_as_they_are(tmp_path: Path) -> None:
    tests = {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[4], [1, 2]]}
    _, target = only(rows(tmp_path, {**APPS, "input_output": json.dumps(tests)}))
    assert target.tests == CallTests("f", [((1,), [4]), ((2,), [1, 2])])


def test_apps_may_call_a_method_of_class_solution(tmp_path: Path) -> None:
    tests = {"fn_name": "f", "inputs": [[1]], "outputs": [2]}
    starter = "class Solution:\n    def f(self, x: int) -> int:\n"
    row = {**APPS, "input_output": json.dumps(tests), "starter_code": starter}
    problem, target = only(rows(tmp_path, row))
    assert target.tests.entry_point == "Solution.f" and problem.prompt.endswith(starter)


def test_a_row_without_a_solution_has_no_reference(tmp_path: Path) -> None:
    problem, target = only(rows(tmp_path, {**APPS, "solutions": ""}))
    assert problem.answer == target.reference == ""


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"input_output": "{"}, "tests is no valid JSON"),
        ({"input_output": "[]"}, "tests holds a list, expected a dict"),
        ({"input_output": "{}"}, "input_output has no lists of inputs and outputs"),
        ({"input_output": '{"inputs": [], "outputs": []}'}, "has no lists of inputs"),
        ({"input_output": '{"inputs": ["1"], "outputs": []}'}, "1 inputs, but 0 outputs"),
        ({"solutions": '{"a": 1}'}, "answer holds a dict, expected a list"),
        (
            {"input_output": '{"inputs": [[1]], "outputs": [1], "fn_name": "os.system"}'},
            "fn_name is 'os.system', expected the name of a function",
        ),
        (
            {"input_output": '{"inputs": ["1"], "outputs": [1], "fn_name": "f"}'},
            "inputs of f are no lists of arguments",
        ),
    ],
)
def test_a_bad_row_is_told_with_its_line(tmp_path, change, complaint) -> None:
    with pytest.raises(ValueError, match=rf"rows\.jsonl:2: .*{complaint}"):
        rows(tmp_path, APPS, {**APPS, "question": "2", **change})


def test_a_folder_keeps_its_splits(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps(MBPP))
    (tmp_path / "test.jsonl").write_text(json.dumps({**MBPP, "text": "Write a function to sum."}))
    splits = {problem.prompt[:24]: problem.split for problem in Rows(tmp_path).list_problems()}
    assert splits == {"Write a function to add.": "train", "Write a function to sum.": "test"}


def test_sampling_meets_every_row(tmp_path: Path) -> None:
    source = rows(tmp_path, *({**MBPP, "text": f"Task {i}."} for i in range(5)))
    rng = np.random.default_rng(0)
    assert {source.sample(rng).info["row"] for _ in range(100)} == set(range(5))
