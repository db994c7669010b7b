"""MO-Gymnasium on our multi-objective environments, as its own documentation uses it."""

from __future__ import annotations

import numpy as np
import pytest

import textgym  # noqa: F401 - registers the ids
from tests.textgym.playing import play, problem_of
from textgym import MultiObjectiveRewardEnv
from textgym.core import RLEnvironment

mo_gymnasium = pytest.importorskip("mo_gymnasium")

IDS = ("mo-TextMultiObjective-v0", "mo-TextConcise-v0")


def start(env, seed: int = 0) -> str:
    """Reset it and tell the best response by even weights."""
    _, info = env.reset(seed=seed)
    core = env.unwrapped
    assert isinstance(core, RLEnvironment)
    return problem_of(core, info).answer


@pytest.mark.parametrize("id", IDS)
def test_make_gives_vector_rewards_in_their_space(id):
    env = mo_gymnasium.make(id)
    result = play(env, start(env))
    assert env.unwrapped.reward_space.shape == (2,) and result.reward.dtype == np.float32
    assert result.reward in env.unwrapped.reward_space and result.reward.min() > 0.5
    assert result.info["vector_reward"].tolist() == result.reward.tolist()


@pytest.mark.parametrize("id", IDS)
def test_linear_reward_is_the_weighted_sum_of_the_vector(id):
    weights = np.array([0.2, 0.8])
    env = mo_gymnasium.wrappers.LinearReward(mo_gymnasium.make(id), weight=weights)
    result = play(env, start(env))
    assert result.reward == pytest.approx(float(result.info["vector_reward"] @ weights))
    assert result.info["reward_weights"].tolist() == weights.tolist()


@pytest.mark.parametrize("id", IDS)
def test_episode_statistics_add_up_the_vectors(id):
    gamma = 0.9
    env = mo_gymnasium.wrappers.MORecordEpisodeStatistics(mo_gymnasium.make(id), gamma=gamma)
    answer = start(env)
    result = play(env, answer)
    episode = result.info["episode"]
    assert episode["l"] == len(answer) + 1
    assert episode["r"].tolist() == result.reward.tolist()
    assert np.allclose(episode["dr"], result.reward * gamma ** len(answer))


@pytest.mark.parametrize("id", IDS)
def test_a_sync_vector_environment_batches_the_vectors(id):
    envs = mo_gymnasium.wrappers.vector.MOSyncVectorEnv([lambda: mo_gymnasium.make(id)] * 3)
    envs.reset(seed=0)
    answers = [env.unwrapped.mdp.bank.problem(env.unwrapped._row).answer for env in envs.envs]
    tokenizer = envs.envs[0].unwrapped.tokenizer
    length = max(map(len, answers)) + 1
    actions = np.full((3, length), tokenizer.eos_token_id)
    for row, answer in zip(actions, answers, strict=True):
        row[: len(answer)] = tokenizer.encode(answer)
    for column in actions.T:
        _, rewards, terminations, _, _ = envs.step(column)
    assert envs.reward_space.shape == (2,) and rewards.shape == (3, 2)
    assert terminations.all() and (rewards > 0.5).all()


def test_reward_functions_of_ones_own_are_objectives_too():
    env = MultiObjectiveRewardEnv(
        "char",
        ["Say hello: "],
        {"vowels": lambda p, g, f: sum(c in "aeiou" for c in g), "distinct": "distinct"},
        vector_reward=True,
    )
    env = mo_gymnasium.wrappers.LinearReward(env, weight=np.array([2.0, 1.0]))
    env.reset(seed=0)
    result = play(env, "aloha aloha aloha")
    assert result.info["vector_reward"].tolist() == [9.0, 0.5] and result.reward == 18.5


def test_normalizing_and_clipping_wrappers_change_one_component():
    env = mo_gymnasium.wrappers.MOClipReward(mo_gymnasium.make(IDS[0]), 0, 0.0, 0.1)
    result = play(env, start(env))
    assert result.reward[0] == np.float32(0.1) and result.reward[1] > 0.5
    env = mo_gymnasium.wrappers.MONormalizeReward(mo_gymnasium.make(IDS[0]), 1)
    result = play(env, start(env))
    assert result.reward[0] == result.info["vector_reward"][0] != result.reward[1]
