"""A check of an environment's text form: a whole turn at once pays what its tokens pay singly."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from textgym.checking.report import Flaw, difference, shown
from textgym.checking.tokens import useful_tokens
from textgym.core import RLEnvironment, StepResult
from textgym.mdp import TokenMDP
from textgym.wrappers import TextObservation, WholeResponse

NUM_PROBLEMS = 3
"""Problems of each level that are played, each three times."""

UNUSUAL = ("", "\0", "\ud800", "\u2603 \U0001f600", "<eos>", "1\n" * 100)
"""Turns that a person or a model behind an API may say: nothing, what has no token, too much."""


def check_text_form(env: RLEnvironment, seed: int) -> str:
    """Play reference answers, random and unusual texts in both forms; see `WholeResponse`."""
    mdp, rng, num_texts, num_played = env.mdp, np.random.Generator(np.random.PCG64(seed)), 0, 0
    text_env, said = TextObservation(WholeResponse(copy.deepcopy(env))), random_texts(mdp, rng)
    for level in range(mdp.bank.num_levels):
        for number in range(min(NUM_PROBLEMS, mdp.bank.num_at(level))):
            answer = mdp.bank.problem(mdp.row(level, number)).answer
            for first in (answer, next(said), UNUSUAL[rng.integers(len(UNUSUAL))]):
                start = {"seed": seed, "options": {"difficulty": level, "problem": number}}
                for text, by_tokens, by_text in _both_forms(env, text_env, start, first, said):
                    where = difference(by_tokens, by_text, "result")
                    if where:
                        raise Flaw(f"{shown(text)} token by token and as a text: {where}")
                    num_texts += 1
                num_played += 1
    return f"{num_texts} texts in {num_played} episodes give what their tokens give one by one"


def _both_forms(
    env: RLEnvironment,
    text_env: TextObservation,
    start: dict[str, Any],
    turn: str,
    others: Iterator[str],
) -> Iterator[tuple[str, tuple[Any, ...], tuple[Any, ...]]]:
    """The turns of an episode, `turn` and then others, and what the two forms return for each."""
    env.reset(**start)
    text_env.reset(**start)
    is_over = False
    while not is_over:
        observation, reward, is_over, truncated, info = say_by_tokens(env, turn)
        text = env.mdp.vocabulary.decode(observation[: info["length"]].tolist())
        yield turn, (text, reward, is_over, truncated, info), tuple(text_env.step(turn))
        turn = next(others)


def say_by_tokens(env: RLEnvironment, turn: str) -> StepResult:
    """The result of a turn's last step, where its tokens and eos are chosen one by one."""
    vocabulary, said = env.mdp.vocabulary, []
    for token in [*vocabulary.encode_plain(turn), vocabulary.eos]:
        said.append(token)
        result = env.step(token)
        if result.terminated or env.mdp.stops(said):
            break
    return result


def random_texts(mdp: TokenMDP, rng: np.random.Generator) -> Iterator[str]:
    """Texts of questions' and answers' tokens without end, now and then longer than the budget."""
    tokens = useful_tokens(mdp)
    while True:
        length = rng.integers(mdp.budget + 3 if rng.random() < 0.5 else 6)
        yield mdp.vocabulary.decode(rng.choice(tokens, size=length).tolist())
