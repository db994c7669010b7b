"""Losses of preference learning, as pure functions of the log-probabilities of whole responses.

Nothing here runs a model or keeps state. log π(y | x) = Σ_i log π(y_i | x, y_<i) is the sum over a
response's tokens, eos included, and r(y) = β (log π(y | x) - log π_ref(y | x)) DPO's implicit
reward. All losses but `kto_loss` take `PairLogps` and share one argument and one error:

    count  divides the sum over pairs, of the loss and of each metric. Default: the number of pairs,
           which makes it a mean. As in losses.py, a trainer passes the whole step's number.
    ValueError names a tensor that is not [B], or a reference that is missing.

Each returns (loss, metrics), the metrics being those of `agents.metrics.METRICS`: `preference_loss`
= the loss; `chosen_reward` and `rejected_reward`, the implicit rewards by which this loss compares;
`reward_margin`, their difference; `preference_accuracy` = [chosen_reward > rejected_reward], half
of one for a tie; `chosen_logp` and `rejected_logp` = log π of the whole responses.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from agents.losses import Count, Metrics


class PairLogps(NamedTuple):
    """What the policy and the reference say of B pairs of responses, all [B].

    chosen, rejected: log π of the preferred and the dispreferred response, in nats; sums over their
    tokens. chosen_lengths, rejected_lengths: how many tokens those are. reference_chosen,
    reference_rejected: log π_ref, constants; None for a loss without reference.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_lengths: Tensor
    rejected_lengths: Tensor
    reference_chosen: Tensor | None = None
    reference_rejected: Tensor | None = None


def dpo_loss(
    pairs: PairLogps, *, beta: float, label_smoothing: float = 0.0, count: Count = None
) -> tuple[Tensor, Metrics]:
    """-E[log σ(r_chosen - r_rejected)]. Rafailov et al. 2023, eq. 7.

    With label_smoothing ε the labels count as wrong with this probability, cDPO: (1 - ε) times the
    loss above plus ε times that of the pair turned around. Mitchell 2023, "A note on DPO with noisy
    preferences and relationship to IPO".
    """
    chosen, rejected = _implicit_rewards(pairs, beta)
    losses = _smoothed(chosen - rejected, label_smoothing)
    return _result(losses, pairs, chosen, rejected, count)


def robust_dpo_loss(
    pairs: PairLogps, *, beta: float, label_smoothing: float, count: Count = None
) -> tuple[Tensor, Metrics]:
    """((1 - ε) l(z) - ε l(-z)) / (1 - 2 ε) with l = -log σ and z = r_chosen - r_rejected.

    Of labels that are turned around with probability ε it is, on average, `dpo_loss` of the true
    ones. Chowdhury et al. 2024, "Provably robust DPO".

    Raises:
        ValueError: if label_smoothing, ε, is not at least 0 and below 0.5.
    """
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing is {label_smoothing}, expected from 0 to below 0.5")
    chosen, rejected = _implicit_rewards(pairs, beta)
    gaps = chosen - rejected
    right, wrong = -logsigmoid(gaps), -logsigmoid(-gaps)
    losses = (1 - label_smoothing) * right - label_smoothing * wrong
    return _result(losses / (1 - 2 * label_smoothing), pairs, chosen, rejected, count)


def ipo_loss(pairs: PairLogps, *, beta: float, count: Count = None) -> tuple[Tensor, Metrics]:
    """E[(h - 1 / (2 β))²], h the difference of mean log-ratios per token. Azar et al. 2023, eq. 17.

    The paper writes sums over tokens. Means per token are the form of its reference implementation
    in TRL, by which the paper's results were made: of sums, a longer response reaches the target
    1 / (2 β) with less of a difference in each token. `chosen_reward` and `rejected_reward` are β
    times the sums.
    """
    chosen, rejected = _implicit_rewards(pairs, 1.0)
    gaps = chosen / pairs.chosen_lengths - rejected / pairs.rejected_lengths
    losses = (gaps - 1 / (2 * beta)).square()
    return _result(losses, pairs, beta * chosen, beta * rejected, count)


def hinge_loss(pairs: PairLogps, *, beta: float, count: Count = None) -> tuple[Tensor, Metrics]:
    """E[max(0, 1 - (r_chosen - r_rejected))]. Zhao et al. 2023, SLiC, on DPO's rewards."""
    chosen, rejected = _implicit_rewards(pairs, beta)
    return _result((1 - (chosen - rejected)).relu(), pairs, chosen, rejected, count)


def length_normalised_dpo_loss(
    pairs: PairLogps, *, beta: float, label_smoothing: float = 0.0, count: Count = None
) -> tuple[Tensor, Metrics]:
    """`dpo_loss` with each implicit reward divided by its response's length.

    Lambert et al. 2024, "Tülu 3". These rewards are per token, so β is larger: 5 there.
    """
    chosen, rejected = _implicit_rewards(pairs, beta)
    chosen, rejected = chosen / pairs.chosen_lengths, rejected / pairs.rejected_lengths
    losses = _smoothed(chosen - rejected, label_smoothing)
    return _result(losses, pairs, chosen, rejected, count)


def simpo_loss(
    pairs: PairLogps, *, beta: float, margin: float, count: Count = None
) -> tuple[Tensor, Metrics]:
    """-E[log σ(r_chosen - r_rejected - γ)] with r(y) = β log π(y | x) / |y|, without reference.

    Meng et al. 2024, SimPO, eq. 6. `margin` is γ, in units of the reward.
    """
    _check(pairs)
    chosen = beta * pairs.chosen / pairs.chosen_lengths
    rejected = beta * pairs.rejected / pairs.rejected_lengths
    return _result(-logsigmoid(chosen - rejected - margin), pairs, chosen, rejected, count)


def orpo_loss(pairs: PairLogps, *, beta: float, count: Count = None) -> tuple[Tensor, Metrics]:
    """E[-log p(chosen) - β log σ(log odds(chosen) - log odds(rejected))]. Hong et al. 2024, eq. 6.

    Without reference. p(y) = π(y | x)^(1 / |y|) is the geometric mean of the tokens' probabilities,
    odds = p / (1 - p), and β is the paper's λ. Rewards are β log p.
    """
    _check(pairs)
    chosen = pairs.chosen / pairs.chosen_lengths
    rejected = pairs.rejected / pairs.rejected_lengths
    log_odds_ratio = chosen - rejected - (_log1mexp(chosen) - _log1mexp(rejected))
    losses = -chosen - beta * logsigmoid(log_odds_ratio)
    return _result(losses, pairs, beta * chosen, beta * rejected, count)


def kto_loss(
    logps: Tensor,
    reference_logps: Tensor,
    is_desirable: Tensor,
    *,
    beta: float,
    kl: Tensor | float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    count: Count = None,
) -> tuple[Tensor, Metrics]:
    """E[λ (1 - σ(±(r - β z)))], + for desirable responses. Ethayarajh et al. 2024, KTO.

    Needs no pairs: single responses, each with a thumb up or down.

    Args:
        logps: [B] log π(y | x) of the responses.
        reference_logps: [B] the same of the reference, constants.
        is_desirable: [B] bool.
        beta: β.
        kl: z, see `kto_baseline`; of the whole step, so that its micro-batches agree.
        desirable_weight: λ_D.
        undesirable_weight: λ_U; both such that neither kind outweighs the other by far.
        count: see the module's docstring.

    Returns:
        The loss, and `preference_loss` = the loss; `reward_margin` = twice the mean of ±r, the
        difference of mean rewards where there are as many of both kinds; `preference_accuracy` =
        [±(r - β z) > 0], half of one at 0.
    """
    _same_shape(logps, reference_logps=reference_logps, is_desirable=is_desirable)
    rewards = beta * (logps - reference_logps)
    sign = torch.where(is_desirable, 1.0, -1.0)
    weights = torch.where(is_desirable, desirable_weight, undesirable_weight)
    gains = sign * (rewards - beta * kl)
    loss = _mean(weights * (1 - gains.sigmoid()), count)
    metrics = {
        "preference_loss": loss,
        "reward_margin": _mean(2 * sign * rewards, count),
        "preference_accuracy": _mean(agreement(gains), count),
    }
    return loss, {name: value.detach() for name, value in metrics.items()}


def kto_baseline(logps: Tensor, reference_logps: Tensor) -> Tensor:
    """max(0, E[log π - log π_ref]) of mismatched responses: KTO's estimate of the KL.

    Ethayarajh et al. 2024, section 4.2: each prompt of the batch with the response to another one.

    Args:
        logps: [B] log π(y_other | x).
        reference_logps: [B] the same of the reference.

    Returns:
        A scalar without gradient.
    """
    _same_shape(logps, reference_logps=reference_logps)
    return (logps - reference_logps).mean().clamp(min=0).detach()


def _implicit_rewards(pairs: PairLogps, beta: float) -> tuple[Tensor, Tensor]:
    """The rewards r of the chosen and of the rejected responses, [B] each."""
    _check(pairs)
    if pairs.reference_chosen is None or pairs.reference_rejected is None:
        raise ValueError("reference_chosen or reference_rejected is None, expected a tensor [B]")
    return (
        beta * (pairs.chosen - pairs.reference_chosen),
        beta * (pairs.rejected - pairs.reference_rejected),
    )


def _smoothed(gaps: Tensor, label_smoothing: float) -> Tensor:
    losses = -logsigmoid(gaps)
    if not label_smoothing:
        return losses
    return (1 - label_smoothing) * losses - label_smoothing * logsigmoid(-gaps)


def _log1mexp(x: Tensor) -> Tensor:
    """Accurate log(1 - e^x) for x < 0, at both ends. Mächler 2012, "Accurately computing ..."."""
    # A response of probability 1 has no odds, and rounding errors can make x 0 or more.
    x = x.clamp(max=-1e-7)
    near = x > -0.6931472
    # Each branch sees only numbers that suit it: the other's gradient would be inf or NaN.
    return torch.where(
        near,
        torch.log(-torch.expm1(torch.where(near, x, -0.5))),
        torch.log1p(-torch.exp(torch.where(near, -1.0, x))),
    )


def _result(
    losses: Tensor, pairs: PairLogps, chosen: Tensor, rejected: Tensor, count: Count
) -> tuple[Tensor, Metrics]:
    """The loss, and the metrics that all losses of pairs share; chosen, rejected: rewards [B]."""
    loss = _mean(losses, count)
    metrics = {
        "preference_loss": loss,
        "chosen_reward": _mean(chosen, count),
        "rejected_reward": _mean(rejected, count),
        "reward_margin": _mean(chosen - rejected, count),
        "preference_accuracy": _mean(agreement(chosen - rejected), count),
        "chosen_logp": _mean(pairs.chosen, count),
        "rejected_logp": _mean(pairs.rejected, count),
    }
    return loss, {name: value.detach() for name, value in metrics.items()}


def agreement(gaps: Tensor) -> Tensor:
    """[gap > 0], half of one where it is 0: who cannot tell is right every other time."""
    return gaps.detach().heaviside(gaps.new_tensor(0.5))


def _check(pairs: PairLogps) -> None:
    """Every tensor is [B]; ValueError names the one that is not."""
    if pairs.chosen.ndim != 1:
        raise ValueError(f"chosen has shape {list(pairs.chosen.shape)}, expected [B]")
    given = {name: x for name, x in pairs._asdict().items() if x is not None}
    _same_shape(given.pop("chosen"), **given)


def _same_shape(first: Tensor, **others: Tensor) -> None:
    for name, tensor in others.items():
        # Not left to broadcasting: [B, 1] against [B] is silently a mean over all B² pairs.
        if tensor.shape != first.shape:
            got, expected = list(tensor.shape), list(first.shape)
            raise ValueError(f"{name} has shape {got}, expected {expected}")


def _mean(x: Tensor, count: Count) -> Tensor:
    """Sum of x over pairs, divided by count."""
    return x.sum() / (max(len(x), 1) if count is None else count)
