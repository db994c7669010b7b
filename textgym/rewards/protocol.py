"""What a reward function is, and how one is called that may fail."""

from __future__ import annotations

import inspect
import math
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

RewardFunction = Callable[[str, str, str], float]
"""(prompt, generated, full_text) -> any finite number."""

BatchedRewardFunction = Callable[[Sequence[str], Sequence[str], Sequence[str]], Sequence[float]]
"""(prompts, generated, full_texts), all of one length -> a number for each of their positions."""

F = TypeVar("F", bound=Callable[..., Any])

MAX_SHOWN = 200
"""Characters of an exception or a function's name that an error tells."""


class Score(NamedTuple):
    """What a reward function said of one response: a finite value, or why there is none."""

    value: float
    error: str | None = None


def batched(function: F) -> F:
    """Say that a reward function takes sequences of texts and returns a sequence of numbers.

    Decorates functions and an object's `__call__`.

    Example:
        >>> @batched
        ... def brevity(prompts, generated, full_texts):
        ...     return [1 / (1 + len(text)) for text in generated]
    """
    function.is_batched = True
    return function


def check_reward(reward: Any, where: str = "reward_fn") -> None:
    """Refuse what cannot be called with three arguments.

    Args:
        reward: what should be a reward function.
        where: the argument that holds it, for the message.

    Raises:
        TypeError: if it is none, or takes other arguments.
        ValueError: if the `range` that it states is none.
    """
    if not callable(reward):
        raise TypeError(f"{where} is {_cut(repr(reward))}, expected a reward function")
    try:
        inspect.signature(reward).bind("prompt", "generated", "full_text")
    except TypeError as error:
        raise TypeError(
            f"{where} is {name_of(reward)}, which takes other arguments than prompt, generated and "
            f"full_text: {error}"
        ) from None
    except ValueError:
        pass  # written in C, without a signature: only calling it will tell
    range_of(reward)


def range_of(reward: RewardFunction | BatchedRewardFunction) -> tuple[float, float]:
    """The lowest and the highest value that a reward function states; infinite if it is silent.

    Raises:
        ValueError: if its attribute `range` is no pair of numbers in ascending order.
    """
    ends = getattr(reward, "range", (-math.inf, math.inf))
    is_pair = isinstance(ends, tuple | list) and len(ends) == 2
    if (
        not is_pair
        or not all(isinstance(end, int | float) for end in ends)
        or not ends[0] < ends[1]
    ):
        raise ValueError(
            f"the range of {name_of(reward)} is {ends!r}, expected its lowest and highest value"
        )
    return float(ends[0]), float(ends[1])


def name_of(reward: Any) -> str:
    """What to call a reward function in a message."""
    return _cut(getattr(reward, "__qualname__", None) or repr(reward))


def score_many(
    reward: RewardFunction | BatchedRewardFunction,
    prompts: Sequence[str],
    generated: Sequence[str],
) -> list[Score]:
    """What a reward function says of each response, whatever it does.

    An exception, a value that is no finite number or outside of the stated range, and a wrong
    number of them are errors of the scores concerned, and a warning. If a batched function raises,
    it is asked about each response alone, so that one text does not spoil the others' scores.
    """
    texts = [prompt + text for prompt, text in zip(prompts, generated, strict=True)]
    if not _is_batched(reward):
        return [_score(reward, *each) for each in zip(prompts, generated, texts, strict=True)]
    try:
        values = list(reward(list(prompts), list(generated), texts))
    except Exception as error:
        if len(texts) == 1:
            return [_raised(reward, error)]
        pairs = zip(prompts, generated, strict=True)
        return [score_many(reward, [prompt], [text])[0] for prompt, text in pairs]
    if len(values) != len(texts):
        told = f"returned {len(values)} numbers for {len(texts)} responses"
        return [_failed(reward, "returned too few or too many numbers", told)] * len(texts)
    return [_checked(reward, value) for value in values]


def _is_batched(reward: Any) -> bool:
    if isinstance(reward, partial):
        return _is_batched(reward.func)
    return any(getattr(f, "is_batched", False) for f in (reward, reward.__call__))


def _score(reward: RewardFunction, prompt: str, generated: str, text: str) -> Score:
    try:
        value = reward(prompt, generated, text)
    except Exception as error:
        return _raised(reward, error)
    return _checked(reward, value)


def _checked(reward: Any, value: Any) -> Score:
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except Exception:  # whatever a foreign type's __float__ raises
        number = math.nan
    if not math.isfinite(number):
        told = f"returned {_cut(repr(value))}, expected a finite number"
        return _failed(reward, "returned what is no finite number", told)
    low, high = range_of(reward)
    if not low <= number <= high:
        told = f"returned {number}, outside of its range from {low:g} to {high:g}"
        return _failed(reward, "returned a number outside of its range", told)
    return Score(number)


def _raised(reward: Any, error: Exception) -> Score:
    told = _cut(" ".join(traceback.format_exception_only(error)[-1].split()))
    return _failed(reward, f"raised {type(error).__name__}", f"raised {told}")


def _failed(reward: Any, kind: str, told: str) -> Score:
    # The same words each time: Python shows a warning once for each text.
    warnings.warn(
        f"the reward function {name_of(reward)} {kind}: such an episode has no reward and is left "
        "out of learning; its info['verifier_error'] says more",
        RuntimeWarning,
        stacklevel=2,
    )
    return Score(0.0, f"{name_of(reward)} {told}")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
