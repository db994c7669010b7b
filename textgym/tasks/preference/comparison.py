"""Who compares two responses in TextPreference: the true utility, a function, or a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textgym.preferences.functions import (
    BradleyTerry,
    Person,
    PreferenceFunction,
    bradley_terry,
    check_beta,
    check_noise,
    check_preference,
    prefer_many,
)
from textgym.rewards import Score
from textgym.task import Problem
from textgym.tasks.preference.utility import features_of


class Comparison:
    """The probabilities P(a > b) by which responses are compared.

    Args:
        preference: "utility", "person", or a function (prompt, a, b) -> probability.
        reward_fn: a reward function, or the name of a ready one, instead of `preference`.
        beta: what a difference of utilities or rewards is multiplied with.
        noise: the share of comparisons that are turned around.

    Attributes:
        function: the preference function; None: the utility decides.

    Raises:
        TypeError, ValueError: for what is none of these.
    """

    def __init__(
        self,
        preference: str | PreferenceFunction,
        reward_fn: Any,
        beta: float,
        noise: float,
    ) -> None:
        check_beta(beta)
        check_noise(noise)
        self.beta, self.noise = beta, noise
        self.function = _function(preference, reward_fn, beta)

    def many(
        self, problems: Sequence[Problem], firsts: Sequence[str], seconds: Sequence[str]
    ) -> list[Score]:
        """P(a > b) of two responses to each problem's request, whatever the texts are."""
        requests = [problem.info.get("request") for problem in problems]
        if self.function is None:
            gaps = [
                features_of(request, first).utility - features_of(request, second).utility
                for request, first, second in zip(requests, firsts, seconds, strict=True)
            ]
            return [Score(bradley_terry(gap, self.beta, self.noise)) for gap in gaps]
        prompts = [
            problem.prompt if request is None else request.prompt
            for problem, request in zip(problems, requests, strict=True)
        ]
        keep = 1.0 - 2.0 * self.noise
        return [
            score if score.error else Score(self.noise + keep * score.value)
            for score in prefer_many(self.function, prompts, firsts, seconds)
        ]

    def of(self, problem: Problem, first: str, second: str) -> float:
        """P(a > b) of two responses that are known to be comparable.

        Raises:
            ValueError: if the function fails.
        """
        (score,) = self.many([problem], [first], [second])
        if score.error:
            raise ValueError(f"two responses cannot be compared: {score.error}")
        return score.value


def _function(
    preference: str | PreferenceFunction, reward_fn: Any, beta: float
) -> PreferenceFunction | None:
    if reward_fn is not None:
        if preference != "utility":
            raise ValueError("got both preference and reward_fn, expected one of them")
        return BradleyTerry(reward_fn, beta)
    if not isinstance(preference, str):
        check_preference(preference)
        return preference
    if preference == "utility":
        return None
    if preference == "person":
        return Person()
    raise ValueError(
        f"preference is {preference!r}, expected 'utility', 'person', or a function of prompt, a "
        "and b; reward_fn takes a reward model"
    )
