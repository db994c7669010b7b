"""Tianshou: masks in the observation, where its Q-learning policies look for them.

Without masks no adapter is needed: `DummyVectorEnv([lambda: gymnasium.make(id)] * 8)`. Tianshou's
collectors step a part of the slots and take each slot's results apart, so a native vector
environment would not make them faster.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.utils import RecordConstructorArgs


class MaskedObservation(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """The observation is {"obs": tokens [L] int64, "mask": [V] bool, the tokens that are legal}.

    `DummyVectorEnv([lambda: MaskedObservation(gymnasium.make("TextMath-v0"))] * 8)`.

    Args:
        env: an environment with `action_masks()`, such as all of textgym's that act by tokens.

    Raises:
        ValueError: if it has none, or its actions are no tokens.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        if not (env.has_wrapper_attr("action_masks") and isinstance(env.action_space, Discrete)):
            raise ValueError(f"{env} has no action_masks() of tokens, which are needed here")
        self._action_masks = env.get_wrapper_attr("action_masks")
        mask = Box(0, 1, (env.action_space.n,), bool)
        self.observation_space = Dict({"obs": env.observation_space, "mask": mask})

    def observation(self, observation: Any) -> dict[str, Any]:
        """The tokens and the mask of the next one."""
        return {"obs": observation, "mask": self._action_masks()}
