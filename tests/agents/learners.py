"""The learners that play, small: a task, a policy and a trainer of each for the tests."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import gymnasium
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from agents.commands.on_policy import LEARNERS
from agents.metrics import TIMING
from agents.models import Policy, new_tiny_model
from agents.play import slots
from textgym import CharTokenizer, Problem, RLEnvironment, Task, TokenMDP

BATCH_SIZE = 12
LEGAL = [token for token in range(100) if token not in (0, 1, 3)]
"""The tokens of the built-in tokenizer that a policy can choose."""

SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"num_minibatches": 2},
    "grpo": {"group_size": 3, "num_minibatches": 2},
    "rloo": {"group_size": 3},
    "reinforce": {},
    "a2c": {},
}


class Words(Task):
    """A response ends with one of many characters, so lengths differ; letters are rewarded."""

    stop_strings = tuple("aeiou0123456789 .,!?")
    max_response_tokens = 9

    def sample(self, rng):
        return Problem(prompt="x" * int(rng.integers(1, 5)) + f"{rng.integers(10**6)}")

    def grade(self, problem, response):
        return {"correct": sum(map(str.isalpha, response)) / max(len(response), 1)}


WORDS = TokenMDP(Words())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def new_policy() -> Policy:
    """A tiny policy with weights that count, and values other than 0."""
    policy = Policy(new_tiny_model(0, hidden_size=32, num_layers=2), CharTokenizer())
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(5.0)
        policy.value_head.weight.normal_(std=0.1, generator=seeded(1))
    return policy


def move(policy: Policy, distance: float) -> None:
    """Make the policy another one."""
    with torch.no_grad():
        for number, parameter in enumerate(policy.model.parameters()):
            parameter.add_(distance * torch.randn(parameter.shape, generator=seeded(number)))


def learner(algorithm: str, suffix: str) -> Any:
    """Its Config or its Trainer."""
    found = LEARNERS[algorithm]
    return getattr(importlib.import_module(found.module), found.name + suffix)


def new_config(algorithm: str, *, kind: type | None = None, **settings: Any) -> Any:
    small = {"batch_size": BATCH_SIZE, "num_iterations": 6, "warmup_iterations": 1}
    kind = kind or learner(algorithm, "Config")
    return kind(**{**small, **SETTINGS[algorithm], **settings})


def new_trainer(algorithm: str, *, folder: Path | None = None, **settings: Any) -> Any:
    """A trainer of a new policy, with few small iterations."""
    config = new_config(algorithm, **settings)
    return learner(algorithm, "Trainer")(config, new_policy(), folder=folder, show=False)


def words(trainer: Any, env: gymnasium.Env | None = None) -> VectorEnv:
    """The slots in which a trainer plays Words, or another environment."""
    return slots(env or RLEnvironment(WORDS), trainer.policy, trainer.config)


def use_sgd(trainer: Any) -> None:
    """An optimizer whose steps are the gradient itself."""
    trainer.optimizer = trainer.course.optimizer = torch.optim.SGD(trainer.policy.parameters())


def weights(policy: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in policy.state_dict().items()}


def assert_same_weights(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), name


def without_timing(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in TIMING} for row in rows]
