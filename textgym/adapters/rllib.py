"""RLlib: an environment creator, with observations as its default networks take them.

    ray.tune.register_env("textgym", textgym.adapters.rllib.make_env)
    PPOConfig().environment("textgym", env_config={"id": "TextMath-v0", "difficulty": "digit"})

RLlib runs its own copies of an environment and pins an older Gymnasium (1.2 for Ray 2.60), which
textgym supports too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import DtypeObservation


def make_env(config: Mapping[str, Any]) -> gymnasium.Env:
    """An environment with float32 observations [L]: RLlib's networks refuse integers.

    Every token id below 2 ** 24 is exact in float32.

    Args:
        config: `id`, and keywords of `gymnasium.make(id, ...)`.

    Raises:
        ValueError: if there is no `id`.
    """
    keywords = dict(config)
    if "id" not in keywords:
        raise ValueError(f"env_config has {sorted(keywords)}, expected 'id', as in 'TextMath-v0'")
    return DtypeObservation(gymnasium.make(keywords.pop("id"), **keywords), np.float32)
