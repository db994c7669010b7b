"""Learners that consume any token environment.

Names load the module that they live in when first asked for: `import agents` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.a2c import A2CConfig, A2CTrainer
    from agents.batch import PreferenceBatch, Rollout
    from agents.buffer import PPOBuffer
    from agents.custom_loss import (
        CompositeLoss,
        CustomLoss,
        ImportanceSamplingLoss,
        KLDivergenceLoss,
        PPOLoss,
        VarianceLoss,
    )
    from agents.dpo import DPOConfig, DPOTrainer
    from agents.grpo import GRPOConfig, GRPOTrainer
    from agents.models import Policy, load_policy
    from agents.ppo import PPOConfig, PPOTrainer
    from agents.reinforce import REINFORCEConfig, REINFORCETrainer
    from agents.reward_ensemble import RewardEnsemble
    from agents.reward_model import RewardModel
    from agents.reward_trainer import RewardModelConfig, RewardModelTrainer
    from agents.reward_variants import MultiObjectiveRewardModel, PairwiseRewardModel
    from agents.rloo import RLOOConfig, RLOOTrainer
    from agents.rollout import collect, evaluate
    from agents.serving import ServedPolicy, Server
    from agents.sft import SFTConfig, SFTTrainer

__all__ = [
    "A2CConfig",
    "A2CTrainer",
    "CompositeLoss",
    "CustomLoss",
    "DPOConfig",
    "DPOTrainer",
    "GRPOConfig",
    "GRPOTrainer",
    "ImportanceSamplingLoss",
    "KLDivergenceLoss",
    "MultiObjectiveRewardModel",
    "PPOBuffer",
    "PPOConfig",
    "PPOLoss",
    "PPOTrainer",
    "PairwiseRewardModel",
    "Policy",
    "PreferenceBatch",
    "REINFORCEConfig",
    "REINFORCETrainer",
    "RLOOConfig",
    "RLOOTrainer",
    "RewardEnsemble",
    "RewardModel",
    "RewardModelConfig",
    "RewardModelTrainer",
    "Rollout",
    "SFTConfig",
    "SFTTrainer",
    "ServedPolicy",
    "Server",
    "VarianceLoss",
    "collect",
    "evaluate",
    "load_policy",
]

_MODULES = {
    "A2CConfig": "a2c",
    "A2CTrainer": "a2c",
    "CompositeLoss": "custom_loss",
    "CustomLoss": "custom_loss",
    "DPOConfig": "dpo",
    "DPOTrainer": "dpo",
    "GRPOConfig": "grpo",
    "GRPOTrainer": "grpo",
    "ImportanceSamplingLoss": "custom_loss",
    "KLDivergenceLoss": "custom_loss",
    "MultiObjectiveRewardModel": "reward_variants",
    "PPOBuffer": "buffer",
    "PPOConfig": "ppo",
    "PPOLoss": "custom_loss",
    "PPOTrainer": "ppo",
    "PairwiseRewardModel": "reward_variants",
    "Policy": "models",
    "PreferenceBatch": "batch",
    "REINFORCEConfig": "reinforce",
    "REINFORCETrainer": "reinforce",
    "RLOOConfig": "rloo",
    "RLOOTrainer": "rloo",
    "RewardEnsemble": "reward_ensemble",
    "RewardModel": "reward_model",
    "RewardModelConfig": "reward_trainer",
    "RewardModelTrainer": "reward_trainer",
    "Rollout": "batch",
    "SFTConfig": "sft",
    "SFTTrainer": "sft",
    "ServedPolicy": "serving",
    "Server": "serving",
    "VarianceLoss": "custom_loss",
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
