"""Reward functions by name, for what can hold no Python: the ready ones, and those of a module."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from textgym.rewards.models import Classifier, RewardModel
from textgym.rewards.protocol import BatchedRewardFunction, RewardFunction, check_reward
from textgym.rewards.texts import Distinct, ExactMatch, Keywords, Length, Readability, Regex

READY: dict[str, Callable[..., RewardFunction | BatchedRewardFunction]] = {
    "exact_match": ExactMatch,
    "regex": Regex,
    "length": Length,
    "distinct": Distinct,
    "readability": Readability,
    "keywords": Keywords,
    "classifier": Classifier,
    "reward_model": RewardModel,
}
"""Name -> class."""


AnyReward = str | Mapping[str, Any] | RewardFunction | BatchedRewardFunction
"""A reward function, or what names one; see `load_reward`."""


def load_reward(
    reward: AnyReward, where: str = "reward_fn"
) -> RewardFunction | BatchedRewardFunction:
    """A reward function from itself, the name of a ready one, or "module:function".

    Example:
        >>> load_reward("distinct")
        Distinct(n=2)
        >>> load_reward("keywords:sea,wind")  # what follows the colon is the first setting
        Keywords(words=('sea', 'wind'), how='share')
        >>> load_reward("distinct:3")
        Distinct(n=3)
        >>> load_reward({"name": "length", "low": 5, "high": 9})
        Length(low=5, high=9, unit='words', slack=0.0)

    Args:
        reward: the function, a name, or a mapping with `name` and the settings. A module is looked
            for as by `import`; the names of the ready ones go first.
        where: the argument that holds it, for messages.

    Raises:
        TypeError: if it is none of these, or a ready one has no such settings.
        ValueError: for an unknown name, a module or function that does not exist, or a setting with
            a value that makes no sense.
    """
    if isinstance(reward, str):
        name, colon, text = reward.partition(":")
        if colon and name not in READY:
            return _imported(name, text, where)
        arguments, settings = ([text] if colon else []), {}
    elif isinstance(reward, Mapping):
        arguments, settings = [], dict(reward)
        name = settings.pop("name", None)
    else:
        check_reward(reward, where)
        return reward
    if not isinstance(name, str) or name not in READY:
        raise ValueError(
            f"{where} is {reward!r}, expected a function, 'module:function', or one of "
            f"{list(READY)}"
        )
    signature = inspect.signature(READY[name])
    first = next(iter(signature.parameters.values()), None)
    if first is not None and first.annotation == "int" and arguments and arguments[0].isdecimal():
        arguments = [int(arguments[0])]
    try:
        signature.bind(*arguments, **settings)
    except TypeError as error:
        raise TypeError(
            f"{where} is {reward!r}: {error}; the settings of {name!r} are "
            f"{list(signature.parameters)}"
        ) from None
    try:
        return READY[name](*arguments, **settings)
    except ValueError as error:
        raise ValueError(f"{where} is {reward!r}: {error}") from None


def _imported(module: str, name: str, where: str) -> RewardFunction | BatchedRewardFunction:
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(
            f"{where} is {f'{module}:{name}'!r}, which is no ready function ({', '.join(READY)}) "
            f"and no module and its function: {error}"
        ) from None
    check_reward(found, where)
    return found
