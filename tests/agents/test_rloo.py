"""RLOO: its gradient is the paper's, the KL penalty is the response's and is compared too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from agents.batch import Rollout
from agents.rloo import RLOOConfig, RLOOTrainer
from agents.sampling import Sampling
from tests.agents.learners import LEGAL, Words, move, new_policy, new_trainer, words
from textgym import Grade, RLEnvironment

TEMPERATURE = 0.8


def rloo(**settings: Any) -> RLOOTrainer:
    return new_trainer("rloo", **settings)


def watched(trainer: RLOOTrainer, env: Any = None) -> tuple[Rollout, Tensor, float]:
    """What an iteration's optimizer step is made of; it is taken."""
    found, loss = [], trainer.loss
    trainer.loss = lambda *data, count: found.append((*data, count)) or loss(*data, count=count)
    trainer.step(words(trainer, env))
    trainer.loss = loss
    [data] = found
    return data


def test_the_gradient_equals_that_of_the_papers_formula_written_out() -> None:
    """Ahmadian et al. 2024, section 3.2 and eq. 2, token by token, in nothing but PyTorch."""
    sampling = Sampling(temperature=TEMPERATURE)
    trainer, start = rloo(kl_coef=0.3, entropy_coef=0.05, sampling=sampling), new_policy()
    move(trainer.policy, 0.01)
    old = new_policy()
    move(old, 0.01)
    rollout, advantages, count = watched(trainer)
    trainer.policy.load_state_dict(old.state_dict())
    for policy in (trainer.policy, start):
        policy.model.double()

    logits, first = (
        policy.model(rollout.tokens).logits[:, :, LEGAL] / TEMPERATURE
        for policy in (trainer.policy, start)
    )
    scores, returns, entropies = [], [], []
    for row in range(len(rollout)):
        score = penalty = 0.0
        for i in rollout.mask[row].nonzero()[:, 0].tolist():
            token = LEGAL.index(int(rollout.tokens[row, i]))
            log_probs = logits[row, i - 1].log_softmax(-1)
            score = score + log_probs[token]
            reference = first[row, i - 1].log_softmax(-1)[token]
            penalty += (log_probs[token] - reference).item()
            entropies.append(-(log_probs.exp() * log_probs).sum())
        scores.append(score)
        returns.append(float(rollout.rewards[row].sum()) - 0.3 * penalty)
    plain = -0.05 * torch.stack(entropies).sum()
    for row in range(len(rollout)):
        others = [
            returns[j]
            for j in range(len(rollout))
            if j != row and rollout.problem[j] == rollout.problem[row]
        ]
        plain = plain - (returns[row] - sum(others) / len(others)) * scores[row]
    plain = plain / int(rollout.mask.sum())

    loss, _ = trainer.loss(rollout, advantages, count=count)
    assert loss.item() == pytest.approx(plain.item(), abs=1e-5)
    parameters = list(trainer.policy.model.parameters())
    got, want = (torch.autograd.grad(x, parameters) for x in (loss, plain))
    for gradient, other in zip(got, want, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-4)
    assert max(float(gradient.abs().max()) for gradient in want) > 1e-2


def test_an_iteration_is_one_step_and_one_forward() -> None:
    trainer = rloo()
    calls, forward = [], trainer.policy.forward
    trainer.policy.forward = lambda *a, **k: calls.append(1) or forward(*a, **k)
    steps, step = [], trainer.optimizer.step
    trainer.optimizer.step = lambda: steps.append(1) or step()
    trainer.step(words(trainer))
    assert len(calls) == len(steps) == 1


def test_advantages_of_a_group_sum_to_zero_and_are_not_scaled() -> None:
    rollout, advantages, _ = watched(rloo())
    for group in rollout.problem.unique():
        rows = rollout.problem == group
        assert advantages[rows, 0].sum().item() == pytest.approx(0.0, abs=1e-6)
        # r_i - (r_j + r_k) / 2 = 3/2 (r_i - mean)
        own = rollout.returns[rows]
        torch.testing.assert_close(advantages[rows, 0], 1.5 * (own - own.mean()))


def test_a_row_whose_group_has_no_other_verdict_teaches_nothing() -> None:
    class Flaky(Words):
        def grade(self, problem, response):
            failed = len(response) % 2 == 0
            return Grade(error="no") if failed else super().grade(problem, response)

    rollout, advantages, _ = watched(rloo(batch_size=24), RLEnvironment(Flaky()))
    sizes = (rollout.problem[:, None] == rollout.problem).sum(1)
    assert set(sizes.tolist()) >= {1, 2}
    assert not advantages[sizes == 1].any() and advantages[sizes == 2].any()


def test_the_defaults_are_valid() -> None:
    RLOOConfig().validate()
