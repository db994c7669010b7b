"""`python -m agents dpo`: a policy learns from preferences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agents import runs
from agents.commands.arguments import DATA_ERRORS, Model, Run
from agents.commands.training import PolicyCommand
from agents.runs import UserError


@dataclass
class Pairs:
    """Where the pairs come from."""

    pairs: str | None = None
    """A file, a folder or a data set's name on the hub with pairs of responses (None: the
    environment's own)."""
    num_pairs: int = 2048
    """How many pairs of the environment's own to draw."""
    online: bool = False
    """Learn from pairs of the policy's own responses, which the environment's reward ranks."""
    max_length: int | None = None
    """Most tokens of a prompt and a response (None: the model's context)."""
    too_long: Literal["drop", "cut_prompt", "cut_response"] = "drop"
    """What becomes of longer pairs: left out, the prompt's beginning cut, or the response's end."""

    def check(self) -> None:
        """Raise UserError if pairs are to come from two places, or none is to come."""
        if self.online and self.pairs is not None:
            raise UserError(
                f"--online plays for its pairs and does not read --pairs {self.pairs}: leave one "
                "of the two out"
            )
        if self.num_pairs < 1:
            raise UserError(f"num_pairs is {self.num_pairs}, expected at least 1")


class DPO(PolicyCommand):
    """Trains a policy on pairs of responses."""

    def __init__(self) -> None:
        super().__init__(
            "dpo", "Train a policy on preferences, by DPO or its kin, into a run folder."
        )

    def defaults(self) -> dict[str, Any]:
        """The groups of flags."""
        from agents.dpo import DPOConfig

        return {"run": Run(), "data": Pairs(), "model": Model(), "config": DPOConfig()}

    def trainer_class(self) -> type:
        """DPOTrainer."""
        from agents.dpo import DPOTrainer

        return DPOTrainer

    def rows(self, settings: dict[str, Any]) -> str:
        """Pairs, unless it plays for them."""
        return "episodes" if settings["data"]["online"] else "pairs"

    def begin(self, given: Any, folder: Path, settings: dict[str, Any]) -> None:
        """A new run, whose file is read before a model is loaded and measured."""
        from agents.preference_data import read_preferences

        if given.data.pairs is not None:
            with runs.user_errors(*DATA_ERRORS, prefix=f"{given.data.pairs}: "):
                read_preferences(given.data.pairs)
        super().begin(given, folder, settings)

    def learn(self, trainer: Any, data: Any, given: Any) -> None:
        """Learn from given pairs, or from those of `data`, the environment."""
        told = given.data
        with runs.user_errors(*DATA_ERRORS, prefix=f"{told.pairs or given.run.env}: "):
            if told.online:
                trainer.train_online(data)
                return
            source = data if told.pairs is None else told.pairs
            how = {"max_length": told.max_length, "too_long": told.too_long}
            trainer.train(source, num_pairs=told.num_pairs, **how)


COMMAND = DPO()
