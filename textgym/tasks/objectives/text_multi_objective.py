"""TextMultiObjective: two characters share the room; the front is a parabola, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters, digits

import numpy as np

from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.objectives.front import FrontTask

LEVELS = {"four": 4, "eight": 8, "sixteen": 16}
"""Level -> n, the characters that there is room for."""

CHARACTERS = ascii_letters + digits


@register_task("mo-TextMultiObjective-v0", vector_reward=True)
@register_task("TextMultiObjective-v0")
class TextMultiObjective(FrontTask):
    """Write two characters, of which each wants more; the Pareto front is known and concave.

    ## Description
    The prompt names a number n and two characters, as in `Write 8 characters, k or t: `. The more
    of the first, the better by one objective, the more of the second, by the other, and there is
    room for n in all: the first n characters of the response are read, blanks around it aside.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. The budget is 34 tokens with the built-in
    tokenizer, eos included.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. A prompt has at most 29
    characters, with weights 43.

    ## Starting State
    Two characters at random out of 62 letters and digits: 3,782 questions a level.

    ## Rewards
    With x and y for the shares of the first and the second character among n:

    * `first`, weight 0.5: 1 - (1 - x)^2.
    * `second`, weight 0.5: 1 - (1 - y)^2.

    Both rise with their share, and x + y <= 1, so the front is where x + y = 1: the n + 1 points

        (1 - (1 - k/n)^2, 1 - (k/n)^2), k = n, ..., 0.

    They lie on the parabola sqrt(1 - first) + sqrt(1 - second) = 1, which is strictly concave. For
    weights w and 1 - w, a response on the front earns 1 - w (1 - w) - (x - w)^2: the best share of
    a character is its weight, as near as n allows, and each point of the front is the best one for
    the weights within 1/(2n) of its share. The reward comes at the end of the episode. It is the
    vector of both in "mo-TextMultiObjective-v0", or with `vector_reward=True` (MO-Gymnasium's
    convention; `unwrapped.reward_space`). `info` always has `vector_reward` and `reward_weights`.

    ## Episode End
    The episode terminates with eos or when the budget is spent. A response cut off there is graded
    as it stands. It is never truncated.

    ## Arguments
    `weights_in_prompt`: whether each problem has weights of its own, told as in `Write 8
    characters, k (0.30) or t (0.70): `. `difficulty`: a level of the table.
    `reward_weights={"first": 0.9, "second": 0.1}`: other weights, if prompts tell none.

    ## Difficulties
    Hypervolumes are for the reference point (0, 0): of the front, and of what policies that mix its
    responses reach on average. Both go to 5/6 with n.

    | level   | n  | questions | hypervolume | of mixtures |
    |---------|----|-----------|-------------|-------------|
    | four    | 4  | 3,782     | 0.7266      | 0.8125      |
    | eight   | 8  | 3,782     | 0.7861      | 0.8281      |
    | sixteen | 16 | 3,782     | 0.8112      | 0.8320      |

    ## Version History
    * v0: initial version.
    """

    rewards = {"first": 0.5, "second": 0.5}
    difficulties = tuple(LEVELS)

    def pareto_front(self, difficulty: str | int | None = None) -> np.ndarray:
        """[n + 1, 2]: from the first character alone to the second alone."""
        n = LEVELS[self.difficulties[self.difficulty_index(difficulty)]]
        share = np.arange(n, -1, -1) / n
        return np.stack([1 - (1 - share) ** 2, 1 - share**2], axis=1)

    def optimal_responses(self, problem: Problem) -> Sequence[str]:
        """The first character k times and then the second, k = n, ..., 0."""
        (first, second), n = problem.info["characters"], problem.info["n"]
        return [first * k + second * (n - k) for k in range(n, -1, -1)]

    def question(self, rng: np.random.Generator, level: str) -> Problem:
        """Two characters that are not the same."""
        i, j = int(rng.integers(len(CHARACTERS))), int(rng.integers(1, len(CHARACTERS)))
        first, second = CHARACTERS[i], CHARACTERS[(i + j) % len(CHARACTERS)]
        n = LEVELS[level]
        prompt = f"Write {n} characters, {first} or {second}: "
        return Problem(prompt, info={"characters": (first, second), "n": n})

    def told(self, problem: Problem, weights: tuple[float, float]) -> str:
        """The prompt with each character's weight behind it."""
        first, second = problem.info["characters"]
        n, (w, v) = problem.info["n"], weights
        return f"Write {n} characters, {first} ({w:.2f}) or {second} ({v:.2f}): "

    def grade(self, problem: Problem, response: str) -> dict[str, float]:
        """What the shares of both characters are worth."""
        n = problem.info["n"]
        read = response.strip()[:n]
        shares = [read.count(character) / n for character in problem.info["characters"]]
        return {
            name: 1 - (1 - share) ** 2 for name, share in zip(self.rewards, shares, strict=True)
        }
