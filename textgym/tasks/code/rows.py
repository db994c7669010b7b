"""Where problems of data sets come from: rows in the layouts of MBPP, HumanEval and APPS."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from textgym.data_sets import Layout, load_rows
from textgym.grading import code as grading
from textgym.row_files import Row
from textgym.task import Problem
from textgym.tasks.code.programs import Target

LAYOUTS = (
    Layout(
        "HumanEval",
        prompt="prompt",
        answer="canonical_solution",
        tests="test",
        entry_point="entry_point",
    ),
    Layout(
        "MBPP",
        prompt="text",
        answer="code",
        tests="test_list",
        lists=["tests"],
        optional={"setup": "test_setup_code"},
        key=["prompt", "tests"],
    ),
    Layout(
        "sanitized MBPP",
        prompt="prompt",
        answer="code",
        tests="test_list",
        lists=["tests", "imports"],
        optional={"imports": "test_imports"},
        key=["prompt", "tests"],
    ),
    Layout(
        "APPS",
        prompt="question",
        tests="input_output",
        optional={"answer": "solutions", "starter": "starter_code"},
    ),
)
"""The layouts known. LiveCodeBench's own tests are pickled, so it is read in APPS' layout."""

MAX_CASES = 100
"""Test cases of an APPS row that are run, the first ones: each takes a process of its own."""


class Rows:
    """The problems of a data set, as TextCode asks for them.

    Args:
        source: a file, a folder, or a name on the hub; see `textgym.data_sets.load_rows`.
        subset: which configuration of a data set on the hub.
        fields: field -> column, where a data set names its columns otherwise.
    """

    levels: tuple[str, ...] = ()

    def __init__(
        self,
        source: str | os.PathLike[str],
        *,
        subset: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        rows = load_rows(source, layouts=LAYOUTS, fields=fields, name=subset)
        readers = {"HumanEval": _human_eval, "APPS": _apps}
        self._problems: list[Problem] = []
        self._targets: list[Target] = []
        for row in rows:
            try:
                prompt, answer, target = readers.get(row.layout, _mbpp)(row)
            except ValueError as error:
                raise ValueError(f"{row.place}: {error}") from error
            info = {"row": len(self._problems)}
            self._problems.append(Problem(prompt, answer, info, fixed_split=row.split))
            self._targets.append(target)

    def sample(self, rng: np.random.Generator, *level: str) -> Problem:
        """Any row, each as likely as another."""
        return self._problems[int(rng.integers(len(self._problems)))]

    def list_problems(self, *level: str) -> Sequence[Problem]:
        """All of them."""
        return self._problems

    def target(self, problem: Problem) -> Target:
        """What the response to a problem has to do."""
        return self._targets[problem.info["row"]]


def _mbpp(row: Row) -> tuple[str, str, Target]:
    """The text and the first assert, which tells name and arguments; all asserts must hold.

    Austin et al. 2021 show all three asserts; with one, two are hidden.
    """
    code, tests = _plain(row["answer"]), [_plain(test) for test in row["tests"]]
    prompt = f"{row['prompt'].strip()}\nYour code should pass this test:\n{tests[0]}\n"
    setup = _plain(row.get("setup") or "\n".join(row.get("imports", [])))
    source = "\n".join([setup, *tests] if setup.strip() else tests)
    return prompt, code, Target(grading.AssertTests(source), reference=code)


def _human_eval(row: Row) -> tuple[str, str, Target]:
    """The prompt is the beginning of the program: imports, helpers, the function's docstring."""
    prompt, answer, entry_point = row["prompt"], row["answer"], row["entry_point"]
    tests = grading.AssertTests(row["tests"], entry_point)
    # It is a whole program too, whose function returns None, until a response defines its own.
    target = Target(tests, entry_point, prompt, prompt + answer, preamble=prompt + "\n")
    return prompt, answer, target


def _apps(row: Row) -> tuple[str, str, Target]:
    """Standard input to standard output, or calls of a function where `fn_name` says which."""
    tests = _json(row, "tests", dict)
    inputs, outputs, name = (tests.get(key) for key in ("inputs", "outputs", "fn_name"))
    if not isinstance(inputs, list) or not isinstance(outputs, list) or not inputs:
        raise ValueError("input_output has no lists of inputs and outputs")
    if len(inputs) != len(outputs):
        raise ValueError(f"{len(inputs)} inputs, but {len(outputs)} outputs")
    inputs, outputs = inputs[:MAX_CASES], outputs[:MAX_CASES]
    solutions = _json(row, "answer", list) if row["answer"].strip() else []
    answer = next((_plain(text) for text in solutions if isinstance(text, str)), "")
    starter, prompt = _plain(row["starter"]), row["prompt"].rstrip() + "\n"
    if name is None:
        cases = [(_text(given), _text(due)) for given, due in zip(inputs, outputs, strict=True)]
        prompt += "Read standard input, write standard output.\n"
        return prompt, answer, Target(grading.StdioTests(cases), reference=answer)
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"fn_name is {name!r}, expected the name of a function")
    if not all(isinstance(given, list) for given in inputs):
        raise ValueError(f"inputs of {name} are no lists of arguments")
    prompt += f"{starter.rstrip()}\n" if starter.strip() else f"The function is called {name}.\n"
    if all(isinstance(due, list) and len(due) == 1 for due in outputs):
        outputs = [due[0] for due in outputs]  # each in a list of its own
    # A starter of LeetCode's has the function as a method of class Solution.
    entry_point = f"Solution.{name}" if "class Solution" in starter else name
    calls = [(tuple(given), due) for given, due in zip(inputs, outputs, strict=True)]
    return prompt, answer, Target(grading.CallTests(entry_point, calls), name, reference=answer)


def _json(row: Row, field: str, kind: type) -> Any:
    try:
        value = json.loads(row[field])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{field} is no valid JSON: {error}") from None
    if not isinstance(value, kind):
        expected, got = kind.__name__, type(value).__name__
        raise ValueError(f"{field} holds a {got}, expected a {expected}")
    return value


def _text(value: Any) -> str:
    """Some rows keep the lines of a text as a list."""
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _plain(text: str) -> str:
    """With line feeds alone: MBPP's lines end in carriage return and line feed."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
