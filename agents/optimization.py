"""One optimizer step, in micro-batches that share one count, and on all processes alike."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from agents import distributed
from agents.config import TrainingConfig
from agents.losses import Metrics
from agents.packing import split
from agents.shared_adamw import SharedAdamW


def adamw(
    model: nn.Module,
    learning_rate: float,
    *,
    weight_decay: float = 0.0,
    value_learning_rate: float | None = None,
) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained; several processes share out its state.

    Warns of weights in half precision: bfloat16 keeps a step only if it is larger than a 512th to a
    256th of the weight.

    Args:
        model: a Policy, or any other model.
        learning_rate: Adam's step size.
        weight_decay: per step, as a share of the learning rate.
        value_learning_rate: the step size of a Policy's value head (None: the same).
    """
    trained = {name: x for name, x in model.named_parameters() if x.requires_grad}
    half = {x.dtype for x in trained.values()} - {torch.float32, torch.float64}
    if half:
        warnings.warn(
            f"weights to train are {half.pop()}, which rounds small steps away: load the model in "
            'float32; load_policy(NAME, dtype="bfloat16") computes in bfloat16',
            stacklevel=3,
        )
    groups = [{"params": list(trained.values())}]
    if value_learning_rate is not None:
        head = [trained.pop(name) for name in list(trained) if name.startswith("value_head.")]
        own = {"lr": value_learning_rate, "rate": "value_learning_rate"}  # see Course
        both = [{"params": list(trained.values())}, {"params": head, **own}]
        groups = [group for group in both if group["params"]]
    kind = torch.optim.AdamW if distributed.num_ranks() == 1 else SharedAdamW
    return kind(groups, lr=learning_rate, weight_decay=weight_decay, fused=True)


def micro_batches(
    lengths: Tensor, config: TrainingConfig, *, groups: Tensor | None = None
) -> list[Tensor]:
    """Rows [n] of each micro-batch of an optimizer step on rows of these lengths [B].

    None, if there are no rows: of several processes, one may have none. If the model is sharded,
    all have equally many, some without rows. Rows that share a number of `groups` [B] stay together
    where they fit, so that their prompt is computed once.
    """
    rows = max(-(-len(lengths) // config.gradient_accumulation_steps), 1)
    parts = split(lengths, max_rows=rows, max_tokens=config.max_tokens, groups=groups)
    return distributed.in_step(parts)


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
            Of several processes some may have fewer, or none, but not if the model is sharded
            (see `micro_batches`).
        max_grad_norm: the gradient's norm is cut to this.

    Returns:
        The metrics, summed over micro-batches and processes, and `grad_norm`, before it was cut:
        the same in all processes.

    Raises:
        FloatingPointError: if a metric or the gradient is not finite, in all processes alike; the
            step is not taken.
        TypeError: if a loss, which may be a user's, is no (loss, metrics) with a scalar tensor.
    """
    optimizer.zero_grad(set_to_none=True)
    totals: dict[str, Tensor] = {}
    for part in losses:
        loss, metrics = _checked(part)
        loss.backward()
        for name, value in metrics.items():
            totals[name] = totals[name] + value if name in totals else value
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    totals = _of_all_processes(parameters, totals)
    totals["grad_norm"] = _cut(parameters, max_grad_norm)
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


def _checked(part: Any) -> tuple[Tensor, Metrics]:
    """What a loss gave: a scalar with its metrics, all of them tensors."""
    told = f"a {type(part).__name__}"
    if isinstance(part, tuple) and len(part) == 2:
        loss, metrics = part
        told = f"a {type(loss).__name__} with metrics"
        if isinstance(loss, Tensor):
            told = f"a tensor of shape {list(loss.shape)} with metrics"
            if loss.ndim == 0:
                return loss, {
                    name: torch.as_tensor(value, device=loss.device)
                    for name, value in metrics.items()
                }
    raise TypeError(f"the loss gave {told}, expected (loss, metrics), loss a tensor of shape []")


def _cut(parameters: list[Tensor], max_norm: float) -> Tensor:
    """`nn.utils.clip_grad_norm_`, also of parameters of which some are sharded."""
    grads = [x.grad for x in parameters if x.grad is not None]
    parts = [distributed.own_part(x) for x in grads if distributed.is_sharded(x)]
    if not parts:
        return nn.utils.clip_grad_norm_(parameters, max_norm)
    common = [x for x in grads if not distributed.is_sharded(x)]
    squares = [nn.utils.get_total_norm(x).square() for x in (common, parts)]
    norm = (squares[0] + distributed.summed(squares[1])).sqrt()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for grad in (*common, *parts):
        grad.mul_(scale)
    return norm


def _of_all_processes(parameters: list[Tensor], totals: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add up the gradients, in place, and the metrics over all processes.

    Those of sharded parameters are added up already.
    """
    if distributed.num_ranks() == 1:
        return totals
    # A process without a token to learn from knows neither: all must add up the same tensors.
    has_grad = [parameter.grad is not None for parameter in parameters]
    everywhere = distributed.gather((has_grad, list(totals)))
    grads = []
    for parameter, *has in zip(parameters, *(flags for flags, _ in everywhere), strict=True):
        if any(has) and not distributed.is_sharded(parameter):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            grads.append(parameter.grad)
    names = dict.fromkeys(name for _, found in everywhere for name in found)
    zero = torch.zeros((), device=parameters[0].device)
    sums = torch.stack([totals.get(name, zero).to(zero) for name in names])
    distributed.sum_([*grads, sums])
    return dict(zip(names, sums.unbind(), strict=True))
