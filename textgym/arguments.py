"""What an environment is given, checked where it enters: seeds, problems, masks, flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.error import Error
from gymnasium.vector import AutoresetMode

from textgym.task import as_index


def as_seed(seed: Any) -> int | None:
    """A seed as Gymnasium wants it, from any kind of integer; None stays None.

    Raises:
        gymnasium.error.Error: if it is negative or no integer.
    """
    value = as_index(seed)
    if value is None and seed is not None:
        raise Error(f"seed is {seed!r}, expected an integer of at least 0")
    return value


def as_seeds(seed: Any, num_envs: int) -> list[int | None] | None:
    """The seed of each slot, None where it gets none; None if `seed` is.

    Raises:
        gymnasium.error.Error: if one is negative or no integer.
        ValueError: if there are more or fewer than `num_envs`.
    """
    if seed is None:
        return None
    if isinstance(seed, str) or not isinstance(seed, Sequence | np.ndarray) or not np.ndim(seed):
        first = as_seed(seed)
        return [first + i for i in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(f"got {len(seed)} seeds, expected num_envs={num_envs}")
    return [as_seed(value) for value in seed]


def as_problems(numbers: Any, num_envs: int, num_problems: int) -> np.ndarray:
    """[N] int64: the number of each slot's problem, from one for all or one for each.

    Raises:
        ValueError: if they are no such numbers.
    """
    given = np.asarray(numbers)
    fits = given.ndim == 0 or given.shape == (num_envs,)
    if not fits or given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= num_problems:
        got = repr(numbers) if given.ndim == 0 else f"{given.dtype} of shape {given.shape}"
        raise ValueError(
            f"problem is {got}, expected an integer from 0 to {num_problems - 1}, or an array of "
            f"them of shape ({num_envs},)"
        )
    return np.broadcast_to(given.astype(np.int64), (num_envs,))


def as_mask(mask: Any, num_envs: int) -> np.ndarray:
    """[N] bool: the slots of a `reset_mask`; all of them if it is None.

    Raises:
        ValueError: if it is no such array or selects no slot.
    """
    if mask is None:
        return np.ones(num_envs, dtype=bool)
    if getattr(mask, "dtype", None) != np.bool_ or mask.shape != (num_envs,):
        given = getattr(mask, "dtype", type(mask).__name__)
        raise ValueError(
            f"options['reset_mask'] is {given} of shape {np.shape(mask)}, expected a bool array of "
            f"shape ({num_envs},)"
        )
    if not mask.any():
        raise ValueError("options['reset_mask'] selects no slot")
    return mask


def as_mode(mode: AutoresetMode | str) -> AutoresetMode:
    """An autoreset mode from itself or its value.

    Raises:
        ValueError: if there is no such mode; the message lists those that exist.
    """
    try:
        return AutoresetMode(mode)
    except ValueError:
        known = [member.value for member in AutoresetMode]
        raise ValueError(f"autoreset_mode is {mode!r}, expected one of {known}") from None


def check_flags(**flags: Any) -> None:
    """Refuse what is neither True nor False.

    Raises:
        TypeError: which names it.
    """
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}, expected True or False")
