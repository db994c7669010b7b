"""Stable-Baselines3's `VecEnv` over the native vector environment.

Single environments need no adapter: SB3 and sb3-contrib's MaskablePPO take `gymnasium.make(id)` as
it is, by themselves or in `make_vec_env`. This one is for speed in large batches.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from textgym.vector import TokenVectorEnv


class TextVecEnv(VecEnv):
    """`TextVecEnv(gymnasium.make_vec(id, num_envs=64, autoreset_mode="SameStep"))`.

    Infos are empty until an episode ends. Then a slot's has the keys of RLEnvironment's last step,
    `terminal_observation`, `TimeLimit.truncated` (False: the token budget is part of the task) and
    Monitor's `episode` (return, length, seconds since the start): no Monitor is needed.

    The slots share their attributes: `set_attr` and `env_method` are for all at once.

    Args:
        envs: whose autoreset mode is SAME_STEP and whose rewards are scalars.

    Raises:
        TypeError: if it is no TokenVectorEnv.
        ValueError: for another autoreset mode, or vector rewards.
    """

    def __init__(self, envs: TokenVectorEnv) -> None:
        if not isinstance(envs, TokenVectorEnv):
            raise TypeError(f"envs is {envs!r}, expected what gymnasium.make_vec(id) returns")
        if envs.autoreset_mode is not AutoresetMode.SAME_STEP or envs.vector_reward:
            raise ValueError(
                f"autoreset_mode={envs.autoreset_mode.value!r}, vector_reward="
                f"{envs.vector_reward}: Stable-Baselines3 expects 'SameStep' and False"
            )
        self.envs, self._start = envs, time.time()
        self._returns = np.zeros(envs.num_envs)
        self._lengths = np.zeros(envs.num_envs, dtype=np.int64)
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> np.ndarray:
        """Start an episode in every slot, with what `seed` and `set_options` have said."""
        observations, infos = self.envs.reset(seed=self._seeds, options=self._merged_options())
        self.reset_infos = [_slot_info(infos, slot) for slot in range(self.num_envs)]
        self._returns[:], self._lengths[:] = 0, 0
        self._reset_seeds()
        self._reset_options()
        return observations

    def _merged_options(self) -> dict[str, Any]:
        first = self._options[0]
        if all(options == first for options in self._options):
            return first
        if any(options.keys() != first.keys() for options in self._options):
            raise ValueError(f"options are {self._options}, expected the same keys in every slot")
        return {key: np.array([options[key] for options in self._options]) for key in first}

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions [N] for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Observations [N, L] int64, rewards [N] float32, dones [N] bool, and infos."""
        observations, rewards, dones, _, infos = self.envs.step(self._actions)
        self._returns += rewards
        self._lengths += 1
        told: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for slot in dones.nonzero()[0].tolist():
            told[slot] = {
                **_slot_info(infos["final_info"], slot),
                "terminal_observation": infos["final_obs"][slot],
                "TimeLimit.truncated": False,
                "episode": {
                    "r": round(float(self._returns[slot]), 6),
                    "l": int(self._lengths[slot]),
                    "t": round(time.time() - self._start, 6),
                },
            }
            self.reset_infos[slot] = _slot_info(infos, slot)
        self._returns[dones], self._lengths[dones] = 0, 0
        return observations, rewards.astype(np.float32), dones, told

    def close(self) -> None:
        """Close the vector environment."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: int | Sequence[int] | None = None) -> list[Any]:
        """The vector environment's attribute, once for each slot that is asked."""
        return [getattr(self.envs, attr_name) for _ in self._get_indices(indices)]

    def set_attr(
        self, attr_name: str, value: Any, indices: int | Sequence[int] | None = None
    ) -> None:
        """Set the vector environment's attribute, which is one for all slots."""
        self._expect_all(indices)
        setattr(self.envs, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *args: Any,
        indices: int | Sequence[int] | None = None,
        **kwargs: Any,
    ) -> list[Any]:
        """Call the vector environment's method: its result once for each slot, or its rows.

        `action_masks` [N, V] gives the rows of the slots that are asked, as MaskablePPO wants them.
        """
        result = getattr(self.envs, method_name)
        if method_name == "action_masks":
            masks = result(*args, **kwargs)
            return [masks[slot] for slot in self._get_indices(indices)]
        self._expect_all(indices)
        return [result(*args, **kwargs)] * self.num_envs

    def _expect_all(self, indices: int | Sequence[int] | None) -> None:
        if sorted(self._get_indices(indices)) != list(range(self.num_envs)):
            raise ValueError(f"indices are {indices}, expected None: the slots share attributes")

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper], indices: int | Sequence[int] | None = None
    ) -> list[bool]:
        """Whether the slots do what a wrapper does: Monitor, and no other."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]


def _slot_info(infos: dict[str, Any], slot: int) -> dict[str, Any]:
    """What a vector environment's infos tell of one slot, without what is of its last episode."""
    return {
        key: _slot_info(value, slot) if isinstance(value, dict) else value[slot]
        for key, value in infos.items()
        if f"_{key}" in infos and infos[f"_{key}"][slot] and key not in ("final_obs", "final_info")
    }
