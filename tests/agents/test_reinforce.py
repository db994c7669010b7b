"""REINFORCE: its gradient is the textbook's, in expectation that of the return."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from agents.batch import Rollout
from agents.reinforce import REINFORCEConfig, REINFORCETrainer
from agents.sampling import Sampling
from tests.agents.learners import LEGAL, move, new_policy, new_trainer, words

TEMPERATURE = 0.8


def reinforce(**settings: Any) -> REINFORCETrainer:
    return new_trainer("reinforce", **settings)


def watched(trainer: REINFORCETrainer) -> tuple[Rollout, Tensor, float]:
    """What an iteration's optimizer step is made of; it is taken."""
    found, loss = [], trainer.loss
    trainer.loss = lambda *data, count: found.append((*data, count)) or loss(*data, count=count)
    trainer.step(words(trainer))
    trainer.loss = loss
    [data] = found
    return data


@pytest.mark.parametrize("whiten_advantages", [False, True])
def test_the_gradient_equals_that_of_the_textbooks_formula_written_out(
    whiten_advantages: bool,
) -> None:
    """Sutton & Barto 2018, eq. 13.11, token by token, in nothing but PyTorch."""
    gamma, kl_coef = 0.9, 0.3
    trainer, start, old = (
        reinforce(
            sampling=Sampling(temperature=TEMPERATURE),
            gamma=gamma,
            kl_coef=kl_coef,
            entropy_coef=0.05,
            whiten_advantages=whiten_advantages,
        ),
        new_policy(),
        new_policy(),
    )
    move(trainer.policy, 0.01)
    move(old, 0.01)
    rollout, advantages, count = watched(trainer)
    trainer.policy.load_state_dict(old.state_dict())
    for policy in (trainer.policy, start):
        policy.model.double()

    logits, first = (
        policy.model(rollout.tokens).logits[:, :, LEGAL] / TEMPERATURE
        for policy in (trainer.policy, start)
    )
    steps: list[tuple[int, Tensor, float, Tensor]] = []  # row, log pi, return, entropy
    for row in range(len(rollout)):
        following = 0.0
        for i in reversed(rollout.mask[row].nonzero()[:, 0].tolist()):
            token = LEGAL.index(int(rollout.tokens[row, i]))
            log_probs = logits[row, i - 1].log_softmax(-1)
            kl = (log_probs[token] - first[row, i - 1].log_softmax(-1)[token]).item()
            following = float(rollout.rewards[row, i]) - kl_coef * kl + gamma * following
            entropy = -(log_probs.exp() * log_probs).sum()
            steps.append((row, log_probs[token], following, entropy))
    scores = []
    for row, _, following, _ in steps:
        others = [other for j, _, other, _ in steps if j != row]
        scores.append(following - sum(others) / len(others))
    if whiten_advantages:
        found = torch.tensor(scores, dtype=torch.float64)
        scores = ((found - found.mean()) / found.std(correction=0)).tolist()
    plain = sum(
        -score * log_prob - 0.05 * entropy
        for score, (_, log_prob, _, entropy) in zip(scores, steps, strict=True)
    ) / len(steps)

    loss, _ = trainer.loss(rollout, advantages, count=count)
    assert loss.item() == pytest.approx(plain.item(), abs=1e-5)
    parameters = list(trainer.policy.model.parameters())
    got, want = (torch.autograd.grad(x, parameters) for x in (loss, plain))
    for gradient, other in zip(got, want, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-4)
    assert max(float(gradient.abs().max()) for gradient in want) > 1e-2


def test_an_iteration_is_one_step_and_one_forward() -> None:
    trainer = reinforce()
    calls, forward = [], trainer.policy.forward
    trainer.policy.forward = lambda *a, **k: calls.append(1) or forward(*a, **k)
    steps, step = [], trainer.optimizer.step
    trainer.optimizer.step = lambda: steps.append(1) or step()
    trainer.step(words(trainer))
    assert len(calls) == len(steps) == 1


def test_the_defaults_are_valid() -> None:
    REINFORCEConfig().validate()
