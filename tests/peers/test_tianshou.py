"""Tianshou 2 on our environments: its own vector environments, collectors and DQN."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest

numba = pytest.importorskip("numba", reason="pip install 'textgym[peers]'")
numba.config.DISABLE_JIT = True  # before Tianshou loads: compiling takes longer than these tests
pytest.importorskip("tianshou", reason="pip install 'textgym[peers]'")

from tianshou.algorithm import DQN  # noqa: E402
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy  # noqa: E402
from tianshou.algorithm.optim import AdamOptimizerFactory  # noqa: E402
from tianshou.data import Collector, CollectStats, VectorReplayBuffer  # noqa: E402
from tianshou.env import DummyVectorEnv  # noqa: E402
from tianshou.utils.net.common import Net  # noqa: E402
from tianshou.utils.torch_utils import policy_within_training_step  # noqa: E402

from textgym.adapters.tianshou import MaskedObservation  # noqa: E402
from textgym.checking.report import difference  # noqa: E402

NUM_ENVS = 4


def plain() -> gym.Env:
    return gym.make("TextMath-v0", difficulty="digit")


def masked() -> gym.Env:
    return MaskedObservation(plain())


def collect_and_learn(make: Callable[[], gym.Env], eps: float) -> tuple[CollectStats, Collector]:
    """Twenty episodes, and a step of DQN on them that changes its weights."""
    env = plain()
    shape, num_actions = env.observation_space.shape, env.action_space.n
    network = Net(state_shape=shape, action_shape=num_actions, hidden_sizes=[32])
    policy = DiscreteQLearningPolicy(
        model=network, action_space=env.action_space, eps_training=eps, eps_inference=eps
    )
    algorithm = DQN(policy=policy, optim=AdamOptimizerFactory(lr=1e-3))
    before = [weight.detach().clone() for weight in network.parameters()]
    envs = DummyVectorEnv([make] * NUM_ENVS)
    envs.seed(0)
    buffer = VectorReplayBuffer(2000, NUM_ENVS)
    collector = Collector(algorithm, envs, buffer, exploration_noise=eps > 0)
    stats = collector.collect(n_episode=20, reset_before_collect=True)
    with policy_within_training_step(policy):
        algorithm.update(buffer=collector.buffer, sample_size=64)
    pairs = zip(before, network.parameters(), strict=True)
    assert any((old != new).any() for old, new in pairs)
    return stats, collector


def test_a_collector_takes_gym_make_as_it_is():
    stats, collector = collect_and_learn(plain, eps=1.0)
    episodes, _ = collector.buffer.sample(0)
    assert stats.n_collected_episodes == 20 == len(stats.returns) == episodes.terminated.sum()
    assert stats.lens.min() >= 1 and stats.lens.max() <= 10
    assert stats.lens.sum() == len(episodes) == stats.n_collected_steps
    assert not episodes.truncated.any() and episodes.rew.sum() == stats.returns.sum()


@pytest.mark.parametrize("eps", [0.0, 1.0])
def test_dqn_never_says_an_illegal_token_with_masked_observations(eps):
    _, collector = collect_and_learn(masked, eps)
    episodes, _ = collector.buffer.sample(0)
    assert episodes.obs.mask[np.arange(len(episodes)), episodes.act].all()
    assert not episodes.obs.mask.all()
    ended = episodes.info[episodes.terminated]
    assert set(ended.stop_reason) <= {"eos", "length"}


def test_dqn_without_masks_does_say_illegal_tokens():
    _, collector = collect_and_learn(plain, eps=1.0)
    episodes, _ = collector.buffer.sample(0)
    assert "illegal" in set(episodes.info[episodes.terminated].stop_reason)


def test_masked_observations_keep_the_tokens_and_add_the_mask():
    env, inside = masked(), plain()
    results, others = (env.reset(seed=0), inside.reset(seed=0))
    for token in (5, 6, 7):
        seen = results[0]
        assert seen in env.observation_space and seen["mask"].dtype == bool
        assert (seen["mask"] == env.get_wrapper_attr("action_masks")()).all()
        assert difference((seen["obs"], *results[1:]), tuple(others), "result") == ""
        results, others = env.step(token), inside.step(token)


def test_an_environment_without_masks_of_tokens_is_refused():
    for env in (gym.make("CartPole-v1"), gym.make("TextMath-v0", text_actions=True)):
        with pytest.raises(ValueError, match=r"no action_masks\(\) of tokens"):
            MaskedObservation(env)
