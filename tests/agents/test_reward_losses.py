"""Losses of reward models: values by hand, probabilities that sum to 1, exact accumulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from agents.calibration import pair_quality
from agents.reward_losses import bradley_terry_loss, reward_regression_loss


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def nll(p: float) -> float:
    return -math.log(p)


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def test_bradley_terry_is_minus_the_log_of_the_sigmoid_of_the_difference():
    loss, metrics = bradley_terry_loss(tensor(1.0, 0.0), tensor(0.5, 2.0))
    assert loss.item() == pytest.approx((nll(sigmoid(0.5)) + nll(sigmoid(-2.0))) / 2)
    assert metrics["reward_loss"].item() == loss.item()
    assert metrics["preference_accuracy"].item() == 0.5
    assert metrics["reward_margin"].item() == pytest.approx((0.5 - 2.0) / 2)
    assert metrics["reward_mean"].item() == pytest.approx(3.5 / 4)


def test_equal_scores_cost_ln_2_and_are_half_right():
    loss, metrics = bradley_terry_loss(tensor(3.0), tensor(3.0))
    assert loss.item() == pytest.approx(math.log(2.0))
    assert metrics["preference_accuracy"].item() == 0.5


def test_a_margin_is_what_the_difference_has_to_exceed():
    loss, _ = bradley_terry_loss(tensor(2.0), tensor(0.0), margins=tensor(0.7))
    assert loss.item() == pytest.approx(nll(sigmoid(1.3)))


def test_label_smoothing_mixes_in_the_opposite_preference():
    loss, _ = bradley_terry_loss(tensor(2.0), tensor(0.5), label_smoothing=0.1)
    assert loss.item() == pytest.approx(0.9 * nll(sigmoid(1.5)) + 0.1 * nll(sigmoid(-1.5)))


def test_smoothing_has_its_minimum_at_the_log_odds_of_the_share():
    gap = torch.tensor([math.log(0.95 / 0.05)], requires_grad=True, dtype=torch.float64)
    bradley_terry_loss(gap, tensor(0.0), label_smoothing=0.05)[0].backward()
    assert gap.grad.item() == pytest.approx(0.0, abs=1e-12)


def test_centering_adds_the_squared_sum():
    plain, _ = bradley_terry_loss(tensor(2.0, 1.0), tensor(0.5, -1.0))
    loss, _ = bradley_terry_loss(tensor(2.0, 1.0), tensor(0.5, -1.0), centering_coef=0.01)
    assert (loss - plain).item() == pytest.approx(0.01 * (2.5**2 + 0.0**2) / 2)


@pytest.mark.parametrize("gap", [-3.0, 0.0, 0.4, 2.5])
@pytest.mark.parametrize("threshold", [0.1, 1.0])
def test_win_loss_and_tie_have_probabilities_that_sum_to_1(gap, threshold):
    def probability(a: float, b: float, tie: bool) -> float:
        loss, _ = bradley_terry_loss(
            tensor(a), tensor(b), ties=torch.tensor([tie]), tie_threshold=threshold
        )
        return math.exp(-loss.item())

    total = probability(gap, 0, False) + probability(0, gap, False) + probability(gap, 0, True)
    assert total == pytest.approx(1.0)


def test_a_tie_is_likeliest_at_equal_scores_and_gives_no_direction():
    gap = torch.zeros(1, requires_grad=True, dtype=torch.float64)
    loss, metrics = bradley_terry_loss(
        gap, tensor(0.0), ties=torch.tensor([True]), tie_threshold=0.5
    )
    loss.backward()
    # θ = e^0.5: (θ² - 1) / (1 + θ)² = (θ - 1) / (θ + 1) = tanh(1/4). Rao & Kupper 1967.
    assert loss.item() == pytest.approx(nll(math.tanh(0.25)))
    assert gap.grad.item() == 0.0
    assert metrics["preference_accuracy"].item() == 0.0


def test_ties_need_a_threshold():
    with pytest.raises(ValueError, match="tie_threshold is 0.0"):
        bradley_terry_loss(tensor(1.0), tensor(0.0), ties=torch.tensor([True]))


def test_huge_differences_stay_finite_with_their_gradients():
    gap = torch.tensor([-1e4, 1e4], requires_grad=True)
    ties = torch.tensor([False, True])
    loss, _ = bradley_terry_loss(gap, torch.zeros(2), ties=ties, tie_threshold=0.5)
    loss.backward()
    assert loss.isfinite() and gap.grad.isfinite().all()


def test_micro_batches_with_the_steps_count_sum_to_the_whole():
    chosen, rejected = torch.randn(2, 7, generator=torch.Generator().manual_seed(0)).double()
    settings = {"label_smoothing": 0.1, "centering_coef": 0.1}
    whole, metrics = bradley_terry_loss(chosen, rejected, **settings)
    parts = [
        bradley_terry_loss(chosen[rows], rejected[rows], count=7, **settings)
        for rows in (slice(0, 3), slice(3, 7))
    ]
    assert sum(loss for loss, _ in parts).item() == pytest.approx(whole.item())
    for name, value in metrics.items():
        assert sum(m[name] for _, m in parts).item() == pytest.approx(value.item())


def test_regression_is_the_mean_square_over_what_is_known():
    predictions = torch.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)
    targets = torch.tensor([[0.0, math.nan], [3.0, 3.0]])
    loss, _ = reward_regression_loss(predictions, targets)
    loss.backward()
    assert loss.item() == pytest.approx((1.0 + 0.0 + 4.0) / 3)
    assert predictions.grad[0, 1].item() == 0.0 and predictions.grad.isfinite().all()


@pytest.mark.parametrize("name", ["rejected", "margins"])
def test_a_wrong_shape_is_told_not_broadcast(name):
    arguments = {"rejected": tensor(0.0, 0.0), name: tensor(0.0, 0.0)[:, None]}
    with pytest.raises(ValueError, match=rf"{name} has shape \[2, 1\], expected \[2\]"):
        bradley_terry_loss(tensor(1.0, 1.0), **arguments)


# ----------------------------------------------------------------- calibration


def test_calibration_error_by_hand():
    # Three pairs at confidence σ(2) = 0.881, two right; one at σ(0.1) = 0.525, right.
    found = pair_quality([2.0, 2.0, -2.0, 0.1], num_bins=10)
    assert found.accuracy == 0.75
    expected = (3 * abs(2 / 3 - sigmoid(2.0)) + 1 * abs(1.0 - sigmoid(0.1))) / 4
    assert found.calibration_error == pytest.approx(expected)
    assert [b.num for b in found.bins] == [1, 3]
    assert found.log_loss == pytest.approx(
        (2 * nll(sigmoid(2.0)) + nll(sigmoid(-2.0)) + nll(sigmoid(0.1))) / 4
    )


def test_true_log_odds_are_calibrated():
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 2, 100_000)
    agrees = rng.random(100_000) < 1 / (1 + np.exp(-odds))
    assert pair_quality(np.where(agrees, odds, -odds)).calibration_error < 0.01


def test_a_coin_is_half_right_and_calibrated():
    found = pair_quality([0.0, 0.0])
    assert (found.accuracy, found.calibration_error) == (0.5, 0.0)


def test_margins_that_are_no_number_are_refused():
    with pytest.raises(ValueError, match=r"margins\[1\] is nan"):
        pair_quality([0.0, math.nan])
