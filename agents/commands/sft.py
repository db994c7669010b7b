"""`python -m agents sft`: a policy imitates reference answers, or responses in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from agents.commands.arguments import Model, Run, columns, data_errors
from agents.commands.training import PolicyCommand
from agents.runs import UserError


@dataclass
class Responses:
    """What is imitated."""

    data: str | None = None
    """A file, a folder or a data set's name on the hub with the columns prompt and response (None:
    the reference answers of the environment)."""
    fields: tuple[str, ...] = ()
    """Columns of --data by other names than prompt and response, NAME=COLUMN, as in prompt=question
    response=answer."""
    max_length: int | None = None
    """Most tokens of a prompt and a response of the file (None: the model's context)."""
    too_long: Literal["drop", "cut_prompt", "cut_response"] = "drop"
    """What becomes of longer ones: left out, the prompt's beginning cut, or the response's end."""

    def check(self) -> None:
        """Raise UserError if something is told about a file that is not given."""
        if self.data is None and self.max_length is not None:
            raise UserError("--max-length is about the texts of --data, which is missing")
        if columns(self.fields) and self.data is None:
            raise UserError("--fields is about the columns of --data, which is missing")


class SFT(PolicyCommand):
    """Fits a policy to given responses."""

    source: ClassVar[str] = "data"
    figures: ClassVar[dict[str, str]] = {"nll": "loss per token, a batch in training"}

    def __init__(self) -> None:
        super().__init__(
            "sft", "Fit a policy to reference answers or to a file of responses, into a run folder."
        )

    def defaults(self) -> dict[str, Any]:
        """The groups of flags."""
        from agents.sft import SFTConfig

        run = Run(warm_up=0.0)
        return {"run": run, "data": Responses(), "model": Model(), "config": SFTConfig()}

    def trainer_class(self) -> type:
        """SFTTrainer."""
        from agents.sft import SFTTrainer

        return SFTTrainer

    def rows(self, settings: dict[str, Any]) -> str:
        """Responses."""
        return "responses"

    def begin(self, given: Any, folder: Path, settings: dict[str, Any]) -> None:
        """A new run, whose file is read before a model is loaded and measured."""
        from agents.sft import LAYOUTS
        from textgym.data_sets import load_rows

        told = given.data
        if told.data is not None:
            with data_errors(f"{told.data}: "):
                load_rows(told.data, layouts=LAYOUTS, fields=columns(told.fields))
        super().begin(given, folder, settings)

    def learn(self, trainer: Any, data: Any, given: Any) -> None:
        """Imitate the file's responses, or the references of `data`, the environment."""
        told = given.data
        with data_errors(f"{told.data or given.run.env}: "):
            if told.data is None:
                trainer.train(data)
            else:
                how = {"max_length": told.max_length, "too_long": told.too_long}
                trainer.train_on_file(told.data, fields=columns(told.fields), **how)


COMMAND = SFT()
