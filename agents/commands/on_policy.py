"""The learners that play, such as `python -m agents ppo`."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from agents import runs
from agents.commands.arguments import Model, Run
from agents.commands.training import PolicyCommand


class Learner(NamedTuple):
    """Where a learner lives: NAMEConfig and NAMETrainer of its module."""

    module: str
    name: str
    description: str


LEARNERS = {
    "ppo": Learner("agents.ppo", "PPO", "proximal policy optimization"),
    "grpo": Learner("agents.grpo", "GRPO", "group-relative policy optimization and its kin"),
    "rloo": Learner("agents.rloo", "RLOO", "REINFORCE with a leave-one-out baseline"),
    "reinforce": Learner("agents.reinforce", "REINFORCE", "REINFORCE with a batch baseline"),
    "a2c": Learner("agents.a2c", "A2C", "advantage actor-critic"),
}


class OnPolicy(PolicyCommand):
    """Trains a policy on what it plays.

    Args:
        name: a key of LEARNERS.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            name, f"Train a policy with {LEARNERS[name].description}, into a run folder."
        )

    def defaults(self) -> dict[str, Any]:
        """Three groups of flags: the run's, the model's, and one for every field of the config."""
        return {"run": Run(), "model": Model(), "config": self._class("Config")()}

    def trainer_class(self) -> type:
        """The learner's."""
        return self._class("Trainer")

    def learn(self, trainer: Any, data: Any, given: Any) -> None:
        """Play and learn; `data` is the environment."""
        from agents.play import slots

        with runs.user_errors(ValueError, prefix=f"{given.run.env}: "):
            envs = slots(data, trainer.policy, given.config)
        trainer.train(envs)

    def _class(self, suffix: str) -> Any:
        learner = LEARNERS[self.name]
        return getattr(importlib.import_module(learner.module), learner.name + suffix)


COMMANDS = {name: OnPolicy(name) for name in LEARNERS}
