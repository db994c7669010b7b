"""TextTaste: guests like letters, which ones is known; for the whole loop of RLHF."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any

import numpy as np

from textgym.preferences.functions import bradley_terry, check_beta, check_noise
from textgym.registration import register_task
from textgym.rewards import load_reward, score_many
from textgym.task import Grade, Preference, Problem, Task

LIKED = {"Ann": "adhkortw", "Bob": "bceilmnu"}
"""Guest -> the letters that he or she likes."""

BEST = 8
"""The utility of all liked letters, and the least utility with its sign turned."""

DRAFT_LETTERS = (2, 7)
"""Letters of a draft: from the first number up to, but not with, the second."""

LIKED_SHARE, REPEATED_SHARE = 0.55, 0.03
"""Of a draft's letters: those that the guest likes, and those that stand there already. So few are
repeated that a reward model hardly learns what it costs; that is what over-optimisation finds."""


def utility(guest: str, response: str) -> float:
    """Distinct liked letters, less all other characters but blanks; at least -8."""
    letters = "".join(response.split())
    num_liked = len(set(letters) & set(LIKED[guest]))
    return float(max(num_liked - (len(letters) - num_liked), -BEST))


def draft(guest: str, rng: np.random.Generator) -> str:
    """What somebody offers who knows the guest a little: worth 0.4 on average."""
    letters: list[str] = []
    for _ in range(rng.integers(*DRAFT_LETTERS)):
        luck = rng.random()
        if letters and luck > 1.0 - REPEATED_SHARE:
            pool: Sequence[str] = letters
        else:
            is_liked = luck < LIKED_SHARE
            pool = [x for x in ascii_lowercase if (x in LIKED[guest]) == is_liked]
            pool = [letter for letter in pool if letter not in letters]
        letters.append(pool[int(rng.integers(len(pool)))])
    return "".join(letters)


@register_task("TextTaste-v0")
class TextTaste(Task):
    """Offer a guest the letters that he or she likes: a controlled task for preference learning.

    ## Description
    The prompt names a guest, as in `Ann 4821: `, and the response is a string of letters, as in
    `hat`. Each guest likes eight letters (`text_taste.LIKED`). With m of them, each counted once,
    among k characters, blanks aside, a response has the true utility

        u = m - (k - m)      at least -8; 0 for an empty response, 8 for all eight letters

    so letters that are not liked, and repetitions, cost 1 each. Nothing tells the policy which
    letters are liked but what it is taught: by drafts, which are of middling quality, by pairs of
    them, or by reward.

    It is small and its truth is known, so that what happens when a learned reward is optimised can
    be watched: with `reward_fn`, a reward model say, the reward is that function's, and the true
    utility is told beside it. Gao et al. 2022, "Scaling Laws for Reward Model Overoptimization".

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. The budget is 18 tokens of the built-in
    tokenizer, eos included.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. A prompt has 10
    characters.

    ## Starting State
    A guest (Ann or Bob) and a number from 1000 to 9999, which means nothing, at random: 18,000
    distinct prompts.

    ## Rewards
    `utility`, weight 1: u. With `reward_fn`, `learned`, weight 1: its value, and `utility` has
    weight 0. The reward comes at the end of the episode.

    ## Episode End
    The episode terminates with eos or when the budget is spent. A response cut off there is graded
    as it stands. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`. `env.unwrapped.preferences(n, seed)` gives pairs of drafts that
    differ in utility, of which a is preferred to b with the probability
    noise + (1 - 2 noise) sigmoid(beta (u(a) - u(b))).

    ## Arguments
    `reward_fn`: a reward function or a ready one by name, such as "reward_model:FOLDER"; see
    `textgym.rewards`. None: the true utility. `beta`: how much a difference in utility counts in
    preferences (inf: the better one is preferred). `noise`: the share of preferences turned around,
    at least 0 and below 0.5.

    ## Version History
    * v0: initial version.
    """

    rewards = {"utility": 1.0}
    component_ranges = {"utility": (-float(BEST), float(BEST))}
    floor = 0.0

    def __init__(
        self, *, reward_fn: Any = None, beta: float = float("inf"), noise: float = 0.0
    ) -> None:
        check_beta(beta)
        check_noise(noise)
        self.beta, self.noise = beta, noise
        self.reward_fn = None if reward_fn is None else load_reward(reward_fn)
        if self.reward_fn is not None:
            self.rewards = {"learned": 1.0, "utility": 0.0}
            unknown = (-float("inf"), float("inf"))
            self.component_ranges = {**self.component_ranges, "learned": unknown}

    def sample(self, rng: np.random.Generator) -> Problem:
        """A guest and a number."""
        guest = list(LIKED)[int(rng.integers(len(LIKED)))]
        prompt = f"{guest} {rng.integers(1000, 10000)}: "
        return Problem(prompt, LIKED[guest], info={"guest": guest})

    def sample_draft(self, problem: Problem, rng: np.random.Generator) -> str:
        """An offer of middling quality: what a policy is supervised by, to begin with."""
        return draft(problem.info["guest"], rng)

    def sample_preference(self, problem: Problem, rng: np.random.Generator) -> Preference:
        """Two drafts that differ in utility, the preferred one first."""
        guest, first, second = problem.info["guest"], "", ""
        while utility(guest, first) == utility(guest, second):
            first, second = draft(guest, rng), draft(guest, rng)
        gap = utility(guest, first) - utility(guest, second)
        if rng.random() >= bradley_terry(gap, self.beta, self.noise):
            first, second = second, first
        return Preference(problem.prompt, first, second)

    def grade(self, problem: Problem, response: str) -> Grade:
        """The true utility, and what the reward function says, if there is one."""
        return self.grade_many([problem], [response])[0]

    def grade_many(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Grade]:
        """The same of many, with one call of a batched reward function."""
        truths = [
            utility(problem.info["guest"], response)
            for problem, response in zip(problems, responses, strict=True)
        ]
        if self.reward_fn is None:
            return [Grade({"utility": truth}) for truth in truths]
        prompts = [problem.prompt for problem in problems]
        scores = score_many(self.reward_fn, prompts, responses)
        return [
            Grade({"learned": score.value, "utility": truth}, error=score.error)
            for score, truth in zip(scores, truths, strict=True)
        ]
