"""Reward functions: how to write one, and a library of ready ones.

A reward function maps (prompt, generated, full_text) to a number. `generated` is the response as a
text, without special tokens and up to the stop sequence, and full_text the prompt and behind it
that. Any callable will do: a function, a lambda, an object.

    def short(prompt: str, generated: str, full_text: str) -> float:
        return float(len(generated) < 20)

    short.range = (0.0, 1.0)  # optional: its lowest and highest value, which are else unknown

One that is quicker on many texts at once takes three sequences of texts instead, returns a sequence
of numbers, and says so by the decorator `batched`.

The ready ones are classes with their settings, which pickle and compare, and each has a name for
what can hold no Python (JSON, a command line): `load_reward` has the rules.
"""

from __future__ import annotations

from textgym.rewards.models import Classifier, RewardModel
from textgym.rewards.protocol import (
    BatchedRewardFunction,
    RewardFunction,
    Score,
    batched,
    check_reward,
    range_of,
    score_many,
)
from textgym.rewards.ready import READY, AnyReward, load_reward
from textgym.rewards.texts import Distinct, ExactMatch, Keywords, Length, Readability, Regex

__all__ = [
    "READY",
    "AnyReward",
    "BatchedRewardFunction",
    "Classifier",
    "Distinct",
    "ExactMatch",
    "Keywords",
    "Length",
    "Readability",
    "Regex",
    "RewardFunction",
    "RewardModel",
    "Score",
    "batched",
    "check_reward",
    "load_reward",
    "range_of",
    "score_many",
]
