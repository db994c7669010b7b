"""TextConcise: count on, correctly and briefly; what is known of the answer has to be given up."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.objectives.front import FrontTask

LEVELS = {"four": (2, 4), "eight": (3, 8), "sixteen": (3, 16)}
"""Level -> digits of a term, and D, the number of terms that there are."""


@register_task("mo-TextConcise-v0", vector_reward=True)
@register_task("TextConcise-v0")
class TextConcise(FrontTask):
    """Count on from a number: correctness against brevity, with a known Pareto front.

    ## Description
    The prompt is a start and a step, as in `Count from 12 by 3: `, and the response the terms that
    follow, `15 18 21 24`, as many of them as are worth their room. All D of them are the whole
    answer; but each one more adds less to it than the one before and as much to its length.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. The budget is at least 64, eos included, which
    is room for all terms of any level.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. A prompt has at most 25
    characters, with weights 53.

    ## Starting State
    A start and a step, up or down, at random among those with which each of the D terms has two
    digits (level four) or three.

    ## Rewards
    A response is read as terms between blanks and commas, and m counts how many it has right from
    the first one on, at most D. Its length is measured in terms: l = (c + 1) / (d + 1), where it
    has c characters (without blanks around it) and a term d digits.

    * `correct`, weight 0.5: 1 - (1 - m/D)^2.
    * `brief`, weight 0.5: if m is at least 1, max(0, 1 - (l - 1)/D), else 0.

    m right terms need m d digits and m - 1 separators, so l >= m, and nothing dominates the bare
    terms: the front is the D points

        (1 - (1 - m/D)^2, 1 - (m - 1)/D), m = D, ..., 1.

    It is strictly concave. For weights w and 1 - w, the best m is the integer from 1 to D that is
    nearest to D (1 - (1 - w)/(2w)). An empty response is brief, but not correct, and earns 0. The
    reward comes at the end of the episode. It is the vector of both in "mo-TextConcise-v0", or with
    `vector_reward=True` (MO-Gymnasium's convention; `unwrapped.reward_space`). `info` always has
    `vector_reward` and `reward_weights`.

    ## Episode End
    The episode terminates with eos or when the budget is spent. A response cut off there is graded
    as it stands. It is never truncated.

    ## Arguments
    `weights_in_prompt`: whether each problem has weights of its own, told as in `Count from 12 by 3
    (correct 0.30, brief 0.70): `. `difficulty`: a level of the table.
    `reward_weights={"correct": 0.9, "brief": 0.1}`: other weights, if prompts tell none.

    ## Difficulties
    Questions are counted exactly. Hypervolumes are for the reference point (0, 0): of the front,
    and of what policies that mix its responses reach on average.

    | level   | D  | digits | questions | hypervolume | of mixtures | example                   |
    |---------|----|--------|-----------|-------------|-------------|---------------------------|
    | four    | 4  | 2      |     2,442 | 0.7812      | 0.8516      | `Count from 12 by 3: `    |
    | eight   | 8  | 3      |   113,008 | 0.7266      | 0.7744      | `Count from 240 by 7: `   |
    | sixteen | 16 | 3      |    52,920 | 0.6973      | 0.7247      | `Count from 903 by -12: ` |

    ## Version History
    * v0: initial version.
    """

    rewards = {"correct": 0.5, "brief": 0.5}
    difficulties = tuple(LEVELS)
    least_response_tokens = 64  # room for all the terms, of which the best response has half

    def pareto_front(self, difficulty: str | int | None = None) -> np.ndarray:
        """[D, 2]: from all terms to the first alone."""
        num_terms = LEVELS[self.difficulties[self.difficulty_index(difficulty)]][1]
        m = np.arange(num_terms, 0, -1)
        return np.stack([1 - (1 - m / num_terms) ** 2, 1 - (m - 1) / num_terms], axis=1)

    def optimal_responses(self, problem: Problem) -> Sequence[str]:
        """The first m terms, m = D, ..., 1."""
        terms = problem.info["terms"]
        return [" ".join(terms[:m]) for m in range(len(terms), 0, -1)]

    def question(self, rng: np.random.Generator, level: str) -> Problem:
        """A start and a step, so that all terms have the level's number of digits."""
        num_digits, num_terms = LEVELS[level]
        low, high = 10 ** (num_digits - 1), 10**num_digits - 1
        step = int(rng.integers(1, (high - low) // num_terms + 1))
        first = int(rng.integers(low, high - step * (num_terms - 1) + 1))
        if rng.random() < 0.5:
            first, step = first + step * (num_terms - 1), -step
        terms = tuple(str(first + step * i) for i in range(num_terms))
        return Problem(f"Count from {first - step} by {step}: ", info={"terms": terms})

    def told(self, problem: Problem, weights: tuple[float, float]) -> str:
        """The prompt with the weights of both objectives behind it."""
        correct, brief = weights
        return f"{problem.prompt[:-2]} (correct {correct:.2f}, brief {brief:.2f}): "

    def grade(self, problem: Problem, response: str) -> dict[str, float]:
        """How many terms are right, and how long that took."""
        terms, text = problem.info["terms"], response.strip()
        num_right = 0
        for term, said in zip(terms, re.split(r"[\s,]+", text, maxsplit=len(terms)), strict=False):
            if said != term:
                break
            num_right += 1
        if not num_right:
            return {"correct": 0.0, "brief": 0.0}
        length = (len(text) + 1) / (len(terms[0]) + 1)
        return {
            "correct": 1 - (1 - num_right / len(terms)) ** 2,
            "brief": max(0.0, 1 - (length - 1) / len(terms)),
        }
