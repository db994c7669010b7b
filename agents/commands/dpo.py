"""`python -m agents dpo`: a policy learns from preferences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agents.commands import offline
from agents.commands.arguments import Run

if TYPE_CHECKING:
    from agents.dpo import DPOTrainer
    from textgym.vector import TokenVectorEnv


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


def run(arguments: Sequence[str]) -> None:
    """Train a policy on preferences, by DPO or its kin, into a run folder."""
    from agents.dpo import DPOConfig, DPOTrainer

    default = (Run(), Pairs(), DPOConfig())
    offline.run("dpo", run.__doc__ or "", arguments, default, DPOTrainer, _train)


def _train(trainer: DPOTrainer, given: Pairs, env: TokenVectorEnv) -> None:
    if given.online:
        trainer.train_online(env)
        return
    source = env if given.pairs is None else given.pairs
    how = {"max_length": given.max_length, "too_long": given.too_long}
    trainer.train(source, num_pairs=given.num_pairs, **how)
