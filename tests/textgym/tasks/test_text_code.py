"""TextCode: references earn full marks, and nothing that is not a solution does."""

from __future__ import annotations

import json
import pickle
from functools import cache
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from textgym import create_code_generation_env, load_task
from textgym.__main__ import main as command_line
from textgym.grading import code as code_grading
from textgym.grading.sandbox import SandboxUnavailable
from textgym.task import Problem
from textgym.tasks.code import text_code
from textgym.tasks.code.generator import FAMILIES, Generator
from textgym.tasks.code.text_code import TextCode

LEVELS = tuple(FAMILIES)
MBPP = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "mbpp_train_374.jsonl"


@pytest.fixture(scope="module")
def task() -> TextCode:
    return TextCode()


@cache
def drawn(level: str) -> list[Problem]:
    rng = np.random.default_rng(1)
    return [Generator().sample(rng, level) for _ in range(25)]


def mean(task: TextCode, problems: list[Problem], responses: list[str], name="correct") -> float:
    grades = task.grade_many(problems, responses)
    assert not any(grade.error for grade in grades)
    return sum(grade[name] for grade in grades) / len(grades)


# ------------------------------------------------------------------ references and non-answers


@pytest.mark.parametrize("level", LEVELS)
def test_the_reference_earns_full_marks(task: TextCode, level: str) -> None:
    problems = drawn(level)
    for grade in task.grade_many(problems, [problem.answer for problem in problems]):
        assert grade == {"correct": 1, "tests_passed": 1, "syntax": 1, "brevity": 1}
        assert grade.facts["reason"] == "" and grade.facts["tests_passed"] >= 8


@pytest.mark.parametrize("level", LEVELS)
def test_the_whole_function_in_a_fence_is_correct_too(task: TextCode, level: str) -> None:
    problems = drawn(level)[:10]
    programs = [Generator().target(problem).reference for problem in problems]
    responses = [f"Here it is:\n```python\n{program}\n```\nDone." for program in programs]
    assert mean(task, problems, responses) == 1.0
    assert mean(task, problems, responses, "brevity") == 1.0


@pytest.mark.parametrize("level", LEVELS)
def test_saying_nothing_or_repeating_the_prompt_earns_nothing(task: TextCode, level: str) -> None:
    problems = drawn(level)
    for respond in ("", "I don't know", "pass", "None"):
        assert mean(task, problems, [respond] * len(problems)) == 0.0
    assert mean(task, problems, [problem.prompt for problem in problems]) == 0.0


@pytest.mark.parametrize("level", LEVELS)
def test_the_best_constant_is_never_correct(task: TextCode, level: str) -> None:
    problems, responses = drawn(level), []
    for problem in problems:
        target = Generator().target(problem)
        values = [repr(expected) for _, expected in target.tests.cases]
        best = max(values, key=values.count)
        head = target.header.split("\n")[0].split(" return")[0]
        responses.append(f"{head}\n    return {best}\n")
    assert mean(task, problems, responses) == 0.0


@pytest.mark.parametrize("level", LEVELS)
def test_a_table_of_the_shown_values_is_never_correct(task: TextCode, level: str) -> None:
    problems, responses = drawn(level), []
    for problem in problems:
        header = Generator().target(problem).header
        parameters = header[header.index("(") + 1 : header.index(")")]
        lines = [line for line in problem.prompt.splitlines() if line.startswith("f(")]
        pairs = [line.split(" = ", 1) for line in lines if " = " in line]
        look_up = "[" + ", ".join(f"(({call[2:-1]},), {value})" for call, value in pairs) + "]"
        responses.append(
            f"def f({parameters}):\n"
            f"    for arguments, value in {look_up}:\n"
            f"        if arguments == ({parameters},):\n"
            "            return value\n"
        )
    assert mean(task, problems, responses) == 0.0
    assert mean(task, problems, responses, "syntax") == 1.0


def test_the_shown_program_with_its_mistake_is_never_correct(task: TextCode) -> None:
    rng = np.random.default_rng(2)
    problems = [Generator().sample(rng, "bugfix") for _ in range(150)]
    exercises = [FAMILIES["bugfix"].make(problem.info["number"]) for problem in problems]
    assert mean(task, problems, [exercise.mistaken for exercise in exercises]) == 0.0
    assert 0.2 < mean(task, problems, [e.mistaken for e in exercises], "tests_passed") < 0.9


# ------------------------------------------------------------------ components and facts


def product() -> Problem:
    """A problem whose reference is (a+b)*3."""
    size = FAMILIES["expression"].size
    number = next(n for n in range(size) if FAMILIES["expression"].make(n).answer == "(a+b)*3")
    return Problem("?", "(a+b)*3", {"level": "expression", "number": number})


@pytest.mark.parametrize(
    ("response", "correct", "syntax", "brevity", "reason"),
    [
        ("(a+b)*3", 1, 1, 1, ""),
        ("3*a+3*b", 1, 1, 1, ""),
        ("  (a+b)*3", 1, 1, 27 / 29, ""),
        ("(a+b)*3 # three times the sum", 1, 1, 27 / 49, ""),
        ("a+b", 0, 1, 0, "wrong value"),
        ("(a+b)*3.0", 1, 1, 27 / 29, ""),
        ("(a+b", 0, 0, 0, "SyntaxError"),
        ("a+b)", 0, 0, 0, "SyntaxError"),
        ("a\0", 0, 0, 0, "SyntaxError"),
        ("c", 0, 1, 0, "NameError"),
        ("f(a, b)", 0, 1, 0, "RecursionError"),
        ("[][a]", 0, 1, 0, "IndexError"),
    ],
)
def test_components(task, response, correct, syntax, brevity, reason) -> None:
    grade = task.grade(product(), response)
    assert (grade["correct"], grade["syntax"]) == (correct, syntax)
    assert grade["brevity"] == pytest.approx(brevity)
    assert reason in grade.facts["reason"] and bool(reason) == bool(grade.facts["reason"])


def test_partial_credit_is_the_share_of_hidden_tests(task: TextCode) -> None:
    problem = product()
    cases = Generator().target(problem).tests.cases
    (a, b), _ = cases[0]
    grade = task.grade(problem, f"(a+b)*3 if (a, b) != ({a}, {b}) else 7.5")
    assert grade["tests_passed"] == (len(cases) - 1) / len(cases) and grade["correct"] == 0.0
    assert grade.facts["tests_passed"] == len(cases) - 1 and grade.facts["tests"] == len(cases)


def test_what_a_program_writes_is_told_as_plain_text(task: TextCode) -> None:
    program = "def f(a, b):\n    print('\\x1b[31mred\\r\\x07', 'x' * 9999)\n    return a"
    facts = task.grade(product(), program).facts
    assert len(facts["stdout"]) <= 400 and facts["stdout"].endswith("x\n")
    short = task.grade(product(), program.replace("9999", "1")).facts["stdout"]
    assert short.startswith("?[31mred?? x\n")


def test_hostile_responses_are_graded_like_any_other(task: TextCode) -> None:
    responses = [
        *("(" * 100_000, "-" * 200_000 + "1", "9" * 100_000, "9**9**9**9", "a" * 2_000_000),
        *("\ud800", "\0", "```", "```python", "def f(a, b):", "import os; os._exit(0)"),
        *("__import__('os').kill(__import__('os').getppid(), 9)", "f'{'", "lambda: " * 50_000),
    ]
    grades = task.grade_many([product()] * len(responses), responses)
    assert [grade["correct"] for grade in grades] == [0.0] * len(responses)


def test_a_failure_of_the_sandbox_is_no_verdict(task: TextCode, monkeypatch) -> None:
    broken = code_grading.CodeVerdict(
        False, 0.0, (code_grading.TestResult(False),), "the fork-server has ended"
    )
    monkeypatch.setattr(text_code, "grade_many", lambda items, **limits: [broken] * len(items))
    grade = task.grade(product(), "a")
    assert grade.error == "the fork-server has ended" and dict(grade) == {}


# ------------------------------------------------------------------ as an environment


def test_equal_programs_in_a_batch_run_once(monkeypatch) -> None:
    runs = []
    real = text_code.grade_many
    monkeypatch.setattr(
        text_code, "grade_many", lambda items, **limits: runs.append(len(items)) or real(items)
    )
    envs = gym.make_vec("TextCode-v0", num_envs=16, group_size=8, autoreset_mode="Disabled")
    envs.reset(seed=0)
    tokenizer = envs.mdp.vocabulary.tokenizer
    for token in (*tokenizer.encode("a"), tokenizer.eos_token_id):
        _, rewards, terminations, _, infos = envs.step(np.full(16, token))
    assert terminations.all() and sum(runs) == 2
    assert rewards.tolist() == infos["components"]["correct"].tolist()
    assert set(infos["verdict"]) >= {"reason", "tests", "tests_passed", "stdout", "stderr"}


def test_the_factory_makes_an_environment_whose_level_can_be_set() -> None:
    env = create_code_generation_env("char", difficulty="lists", reward_weights={"syntax": 0.5})
    observation, info = env.reset(seed=3)
    tokenizer = env.unwrapped.tokenizer
    prompt = tokenizer.decode(observation[: info["length"]].tolist())
    assert prompt.endswith("def f(xs):\n")
    for token in (*tokenizer.encode("    return 5"), tokenizer.eos_token_id):
        _, reward, terminated, _, info = env.step(token)
    assert terminated and reward == 0.5 and info["verdict"]["reason"] == "wrong value: 5"
    env.unwrapped.set_difficulty("strings")
    observation, info = env.reset()
    assert tokenizer.decode(observation[: info["length"]].tolist()).endswith("def f(s):\n")


def test_a_task_survives_pickling(task: TextCode) -> None:
    copy = pickle.loads(pickle.dumps(task))
    problem = drawn("lists")[0]
    assert copy.grade(problem, problem.answer) == task.grade(problem, problem.answer)


def test_without_isolation_no_environment_is_made(monkeypatch) -> None:
    def unavailable(backend: str) -> None:
        raise SandboxUnavailable("untrusted programs cannot be isolated on this machine")

    monkeypatch.setattr(text_code, "default_sandbox", unavailable)
    with pytest.raises(SandboxUnavailable, match="cannot be isolated on this machine"):
        gym.make("TextCode-v0", timeout=2.5)


def test_the_command_line_says_in_one_line_that_programs_cannot_be_isolated(
    monkeypatch, capsys
) -> None:
    def unavailable(backend: str) -> None:
        raise SandboxUnavailable("untrusted programs cannot be isolated on this machine")

    monkeypatch.setattr(text_code, "default_sandbox", unavailable)
    for arguments in (["play", "TextCode-v0"], ["check", "TextCode-v0"]):
        assert command_line(arguments) == 2
        error = capsys.readouterr().err
        assert "cannot be isolated" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"sandbox": "none"}, "sandbox is 'none', expected one of auto, "),
        ({"timeout": 0}, "timeout is 0 and memory_mb 512, expected positive"),
        ({"memory_mb": -1}, "memory_mb -1, expected positive"),
        ({"subset": "main"}, "subset and fields say how to read a data set, and dataset is None"),
    ],
)
def test_wrong_arguments_are_refused(arguments, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        load_task("TextCode-v0", **arguments)


# ------------------------------------------------------------------ data sets


def test_every_reference_of_mbpp_earns_full_marks() -> None:
    if not MBPP.exists():
        pytest.skip(f"{MBPP.name} does not lie in ../shared/data")
    task = TextCode(dataset=str(MBPP), timeout=20.0)
    problems = list(task.list_problems())
    assert len(problems) == 374
    grades = task.grade_many(problems, [problem.answer for problem in problems])
    failed = [
        p.prompt[:60] for p, grade in zip(problems, grades, strict=True) if sum(grade.values()) < 4
    ]
    assert failed == []


def test_a_table_for_mbpps_shown_assert_is_not_correct() -> None:
    if not MBPP.exists():
        pytest.skip(f"{MBPP.name} does not lie in ../shared/data")
    task = TextCode(dataset=str(MBPP))
    problem = task.list_problems()[1]  # first_repeated_char("abcabc") == "a", two more
    grade = task.grade(problem, "def first_repeated_char(s):\n    return 'a'")
    assert grade["correct"] == 0.0 and 0 < grade["tests_passed"] < 1


def test_layouts_are_graded_for_real(tmp_path: Path) -> None:
    human_eval = {
        "prompt": 'import math\n\n\ndef area(r):\n    """Of a circle."""\n',
        "canonical_solution": "    return math.pi * r * r\n",
        "test": "def check(candidate):\n    assert round(candidate(2), 2) == 12.57\n",
        "entry_point": "area",
    }
    file = tmp_path / "human_eval.jsonl"
    file.write_text(json.dumps(human_eval))
    task = TextCode(dataset=str(file))
    (problem,) = task.list_problems()
    grades = task.grade_many(
        [problem] * 3,
        [problem.answer, "def area(r):\n    return math.pi * r**2", "    return 12.57 * r"],
    )
    assert [grade["correct"] for grade in grades] == [1.0, 1.0, 0.0]


def test_standard_input_is_graded_for_real(tmp_path: Path) -> None:
    tests = {"inputs": ["2\n", "5\n"], "outputs": ["4\n", "10\n"]}
    row = {
        "question": "Double it.",
        "input_output": json.dumps(tests),
        "solutions": json.dumps(["print(2 * int(input()))"]),
    }
    file = tmp_path / "apps.jsonl"
    file.write_text(json.dumps(row))
    task = TextCode(dataset=str(file))
    (problem,) = task.list_problems()
    responses = [problem.answer, "print(4)", "```python\nx = int(input())\nprint(x + x)\n```"]
    grades = task.grade_many([problem] * 3, responses)
    assert [grade["correct"] for grade in grades] == [1.0, 0.0, 1.0]
    assert grades[1]["tests_passed"] == 0.5


def test_a_data_set_is_played_in_its_order(tmp_path: Path) -> None:
    rows = [
        {
            "text": f"Return {i}.",
            "code": f"def f():\n    return {i}",
            "test_list": [f"assert f() == {i}"],
        }
        for i in range(30)
    ]
    file = tmp_path / "mbpp.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    env = gym.make("TextCode-v0", dataset=str(file), split="all")
    observation, info = env.reset(seed=0, options={"problem": 7})
    tokenizer = env.unwrapped.tokenizer
    prompt = tokenizer.decode(observation[: info["length"]].tolist())
    assert prompt == "Return 7.\nYour code should pass this test:\nassert f() == 7\n"
    for token in (*tokenizer.encode("def f():\n    return 7"), tokenizer.eos_token_id):
        _, reward, terminated, _, info = env.step(token)
    assert terminated and reward == 1.0
