"""Episodes on which no verdict was reached: nothing learns from them, nothing counts them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv

from agents import play as play_module
from agents.batch import Rollout
from agents.buffer import PPOBuffer
from agents.losses import clipped_surrogate_loss, entropy_loss, value_loss
from agents.metrics import read_metrics
from agents.ppo import PPOTrainer
from agents.rollout import Episodes, NoVerdictError, as_vector_env, collect, evaluate
from tests.agents.learners import Words, new_policy, seeded, weights
from tests.agents.test_ppo import new_trainer
from textgym import Grade, RLEnvironment

torch.set_num_threads(1)

NUM = 24


class Flaky(Words):
    """Letters are rewarded; of every three problems, the verifier fails on one."""

    every = 3

    def grade(self, problem, response):
        if problem.id % self.every == 0:
            return Grade({"correct": 1.0}, error=f"out of order at {problem.prompt}")
        return super().grade(problem, response)


class Broken(Flaky):
    """The verifier never answers."""

    every = 1


def play(env=None) -> tuple[Rollout, Episodes]:
    envs = as_vector_env(RLEnvironment(Flaky()), 8) if env is None else env
    return collect(new_policy(), envs, NUM, generator=seeded(), seed=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: as_vector_env(RLEnvironment(Flaky()), 8),
        lambda: SyncVectorEnv([lambda: RLEnvironment(Flaky())] * 8, autoreset_mode="Disabled"),
    ],
)
def test_collect_masks_them_throughout_and_tells_why(make) -> None:
    rollout, episodes = play(make())
    failed = ~episodes.is_graded
    assert 1 <= failed.sum() <= 14
    assert [e is not None for e in episodes.errors] == failed.tolist()
    assert all(e.startswith("out of order at x") for e in episodes.errors if e)
    for name in ("mask", "log_probs", "values", "rewards"):
        assert not getattr(rollout, name)[failed].any(), name
    assert rollout.mask[~failed].any(1).all() and (rollout.lengths > 0).all()


def test_success_is_that_of_the_others() -> None:
    _, episodes = play()
    assert len(episodes.success) == episodes.is_graded.sum() < NUM
    expected = episodes.components["correct"][episodes.is_graded].mean()
    assert episodes.success.mean() == expected > episodes.components["correct"].mean()


def test_graded_drops_these_rows_and_no_others() -> None:
    rollout, episodes = play()
    kept = rollout.graded()
    assert len(kept) == episodes.is_graded.sum()
    assert kept.mask.any(1).all() and kept.graded() is kept


def test_whitening_value_targets_and_losses_do_not_see_these_rows() -> None:
    rollout, _ = play()
    results = []
    for batch in (rollout, rollout.graded()):
        buffer = PPOBuffer()
        buffer.store(batch)
        buffer.finish(gamma=0.9, gae_lambda=0.8)
        [(part, advantages, returns, _)] = buffer.minibatches(1, seeded())
        stats = new_policy()(part.tokens, part.mask)
        count = part.num_tokens
        losses = [
            clipped_surrogate_loss(
                stats.log_probs, part.log_probs, advantages, part.mask, clip_param=0.2, count=count
            )[0],
            value_loss(stats.values, returns, part.mask, count=count)[0],
            entropy_loss(stats.entropies, part.mask, count=count)[0],
        ]
        sums = [advantages.square().sum(), (advantages * stats.log_probs).sum(), returns.sum()]
        numbers = [x.item() for x in (*losses, *sums)]
        results.append([*numbers, buffer.explained_variance(), count])
    assert results[0] == pytest.approx(results[1], rel=1e-5, abs=1e-6)


def test_a_ppo_update_equals_one_on_the_batch_without_these_rows(monkeypatch) -> None:
    settings = {"batch_size": NUM, "num_minibatches": 3, "kl_coef": 0.1, "kl_target": 0.01}
    trainers, seen = [], []
    for drop in (False, True):

        def playing(*args, drop=drop, **kwargs):
            rollout, episodes = collect(*args, **kwargs)
            return (rollout.graded() if drop else rollout), episodes

        monkeypatch.setattr(play_module, "collect", playing)
        trainer = new_trainer(**settings)
        envs = as_vector_env(RLEnvironment(Flaky()), NUM)
        seen.append([trainer.step(envs) for _ in range(3)])
        trainers.append(trainer)
    ours, theirs = (weights(trainer.policy) for trainer in trainers)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not torch.equal(ours["value_head.weight"], new_policy().value_head.weight)
    timing = ("seconds", "tokens_per_second")
    for a, b in zip(*seen, strict=True):
        assert {k: v for k, v in a.items() if k not in timing} == {
            k: v for k, v in b.items() if k not in timing
        }


def test_metrics_count_them_once_and_leave_them_out_of_every_mean(tmp_path) -> None:
    trainer = new_trainer(folder=tmp_path, num_iterations=2, batch_size=NUM)
    trainer.train(RLEnvironment(Flaky()))
    rows = read_metrics(tmp_path)
    assert [row["episodes"] for row in rows] == [NUM, 2 * NUM]
    for row in rows:
        assert 1 <= row["verifier_errors"] <= 14
        assert row["return_mean"] == pytest.approx(row["success"], rel=1e-6)  # 0 where it failed


def test_fewer_verdicts_than_minibatches_are_fewer_minibatches() -> None:
    class Rare(Words):
        def grade(self, problem, response):
            return super().grade(problem, response) if problem.id % 8 == 0 else Grade(error="no")

    trainer = new_trainer(batch_size=NUM, num_minibatches=NUM)
    metrics = trainer.step(as_vector_env(RLEnvironment(Rare()), NUM))
    assert NUM - 12 < metrics["verifier_errors"] < NUM and math.isfinite(metrics["policy_loss"])


def test_an_iteration_without_any_verdict_learns_nothing_and_says_so(tmp_path) -> None:
    trainer: PPOTrainer = new_trainer(folder=tmp_path, num_iterations=2)
    before = weights(trainer.policy)
    with pytest.warns(UserWarning, match=r"iteration 1: no verdict on any of 12 .*out of order"):
        trainer.train(RLEnvironment(Broken()))
    assert trainer.course.iteration == 2
    assert all(torch.equal(before[n], tensor) for n, tensor in weights(trainer.policy).items())
    for row in read_metrics(tmp_path):
        assert row["verifier_errors"] == 12
        assert row["success"] is row["return_mean"] is None and "kl" not in row


def test_evaluate_leaves_them_out_and_warns() -> None:
    with pytest.warns(UserWarning, match=r"no verdict on \d+ of 24 episodes: out of order at x"):
        episodes = evaluate(new_policy(), RLEnvironment(Flaky()), num_episodes=24)
    assert len(episodes.success) == 24 - sum(e is not None for e in episodes.errors) < 24


def test_evaluate_raises_where_there_is_no_verdict_at_all() -> None:
    with pytest.raises(NoVerdictError, match=r"no verdict on 4 of 4 episodes: out of order at x"):
        evaluate(new_policy(), RLEnvironment(Broken()), num_episodes=4)


def test_episodes_without_errors_are_as_they_were() -> None:
    _, episodes = collect(
        new_policy(), as_vector_env(RLEnvironment(Words()), 4), 4, generator=seeded(), seed=0
    )
    assert episodes.errors == [None] * 4 and np.all(episodes.is_graded)
