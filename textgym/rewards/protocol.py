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


LARGEST = 2.0**127
"""Of a reward's absolute values: vector rewards are float32, and sums of some have to be finite."""


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
    if hasattr(reward, "as_reward_fn"):
        raise TypeError(
            f"{where} is a {type(reward).__name__}, expected a reward function: give as_reward_fn()"
        )
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
    return Fallible(reward, "reward function", range_of(reward)).many(prompts, generated, texts)


class Fallible:
    """A function from texts to numbers that may fail, and how it is called nevertheless.

    Args:
        function: of one text from each column, or of whole columns if it is `batched`.
        kind: what it is, for messages.
        ends: the lowest and the highest value that it may return.
    """

    def __init__(self, function: Callable[..., Any], kind: str, ends: tuple[float, float]) -> None:
        self.function, self.kind, self.ends = function, kind, ends

    def many(self, *columns: Sequence[str]) -> list[Score]:
        """What the function says of each row of columns; see `score_many`."""
        rows = list(zip(*columns, strict=True))
        if not _is_batched(self.function):
            return [self._one(row) for row in rows]
        try:
            values = list(self.function(*map(list, columns)))
        except Exception as error:
            if len(rows) == 1:
                return [self._raised(error)]
            return [self.many(*([text] for text in row))[0] for row in rows]
        if len(values) != len(rows):
            told = f"returned {len(values)} numbers for {len(rows)} responses"
            return [self._failed("returned too few or too many numbers", told)] * len(rows)
        return [self._checked(value) for value in values]

    def _one(self, row: Sequence[str]) -> Score:
        try:
            value = self.function(*row)
        except Exception as error:
            return self._raised(error)
        return self._checked(value)

    def _checked(self, value: Any) -> Score:
        try:
            number = math.nan if isinstance(value, str | bytes) else float(value)
        except Exception:  # whatever a foreign type's __float__ raises
            number = math.nan
        if not abs(number) <= LARGEST:
            told = f"returned {_shown(value)}, expected a finite number"
            return self._failed("returned what is no finite number", told)
        low, high = self.ends
        if not low <= number <= high:
            told = f"returned {number}, outside of its range from {low:g} to {high:g}"
            return self._failed("returned a number outside of its range", told)
        return Score(number)

    def _raised(self, error: Exception) -> Score:
        told = _cut(" ".join(traceback.format_exception_only(error)[-1].split()))
        return self._failed(f"raised {type(error).__name__}", f"raised {told}")

    def _failed(self, how: str, told: str) -> Score:
        name = name_of(self.function)
        # The same words each time: Python shows a warning once for each text.
        warnings.warn(
            f"the {self.kind} {name} {how}: such an episode has no reward and is left out of "
            "learning; its info['verifier_error'] says more",
            RuntimeWarning,
            stacklevel=2,
        )
        return Score(0.0, f"{name} {told}")


def _is_batched(function: Any) -> bool:
    if isinstance(function, partial):
        return _is_batched(function.func)
    return any(getattr(f, "is_batched", False) for f in (function, function.__call__))


def _shown(value: Any) -> str:
    try:
        return _cut(repr(value))
    except Exception:  # whatever a foreign type's __repr__ raises
        return f"a {type(value).__name__}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
