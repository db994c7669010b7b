"""What the environment tests share: a plain task, and ways to play and to compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np

from textgym import CharTokenizer, Problem, RLEnvironment, StepResult, Task
from textgym.checking.report import difference

CHAR = CharTokenizer()
PAD, BOS, EOS, UNK = range(4)


class Echo(Task):
    """Say the word of the prompt; unlike the sample tasks, it grades nothing but that."""

    max_response_tokens = 5

    def sample(self, rng):
        word = "".join(rng.choice(list("abcdefgh"), size=3))
        return Problem(prompt=f"say {word}:", answer=word)


def play(env: gym.Env, response: str, *, eos: bool = True) -> StepResult:
    """Say a response, token by token, to the end of the episode or of the response."""
    tokenizer = env.unwrapped.tokenizer
    tokens = tokenizer.encode(response, add_special_tokens=False)
    for token in [*tokens, *[tokenizer.eos_token_id] * eos]:
        result = env.step(token)
        if result[2]:
            break
    return StepResult(*result)


def problem_of(env: RLEnvironment, info: dict[str, Any]) -> Problem:
    return env.mdp.bank.problem(env.mdp.row(info["difficulty"], info["problem"]))


def random_steps(env: gym.Env, num_steps: int) -> Iterator[tuple[Any, ...]]:
    """Result of each step of a random run, and of the reset after it where an episode ended."""
    tokens = [*CHAR.encode("0123456789abc;!- "), EOS, EOS, EOS]
    for token in np.random.default_rng(0).choice(tokens, size=num_steps).tolist():
        result = tuple(env.step(token))
        yield result, env.reset() if result[2] else None


def random_run(env: gym.Env, num_steps: int) -> list[Any]:
    """Everything that an environment returns in a random run from here on."""
    return list(random_steps(env, num_steps))


def assert_same(left: Any, right: Any) -> None:
    assert difference(left, right, "result") == ""
