"""Every registered id against everything that an environment has to be.

Gymnasium's checker without a warning, sync = native step by step in each autoreset mode, one seed =
one run, pickling, the specification as JSON (all by `textgym.check_env`); and here, async = native,
a thousand episodes of a random policy, rewards within their range, and rendering. What the rewards
pay for is audited in test_audit.py.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv

import textgym
from tests.textgym.playing import assert_same
from textgym.checking.tokens import useful_tokens
from textgym.registration import find_spec, task_specs

IDS = [spec.id for spec in task_specs() if spec.kwargs["task"].startswith("textgym.")]
VECTOR_REWARD = [id for id in IDS if find_spec(id).kwargs.get("vector_reward")]

NUM_EPISODES = 1000


def test_the_matrix_covers_every_kind_of_task() -> None:
    assert len(IDS) == len(set(IDS)) >= 29 and VECTOR_REWARD


@pytest.mark.parametrize("id", IDS)
def test_an_environment_keeps_its_contract(id: str) -> None:
    report = textgym.check_env(id, num_steps=60)
    assert report.ok and not report.of("warning"), str(report)


def random_policy(envs: gym.vector.VectorEnv, rng: np.random.Generator) -> np.ndarray:
    """Any legal token, three times in four one of questions and answers."""
    legal = np.flatnonzero(~envs.mdp.vocabulary.illegal)
    useful = rng.choice(useful_tokens(envs.mdp), size=envs.num_envs)
    return np.where(rng.random(envs.num_envs) < 0.75, useful, rng.choice(legal, envs.num_envs))


@pytest.mark.parametrize("id", IDS)
def test_a_random_policy_plays_a_thousand_episodes(id: str) -> None:
    envs = gym.make_vec(id, num_envs=100, autoreset_mode="SameStep")
    low, high = envs.mdp.reward_range
    rng, num_ended = np.random.default_rng(0), 0
    envs.reset(seed=0)
    while num_ended < NUM_EPISODES:
        _, rewards, terminations, truncations, infos = envs.step(random_policy(envs, rng))
        assert not truncations.any()
        if terminations.any():
            ended = infos["final_info"]
            assert "verifier_error" not in ended, ended["verifier_error"]
            lengths = ended["length"][terminations]
            assert lengths.max() <= envs.mdp.observation_length
        if envs.vector_reward:
            assert all(reward in envs.reward_space for reward in rewards)
        else:
            assert low <= rewards.min() and rewards.max() <= high
        num_ended += int(terminations.sum())


@pytest.mark.parametrize("id", [id for id in IDS if id not in VECTOR_REWARD])
def test_async_is_native(id: str) -> None:
    native = gym.make_vec(id, num_envs=2)
    sync = AsyncVectorEnv([lambda: gym.make(id)] * 2, context="fork")
    try:
        assert_same(native.reset(seed=3), sync.reset(seed=3))
        rng = np.random.default_rng(0)
        for _ in range(25):
            actions = rng.choice(useful_tokens(native.mdp), size=2)
            assert_same(native.step(actions), sync.step(actions))
    finally:
        sync.close()


@pytest.mark.parametrize("id", IDS)
def test_rendering_shows_the_text_so_far(id: str) -> None:
    env = gym.make(id, render_mode="ansi").unwrapped
    assert env.render() == ""
    observation, info = env.reset(seed=0)
    prompt = env.mdp.bank.problem(env.mdp.row(info["difficulty"], info["problem"])).prompt
    assert env.render() == prompt
    env.step(int(env.mdp.vocabulary.encode("1")[0]))
    assert env.render().startswith(prompt + "1")
