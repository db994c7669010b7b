"""Losses of preference learning: hand-computed values, and what holds for all of them."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from agents.metrics import METRICS
from agents.preference_losses import (
    PairLogps,
    dpo_loss,
    hinge_loss,
    ipo_loss,
    kto_baseline,
    kto_loss,
    length_normalised_dpo_loss,
    orpo_loss,
    robust_dpo_loss,
    simpo_loss,
)

torch.set_num_threads(1)

# Log ratios 1 and -0.5 in the first pair, -1 and 2 in the second.
PAIRS = PairLogps(
    chosen=torch.tensor([-3.0, -4.0]),
    rejected=torch.tensor([-5.0, -2.0]),
    chosen_lengths=torch.tensor([2, 4]),
    rejected_lengths=torch.tensor([5, 1]),
    reference_chosen=torch.tensor([-4.0, -3.0]),
    reference_rejected=torch.tensor([-4.5, -4.0]),
)
ALL = {
    "sigmoid": partial(dpo_loss, beta=0.5),
    "smoothed": partial(dpo_loss, beta=0.5, label_smoothing=0.1),
    "robust": partial(robust_dpo_loss, beta=0.5, label_smoothing=0.1),
    "ipo": partial(ipo_loss, beta=0.5),
    "hinge": partial(hinge_loss, beta=0.5),
    "normalised": partial(length_normalised_dpo_loss, beta=0.5),
    "simpo": partial(simpo_loss, beta=2.0, margin=0.3),
    "orpo": partial(orpo_loss, beta=0.5),
}


def softplus(x: float) -> float:
    """-log sigmoid(-x)."""
    return math.log1p(math.exp(x))


def value(name: str) -> float:
    loss, metrics = ALL[name](PAIRS)
    assert metrics["preference_loss"] == loss and set(metrics) <= set(METRICS)
    return loss.item()


# beta 0.5: the reward margins are 0.75 and -1.5.
def test_dpo_is_the_mean_of_minus_log_sigmoid_of_the_margins() -> None:
    assert value("sigmoid") == pytest.approx((softplus(-0.75) + softplus(1.5)) / 2)


def test_smoothed_labels_mix_in_the_pair_turned_around() -> None:
    right, wrong = (softplus(-0.75) + softplus(1.5)) / 2, (softplus(0.75) + softplus(-1.5)) / 2
    assert value("smoothed") == pytest.approx(0.9 * right + 0.1 * wrong)


def test_robust_dpo_takes_the_pair_turned_around_out_again() -> None:
    right, wrong = (softplus(-0.75) + softplus(1.5)) / 2, (softplus(0.75) + softplus(-1.5)) / 2
    assert value("robust") == pytest.approx((0.9 * right - 0.1 * wrong) / 0.8)


def test_robust_dpo_of_noisy_labels_is_dpo_of_the_true_ones_on_average() -> None:
    turned = PairLogps(PAIRS[1], PAIRS[0], PAIRS[3], PAIRS[2], PAIRS[5], PAIRS[4])
    loss = partial(robust_dpo_loss, beta=0.5, label_smoothing=0.2)
    expected = 0.8 * loss(PAIRS)[0] + 0.2 * loss(turned)[0]
    assert expected.item() == pytest.approx(dpo_loss(PAIRS, beta=0.5)[0].item())


def test_ipo_is_the_squared_distance_of_mean_log_ratios_to_its_target() -> None:
    first, second = 1 / 2 - (-0.5) / 5, -1 / 4 - 2 / 1
    assert value("ipo") == pytest.approx(((first - 1) ** 2 + (second - 1) ** 2) / 2)


def test_hinge_is_zero_beyond_a_margin_of_one() -> None:
    assert value("hinge") == pytest.approx((0.25 + 2.5) / 2)
    assert hinge_loss(PAIRS, beta=0.7)[0].item() == pytest.approx((0.0 + 3.1) / 2)


def test_length_normalised_dpo_divides_each_reward_by_its_length() -> None:
    first, second = 0.5 * (1 / 2 + 0.5 / 5), 0.5 * (-1 / 4 - 2)
    assert value("normalised") == pytest.approx((softplus(-first) + softplus(-second)) / 2)


def test_simpo_compares_mean_log_probabilities_with_a_margin() -> None:
    first, second = 2 * (-1.5 + 1.0) - 0.3, 2 * (-1.0 + 2.0) - 0.3
    assert value("simpo") == pytest.approx((softplus(-first) + softplus(-second)) / 2)


def test_orpo_is_the_likelihood_and_the_odds_ratio() -> None:
    def log_odds(mean: float) -> float:
        return math.log(math.exp(mean) / (1 - math.exp(mean)))

    first = 1.5 + 0.5 * softplus(-(log_odds(-1.5) - log_odds(-1.0)))
    second = 1.0 + 0.5 * softplus(-(log_odds(-1.0) - log_odds(-2.0)))
    assert value("orpo") == pytest.approx((first + second) / 2)


@pytest.mark.parametrize("logp", [-1e-9, -1e-4, -50.0, -1e4, 0.0])
def test_orpo_and_its_gradient_are_finite_for_any_probability(logp: float) -> None:
    chosen = torch.tensor([logp], requires_grad=True)
    pairs = PairLogps(chosen, torch.tensor([-1.0]), torch.tensor([1]), torch.tensor([1]))
    loss, _ = orpo_loss(pairs, beta=0.1)
    loss.backward()
    assert loss.isfinite() and chosen.grad.isfinite()


def test_the_metrics_are_rewards_their_margin_and_how_often_it_is_positive() -> None:
    _, metrics = ALL["sigmoid"](PAIRS)
    assert {name: round(x.item(), 6) for name, x in metrics.items()} == {
        "preference_loss": round(value("sigmoid"), 6),
        "chosen_reward": 0.0,  # (0.5 - 0.5) / 2
        "rejected_reward": 0.375,  # (-0.25 + 1) / 2
        "reward_margin": -0.375,
        "preference_accuracy": 0.5,
        "chosen_logp": -3.5,
        "rejected_logp": -3.5,
    }
    assert not any(x.requires_grad for x in metrics.values())


@pytest.mark.parametrize("name", ["sigmoid", "smoothed", "robust", "normalised"])
def test_a_policy_that_is_the_reference_has_loss_ln_2_and_margin_0(name: str) -> None:
    pairs = PAIRS._replace(reference_chosen=PAIRS.chosen, reference_rejected=PAIRS.rejected)
    loss, metrics = ALL[name](pairs)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-7)
    assert (metrics["reward_margin"], metrics["preference_accuracy"]) == (0.0, 0.5)


@pytest.mark.parametrize("name", ALL)
def test_micro_batches_with_the_steps_count_add_up_to_the_step(name: str) -> None:
    whole, metrics = ALL[name](PAIRS)
    parts = [ALL[name](PairLogps(*(x[i : i + 1] for x in PAIRS)), count=2) for i in range(2)]
    assert sum(loss for loss, _ in parts).item() == pytest.approx(whole.item())
    for key, total in metrics.items():
        assert sum(found[key] for _, found in parts).item() == pytest.approx(total.item()), key


@pytest.mark.parametrize("name", ALL)
def test_each_loss_raises_the_chosen_and_lowers_the_rejected_response(name: str) -> None:
    chosen, rejected = PAIRS.chosen.clone(), PAIRS.rejected.clone()
    pairs = PAIRS._replace(chosen=chosen.requires_grad_(), rejected=rejected.requires_grad_())
    ALL[name](pairs)[0].backward()
    # The second pair is wrong by far: of the first, a squared loss may be past its target.
    assert chosen.grad[1] < 0 < rejected.grad[1]


def test_the_gradient_of_dpo_is_equation_7s() -> None:
    # -beta sigmoid(-margin) / B for the chosen, + for the rejected.
    chosen, rejected = (
        PAIRS.chosen.clone().requires_grad_(),
        PAIRS.rejected.clone().requires_grad_(),
    )
    ALL["sigmoid"](PAIRS._replace(chosen=chosen, rejected=rejected))[0].backward()
    weights = [0.5 / (1 + math.exp(margin)) / 2 for margin in (0.75, -1.5)]
    assert chosen.grad.tolist() == pytest.approx([-w for w in weights])
    assert rejected.grad.tolist() == pytest.approx(weights)


def test_kto_weighs_desirable_and_undesirable_responses_against_the_baseline() -> None:
    logps, reference = torch.tensor([-3.0, -2.0, -4.0]), torch.tensor([-4.0, -4.0, -3.0])
    desirable = torch.tensor([True, False, True])
    loss, metrics = kto_loss(
        logps, reference, desirable, beta=0.5, kl=0.2, desirable_weight=2.0, undesirable_weight=0.5
    )
    gains = [0.5 - 0.1, 0.1 - 1.0, -0.5 - 0.1]
    weights = [2.0, 0.5, 2.0]
    terms = [w * (1 - 1 / (1 + math.exp(-gain))) for w, gain in zip(weights, gains, strict=True)]
    assert loss.item() == pytest.approx(sum(terms) / 3)
    assert metrics["preference_accuracy"].item() == pytest.approx(1 / 3)
    assert metrics["reward_margin"].item() == pytest.approx(2 * (0.5 - 1.0 - 0.5) / 3)


def test_what_kto_cannot_tell_is_half_right() -> None:
    logps = torch.tensor([-3.0, -2.0, -4.0])
    desirable = torch.tensor([True, False, True])
    _, metrics = kto_loss(logps, logps, desirable, beta=0.5, kl=0.0)
    assert metrics["preference_accuracy"].item() == 0.5


def test_the_baseline_of_kto_is_a_mean_that_is_never_negative() -> None:
    reference = torch.tensor([-2.0, -2.0])
    logps = torch.tensor([-1.0, -1.5], requires_grad=True)
    baseline = kto_baseline(logps, reference)
    assert baseline.item() == 0.75 and not baseline.requires_grad
    assert kto_baseline(torch.tensor([-3.0, -1.5]), reference).item() == 0.0


def test_a_tensor_of_another_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"rejected has shape \[2, 1\], expected \[2\]"):
        dpo_loss(PAIRS._replace(rejected=PAIRS.rejected[:, None]), beta=0.1)
    with pytest.raises(ValueError, match=r"chosen has shape \[1, 2\], expected \[B\]"):
        dpo_loss(PAIRS._replace(chosen=PAIRS.chosen[None]), beta=0.1)


def test_a_missing_reference_is_told() -> None:
    with pytest.raises(ValueError, match="reference_chosen or reference_rejected is None"):
        ipo_loss(PAIRS._replace(reference_chosen=None), beta=0.1)


def test_robust_dpo_needs_a_share_below_a_half() -> None:
    with pytest.raises(ValueError, match=r"label_smoothing is 0.5, expected from 0 to below 0.5"):
        robust_dpo_loss(PAIRS, beta=0.1, label_smoothing=0.5)
