"""`python -m agents dpo`: a policy learns from preferences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from agents.commands.arguments import Model, Run, columns, data_errors
from agents.commands.training import PolicyCommand
from agents.runs import UserError


@dataclass
class Pairs:
    """Where the pairs come from."""

    pairs: str | None = None
    """A file, a folder or a data set's name on the hub with pairs of responses (None: the
    environment's own)."""
    fields: tuple[str, ...] = ()
    """Columns of --pairs by other names than prompt, chosen and rejected, NAME=COLUMN, as in
    prompt=question chosen=good rejected=bad."""
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
        if columns(self.fields) and self.pairs is None:
            raise UserError("--fields is about the columns of --pairs, which is missing")
        if self.num_pairs < 1:
            raise UserError(f"num_pairs is {self.num_pairs}, expected at least 1")


class DPO(PolicyCommand):
    """Trains a policy on pairs of responses."""

    source: ClassVar[str] = "pairs"
    figures: ClassVar[dict[str, str]] = {
        "validation_accuracy": "accuracy, pairs held out",
        "validation_margin": "margin, pairs held out",
        "preference_accuracy": "accuracy, a batch in training",
        "reward_margin": "margin, a batch in training",
    }

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

        told = given.data
        if told.pairs is not None:
            with data_errors(f"{told.pairs}: "):
                read_preferences(told.pairs, **_fields(told))
        super().begin(given, folder, settings)

    def learn(self, trainer: Any, data: Any, given: Any) -> None:
        """Learn from given pairs, or from those of `data`, the environment."""
        told = given.data
        with data_errors(f"{told.pairs or given.run.env}: "):
            if told.online:
                trainer.train_online(data)
                return
            source = data if told.pairs is None else told.pairs
            how = {"max_length": told.max_length, "too_long": told.too_long}
            trainer.train(source, num_pairs=told.num_pairs, **how, **_fields(told))

    def show(self, summary: dict[str, Any], folder: Path) -> None:
        """Also how to measure what a file alone has taught, if nothing did."""
        super().show(summary, folder)
        if summary["env_id"] is None and summary["validation_accuracy"] is None:
            print("hold out  --validation-share 0.1: pairs to measure on, not to train on")


def _fields(told: Pairs) -> dict[str, dict[str, str]]:
    """The keyword `fields` of files, if it is said: no environment takes it."""
    return {"fields": columns(told.fields)} if told.fields else {}


COMMAND = DPO()
