"""One optimizer step, in micro-batches that share one count, and on all processes alike."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from agents import distributed
from agents.buffer import split
from agents.config import TrainingConfig
from agents.losses import Metrics


def adamw(
    model: nn.Module, learning_rate: float, *, weight_decay: float = 0.0
) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)


def micro_batches(lengths: Tensor, config: TrainingConfig) -> list[Tensor]:
    """Rows [n] of each micro-batch of an optimizer step on rows of these lengths [B]."""
    rows = -(-len(lengths) // config.gradient_accumulation_steps)
    return split(lengths, max_rows=rows, max_tokens=config.max_tokens)


def update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Iterable[tuple[Tensor, Metrics]],
    *,
    max_grad_norm: float,
) -> dict[str, float]:
    """One optimizer step.

    Args:
        model: whose parameters are trained.
        optimizer: of these parameters.
        losses: one (loss, metrics) per micro-batch, best from a generator, so that each graph is
            freed before the next is built. Each is a sum divided by the count of the whole step, of
            all micro-batches and processes, so their sum is the step's loss however it was split.
        max_grad_norm: the gradient's norm is cut to this.

    Returns:
        The metrics, summed over micro-batches and processes, and `grad_norm`, before it was cut.

    Raises:
        FloatingPointError: if a metric or the gradient is not finite; the step is not taken.
    """
    optimizer.zero_grad(set_to_none=True)
    totals: dict[str, Tensor] = {}
    for loss, metrics in losses:
        loss.backward()
        for name, value in metrics.items():
            totals[name] = totals[name] + value if name in totals else value
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    distributed.sum_([p.grad for p in parameters if p.grad is not None])
    distributed.sum_(list(totals.values()))
    totals["grad_norm"] = nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    # One transfer for all of them: on an accelerator each would be a synchronisation.
    names, values = list(totals), torch.stack([value.float() for value in totals.values()])
    numbers = dict(zip(names, values.tolist(), strict=True))
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{name} is {value}; this step was not taken: resume from the last checkpoint with "
                "a lower learning_rate"
            )
    optimizer.step()
    return numbers
