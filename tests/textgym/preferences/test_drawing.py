"""Pairs drawn from an environment, and the files that they are written to."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import pytest

import textgym
from textgym import Grade, Preference, Problem, RLEnvironment, Task, load_preferences
from textgym.preferences import write_preferences
from textgym.preferences.drawing import draw_preferences

PAIRS = [Preference("Say hi", "Hi!", "No."), Preference("Säg\n😀", '"hej"', "\\\u2028")]


class Counted(Task):
    """Say the number; only 7 is right, 8 cannot be judged, the others are as good as each other."""

    max_response_tokens = 3

    def sample(self, rng):
        return Problem(f"say {rng.integers(10**6)}: ", str(rng.integers(10)))

    def grade(self, problem, response):
        if response == "8":
            return Grade(error="unknown")
        return Grade({"correct": float(response == "7")})


# ------------------------------------------------------------ right and wrong


def test_a_task_without_a_preference_sets_right_against_wrong() -> None:
    env = gym.make("TextMath-v0", difficulty="two-digit", split="test").unwrapped
    pairs = env.preferences(200, seed=5)
    assert pairs[:50] == env.preferences(50, seed=5) != env.preferences(50, seed=6)
    for pair in pairs:
        assert eval_sum(pair.prompt) == int(pair.chosen) != int(pair.rejected)
        assert 0 <= abs(int(pair.rejected)) < 200  # another problem's answer
        assert Problem(pair.prompt).prompt.endswith("=")


def eval_sum(prompt: str) -> int:
    left, sign, right = prompt[:-1].replace("+", " + ").replace("-", " - ").split()
    return int(left) + int(right) * (1 if sign == "+" else -1)


def test_what_the_grade_does_not_call_worse_is_not_rejected() -> None:
    env = RLEnvironment(Counted(), split="all", num_problems=500)
    sevens = []
    for number in range(200):
        problem = env.mdp.bank.problem(number)
        if problem.answer == "7":
            sevens.append(problem.prompt)
    assert sevens
    pairs = draw_preferences(env.mdp, 0, 10**6, seed=0)
    with pytest.raises(ValueError, match="has no wrong answer to 'say .*none earns less"):
        for pair in pairs:  # until a problem comes whose own answer earns nothing
            assert pair.chosen in ("7", "8") and pair.rejected not in ("7", "8")


def test_without_answers_there_is_nothing_to_compare() -> None:
    class Silent(Task):
        def sample(self, rng):
            return Problem(f"say {rng.integers(100)}: ")

    with pytest.raises(ValueError, match="Silent compares no responses"):
        RLEnvironment(Silent()).preferences(1)
    with pytest.raises(ValueError, match="TextGuess compares no responses"):
        gym.make("TextGuess-v0").unwrapped.preferences(1)


@pytest.mark.parametrize("id", ["TextWordProblem-v0", "TextCountdown-v0", "TextCode-v0"])
def test_other_tasks_have_pairs_too(id: str) -> None:
    env = gym.make(id, num_problems=20).unwrapped
    rows = [env.mdp.row(env.difficulty, number) for number in range(20)]
    problems = {problem.prompt: problem for problem in map(env.mdp.bank.problem, rows)}
    for pair in env.preferences(3, seed=2):
        asked = [problems[pair.prompt]] * 2
        grades = env.task.grade_many(asked, [pair.chosen, pair.rejected])
        assert grades[0]["correct"] == 1.0 > grades[1]["correct"]


# ---------------------------------------------------------------------- files


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert write_preferences(tmp_path / "a.jsonl", PAIRS) == 2
    assert load_preferences(tmp_path / "a.jsonl") == PAIRS
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [sorted(row) for row in rows] == [["chosen", "prompt", "rejected"]] * 2


def test_the_file_is_what_datasets_reads(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="pip install 'textgym[data]' brings datasets")
    write_preferences(tmp_path / "a.jsonl", PAIRS)
    found = datasets.Dataset.from_json(str(tmp_path / "a.jsonl"), cache_dir=str(tmp_path / "cache"))
    assert found.column_names == ["prompt", "chosen", "rejected"] and found[0]["chosen"] == "Hi!"


def test_a_file_is_replaced_only_if_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        write_preferences(file, PAIRS)
    assert file.read_text() == "mine"
    write_preferences(file, PAIRS, overwrite=True)
    assert load_preferences(file) == PAIRS


def test_a_file_that_comes_into_being_meanwhile_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"

    def pairs():
        yield PAIRS[0]
        file.write_text("mine")

    with pytest.raises(FileExistsError):
        write_preferences(file, pairs())
    assert file.read_text() == "mine" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_is_interrupted_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def pairs():
        yield PAIRS[0]
        raise error

    with pytest.raises(error):
        write_preferences(tmp_path / "a.jsonl", pairs())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("none/a.jsonl", FileNotFoundError, "there is no folder .*none to write a.jsonl to"),
        (".", IsADirectoryError, "is a folder"),
    ],
)
def test_where_nothing_can_be_written(tmp_path, name, error, message) -> None:
    with pytest.raises(error, match=message):
        write_preferences(tmp_path / name, PAIRS)


def test_textgym_offers_what_reads_pairs() -> None:
    assert textgym.load_preferences is load_preferences
