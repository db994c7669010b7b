"""`python -m agents sft`: a policy imitates reference answers, or responses in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agents.commands import offline
from agents.commands.arguments import Run

if TYPE_CHECKING:
    from agents.sft import SFTTrainer
    from textgym.vector import TokenVectorEnv


@dataclass
class Responses:
    """What is imitated."""

    data: str | None = None
    """A file, a folder or a data set's name on the hub with the columns prompt and response (None:
    the reference answers of the environment, which measures the policy in any case)."""
    max_length: int | None = None
    """Most tokens of a prompt and a response of the file (None: the model's context)."""
    too_long: Literal["drop", "cut_prompt", "cut_response"] = "drop"
    """What becomes of longer ones: left out, the prompt's beginning cut, or the response's end."""


def run(arguments: Sequence[str]) -> None:
    """Fit a policy to reference answers or to a file of responses, into a run folder."""
    from agents.sft import SFTConfig, SFTTrainer

    default = (Run(warm_up=0.0), Responses(), SFTConfig())
    offline.run("sft", run.__doc__ or "", arguments, default, SFTTrainer, _train)


def _train(trainer: SFTTrainer, given: Responses, env: TokenVectorEnv) -> None:
    if given.data is None:
        trainer.train(env)
    else:
        how = {"max_length": given.max_length, "too_long": given.too_long}
        trainer.train_on_file(given.data, **how)
