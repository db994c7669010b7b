"""Whether what a task declares of itself can be played: its class attributes, and its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from textgym.task import ADAPTIVE, Task, as_index


def merge_rewards(task: Task, reward_weights: Mapping[str, float] | None) -> dict[str, float]:
    """The task's `rewards`, with the weights that are given instead of its own.

    Raises:
        ValueError: for a component that the task has not (the message lists those it has), or a
            weight that is no finite number.
    """
    if reward_weights is None:
        return dict(task.rewards)
    if not isinstance(reward_weights, Mapping):
        raise ValueError(
            f"reward_weights is {reward_weights!r}, expected a mapping of components to weights"
        )
    unknown = [name for name in reward_weights if name not in task.rewards]
    if unknown:
        raise ValueError(
            f"reward_weights has {unknown}, expected some of {type(task).__name__}'s components, "
            f"{list(task.rewards)}"
        )
    for name, weight in reward_weights.items():
        check_weight("reward_weights", name, weight)
    return {**task.rewards, **reward_weights}


def check_attributes(task: Task) -> None:
    """Refuse a task whose class attributes no environment can play.

    Raises:
        ValueError: which says what is wrong with which attribute.
    """
    for check in (check_rewards, check_difficulties, check_limits, check_texts):
        check(task)


def check_rewards(task: Task) -> None:
    """`rewards` maps at least one name to a finite weight."""
    rewards = task.rewards
    if not isinstance(rewards, Mapping) or not rewards:
        raise ValueError(f"rewards is {rewards!r}, expected a mapping of names to weights")
    for name, weight in rewards.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"rewards has the component {name!r}, expected a name")
        check_weight("rewards", name, weight)
    for name, ends in task.component_ranges.items():
        pair = ends if isinstance(ends, tuple) and len(ends) == 2 else (None, None)
        numbers = all(isinstance(end, int | float) for end in pair)
        if name not in rewards or not numbers or not pair[0] < pair[1]:
            raise ValueError(
                f"component_ranges has {name!r}: {ends!r}, expected a component of {list(rewards)} "
                "and its lowest and highest value"
            )


def check_weight(where: str, name: str, weight: Any) -> None:
    """A component's weight is a finite number."""
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise ValueError(f"{where}[{name!r}] is {weight!r}, expected a number")
    if not math.isfinite(weight):
        raise ValueError(f"{where}[{name!r}] is {weight}, expected a finite weight")


def check_difficulties(task: Task) -> None:
    """`difficulties` is a tuple of unique names, and `default_difficulty` one of them or None."""
    names, default = task.difficulties, task.default_difficulty
    if not isinstance(names, tuple) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"difficulties is {names!r}, expected a tuple of names")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"difficulties has {twice[0]!r} twice, expected unique names")
    if ADAPTIVE in names:
        raise ValueError(
            f"difficulties has {ADAPTIVE!r}, which means a curriculum over all of them: rename it"
        )
    if default is not None and default not in names:
        raise ValueError(
            f"default_difficulty is {default!r}, expected None or one of {list(names)}"
        )


def check_limits(task: Task) -> None:
    """Budgets are positive, and a task has room for replies if and only if it is a dialogue."""
    for name, least in (
        *(("max_turns", 1), ("max_reply_tokens", 0)),
        *(("max_response_tokens", 1), ("least_response_tokens", 1)),
    ):
        value = getattr(task, name)
        if name == "max_response_tokens" and value is None:
            continue
        count = as_index(value)
        if count is None or count < least:
            raise ValueError(f"{name} is {value!r}, expected an integer of at least {least}")
    floor = task.floor
    if floor is not None and not (isinstance(floor, int | float) and 0 <= floor <= 1):
        raise ValueError(f"floor is {floor!r}, expected None or a number from 0 to 1")
    if task.max_turns > 1 and not task.max_reply_tokens:
        raise ValueError(
            f"max_turns is {task.max_turns} but max_reply_tokens 0, so replies have no room"
        )
    if task.max_turns == 1 and task.max_reply_tokens:
        raise ValueError(
            f"max_reply_tokens is {task.max_reply_tokens} but max_turns 1, so there are no replies"
        )


def check_texts(task: Task) -> None:
    """`stop_strings` and `alphabet` are made of texts that are not empty."""
    stops, alphabet = task.stop_strings, task.alphabet
    if not isinstance(stops, tuple | list):
        raise ValueError(f"stop_strings is {stops!r}, expected a tuple of texts")
    for stop in stops:
        if not isinstance(stop, str) or not stop:
            raise ValueError(f"stop_strings has {stop!r}, expected texts that are not empty")
    if alphabet is not None and not (isinstance(alphabet, str) and alphabet):
        raise ValueError(f"alphabet is {alphabet!r}, expected None or a text of its characters")
