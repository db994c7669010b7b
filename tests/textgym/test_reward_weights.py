"""reward_weights: other weights of a task's components, from every way to make an environment."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from tests.textgym import sample_tasks  # noqa: F401
from tests.textgym.playing import CHAR, EOS, play
from textgym import RLEnvironment, TokenVectorEnv, check_env
from textgym.__main__ import main

WEIGHTS = {"short": 2.0, "shouting": -3.0}


def test_a_reward_is_the_sum_with_the_weights_given_and_the_others_own() -> None:
    env = gym.make("Sort-test-v0", reward_weights=WEIGHTS)
    env.reset(seed=0)
    result = play(env, "A")
    assert result.reward == 2.0 - 3.0 and result.info["components"]["short"] == 1.0
    assert env.unwrapped.mdp.rewards == {"correct": 1.0, "short": 2.0, "shouting": -3.0}
    assert env.unwrapped.mdp.reward_range == (-3.0, 3.0)
    assert env.unwrapped.task.rewards == {"correct": 1.0, "short": 0.5, "shouting": -0.25}


def test_an_illegal_token_earns_the_lowest_reward_of_these_weights() -> None:
    env = gym.make("Sort-test-v0", reward_weights=WEIGHTS)
    envs = gym.make_vec("Sort-test-v0", num_envs=2, reward_weights=WEIGHTS)
    env.reset(seed=0), envs.reset(seed=0)
    assert env.step(CHAR.pad_token_id)[1] == -3.0
    assert envs.step(np.full(2, CHAR.pad_token_id))[1].tolist() == [-3.0, -3.0]


def test_the_vector_forms_have_the_same_weights() -> None:
    rewards = []
    for mode in ({}, {"vectorization_mode": "sync"}):
        envs = gym.make_vec("Sort-test-v0", num_envs=2, reward_weights=WEIGHTS, **mode)
        envs.reset(seed=0)
        envs.step(np.array(CHAR.encode("Ab")))
        rewards.append(envs.step(np.full(2, EOS))[1].tolist())
    assert rewards[0] == rewards[1] == [-1.0, 2.0]


def test_environments_of_other_weights_do_not_share_them() -> None:
    env, other = gym.make("Sort-test-v0"), gym.make("Sort-test-v0", reward_weights={"short": 0})
    twin = gym.make("Sort-test-v0", reward_weights={"short": 0})
    assert list(env.unwrapped.mdp.rewards.values()) == [1.0, 0.5, -0.25]
    assert list(other.unwrapped.mdp.rewards.values()) == [1.0, 0.0, -0.25]
    assert twin.unwrapped.mdp is other.unwrapped.mdp


def test_the_spec_is_json_and_the_checks_know_the_weights() -> None:
    spec = gym.make("Sort-test-v0", reward_weights=WEIGHTS).spec
    again = gym.make(EnvSpec.from_json(spec.to_json()))
    assert list(again.unwrapped.mdp.rewards.values()) == [1.0, 2.0, -3.0]
    report = check_env("Stop-test-v0", num_steps=60, reward_weights={"correct": 7.0})
    assert report.ok and "from 0 to 7" in str(report), str(report)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"lenght": 1.0}, r"reward_weights has \['lenght'\], expected some of Sort's components"),
        ({"short": float("nan")}, r"reward_weights\['short'\] is nan, expected a finite weight"),
        ({"short": "1"}, r"reward_weights\['short'\] is '1', expected a number"),
        ({"short": True}, r"reward_weights\['short'\] is True, expected a number"),
        ([("short", 1.0)], r"reward_weights is \[\('short', 1.0\)\], expected a mapping"),
    ],
)
@pytest.mark.parametrize("make", [RLEnvironment, TokenVectorEnv])
def test_what_are_no_weights_is_refused(make, weights, message) -> None:
    with pytest.raises(ValueError, match=message):
        make(sample_tasks.Sort(), reward_weights=weights)


def test_list_shows_the_weights_that_an_id_was_registered_with(capsys) -> None:
    gym.register(
        "Weighted-test-v0",
        entry_point="textgym.registration:make_env",
        kwargs={"task": "tests.textgym.sample_tasks:Sort", "reward_weights": {"short": 9}},
    )
    try:
        assert main(["list"]) == 0
    finally:
        gym.registry.pop("Weighted-test-v0")
    assert "correct 1, short 9, shouting -0.25" in capsys.readouterr().out
