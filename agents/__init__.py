"""Learners that consume any token environment.

Names load the module that they live in when first asked for: `import agents` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.batch import PreferenceBatch, Rollout
    from agents.buffer import PPOBuffer
    from agents.grpo import GRPOConfig, GRPOTrainer
    from agents.models import Policy, load_policy
    from agents.ppo import PPOConfig, PPOTrainer
    from agents.reward_ensemble import RewardEnsemble
    from agents.reward_model import MultiObjectiveRewardModel, PairwiseRewardModel, RewardModel
    from agents.reward_trainer import RewardModelConfig, RewardModelTrainer
    from agents.rollout import collect, evaluate
    from agents.sft import SFTConfig, SFTTrainer

__all__ = [
    "GRPOConfig",
    "GRPOTrainer",
    "MultiObjectiveRewardModel",
    "PPOBuffer",
    "PPOConfig",
    "PPOTrainer",
    "PairwiseRewardModel",
    "Policy",
    "PreferenceBatch",
    "RewardEnsemble",
    "RewardModel",
    "RewardModelConfig",
    "RewardModelTrainer",
    "Rollout",
    "SFTConfig",
    "SFTTrainer",
    "collect",
    "evaluate",
    "load_policy",
]

_MODULES = {
    "GRPOConfig": "grpo",
    "GRPOTrainer": "grpo",
    "MultiObjectiveRewardModel": "reward_model",
    "PPOBuffer": "buffer",
    "PPOConfig": "ppo",
    "PPOTrainer": "ppo",
    "PairwiseRewardModel": "reward_model",
    "Policy": "models",
    "PreferenceBatch": "batch",
    "RewardEnsemble": "reward_ensemble",
    "RewardModel": "reward_model",
    "RewardModelConfig": "reward_trainer",
    "RewardModelTrainer": "reward_trainer",
    "Rollout": "batch",
    "SFTConfig": "sft",
    "SFTTrainer": "sft",
    "collect": "rollout",
    "evaluate": "rollout",
    "load_policy": "models",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
