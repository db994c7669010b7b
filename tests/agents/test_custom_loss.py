"""Losses as objects are the pure functions, alone and weighted together."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from agents.custom_loss import (
    CompositeLoss,
    CustomLoss,
    ImportanceSamplingLoss,
    KLDivergenceLoss,
    PPOLoss,
    VarianceLoss,
)
from agents.dpo import DPOConfig, DPOTrainer
from agents.losses import clipped_surrogate_loss, kl_loss
from agents.models import Policy, new_tiny_model
from agents.preference_losses import dpo_loss

MASK = torch.tensor([[False, True, True]])
NEW = torch.tensor([[0.0, -1.0, -2.0]])
OLD = torch.tensor([[0.0, -1.5, -1.0]])
ADVANTAGES = torch.tensor([[0.0, 1.0, -2.0]])


def test_ppo_loss_is_the_clipped_surrogate() -> None:
    loss, metrics = PPOLoss(clip_param=0.1)(NEW, OLD, advantages=ADVANTAGES, mask=MASK)
    expected, found = clipped_surrogate_loss(NEW, OLD, ADVANTAGES, MASK, clip_param=0.1)
    assert loss == expected and metrics == found


def test_kl_divergence_loss_is_the_kl_loss() -> None:
    loss, metrics = KLDivergenceLoss("k2")(NEW, OLD, mask=MASK)
    assert loss == kl_loss(NEW, OLD, MASK, kind="k2")[0] == (0.5 * 0.25 + 0.5 * 1.0) / 2
    assert set(metrics) == {"kl"}


def test_importance_sampling_has_the_gradient_of_the_weighted_advantage() -> None:
    log_probs = NEW.clone().requires_grad_()
    ImportanceSamplingLoss()(log_probs, OLD, advantages=ADVANTAGES, mask=MASK)[0].backward()
    # d(-r A)/d log pi = -r A, a mean over 2 tokens.
    assert log_probs.grad.tolist()[0] == pytest.approx([0, -math.exp(0.5) / 2, math.exp(-1)])


def test_importance_weights_are_truncated_at_max_ratio() -> None:
    log_probs = NEW.clone().requires_grad_()
    loss = ImportanceSamplingLoss(max_ratio=1.0)
    loss(log_probs, OLD, advantages=ADVANTAGES, mask=MASK)[0].backward()
    assert log_probs.grad.tolist()[0] == pytest.approx([0, -0.5, math.exp(-1)])


def test_variance_loss_is_the_variance_over_masked_tokens() -> None:
    loss, metrics = VarianceLoss()(torch.tensor([[9.0, 1.0, 3.0]]), mask=MASK)
    assert loss == metrics["variance"] == 1.0
    targets = torch.tensor([[9.0, 1.0, 3.0]])
    assert VarianceLoss()(targets + 2.0, targets, mask=MASK)[0] == 0.0
    assert VarianceLoss()(targets, mask=torch.zeros_like(MASK))[0] == 0.0


def test_a_composite_is_the_weighted_sum_with_all_metrics() -> None:
    def mean(predictions, targets, *, mask, **_):
        return predictions[mask].mean(), {"kl": torch.tensor(7.0), "entropy": torch.tensor(5.0)}

    loss, metrics = CompositeLoss({KLDivergenceLoss("k2"): 2.0, mean: 0.5})(NEW, OLD, mask=MASK)
    assert loss.item() == pytest.approx(2.0 * 0.3125 + 0.5 * -1.5)
    assert metrics["entropy"] == 5.0 and metrics["kl"] != 7.0  # the first one's


def test_a_composite_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="losses is empty"):
        CompositeLoss({})


class Likelihood(CustomLoss):
    """A loss of a user's own, without metrics."""

    def compute_loss(self, predictions, targets=None, *, count):
        return -predictions.chosen.sum() / count


@pytest.mark.parametrize("kind", ["function", "object", "composite"])
def test_a_trainer_takes_any_of_them(kind: str) -> None:
    losses = {
        "function": partial(dpo_loss, beta=0.3),
        "object": Likelihood(),
        "composite": CompositeLoss({partial(dpo_loss, beta=0.3): 1.0, Likelihood(): 0.1}),
    }
    policy = Policy(new_tiny_model(0, hidden_size=32, num_layers=1), "char")
    before = policy.model.lm_head.weight.clone()
    trainer = DPOTrainer(DPOConfig(batch_size=2), policy, loss=losses[kind])
    trainer.train_on_preferences(["a", "b"], ["x", "y"], ["z", "w"])
    assert not torch.equal(policy.model.lm_head.weight, before)


@pytest.mark.parametrize("losses", [[abs], {abs: "0.5"}, {"abs": 0.5}])
def test_a_composite_loss_refuses_what_is_no_loss_with_a_weight(losses) -> None:
    with pytest.raises(TypeError, match="^losses .*expected"):
        CompositeLoss(losses)
