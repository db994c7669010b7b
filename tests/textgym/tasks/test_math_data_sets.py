"""TextMath-v0 on data sets: files that the tests make, and GSM8K's training rows where present."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from textgym import load_task
from textgym.tasks import TextMath

GSM8K = Path(__file__).parents[4] / "shared" / "data" / "gsm8k_train_2000.jsonl"
MATH_ROWS = [
    {"problem": f"What is {i}+{i}?", "solution": f"It is $\\boxed{{{2 * i}}}$.", "level": level}
    for i in range(30)
    for level in ("Level 1",)
] + [
    {"problem": f"Expand $x(x+{i})$.", "solution": f"$\\boxed{{x^2+{i}x}}$", "level": "Level 2"}
    for i in range(2, 30)
]


def write(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_math_layout_has_levels_and_boxed_answers(tmp_path: Path) -> None:
    task = TextMath(dataset=write(tmp_path, MATH_ROWS))
    assert task.difficulties == ("Level 1", "Level 2") and task.answer_format == "boxed"
    problem = task.list_problems("Level 2")[0]
    assert problem.prompt == "Expand $x(x+2)$.\nPut the final answer in \\boxed{}."
    assert problem.key == "Expand $x(x+2)$."
    for response, correct, in_format in [
        (problem.answer, 1, 1),
        ("\\boxed{2x+x^2}", 1, 1),
        ("The answer is 2x+x^2", 1, 0),
        ("\\boxed{x^2+3x}", 0, 1),
        ("", 0, 0),
    ]:
        assert task.grade(problem, response) == {"correct": correct, "format": in_format}


def test_a_number_has_to_be_worked_out(tmp_path: Path) -> None:
    task = TextMath(
        dataset=write(tmp_path, [{"question": "9 pairs?", "answer": "9*2=18\n#### 18"}])
    )
    (problem,) = task.list_problems()
    assert task.answer_format == "hash"
    grades = {
        response: task.grade(problem, f"#### {response}")["correct"]
        for response in ("18", "9*2=18", "18 shoes", "9*2", "9+9", "36/2")
    }
    assert [r for r, correct in grades.items() if correct] == ["18", "9*2=18", "18 shoes", "36/2"]


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    path = write(tmp_path, [{"q": "1+1?", "a": "2"}, {"q": "1+2?", "a": "3"}])
    task = TextMath(dataset=path, fields={"prompt": "q", "answer": "a"})
    assert [p.answer for p in task.list_problems()] == ["2", "3"] and task.answer_format == "any"


def test_official_splits_are_kept(tmp_path: Path) -> None:
    for name, start in (("train", 0), ("test", 50)):
        rows = [
            {"question": f"{i}+1?", "answer": f"#### {i + 1}"} for i in range(start, start + 20)
        ]
        write(tmp_path, rows, f"{name}.jsonl")
    env = gymnasium.make("TextMath-v0", dataset=str(tmp_path), split="test").unwrapped
    bank = env.mdp.bank
    prompts = {bank.problem(row).prompt for row in range(bank.num_rows)}
    assert bank.num_problems == 20
    assert prompts == {
        f"{i}+1?\nEnd with a line that says #### and the final answer." for i in range(50, 70)
    }


def test_a_data_set_plays_in_both_forms_of_the_environment(tmp_path: Path) -> None:
    keywords = {"dataset": write(tmp_path, MATH_ROWS), "difficulty": "Level 1"}
    env = gymnasium.make("TextMath-v0", **keywords)
    envs = gymnasium.make_vec("TextMath-v0", num_envs=3, **keywords)
    observation, info = env.reset(seed=5)
    observations, infos = envs.reset(seed=5)
    assert np.array_equal(observation, observations[0])
    answer = env.unwrapped.mdp.bank.problem(env.unwrapped.mdp.row(0, info["problem"])).answer
    for token in [*env.unwrapped.tokenizer.encode(answer), env.unwrapped.tokenizer.eos_token_id]:
        result = env.step(token)
        results = envs.step(np.full(3, token))
    assert result[1] == results[1][0] == 1.0
    assert result[4]["verdict"]["rule"] == results[4]["verdict"]["rule"][0] == "same"


def test_answer_formats_of_generated_problems_are_asked_for_and_graded() -> None:
    for answer_format, written in (("boxed", "\\boxed{46}"), ("hash", "#### 46"), ("any", "46")):
        task = load_task("TextMath-v0", answer_format=answer_format)
        problem = task.draw(np.random.default_rng(0), 1)
        value = problem.answer.strip("\\boxed{}# ")
        assert task.grade(problem, written.replace("46", value)) == {"correct": 1, "format": 1}
        expression = problem.prompt.partition("=")[0]
        assert task.grade(problem, written.replace("46", expression))["correct"] == 0
        assert task.grade(problem, f"So the answer is {value}.")["correct"] == 1


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"answer_format": "xml"}, "answer_format is 'xml', expected one of"),
        ({"subset": "main"}, "dataset is None"),
        ({"dataset": "no/such/file.jsonl"}, "there is no file or folder"),
    ],
)
def test_wrong_arguments_are_named(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        TextMath(**keywords)


@pytest.mark.skipif(not GSM8K.exists(), reason="GSM8K's rows are not beside the project")
def test_gsm8k_plays_and_its_solutions_earn_full_marks() -> None:
    task = TextMath(dataset=str(GSM8K))
    problems = task.list_problems()
    assert len(problems) == 2000 and task.answer_format == "hash"
    assert all(task.grade(p, p.answer) == {"correct": 1.0, "format": 1.0} for p in problems)
    for respond in (lambda p: "", lambda p: p.prompt, lambda p: "I don't know", lambda p: "#### 1"):
        assert sum(task.grade(p, respond(p))["correct"] for p in problems[:500]) <= 10
