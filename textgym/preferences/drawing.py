"""Pairs of responses to an environment's problems: by the task's preference, or right and wrong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from textgym.bank import hash64
from textgym.mdp import TokenMDP
from textgym.task import Preference, as_index

MAX_TRIES = 50
"""Other problems whose answers are tried before a problem counts as having no wrong one."""


def draw_preferences(mdp: TokenMDP, level: int, num: int, seed: int) -> Iterator[Preference]:
    """`num` comparisons of responses to problems of a level; see `RLEnvironment.preferences`.

    Raises:
        ValueError: if `num` is no positive integer, or there is nothing to compare.
    """
    if not as_index(num):
        raise ValueError(f"n is {num!r}, expected an integer of at least 1")
    stream = np.array([seed % 2**64], np.uint64)
    numbers = hash64(stream, np.arange(num, dtype=np.uint64)) % np.uint64(mdp.bank.num_at(level))
    for i, number in enumerate(numbers.tolist()):
        rng = np.random.Generator(np.random.PCG64([seed, i]))
        row = mdp.row(level, number)
        pair = mdp.task.sample_preference(mdp.bank.problem(row), rng)
        yield _right_and_wrong(mdp, level, row, rng) if pair is None else pair


def _right_and_wrong(mdp: TokenMDP, level: int, row: int, rng: np.random.Generator) -> Preference:
    """The reference answer, and the answer to another problem of the level that earns less here."""
    problem, name = mdp.bank.problem(row), type(mdp.task).__name__
    if not problem.answer or mdp.task.max_turns > 1:
        raise ValueError(
            f"{name} compares no responses: it has no sample_preference, and no single turn with a "
            "reference answer to set against a wrong one"
        )
    highest = _reward(mdp, row, problem.answer)
    for number in rng.integers(mdp.bank.num_at(level), size=MAX_TRIES).tolist():
        other = mdp.bank.problem(mdp.row(level, number)).answer
        if other not in ("", problem.answer) and _reward(mdp, row, other) < highest:
            return Preference(problem.prompt, problem.answer, other)
    raise ValueError(
        f"{name} has no wrong answer to {problem.prompt!r:.80}: of {MAX_TRIES} other problems' "
        "answers, none earns less than its own"
    )


def _reward(mdp: TokenMDP, row: int, response: str) -> float:
    """What a response earns; where there is no verdict on it, the highest reward."""
    verdict = mdp.grade(row, [response])
    if verdict.error is not None:
        return mdp.reward_range[1]
    weights = mdp.scoring.weights(mdp.bank.problem(row))
    return float(mdp.scoring.total(list(verdict.values), weights.tolist()))
