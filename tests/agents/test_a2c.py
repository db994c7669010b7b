"""A2C: one step an iteration, whose gradient is the textbook's."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.a2c import A2CConfig, A2CTrainer
from agents.batch import Rollout
from agents.models import Policy
from agents.play import play
from agents.sampling import Sampling
from tests.agents.learners import LEGAL, move, new_policy, new_trainer, use_sgd, weights, words

torch.set_num_threads(1)


def noted(trainer: A2CTrainer, monkeypatch: pytest.MonkeyPatch) -> list[Rollout]:
    """The rollouts that the trainer will learn from."""
    rollouts: list[Rollout] = []

    def play_and_note(*args: Any) -> Any:
        played = play(*args)
        rollouts.append(played.rollout)
        return played

    monkeypatch.setattr("agents.a2c.play", play_and_note)
    return rollouts


def plain_loss(config: A2CConfig, rollout: Rollout, reference: Any, policy: Policy) -> Tensor:
    """Mnih et al. 2016, section 4, token by token, in nothing but PyTorch."""
    output = policy.model(rollout.tokens, output_hidden_states=True)
    values = policy._read_values(output.hidden_states[-1].detach())
    temperature = config.sampling.temperature
    distributions = (output.logits[:, :, LEGAL].double() / temperature).log_softmax(-1)
    with torch.no_grad():
        ref = (reference(rollout.tokens).logits[:, :, LEGAL].double() / temperature).log_softmax(-1)
    terms: list[tuple[Tensor, float, Tensor, Tensor, float]] = []
    for row, mask in enumerate(rollout.mask):
        steps = mask.nonzero()[:, 0].tolist()
        tokens = [LEGAL.index(int(rollout.tokens[row, i])) for i in steps]
        # One past the end is worth nothing: the episodes end by themselves.
        advantage, next_value = 0.0, 0.0
        for i, token in reversed([*zip(steps, tokens, strict=True)]):
            log_prob, value = distributions[row, i - 1, token], float(rollout.values[row, i])
            penalty = float(rollout.log_probs[row, i]) - float(ref[row, i - 1, token])
            reward = float(rollout.rewards[row, i]) - config.kl_coef * penalty
            delta = reward + config.gamma * next_value - value
            advantage = delta + config.gamma * config.gae_lambda * advantage
            next_value = value
            entropy = -(distributions[row, i - 1].exp() * distributions[row, i - 1]).sum()
            terms.append((log_prob, advantage, entropy, values[row, i - 1], advantage + value))
    advantages = torch.tensor([term[1] for term in terms], dtype=torch.float64)
    if config.whiten_advantages:
        advantages = (advantages - advantages.mean()) / advantages.std(correction=0)
    total = torch.zeros((), dtype=torch.float64)
    for (log_prob, _, entropy, value, target), advantage in zip(terms, advantages, strict=True):
        total = total - advantage * log_prob - config.entropy_coef * entropy
        total = total + config.value_coef * 0.5 * (value - target) ** 2
    return total / len(terms)


@pytest.mark.parametrize("whiten", [True, False])
def test_the_step_is_the_gradient_of_the_papers_formula_written_out(
    whiten: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = new_trainer(
        "a2c",
        kl_coef=0.3,
        entropy_coef=0.05,
        value_coef=0.7,
        gamma=0.9,
        gae_lambda=0.8,
        whiten_advantages=whiten,
        sampling=Sampling(temperature=0.8),
        max_grad_norm=1e9,
        learning_rate=1.0,
        warmup_iterations=0,
    )
    reference = copy.deepcopy(trainer.policy.model)
    move(trainer.policy, 0.02)
    use_sgd(trainer)
    rollouts, before = noted(trainer, monkeypatch), copy.deepcopy(trainer.policy)
    metrics = trainer.step(words(trainer))
    plain = plain_loss(trainer.config, rollouts[0], reference, before)
    parameters = dict(before.named_parameters())
    want = torch.autograd.grad(plain, list(parameters.values()))
    scale = max(float(gradient.abs().max()) for gradient in want)
    after = dict(trainer.policy.named_parameters())
    for name, gradient in zip(parameters, want, strict=True):
        got = (parameters[name] - after[name]).detach()
        torch.testing.assert_close(got, gradient, atol=1e-5 * scale, rtol=1e-3, msg=name)
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in want))
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-4)


def test_an_iteration_is_one_step() -> None:
    trainer, steps = new_trainer("a2c"), []
    step = trainer.optimizer.step
    trainer.optimizer.step = lambda: steps.append(1) or step()
    trainer.step(words(trainer))
    assert len(steps) == 1


def test_a_separate_value_network_judges_the_episodes() -> None:
    policy = new_policy()
    policy.separate_values()
    trainer = A2CTrainer(new_trainer("a2c").config, policy, show=False)
    before = weights(policy)
    metrics = trainer.step(words(trainer))
    changed = {name for name, x in weights(policy).items() if not torch.equal(x, before[name])}
    assert any(name.startswith("value_model.") for name in changed)
    assert metrics["explained_variance"] != 0.0


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("gamma", 1.1, "a number from 0 to 1"),
        ("gae_lambda", -0.1, "a number from 0 to 1"),
        ("value_coef", -1, "a number of at least 0"),
        ("whiten_advantages", "no", "True or False"),
    ],
)
def test_an_invalid_value_is_refused_in_one_line(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ValueError) as error:
        A2CTrainer(A2CConfig(**{name: value}), new_policy())
    assert str(error.value) == f"{name} is {value!r}, expected {expected}"


def test_the_defaults_are_valid() -> None:
    A2CConfig().validate()
