"""Losses as pure functions of tensors. Nothing here runs a model or keeps state.

Every loss returns `(loss, metrics)`: a scalar to call `backward` on, and a dict of detached 0-d
tensors, left on their device so that nothing waits for it. Unless told otherwise tensors are [B, L]
and index i speaks about token i. All losses share two arguments and one error:

    mask   [B, L] bool, the tokens that the policy chose; what stands elsewhere, even NaN, has no
           influence.
    count  divides the sum over masked tokens, of the loss and of each metric. Default: the number
           of masked tokens, which makes it a mean.
    ValueError names a tensor whose shape differs from mask's.

Those of GRPO share a third: `weights` [B, 1] or [B, L], factors of the terms of the loss, not of
the metrics, which stay means over tokens. `token_weights` gives them; default: all 1.

A trainer that splits an optimizer step into micro-batches passes the whole step's number of tokens
as the count of each. Then the sum of the micro-batches' losses, gradients and metrics is the
step's, however it was split. A mean of micro-batch means is not: it would weigh a token by how few
others share its micro-batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Count = float | Tensor | None
Metrics = dict[str, Tensor]
KLKind = Literal["k1", "k2", "k3"]
Level = Literal["token", "sequence"]
Normalization = Literal["token", "sequence", "constant"]

# e^20 = 5e8: far beyond any ratio that training survives, far below float32's overflow at e^88.
MAX_LOG_RATIO = 20.0


def policy_gradient_loss(
    log_probs: Tensor, advantages: Tensor, mask: Tensor, *, count: Count = None
) -> tuple[Tensor, Metrics]:
    """-E[A log π]: REINFORCE with a baseline. Williams 1992; Sutton & Barto 2018, section 13.4.

    Args:
        log_probs: log π(token i | tokens < i) of the current policy, in nats.
        advantages: A, constants.
        mask: see the module's docstring.
        count: likewise.

    Returns:
        The loss and `policy_loss` = the loss.
    """
    log_probs, advantages = _chosen(mask, log_probs=log_probs, advantages=advantages)
    loss = -_mean(advantages * log_probs, mask, count)
    return loss, {"policy_loss": loss.detach()}


def clipped_surrogate_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip_param: float,
    clip_param_high: float | None = None,
    ratio: Level = "token",
    weights: Tensor | None = None,
    count: Count = None,
) -> tuple[Tensor, Metrics]:
    """-E[min(r A, clip(r, 1 - ε, 1 + ε) A)] with r = π / π_old. Schulman et al. 2017, eq. 7.

    Args:
        log_probs: log π(token i | tokens < i) of the current policy, in nats.
        old_log_probs: the same of the policy that collected the batch, constants.
        advantages: A, constants.
        mask: see the module's docstring.
        weights: likewise.
        count: likewise.
        clip_param: ε.
        clip_param_high: ε of the upper end, if it differs ("clip-higher" of DAPO, Yu et al. 2025).
        ratio: "token", or "sequence": r of each token is the geometric mean of its row's ratios
            (GSPO, Zheng et al. 2025, eq. 7).

    Returns:
        The loss and, each a mean over tokens: `policy_loss` = the loss; `ratio` = r;
        `clip_fraction` = [clip(r) A < r A], the tokens whose gradient is cut to 0; `approx_kl` =
        (r - 1) - log r, the k3 estimate of KL(π_old || π) in nats.
    """
    log_probs, old_log_probs, advantages = _chosen(
        mask, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages
    )
    log_ratios = _log_ratios(log_probs - old_log_probs, mask, ratio)
    ratios = log_ratios.exp()
    high = clip_param if clip_param_high is None else clip_param_high
    surrogate = ratios * advantages
    clipped = ratios.clamp(1.0 - clip_param, 1.0 + high) * advantages
    loss = -_mean(torch.minimum(surrogate, clipped), mask, count, weights)
    metrics = _ratio_metrics(loss, log_ratios, clipped < surrogate, mask, count)
    return loss, metrics


def cispo_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip_param_high: float,
    ratio: Level = "token",
    weights: Tensor | None = None,
    count: Count = None,
) -> tuple[Tensor, Metrics]:
    """-E[sg(min(r, 1 + ε)) A log π] with r = π / π_old. CISPO, MiniMax 2025 (M1), eq. 4 and 5.

    It cuts the importance weight where `clipped_surrogate_loss` cuts the gradient, so every token
    keeps one. As in the paper's experiments there is no lower bound.

    Args:
        log_probs: log π(token i | tokens < i) of the current policy, in nats.
        old_log_probs: the same of the policy that collected the batch, constants.
        advantages: A, constants.
        mask: see the module's docstring.
        weights: likewise.
        count: likewise.
        clip_param_high: ε.
        ratio: as in `clipped_surrogate_loss`.

    Returns:
        The loss and the metrics of `clipped_surrogate_loss`, `clip_fraction` being [r > 1 + ε].
    """
    log_probs, old_log_probs, advantages = _chosen(
        mask, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages
    )
    log_ratios = _log_ratios(log_probs.detach() - old_log_probs, mask, ratio)
    ratios = log_ratios.exp()
    terms = ratios.clamp(max=1.0 + clip_param_high) * advantages * log_probs
    loss = -_mean(terms, mask, count, weights)
    metrics = _ratio_metrics(loss, log_ratios, ratios > 1.0 + clip_param_high, mask, count)
    return loss, metrics


def token_weights(
    mask: Tensor,
    normalization: Normalization,
    *,
    budget: int | None = None,
    add: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    """What each token counts for in GRPO's loss and in its corrections, with all tokens as `count`.

    "token": Σ / number of tokens, every token alike (DAPO, Yu et al. 2025, eq. 8). "sequence": the
    mean over rows of each row's mean (GRPO, Shao et al. 2024, eq. 3), in which a token counts less
    the longer its row. "constant": Σ / (rows * budget), which does not depend on the lengths at all
    (Dr. GRPO, Liu et al. 2025, section 3.2). Call it once for a whole optimizer step.

    Args:
        mask: [B, L] bool, the tokens that the policy chose. Rows without one do not count.
        normalization: one of the above.
        budget: the most tokens that a response may have; read if "constant".
        add: adds up a tensor over all processes that hold a part of the batch.

    Returns:
        [B, 1] float32, with mean 1 over the tokens if "token" or "sequence".

    Raises:
        ValueError: if the normalization is unknown, or "constant" without a budget.
    """
    sizes = mask.sum(1, keepdim=True).float()
    num_tokens, num_rows = add(torch.stack([sizes.sum(), (sizes > 0).sum().float()]))
    if normalization == "token":
        return torch.ones_like(sizes)
    if normalization == "sequence":
        return num_tokens / (num_rows.clamp(min=1) * sizes.clamp(min=1))
    if normalization != "constant" or budget is None:
        raise ValueError(
            f"normalization is {normalization!r} and budget is {budget}, expected 'token', "
            "'sequence', or 'constant' with a budget"
        )
    return torch.ones_like(sizes) * (num_tokens / (num_rows.clamp(min=1) * budget))


def value_loss(
    values: Tensor,
    returns: Tensor,
    mask: Tensor,
    *,
    old_values: Tensor | None = None,
    clip_param: float | None = None,
    count: Count = None,
) -> tuple[Tensor, Metrics]:
    """E[½ (v - G)²], or with clipping E[½ max((v - G)², (v_old + clip(v - v_old, ±ε) - G)²)].

    The clipped form is that of PPO's reference implementation; Huang et al. 2022, "The 37
    implementation details of PPO", detail 9.

    Args:
        values: v of the current value function.
        returns: its targets G, constants.
        mask: see the module's docstring.
        count: likewise.
        old_values: v when the batch was collected, constants. None: no clipping.
        clip_param: ε, how far from v_old moving v pays, in units of reward.

    Returns:
        The loss and `value_loss` = the loss; with clipping also `value_clip_fraction`, the
        fraction of tokens at which the clipped error is the greater one.

    Raises:
        ValueError: if old_values is given without clip_param or vice versa.
    """
    values, returns = _chosen(mask, values=values, returns=returns)
    if (old_values is None) != (clip_param is None):
        raise ValueError("old_values and clip_param must be given together or not at all")
    errors = (values - returns).square()
    metrics = {}
    if old_values is not None and clip_param is not None:
        (old_values,) = _chosen(mask, old_values=old_values)
        clipped = old_values + (values - old_values).clamp(-clip_param, clip_param)
        clipped_errors = (clipped - returns).square()
        is_clipped = (clipped_errors > errors).to(errors.dtype)
        metrics["value_clip_fraction"] = _mean(is_clipped, mask, count)
        errors = torch.maximum(errors, clipped_errors)
    loss = 0.5 * _mean(errors, mask, count)
    return loss, {"value_loss": loss.detach(), **metrics}


def entropy_loss(
    entropies: Tensor, mask: Tensor, *, weights: Tensor | None = None, count: Count = None
) -> tuple[Tensor, Metrics]:
    """-E[H(π(. | s))], to be added with weight entropy_coef. Schulman et al. 2017, eq. 9.

    Args:
        entropies: H of the distribution from which token i was chosen, in nats.
        mask: see the module's docstring.
        weights: likewise.
        count: likewise.

    Returns:
        The loss and `entropy`, the mean entropy in nats per token.
    """
    (entropies,) = _chosen(mask, entropies=entropies)
    loss = -_mean(entropies, mask, count, weights)
    return loss, {"entropy": _mean(entropies.detach(), mask, count)}


def kl_estimate(log_probs: Tensor, reference_log_probs: Tensor, *, kind: KLKind = "k3") -> Tensor:
    """KL(π || π_ref) from tokens sampled from π. Schulman 2020, "Approximating KL divergence".

    With r = π_ref / π, read the estimate, subtract it (detached) from a reward, or differentiate
    it as a loss; no kind is good for all three:

    ====================  ====================  =======================  =========================
    kind                  its value             in a reward              as a loss
    ====================  ====================  =======================  =========================
    k1 = -log r           unbiased, but noisy   yes: E[k1 ∇log π]        no: E[∇k1] = 0,
                          and may be negative   = ∇KL(π || π_ref)        nothing but noise
    k2 = ½ (log r)²       biased, by O(r - 1)³  no: gradient vanishes    yes: E[∇k2]
                                                to 1st order at r = 1    = ∇KL(π || π_ref)
    k3 = (r - 1) - log r  unbiased, never       no: gradient vanishes    GRPO's: E[∇k3]
                          negative, less noise  to 1st order at r = 1    = ∇KL(π_ref || π)
    ====================  ====================  =======================  =========================

    k3 as a loss has the gradient of the other direction, the same to first order at r = 1. Any
    loss per token leaves out that earlier tokens decide which states come later; only a reward
    accounts for it. Tang & Munos 2025, "On a few pitfalls in KL divergence gradient estimation".

    Args:
        log_probs: log π of the sampled tokens in nats, of any shape.
        reference_log_probs: log π_ref of the same tokens, same shape, constants.
        kind: the estimator.

    Returns:
        The estimate per token, in nats.

    Raises:
        ValueError: if the kind is unknown.
    """
    log_ratio = reference_log_probs - log_probs
    if kind == "k1":
        return -log_ratio
    if kind == "k2":
        return 0.5 * log_ratio.square()
    if kind == "k3":
        # Clamped before exp for the reason given in `_log_ratios`.
        return log_ratio.clamp(max=MAX_LOG_RATIO).expm1() - log_ratio
    raise ValueError(f"kind is {kind!r}, expected 'k1', 'k2' or 'k3'")


def kl_loss(
    log_probs: Tensor,
    reference_log_probs: Tensor,
    mask: Tensor,
    *,
    kind: KLKind = "k3",
    weights: Tensor | None = None,
    count: Count = None,
) -> tuple[Tensor, Metrics]:
    """E[KL(π || π_ref)], to be added with weight kl_coef. Shao et al. 2024, eq. 4 (k3).

    Args:
        log_probs: log π(token i | tokens < i) of the current policy, in nats.
        reference_log_probs: the same of the frozen initial policy, constants.
        mask: see the module's docstring.
        weights: likewise.
        count: likewise.
        kind: "k2" or "k3", see `kl_estimate`.

    Returns:
        The loss and `kl`, the mean of k3 (the unbiased one) in nats per token, whatever the kind.

    Raises:
        ValueError: if the kind is "k1", whose gradient is 0 in expectation.
    """
    if kind == "k1":
        raise ValueError("kind is 'k1', whose expected gradient is 0; expected 'k2' or 'k3'")
    log_probs, reference_log_probs = _chosen(
        mask, log_probs=log_probs, reference_log_probs=reference_log_probs
    )
    loss = _mean(kl_estimate(log_probs, reference_log_probs, kind=kind), mask, count, weights)
    with torch.no_grad():
        kl = _mean(kl_estimate(log_probs, reference_log_probs, kind="k3"), mask, count)
    return loss, {"kl": kl}


def _chosen(mask: Tensor, **tensors: Tensor) -> list[Tensor]:
    """The tensors with 0 where mask is False; ValueError if one does not have mask's shape."""
    for name, tensor in tensors.items():
        # Not left to broadcasting: advantages [B] against [B, L] are silently wrong if B = L.
        if tensor.shape != mask.shape:
            got, expected = list(tensor.shape), list(mask.shape)
            raise ValueError(f"{name} has shape {got}, expected {expected} as mask has")
    # Before any arithmetic, not only in `_mean`: the gradient of a dropped inf is 0 * inf = NaN.
    return [tensor.masked_fill(~mask, 0.0) for tensor in tensors.values()]


def _log_ratios(log_ratios: Tensor, mask: Tensor, level: Level) -> Tensor:
    """[B, L] log r of each token, or its row's mean at each token; 0 where mask is False."""
    if level == "sequence":
        means = log_ratios.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
        log_ratios = means * mask
    # Clamped before exp: one stale token must not turn the batch to NaN.
    return log_ratios.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


@torch.no_grad()
def _ratio_metrics(
    loss: Tensor, log_ratios: Tensor, is_clipped: Tensor, mask: Tensor, count: Count
) -> Metrics:
    return {
        "policy_loss": loss.detach(),
        "ratio": _mean(log_ratios.exp(), mask, count),
        "clip_fraction": _mean(is_clipped.to(log_ratios.dtype), mask, count),
        "approx_kl": _mean(log_ratios.expm1() - log_ratios, mask, count),
    }


def _mean(x: Tensor, mask: Tensor, count: Count, weights: Tensor | None = None) -> Tensor:
    """Sum of x (times the weights) over masked tokens, divided by count."""
    if count is None:
        # At least 1: a micro-batch without a single token of the policy costs 0, not 0 / 0.
        count = mask.sum().clamp(min=1)
    if weights is not None:
        x = x * weights
    return x.masked_fill(~mask, 0.0).sum() / count
