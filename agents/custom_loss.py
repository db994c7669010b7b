"""Losses as objects, to name, combine and hand over. Nothing here but `CompositeLoss` has maths.

A plain function is as good: wherever a trainer takes a loss it calls it, and a call of each of
these is one of the pure functions in losses.py, with its shapes, metrics and errors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from agents.losses import (
    MAX_LOG_RATIO,
    Count,
    KLKind,
    Metrics,
    clipped_surrogate_loss,
    kl_loss,
    policy_gradient_loss,
)

LossFunction = Callable[..., tuple[Tensor, Metrics]]


class CustomLoss(ABC):
    """A loss of one's own: a subclass says what it is in `compute_loss`.

    Example:
        >>> class Imitation(CustomLoss):
        ...     def compute_loss(self, predictions, targets=None, *, count=None):
        ...         return -predictions.chosen.sum() / count
        >>> DPOTrainer(DPOConfig(), policy, loss=Imitation())  # doctest: +SKIP
    """

    @abstractmethod
    def compute_loss(
        self, predictions: Any, targets: Any = None, **kwargs: Any
    ) -> Tensor | tuple[Tensor, Metrics]:
        """A scalar to call `backward` on; with metrics or without.

        Args:
            predictions: what the model says, such as log_probs [B, L] or PairLogps.
            targets: what it is held against, where there is something.
            **kwargs: whatever else the caller has: mask, count, advantages, ...
        """

    def __call__(
        self, predictions: Any, targets: Any = None, **kwargs: Any
    ) -> tuple[Tensor, Metrics]:
        """(loss, metrics), as trainers want it."""
        result = self.compute_loss(predictions, targets, **kwargs)
        return result if isinstance(result, tuple) else (result, {})


class CompositeLoss(CustomLoss):
    """Σ weight * loss. All losses get the same arguments; their metrics are joined.

    Args:
        losses: loss -> weight; a loss is a CustomLoss or a function (predictions, **kwargs) or,
            where there are targets, (predictions, targets, **kwargs).

    Raises:
        TypeError, ValueError: if it is no such mapping, or an empty one.
    """

    def __init__(self, losses: Mapping[LossFunction, float]) -> None:
        if not isinstance(losses, Mapping):
            kind = type(losses).__name__
            raise TypeError(
                f"losses is a {kind}, expected {{loss: weight}}, as in {{a: 1.0, b: 0.5}}"
            )
        if not losses:
            raise ValueError("losses is empty, expected at least one loss with its weight")
        for loss, weight in losses.items():
            if not callable(loss) or not isinstance(weight, int | float):
                raise TypeError(f"losses has {loss!r}: {weight!r}, expected a loss and a number")
        self.losses = dict(losses)

    def compute_loss(
        self, predictions: Any, targets: Any = None, **kwargs: Any
    ) -> tuple[Tensor, Metrics]:
        """The weighted sum; of metrics that two losses have, the first one's."""
        given = (predictions,) if targets is None else (predictions, targets)
        total, metrics = 0.0, {}
        for loss, weight in self.losses.items():
            value, found = loss(*given, **kwargs)
            total, metrics = total + weight * value, {**found, **metrics}
        return total, metrics


class PPOLoss(CustomLoss):
    """`losses.clipped_surrogate_loss`."""

    def __init__(self, clip_param: float = 0.2, clip_param_high: float | None = None) -> None:
        self.clip_param, self.clip_param_high = clip_param, clip_param_high

    def compute_loss(
        self,
        predictions: Tensor,
        targets: Tensor,
        *,
        advantages: Tensor,
        mask: Tensor,
        count: Count = None,
    ) -> tuple[Tensor, Metrics]:
        """Predictions: log_probs, targets: old_log_probs; all [B, L]."""
        return clipped_surrogate_loss(
            predictions,
            targets,
            advantages,
            mask,
            clip_param=self.clip_param,
            clip_param_high=self.clip_param_high,
            count=count,
        )


class KLDivergenceLoss(CustomLoss):
    """`losses.kl_loss`."""

    def __init__(self, kind: KLKind = "k3") -> None:
        self.kind = kind

    def compute_loss(
        self, predictions: Tensor, targets: Tensor, *, mask: Tensor, count: Count = None, **_: Any
    ) -> tuple[Tensor, Metrics]:
        """Predictions: log_probs, targets: the reference's; [B, L]. Other keywords are not read."""
        return kl_loss(predictions, targets, mask, kind=self.kind, count=count)


class ImportanceSamplingLoss(CustomLoss):
    """-E[min(r, c) A log π], r = π / π_old, a constant; without c its gradient is that of -E[r A].

    Truncated importance sampling, Espeholt et al. 2018, IMPALA, section 4.1. c is max_ratio.
    """

    def __init__(self, max_ratio: float | None = None) -> None:
        self.max_ratio = max_ratio

    def compute_loss(
        self,
        predictions: Tensor,
        targets: Tensor,
        *,
        advantages: Tensor,
        mask: Tensor,
        count: Count = None,
    ) -> tuple[Tensor, Metrics]:
        """Predictions: log_probs, targets: those of the policy that collected; all [B, L]."""
        # Clamped before exp: one stale token must not turn the batch to NaN.
        ratio = (predictions.detach() - targets).clamp(max=MAX_LOG_RATIO).exp()
        weights = ratio.clamp(max=self.max_ratio) if self.max_ratio is not None else ratio
        return policy_gradient_loss(predictions, weights * advantages, mask, count=count)


class VarianceLoss(CustomLoss):
    """Var[x] over masked tokens of x = predictions, or predictions - targets where there are any.

    A regulariser, such as of rewards or of errors. The mean is this batch's, so micro-batches do
    not add up to the whole: use it where a step is one batch.
    """

    def compute_loss(
        self, predictions: Tensor, targets: Tensor | None = None, *, mask: Tensor, **_: Any
    ) -> tuple[Tensor, Metrics]:
        """All [B, L]; 0 where no token is masked. Other keywords are not read."""
        x = predictions if targets is None else predictions - targets
        x = x[mask]
        loss = (x - x.mean()).square().mean() if x.numel() else predictions.sum() * 0.0
        return loss, {"variance": loss.detach()}
