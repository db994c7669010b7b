"""What holds for every family of mathematical problems at every level."""

from __future__ import annotations

import pickle
import re
from collections import Counter

import gymnasium as gym
import numpy as np
import pytest

from tests.textgym.tasks.drawing import IDS, LEVELS, draw, every, task_of
from textgym import load_task
from textgym.task import SPLITS

ALL = pytest.mark.parametrize(("id", "level"), LEVELS)

# What the docstrings count exactly and a test can walk through in a moment.
COUNTED = [
    ("TextEquation-v0", "one-step"),
    ("TextEquation-v0", "quadratic"),
    ("TextFraction-v0", "simplify"),
    ("TextNumberTheory-v0", "remainder"),
    ("TextNumberTheory-v0", "gcd-lcm"),
    ("TextCombinatorics-v0", "symbols"),
    ("TextSequence-v0", "arithmetic"),
    ("TextProbability-v0", "urn"),
]


def documented(id: str, level: str) -> list[str]:
    """The cells of a level's row in the docstring's table of difficulties."""
    rows = [line.strip() for line in type(task_of(id)).__doc__.splitlines()]
    (row,) = [row for row in rows if re.match(rf"\| {re.escape(level)} +\|", row)]
    return [cell.strip() for cell in row.strip("|").split("|", 4)]


def mean(id: str, problems, respond) -> float:
    grades = [task_of(id).grade(problem, respond(problem)) for problem in problems]
    assert all(grade.error is None for grade in grades)
    return sum(grade["correct"] for grade in grades) / len(grades)


@ALL
def test_the_reference_earns_full_marks(id: str, level: str) -> None:
    assert mean(id, draw(id, level, 100), lambda p: p.answer) == 1.0


@ALL
def test_responses_that_answer_nothing_earn_next_to_nothing(id: str, level: str) -> None:
    problems = draw(id, level, 50, seed=1)
    answers = list(dict.fromkeys(problem.answer for problem in problems))
    assert mean(id, problems, lambda p: "") == 0.0
    assert mean(id, problems, lambda p: "I don't know") == 0.0
    assert mean(id, problems, lambda p: p.prompt) <= 0.02
    assert mean(id, problems, lambda p: ", ".join(answers[:6])) == 0.0
    assert mean(id, problems, lambda p: ", ".join(re.findall("[0-9]+", p.prompt))) <= 0.02


@ALL
def test_no_part_of_the_prompt_is_an_answer_to_it(id: str, level: str) -> None:
    problems = draw(id, level, 50, seed=2)
    assert mean(id, problems, lambda p: p.prompt.strip(" =:?")) <= 0.02
    # The expression between the words: the longest run without a blank.
    assert mean(id, problems, lambda p: max(re.split("[ :=?]+", p.prompt), key=len)) <= 0.02


@ALL
def test_no_constant_is_the_answer_to_a_tenth_of_the_questions(id: str, level: str) -> None:
    answers = Counter(problem.answer for problem in draw(id, level, 3000))
    assert answers.most_common(1)[0][1] < 0.1 * 3000


@ALL
def test_prompts_and_answers_are_plain_and_have_room(id: str, level: str) -> None:
    task = task_of(id)
    for problem in draw(id, level, 1000):
        assert (problem.prompt + problem.answer).isascii()
        assert (problem.prompt + problem.answer).isprintable()
        assert len(f"\\boxed{{{problem.answer}}}") < task.max_response_tokens
        assert problem.prompt == " ".join(problem.prompt.split()) + " " * problem.prompt.endswith(
            " "
        )


@pytest.mark.parametrize("id", IDS)
def test_the_first_level_is_short(id: str) -> None:
    problems = draw(id, task_of(id).difficulties[0], 2000)
    assert max(len(problem.prompt) for problem in problems) <= 40
    assert max(len(problem.answer) for problem in problems) <= 12


@ALL
def test_the_docstring_states_the_share_of_repeats(id: str, level: str) -> None:
    keys = Counter(problem.key or problem.prompt for problem in draw(id, level, 20_000))
    assert f"{(20_000 - len(keys)) / 200:.1f} %" == documented(id, level)[2]
    assert keys.most_common(1)[0][1] <= 300  # no question is more than 1.5 % of a level


@pytest.mark.parametrize(("id", "level"), COUNTED)
def test_the_docstring_states_the_exact_number_of_questions(id: str, level: str) -> None:
    keys = {
        problem.key or problem.prompt
        for make in task_of(id).levels[level]
        for problem in every(make)
    }
    assert f"{len(keys):,}" == documented(id, level)[1]


@ALL
def test_one_key_means_one_answer_and_one_split(id: str, level: str) -> None:
    seen = {}
    for problem in draw(id, level, 3000):
        first = seen.setdefault(problem.key or problem.prompt, problem)
        assert problem.split == first.split
        if id != "TextCountdown-v0":  # whose reference is one of many
            assert problem.answer == first.answer, (problem, first)
    splits = Counter(problem.split for problem in seen.values())
    assert set(splits) == set(SPLITS) and min(splits.values()) >= 10


@ALL
def test_one_generator_state_gives_one_problem(id: str, level: str) -> None:
    task = pickle.loads(pickle.dumps(task_of(id)))
    first, again = np.random.default_rng(3), np.random.default_rng(3)
    problems = [task_of(id).sample(first, level) for _ in range(20)]
    assert problems == [task.sample(again, level) for _ in range(20)]
    assert len({problem.prompt for problem in problems}) > 10


@ALL
@pytest.mark.parametrize("form", ["boxed", "hash", "any"])
def test_every_answer_format_takes_the_reference_in_it(id: str, level: str, form: str) -> None:
    task, rng = load_task(id, answer_format=form), np.random.default_rng(4)
    for _ in range(4):
        problem = task.draw(rng, task.difficulty_index(level))
        grade = task.grade(problem, f"Let me think.\n{problem.answer}")
        if form != "any":
            assert grade == {"correct": 1.0, "format": 1.0}, (problem, grade)
        assert task.grade(problem, problem.answer)["correct"] == 1.0


@pytest.mark.parametrize("id", IDS)
def test_an_id_makes_an_environment_in_which_the_reference_earns_one(id: str) -> None:
    env = gym.make(id, num_problems=16)
    for level in range(len(task_of(id).difficulties)):
        _, info = env.reset(seed=0, options={"difficulty": level, "problem": 3})
        core = env.unwrapped
        problem = core.mdp.bank.problem(core.mdp.row(level, 3))
        reward = 0.0
        for token in [*core.tokenizer.encode(problem.answer), core.tokenizer.eos_token_id]:
            _, reward, terminated, _, info = env.step(token)
        assert terminated and reward == 1.0 and info["response"] == problem.answer
