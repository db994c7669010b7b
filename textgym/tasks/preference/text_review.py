"""TextReview: a few words of praise, whose worth is known; for the whole loop of RLHF."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from textgym.preferences.functions import bradley_terry, check_beta, check_noise
from textgym.registration import register_task
from textgym.rewards import load_reward, score_many
from textgym.task import Grade, Preference, Problem, Task

APT = {
    "film": ("bold", "epic", "wild", "dark", "deep", "loud", "grim", "wise"),
    "meal": ("rich", "ripe", "tart", "warm", "mild", "soft", "pure", "lean"),
    "walk": ("calm", "long", "airy", "easy", "cool", "open", "high", "free"),
    "room": ("neat", "wide", "cosy", "tidy", "snug", "safe", "fair", "trim"),
}
"""Kind of thing -> the words that praise it."""

DULL = ("drab", "dull", "flat", "poor", "slow", "weak", "cold", "vain")
"""Words that praise nothing."""

BEST = 8
"""The utility of all apt words, and the least utility with its sign turned."""

DRAFT_WORDS = (2, 7)
"""Words of a draft: from the first number up to, but not with, the second."""

APT_SHARE, FOREIGN_SHARE, DULL_SHARE = 0.55, 0.15, 0.2
"""Of a draft's words; the others repeat one that stands there already."""


def utility(kind: str, response: str) -> float:
    """Distinct apt words, less all other items between blanks and commas; at least -8."""
    items = re.split(r"[\s,]+", response.strip(" \t\n,")) if response.strip(" \t\n,") else []
    num_apt = len(set(items) & set(APT[kind]))
    return float(max(num_apt - (len(items) - num_apt), -BEST))


def draft(kind: str, rng: np.random.Generator) -> str:
    """A review as somebody of middling taste writes it: worth 0.4 on average."""
    foreign = [word for other, words in APT.items() if other != kind for word in words]
    words: list[str] = []
    for _ in range(rng.integers(*DRAFT_WORDS)):
        luck = rng.random()
        if luck < APT_SHARE or not words:
            pool: Sequence[str] = APT[kind]
        elif luck < APT_SHARE + FOREIGN_SHARE:
            pool = foreign
        elif luck < APT_SHARE + FOREIGN_SHARE + DULL_SHARE:
            pool = DULL
        else:
            pool = words
        words.append(pool[int(rng.integers(len(pool)))])
    return " ".join(words)


@register_task("TextReview-v0")
class TextReview(Task):
    """Praise a thing in a few words: a controlled task for learning from preferences.

    ## Description
    The prompt names a thing, as in `film 4821: `, and the response is a list of words, as in
    `bold wild deep`. Eight words praise each kind of thing (`text_review.APT`). With m of them,
    each counted once, among k items between blanks or commas, a response has the true utility

        u = m - (k - m)      at least -8; 0 for an empty response, 8 for all eight words

    so words that praise another kind of thing, dull words, repetitions and letters that are no word
    cost 1 each. Nothing tells the policy which words are apt but what it is taught: supervised by
    drafts, which are of middling quality, by pairs of them, or by reward.

    It is small and its truth is known, so that what happens when a learned reward is optimised can
    be watched: with `reward_fn`, a reward model say, the reward is that function's, and the true
    utility is told beside it. Gao et al. 2022, "Scaling Laws for Reward Model Overoptimization".

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. The budget is twice that of all eight words and
    eos, 80 tokens of the built-in tokenizer.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. A prompt has 11
    characters.

    ## Starting State
    A kind of thing (film, meal, walk, room) and a number from 1000 to 9999, at random: 36,000
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
        """A kind of thing and a number."""
        kind = list(APT)[int(rng.integers(len(APT)))]
        answer = " ".join(APT[kind])
        return Problem(f"{kind} {rng.integers(1000, 10000)}: ", answer, info={"kind": kind})

    def sample_draft(self, problem: Problem, rng: np.random.Generator) -> str:
        """A review of middling quality, to begin with: what a policy is supervised by."""
        return draft(problem.info["kind"], rng)

    def sample_preference(self, problem: Problem, rng: np.random.Generator) -> Preference:
        """Two drafts that differ in utility, the preferred one first."""
        kind, first, second = problem.info["kind"], "", ""
        while utility(kind, first) == utility(kind, second):
            first, second = draft(kind, rng), draft(kind, rng)
        gap = utility(kind, first) - utility(kind, second)
        if rng.random() >= bradley_terry(gap, self.beta, self.noise):
            first, second = second, first
        return Preference(problem.prompt, first, second)

    def grade(self, problem: Problem, response: str) -> Grade:
        """The true utility, and what the reward function says, if there is one."""
        return self.grade_many([problem], [response])[0]

    def grade_many(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Grade]:
        """The same of many, with one call of a batched reward function."""
        truths = [
            utility(problem.info["kind"], response)
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
