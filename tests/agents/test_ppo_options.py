"""PPO's options: each one's gradient is that of its formula written out, token by token."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from agents import play as play_module
from agents.batch import Rollout
from agents.buffer import Minibatch, PPOBuffer
from agents.models import Policy, new_tiny_model
from agents.play import reference_kl, slots
from agents.ppo import PPOConfig, PPOTrainer
from agents.rollout import collect
from tests.agents.learners import (
    BATCH_SIZE,
    LEGAL,
    WORDS,
    move,
    new_config,
    new_policy,
    seeded,
    use_sgd,
    weights,
)
from textgym import CharTokenizer, RLEnvironment

torch.set_num_threads(1)


def new_trainer(policy: Policy | None = None, **settings: Any) -> PPOTrainer:
    config = new_config("ppo", **{"num_minibatches": 1, **settings})
    return PPOTrainer(config, policy or new_policy(), show=False)


def separate() -> Policy:
    """A policy whose values come from a network of their own, which has moved since."""
    policy = new_policy()
    policy.separate_values()
    with torch.no_grad():
        for number, parameter in enumerate(policy.value_model.parameters()):
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=seeded(number + 50)))
    return policy


def words(trainer: PPOTrainer) -> Any:
    return slots(RLEnvironment(WORDS), trainer.policy, trainer.config)


def collected(trainer: PPOTrainer) -> Rollout:
    sampling = trainer.config.sampling
    envs = words(trainer)
    return collect(trainer.policy, envs, BATCH_SIZE, generator=seeded(), seed=3, sampling=sampling)[
        0
    ].trim()


def whole(buffer: PPOBuffer) -> Minibatch:
    [minibatch] = buffer.minibatches(1, seeded())
    return minibatch


# ------------------------------------------------------------------- the formulas, written out


def log_probs_of(model: nn.Module, rollout: Rollout) -> list[list[Tensor]]:
    """log pi of each row's chosen tokens, by a plain softmax over the legal ones."""
    logits, rows = model(rollout.tokens).logits[:, :, LEGAL].double(), []
    for row, mask in enumerate(rollout.mask):
        chosen = [(i, LEGAL.index(int(rollout.tokens[row, i]))) for i in mask.nonzero()[:, 0]]
        rows.append([logits[row, i - 1].log_softmax(-1)[token] for i, token in chosen])
    return rows


def values_of(policy: Policy, rollout: Rollout) -> list[list[Tensor]]:
    """v of the states in which they were chosen."""
    trunk = policy.model.model if policy.value_model is None else policy.value_model
    hidden = trunk(rollout.tokens).last_hidden_state
    if policy.value_model is None:
        hidden = hidden.detach()
    centered = hidden - hidden.mean(-1, keepdim=True)
    features = centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    values = (features / math.sqrt(hidden.shape[-1]) @ policy.value_head.weight[0]).double()
    values = values + policy.value_head.bias
    return [
        [values[row, i - 1] for i in mask.nonzero()[:, 0]] for row, mask in enumerate(rollout.mask)
    ]


def scaled(rows: list[list[float]], *, shift: bool) -> list[list[float]]:
    """To standard deviation 1 over all of them, and to mean 0 if they are shifted."""
    flat = torch.tensor([x for row in rows for x in row], dtype=torch.float64)
    mean, std = float(flat.mean()), float(flat.std(correction=0))
    return [[(x - mean) / std + (0.0 if shift else mean) for x in row] for row in rows]


def plain_loss(
    config: PPOConfig, rollout: Rollout, reference: nn.Module, old: Policy, policy: Policy
) -> Tensor:
    """The loss of `policy` on what `old` prepared of the rollout, all that counts as floats."""
    with torch.no_grad():
        fixed = [log_probs_of(model, rollout) for model in (reference, old.model)]
        kept = [[[float(x) for x in row] for row in rows] for rows in fixed]
        (ref, old_log_probs), old_values = kept, values_of(old, rollout)
    sampled = [rollout.log_probs[i, mask].tolist() for i, mask in enumerate(rollout.mask)]
    if old.value_model is None:  # values were noted while the episodes were played
        old_values = [rollout.values[i, mask].tolist() for i, mask in enumerate(rollout.mask)]
    rewards = [rollout.rewards[i, mask].tolist() for i, mask in enumerate(rollout.mask)]
    limit = config.max_importance_weight
    base = sampled if limit is None else old_log_probs
    if config.kl == "reward":
        rewards = [
            [r - config.kl_coef * (a - b) for r, a, b in zip(*row, strict=True)]
            for row in zip(rewards, base, ref, strict=True)
        ]
    if config.whiten_rewards:
        rewards = scaled(rewards, shift=False)
    advantages, targets = [], []
    for r, v in zip(rewards, old_values, strict=True):
        steps, v = range(len(r)), [float(x) for x in v]
        if config.level == "sequence":
            advantages.append([sum(r) - v[0] for _ in steps])
            targets.append([sum(r) for _ in steps])
            continue
        errors = [r[t] + config.gamma * [*v, 0.0][t + 1] - v[t] for t in steps]
        decay = config.gamma * config.gae_lambda
        row = [sum(decay ** (k - t) * errors[k] for k in steps if k >= t) for t in steps]
        advantages.append(row)
        targets.append([a + x for a, x in zip(row, v, strict=True)])
    if config.whiten_advantages:
        advantages = scaled(advantages, shift=True)

    total = torch.zeros((), dtype=torch.float64)
    new, values = log_probs_of(policy.model, rollout), values_of(policy, rollout)
    for row in range(len(rollout)):
        for t, log_prob in enumerate(new[row]):
            weight = 1.0
            if limit is not None:
                weight = min(math.exp(old_log_probs[row][t] - sampled[row][t]), limit)
            ratio = (log_prob - base[row][t]).exp()
            bounded = ratio.clamp(1 - config.clip_param, 1 + config.clip_param)
            advantage = advantages[row][t]
            total = total - weight * torch.minimum(ratio * advantage, bounded * advantage)
            total = total + config.value_coef * 0.5 * (values[row][t] - targets[row][t]) ** 2
            log_r = ref[row][t] - log_prob
            if config.kl == "k2":
                total = total + config.kl_coef * 0.5 * log_r**2
            if config.kl == "k3":
                total = total + config.kl_coef * (log_r.exp() - 1 - log_r)
    return total / sum(map(len, new))


OPTIONS: dict[str, dict[str, Any]] = {
    "token": {},
    "sequence": {"level": "sequence"},
    "k2": {"kl": "k2"},
    "k3": {"kl": "k3"},
    "advantages as they are": {"whiten_advantages": False},
    "rewards whitened": {"whiten_rewards": True, "whiten_advantages": False},
    "importance": {"max_importance_weight": 1.1},
    "importance, sequence, k3": {"max_importance_weight": 3.0, "level": "sequence", "kl": "k3"},
    "separate values": {"value": "separate"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_gradient_equals_that_of_the_options_formula_written_out(name: str) -> None:
    options = dict(OPTIONS[name])
    policy = separate() if options.pop("value", None) else new_policy()
    common = {"kl_coef": 0.3, "gamma": 0.9, "gae_lambda": 0.8, "clip_param": 0.02}
    common["value_clip_param"] = None
    trainer = new_trainer(policy, **common, **options)
    reference = copy.deepcopy(policy.model)
    rollout = collected(trainer)
    move(policy, 0.02)  # stale episodes, and KL to the reference
    old = copy.deepcopy(policy)
    buffer, _ = trainer._prepare(rollout)
    move(policy, 0.005)  # ratios other than 1
    minibatch = whole(buffer)
    loss, metrics = trainer.loss(minibatch, count=rollout.num_tokens)
    assert 0.02 < metrics["clip_fraction"] < 0.9
    loss.backward()
    parameters = dict(policy.named_parameters())
    plain = plain_loss(trainer.config, rollout, reference, old, policy)
    want = torch.autograd.grad(plain, list(parameters.values()), allow_unused=True)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-4)
    scale = max(float(gradient.abs().max()) for gradient in want if gradient is not None)
    for (parameter, got), gradient in zip(parameters.items(), want, strict=True):
        if gradient is None:
            assert got.grad is None, parameter
            continue
        torch.testing.assert_close(
            got.grad, gradient, atol=1e-5 * scale, rtol=1e-3, msg=f"{parameter}"
        )


# ------------------------------------------------------------------- importance sampling


def test_weights_are_the_learners_share_of_the_samplers_probability_cut_at_the_limit() -> None:
    trainer = new_trainer(max_importance_weight=2.0)
    rollout = collected(trainer)
    for shift, expected in ((0.0, 1.0), (math.log(2), 0.5), (-math.log(4), 2.0)):
        stale = dataclasses.replace(rollout, log_probs=rollout.log_probs + shift * rollout.mask)
        corrected, found, metrics = trainer._correct(stale)
        assert metrics["importance_weight"] == pytest.approx(expected, abs=1e-5)
        torch.testing.assert_close(found, expected * rollout.mask.float(), atol=2e-5, rtol=0)
        torch.testing.assert_close(corrected.log_probs, rollout.log_probs, atol=2e-5, rtol=0)


def test_with_importance_weights_the_ratio_is_1_before_the_first_update_of_stale_episodes() -> None:
    trainer = new_trainer(max_importance_weight=2.0)
    rollout = collected(trainer)
    move(trainer.policy, 0.02)
    for limit, is_one in ((2.0, True), (None, False)):
        trainer.config.max_importance_weight = limit
        buffer, _ = trainer._prepare(rollout)
        _, metrics = trainer.loss(whole(buffer), count=rollout.num_tokens)
        assert (abs(metrics["ratio"].item() - 1.0) < 1e-6) == is_one
        assert (metrics["approx_kl"].item() < 1e-10) == is_one


# ------------------------------------------------------------------- the value function first


@pytest.mark.parametrize("make", [new_policy, separate])
def test_at_first_the_value_function_alone_learns(make: Any) -> None:
    trainer = new_trainer(
        make(), value_iterations=2, entropy_coef=0.1, kl_coef=0.1, kl="k3", num_epochs=2
    )
    starts = [weights(trainer.policy)]
    for _ in range(3):
        trainer.step(words(trainer))
        starts.append(weights(trainer.policy))
    values = [name for name in starts[0] if name.startswith("value_") and "weight" in name]
    assert len(values) == (1 if make is new_policy else len(starts[0]) // 2)
    for number, (before, after) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed >= {"value_head.weight"}
        assert bool(changed & {"model.model.norm.weight"}) == (number == 2)
        if number < 2:
            assert all(name.startswith("value_") for name in changed)


def test_a_separate_value_network_judges_the_episodes_that_were_played() -> None:
    trainer = new_trainer(separate(), whiten_advantages=False)
    rollout = collected(trainer)
    assert not rollout.values.any()
    buffer, _ = trainer._prepare(rollout)
    seen = trainer.policy.values(rollout.tokens, rollout.mask)[rollout.mask]
    kept = whole(buffer)
    assert seen.abs().max() > 0.01
    # λ = γ = 1: the advantage of the first token is the return minus its value.
    order = [rollout.problem.tolist().index(p) for p in kept.rollout.problem.tolist()]
    values = trainer.policy.values(rollout.tokens, rollout.mask)[order, : kept.returns.shape[1]]
    torch.testing.assert_close(kept.returns - kept.advantages, values, atol=1e-5, rtol=0)


def test_a_run_with_a_separate_value_network_resumes_to_the_same_weights(tmp_path) -> None:
    settings = {"value": "separate", "num_iterations": 3, "learning_rate": 1e-2}
    config = new_config("ppo", num_minibatches=1, checkpoint_every=2, **settings)
    whole = PPOTrainer(config, new_policy(), show=False)
    whole.train(words(whole))
    assert whole.policy.value_model is not None

    killed = PPOTrainer(config, new_policy(), folder=tmp_path, show=False)
    envs = words(killed)
    for _ in range(2):
        killed.step(envs)
    killed.course.save_checkpoint()
    resumed = PPOTrainer(config, new_policy(), folder=tmp_path, show=False)
    resumed.load_checkpoint()
    resumed.train(envs)
    ours, theirs = weights(resumed.policy), weights(whole.policy)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    start = weights(PPOTrainer(config, new_policy(), show=False).policy)
    moved = {name for name in start if not torch.equal(start[name], ours[name])}
    assert any(name.startswith("value_model.") for name in moved)


def test_values_learn_to_be_the_mean_return() -> None:
    trainer = new_trainer(separate(), value_iterations=15, num_iterations=15, learning_rate=3e-3)
    envs = words(trainer)
    rows = [trainer.step(envs) for _ in range(15)]
    assert rows[-1]["value_loss"] < 0.5 * rows[0]["value_loss"]
    assert rows[-1]["kl"] == pytest.approx(0.0, abs=1e-6)


# ------------------------------------------------------------------- nothing to learn from


def emptied(rollout: Rollout) -> Rollout:
    nothing = torch.zeros_like(rollout.mask)
    zeros = torch.zeros_like(rollout.rewards)
    return dataclasses.replace(rollout, mask=nothing, log_probs=zeros, rewards=zeros)


def test_a_rollout_without_a_token_of_the_policy_changes_nothing_and_divides_by_nothing() -> None:
    trainer = new_trainer(kl_coef=0.1, max_importance_weight=2.0, whiten_rewards=True)
    rollout, before = emptied(collected(trainer)), weights(trainer.policy)
    _, kl = reference_kl(trainer.reference, rollout, trainer.config, needed=True)
    assert kl == 0.0
    buffer, metrics = trainer._prepare(rollout)
    assert metrics == {"kl": 0.0, "importance_weight": 0.0}
    metrics = trainer._update(whole(buffer))
    assert set(metrics.values()) == {0.0}
    assert all(torch.equal(before[name], x) for name, x in weights(trainer.policy).items())


# ------------------------------------------------------------------- action masks


def test_under_action_masks_every_response_is_valid_and_the_first_ratio_is_1(monkeypatch) -> None:
    policy = Policy(new_tiny_model(0, hidden_size=32, num_layers=1), CharTokenizer())
    config = PPOConfig(batch_size=16, num_iterations=3, num_minibatches=2, action_masks=True)
    config.learning_rate, config.entropy_coef = 1e-2, 0.1  # where all returns are equal
    trainer = PPOTrainer(config, policy, show=False)
    responses, ratios, loss = [], [], trainer.loss

    def collect_and_note(*args: Any, **kwargs: Any) -> Any:
        rollout, episodes = collect(*args, **kwargs)
        responses.append(episodes.components)
        assert rollout.legal.shape[-1] > 0
        return rollout, episodes

    def watched(minibatch: Minibatch, *, count: float) -> Any:
        found, metrics = loss(minibatch, count=count)
        ratios.append(metrics["ratio"].item())
        return found, metrics

    monkeypatch.setattr(play_module, "collect", collect_and_note)
    monkeypatch.setattr(trainer, "loss", watched)
    envs = slots("TextStructured-v0", policy, config)
    for _ in range(3):
        trainer.step(envs)
        assert abs(ratios[-2] - 1.0) < 1e-6 < abs(ratios[-1] - 1.0)
        assert responses[-1]["valid"].tolist() == [1.0] * 16


def test_without_the_masks_an_untrained_policy_says_nothing_valid() -> None:
    policy = Policy(new_tiny_model(0, hidden_size=32, num_layers=1), CharTokenizer())
    config = PPOConfig(batch_size=16)
    envs = slots("TextStructured-v0", policy, config)
    _, episodes = collect(policy, envs, 16, generator=seeded(), seed=0)
    assert episodes.components["valid"].sum() == 0


# ------------------------------------------------------------------- the penalty in the loss


@pytest.mark.parametrize("kl", ["reward", "k2", "k3"])
def test_the_penalty_pulls_the_policy_back_wherever_it_stands(kl: str) -> None:
    distances = []
    for kl_coef in (1e-6, 50.0):
        trainer = new_trainer(kl=kl, kl_coef=kl_coef, warmup_iterations=0, num_epochs=2)
        use_sgd(trainer)
        trainer.config.learning_rate = 0.02
        move(trainer.policy, 0.02)
        distances.append([trainer.step(words(trainer))["kl"] for _ in range(4)])
    (start, *_, without), (same_start, *_, with_penalty) = distances
    assert start == pytest.approx(same_start) and with_penalty < 0.9 * without
