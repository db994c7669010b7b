"""Losses of reward models as pure functions of scores. Nothing here runs a model or keeps state.

Every loss returns `(loss, metrics)`: a scalar to call `backward` on, and a dict of detached 0-d
tensors. All tensors are [B] unless told otherwise. `count` divides the sums over rows, of the loss
and of each metric alike; default: B, which makes them means. A trainer that splits an optimizer
step into micro-batches passes the whole step's count with each.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from agents.losses import Metrics
from agents.preference_losses import agreement

Count = float | Tensor | None


def bradley_terry_loss(
    chosen: Tensor,
    rejected: Tensor,
    *,
    margins: Tensor | None = None,
    ties: Tensor | None = None,
    tie_threshold: float = 0.0,
    label_smoothing: float = 0.0,
    centering_coef: float = 0.0,
    count: Count = None,
) -> tuple[Tensor, Metrics]:
    """-log P(chosen > rejected), where P = σ(d - η) and d = r_chosen - r_rejected - margin.

    Bradley & Terry 1952; Ouyang et al. 2022, eq. 1; margins: Touvron et al. 2023 (Llama 2), eq. 2.
    With η > 0 it is the model of Rao & Kupper 1967, in which neither response is preferred with the
    rest, P(tie) = 1 - σ(d - η) - σ(-d - η) = (e^{2η} - 1) σ(d - η) σ(-d - η).

    Args:
        chosen: scores of the preferred responses; of a tie, of either one.
        rejected: scores of the others.
        margins: by how much the one has to be ahead, at least 0; None: 0. A tie has none.
        ties: bool, the rows in which neither is preferred; None: no row.
        tie_threshold: η, half the width of the band of differences in which a tie is likely.
        label_smoothing: ε from 0 to below 1/2, the share of labels that are taken to be wrong: the
            loss of a preference is (1 - ε) times itself + ε times that of the opposite. Mitchell
            2023, "A note on DPO with noisy preferences".
        centering_coef: c of c E[(r_chosen + r_rejected)²], which makes the scores, of which only
            differences have a meaning, 0 on average. Eisenstein et al. 2023, section 2.
        count: see the module's docstring.

    Returns:
        The loss and `reward_loss` = the loss; `preference_accuracy` = [r_chosen > r_rejected], half
        of one where they are equal, and `reward_margin` = r_chosen - r_rejected, ties aside (a tie
        counts as 0 in both); `reward_mean` = (r_chosen + r_rejected) / 2.

    Raises:
        ValueError: if shapes differ, or there are ties and tie_threshold is 0: then P(tie) is 0.
    """
    _check_shapes(chosen, rejected=rejected, margins=margins, ties=ties)
    count = len(chosen) if count is None else count
    gaps = chosen - rejected
    ahead = gaps if margins is None else gaps - margins
    win = -functional.logsigmoid(ahead - tie_threshold)
    losses = win
    if label_smoothing:
        lose = -functional.logsigmoid(-ahead - tie_threshold)
        losses = (1.0 - label_smoothing) * win + label_smoothing * lose
    decided = torch.ones_like(gaps, dtype=torch.bool)
    if ties is not None:
        if not tie_threshold > 0:
            raise ValueError(
                f"tie_threshold is {tie_threshold}, expected more than 0 where ties are given: a "
                "tie has no probability without it"
            )
        both = functional.softplus(tie_threshold - gaps) + functional.softplus(tie_threshold + gaps)
        losses = torch.where(ties, both - math.log(math.expm1(2.0 * tie_threshold)), losses)
        decided = ~ties
    if centering_coef:
        losses = losses + centering_coef * (chosen + rejected).square()
    loss = losses.sum() / count
    with torch.no_grad():
        metrics = {
            "reward_loss": loss.detach(),
            "preference_accuracy": agreement(gaps).masked_fill(~decided, 0.0).sum() / count,
            "reward_margin": gaps.masked_fill(~decided, 0.0).sum() / count,
            "reward_mean": (chosen + rejected).sum() / (2.0 * count),
        }
    return loss, metrics


def reward_regression_loss(
    predictions: Tensor, targets: Tensor, *, count: Count = None
) -> tuple[Tensor, Metrics]:
    """E[(r - target)²] over what is known. Wang et al. 2024 (ArmoRM), eq. 1.

    Args:
        predictions: [B] scores or [B, K] components.
        targets: the same shape; NaN where nobody rated the response on that component.
        count: divides the sum of squares; default: the number of targets that are known.

    Returns:
        The loss and `reward_loss` = the loss.

    Raises:
        ValueError: if shapes differ.
    """
    _check_shapes(predictions, targets=targets)
    known = ~targets.isnan()
    if count is None:
        count = known.sum().clamp(min=1)
    # Before the subtraction: the gradient of a dropped NaN would be 0 * NaN = NaN.
    errors = (predictions - targets.nan_to_num()).masked_fill(~known, 0.0)
    loss = errors.square().sum() / count
    return loss, {"reward_loss": loss.detach()}


def _check_shapes(first: Tensor, **others: Tensor | None) -> None:
    for name, tensor in others.items():
        # Not left to broadcasting: [B, 1] against [B] would be [B, B], silently.
        if tensor is not None and tensor.shape != first.shape:
            got, want = list(tensor.shape), list(first.shape)
            raise ValueError(f"{name} has shape {got}, expected {want} as the scores have")
