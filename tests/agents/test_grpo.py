"""GRPO and its corrections: gradients are those of the papers' formulas, groups stay whole."""

from __future__ import annotations

import dataclasses
import math
from statistics import mean, stdev
from typing import Any

import gymnasium as gym
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from torch import Tensor

from agents.grpo import GRPOConfig, GRPOTrainer, Minibatch, _groups
from agents.models import Policy
from agents.sampling import Sampling
from tests.agents.learners import (
    BATCH_SIZE,
    LEGAL,
    WORDS,
    Words,
    move,
    new_policy,
    new_trainer,
    seeded,
    use_sgd,
    weights,
    words,
)
from textgym import Grade, RLEnvironment

BUDGET = Words.max_response_tokens
TEMPERATURE = 0.8


def grpo(**settings: Any) -> GRPOTrainer:
    return new_trainer("grpo", **{"num_minibatches": 1, **settings})


def watched(trainer: GRPOTrainer, env: gym.Env | None = None) -> list[tuple[Minibatch, float]]:
    """What an iteration's optimizer steps are made of; they are taken."""
    found, update = [], trainer._update
    trainer._update = lambda batch, count: found.append((batch, count)) or update(batch, count)
    trainer.metrics = trainer.step(words(trainer, env))
    return found


# ------------------------------------------------------------------- loss and gradient


def plain_loss(policy: Policy, start: Policy, batch: Minibatch, config: GRPOConfig) -> Tensor:
    """Shao et al. 2024, eq. 3 and its corrections, token by token, in nothing but PyTorch."""
    rollout, returns = batch.rollout, batch.rollout.rewards.sum(1).tolist()
    logits, first = (
        p.model(rollout.tokens).logits[:, :, LEGAL] / TEMPERATURE for p in (policy, start)
    )
    low, high = config.clip_param, config.clip_param_high or config.clip_param
    rows = range(len(rollout))
    total = torch.zeros((), dtype=torch.float64)
    for row in rows:
        own = [returns[j] for j in rows if rollout.problem[j] == rollout.problem[row]]
        spread = {"none": 1.0, "group": stdev(own) + 1e-4, "batch": stdev(returns) + 1e-4}
        advantage = (returns[row] - mean(own)) / spread[config.scale]
        places = rollout.mask[row].nonzero()[:, 0].tolist()
        terms = []
        for i in places:
            token = LEGAL.index(int(rollout.tokens[row, i]))
            probabilities = logits[row, i - 1].softmax(-1)
            log_prob, reference = probabilities[token].log(), first[row, i - 1].log_softmax(-1)
            x = reference[token].detach() - log_prob
            kl = x.exp() - x - 1 if config.kl == "k3" else x**2 / 2
            entropy = -(probabilities * probabilities.log()).sum()
            terms.append((log_prob, log_prob - rollout.log_probs[row, i], kl, entropy))
        whole = torch.stack([log_ratio for _, log_ratio, _, _ in terms]).mean().exp()
        score = torch.zeros((), dtype=torch.float64)
        for log_prob, log_ratio, kl, entropy in terms:
            r = whole if config.ratio == "sequence" else log_ratio.exp()
            if config.loss == "cispo":
                term = min(r.item(), 1 + high) * advantage * log_prob
            else:
                term = torch.minimum(r * advantage, r.clamp(1 - low, 1 + high) * advantage)
            score = score + term - config.kl_coef * kl + config.entropy_coef * entropy
        divisor = {
            "token": int(rollout.mask.sum()),
            "sequence": len(places) * len(rollout),
            "constant": BUDGET * len(rollout),
        }
        total = total - score / divisor[config.normalization]
    return total


VARIANTS: dict[str, dict[str, Any]] = {
    "grpo": {"normalization": "sequence", "kl_coef": 0.3},
    "dr_grpo": {"normalization": "constant", "scale": "none"},
    "dapo": {"normalization": "token", "clip_param_high": 0.28},
    "gspo": {"normalization": "sequence", "ratio": "sequence", "clip_param": 0.05},
    "cispo": {"loss": "cispo", "clip_param_high": 0.1},
    "others": {"scale": "batch", "kl": "k2", "kl_coef": 0.2, "entropy_coef": 0.05},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_gradient_equals_that_of_the_papers_formula_written_out(variant: str) -> None:
    trainer = grpo(sampling=Sampling(temperature=TEMPERATURE), **VARIANTS[variant])
    start = new_policy()
    move(trainer.policy, 0.01)
    [(batch, count)] = watched(trainer)
    noise = torch.randn(batch.rollout.mask.shape, generator=seeded(4)) * batch.rollout.mask
    log_probs = batch.rollout.log_probs + 0.3 * noise
    rollout = dataclasses.replace(batch.rollout, log_probs=log_probs)
    batch = batch._replace(rollout=rollout)
    trainer.policy.model.double()  # or single precision's rounding would be what is compared
    start.model.double()
    loss, metrics = trainer.loss(batch, count=count)
    assert 0.05 < metrics["clip_fraction"] < 0.95
    parameters = list(trainer.policy.model.parameters())
    got = torch.autograd.grad(loss, parameters)
    plain = plain_loss(trainer.policy, start, batch, trainer.config)
    want = torch.autograd.grad(plain, parameters)
    assert loss.item() == pytest.approx(plain.item(), abs=1e-6)
    for gradient, other in zip(got, want, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-6, rtol=1e-4)
    assert max(float(gradient.abs().max()) for gradient in want) > 1e-2


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_the_first_step_of_an_iteration_begins_at_ratio_1_without_a_second_forward(
    ratio: str,
) -> None:
    trainer = grpo(ratio=ratio, sampling=Sampling(temperature=TEMPERATURE, top_k=30))
    calls, forward = [], trainer.policy.forward
    trainer.policy.forward = lambda *a, **k: calls.append(1) or forward(*a, **k)
    metrics = trainer.step(words(trainer))
    assert abs(metrics["ratio"] - 1.0) < 1e-5 and metrics["clip_fraction"] == 0.0
    assert len(calls) == 1  # the old log-probabilities are those of sampling


def test_the_value_head_stays_as_it_is() -> None:
    trainer = grpo(learning_rate=1e-2)
    trainer.step(words(trainer))
    assert torch.equal(trainer.policy.value_head.weight, new_policy().value_head.weight)


# ------------------------------------------------------------------- groups


def test_minibatches_hold_whole_groups() -> None:
    steps = watched(grpo(num_minibatches=3, num_epochs=2))
    groups = [set(batch.rollout.problem.tolist()) for batch, _ in steps]
    assert len(steps) == 6 and sorted(map(len, groups)) == [1, 1, 1, 1, 2, 2]
    assert groups[0] | groups[1] | groups[2] == groups[3] | groups[4] | groups[5]
    assert groups[0].isdisjoint(groups[1] | groups[2])


def test_a_problem_of_many_groups_is_spread_over_the_minibatches() -> None:
    problem = torch.tensor([7] * 6 + [2, 2, 2] + [7] * 3 + [5, 5])
    groups = _groups(problem, 3).tolist()
    rows = [[i for i, g in enumerate(groups) if g == group] for group in dict.fromkeys(groups)]
    # Of problem 7 three groups; of 5 a row has no verdict.
    assert rows == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11], [12, 13]]
    assert len(_groups(problem[:0], 3)) == 0


def test_a_wrapped_environment_plays_groups_too() -> None:
    trainer = grpo()
    env = TimeLimit(RLEnvironment(WORDS), 5)
    [(batch, _)] = watched(trainer, env)
    assert batch.rollout.problem.unique().numel() == BATCH_SIZE // 3
    assert not batch.rollout.terminated.all()  # and nothing is bootstrapped
    expected = batch.rollout.returns[:3] - batch.rollout.returns[:3].mean()
    assert batch.advantages[:3, 0].sign().tolist() == expected.sign().tolist()


def test_an_environment_that_cannot_play_groups_is_refused() -> None:
    class Deaf(gym.Wrapper):
        """Does not listen to seeds."""

        def reset(self, *, seed=None, options=None):
            return super().reset(seed=id(self) % 2**31, options=options)

    trainer = grpo()
    envs = SyncVectorEnv([lambda: Deaf(RLEnvironment(WORDS))] * 12, autoreset_mode="Disabled")
    with pytest.raises(ValueError, match="^the environment gave 12 problems to 4 groups of 3 rows"):
        trainer.train(envs)


def test_rows_without_a_verdict_have_no_part_in_their_groups_baseline() -> None:
    class Flaky(Words):
        def grade(self, problem, response):
            failed = len(response) % 3 == 1
            return Grade(error="no") if failed else super().grade(problem, response)

    trainer = grpo(scale="none", batch_size=24)
    [(batch, count)] = watched(trainer, RLEnvironment(Flaky()))
    rollout = batch.rollout
    assert 3 < len(rollout) < 24 and rollout.mask.any(1).all() and count == rollout.num_tokens
    for row in range(len(rollout)):
        own = rollout.returns[rollout.problem == rollout.problem[row]]
        expected = float(rollout.returns[row] - own.mean())
        assert batch.advantages[row].item() == pytest.approx(expected, abs=1e-6)


# ------------------------------------------------------------------- DAPO's shaping and sampling


def test_an_overlong_response_is_punished_once_and_at_its_end() -> None:
    [(batch, _)] = watched(grpo(overlong_margin=6))
    [(before, _)] = watched(grpo())
    assert torch.equal(batch.rollout.tokens, before.rollout.tokens)  # one seed
    penalties = batch.rollout.rewards - before.rollout.rewards
    assert ((penalties != 0).sum(1) <= 1).all()
    for row in range(BATCH_SIZE):
        length = int(batch.rollout.mask[row].sum())
        expected = -min(max((length - (BUDGET - 6)) / 6, 0.0), 1.0)
        assert penalties[row].sum().item() == pytest.approx(expected, abs=1e-6)
        last = batch.rollout.mask[row].nonzero().max()
        assert penalties[row, last].item() == pytest.approx(expected, abs=1e-6)
    assert penalties.sum() < -0.5


class Half(Words):
    """Where the number is even nothing can be earned."""

    def grade(self, problem, response):
        graded = super().grade(problem, response)
        return graded if int(problem.prompt.strip("x")) % 2 else {"correct": 0.0}


class Nothing(Words):
    """Nothing can be earned."""

    def grade(self, problem, response):
        return {"correct": 0.0}


@pytest.mark.parametrize("num_resamples", [None, 0, 9])
def test_groups_of_equal_returns_are_kept_left_out_or_replaced(num_resamples: int | None) -> None:
    trainer = grpo(num_resamples=num_resamples, num_iterations=1)
    [(batch, count)] = watched(trainer, RLEnvironment(Half()))
    rollout, metrics = batch.rollout, trainer.metrics
    groups = rollout.problem.unique().tolist()
    spreads = [float(rollout.returns[rollout.problem == group].std()) for group in groups]
    assert metrics["equal_groups"] > 0.2 and count == rollout.num_tokens
    if num_resamples is None:
        assert len(rollout) == BATCH_SIZE and min(spreads) == 0.0
    elif num_resamples == 0:
        assert 0 < len(rollout) == round(BATCH_SIZE * (1 - metrics["equal_groups"])) < BATCH_SIZE
    else:
        assert len(rollout) == BATCH_SIZE and len(groups) == 4
        assert 2 * BATCH_SIZE <= metrics["episodes"] < 9 * BATCH_SIZE
    if num_resamples is not None:
        assert min(spreads) > 0.0


@pytest.mark.parametrize("num_resamples", [None, 2])
def test_where_all_returns_are_equal_nothing_is_learned_and_nothing_breaks(
    num_resamples: int | None,
) -> None:
    trainer = grpo(num_resamples=num_resamples)
    use_sgd(trainer)
    before = weights(trainer.policy)
    metrics = trainer.step(words(trainer, RLEnvironment(Nothing())))
    assert metrics["equal_groups"] == 1.0
    assert all(torch.equal(before[name], x) for name, x in weights(trainer.policy).items())


# ------------------------------------------------------------------- config


INVALID = [
    ("scale", "std", "one of ['group', 'batch', 'none']"),
    ("normalization", "mean", "one of ['token', 'sequence', 'constant']"),
    ("loss", "ppo", "one of ['clip', 'cispo']"),
    ("ratio", "row", "one of ['token', 'sequence']"),
    ("kl", "k1", "one of ['k2', 'k3']"),
    ("group_size", 1, "an integer of at least 2"),
    ("clip_param", 0.0, "a positive number"),
    ("clip_param_high", math.nan, "a positive number or None"),
    ("overlong_margin", -1, "an integer of at least 0"),
    ("num_resamples", -1, "an integer of at least 0 or None"),
    ("num_minibatches", 5, "at most the number of groups, 4"),
]


@pytest.mark.parametrize(("name", "value", "expected"), INVALID)
def test_an_invalid_value_is_refused_in_one_line(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ValueError) as error:
        grpo(**{name: value})
    assert str(error.value) == f"{name} is {value!r}, expected {expected}"


def test_the_defaults_are_valid() -> None:
    GRPOConfig().validate()
