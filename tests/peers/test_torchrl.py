"""TorchRL's GymEnv, GymWrapper and their MO twins on our environments, unmodified."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import textgym  # noqa: F401 - registers the ids

torch = pytest.importorskip("torch")
libs = pytest.importorskip("torchrl.envs")

from tensordict import TensorDict  # noqa: E402 - these need torchrl too
from torchrl.envs.utils import check_env_specs  # noqa: E402

NUM_STEPS = 12


def make(id: str, *, mo: bool = False, **kwargs):
    return (libs.MOGymEnv if mo else libs.GymEnv)(id, categorical_action_encoding=True, **kwargs)


def make_vec(id: str, mode: str, **kwargs):
    envs = gym.make_vec(id, num_envs=3, autoreset_mode=mode, **kwargs)
    return libs.GymWrapper(envs, categorical_action_encoding=True)


def start(env: gym.Env | gym.vector.VectorEnv) -> None:
    """As TorchRL does: its `set_seed` resets once, and `reset` once more."""
    env.reset(seed=0)
    env.reset()


def digits(*shape: int) -> np.ndarray:
    """Actions by which episodes end at different times: digits and now and then eos."""
    return np.random.default_rng(0).choice([*range(21, 31), 2, 2, 2], size=shape)


def steps(env, actions: np.ndarray) -> list[TensorDict]:
    """What each action leads to, from seed 0 on; a reset where an episode ended."""
    env.set_seed(0, static_seed=True)
    state, found = env.reset(), []
    for action in actions:
        state["action"] = torch.as_tensor(action)
        result, state = env.step_and_maybe_reset(state)
        found.append(result["next"])
    return found


@pytest.mark.parametrize("id", ["TextMath-v0", "TextGuess-v0", "TextMultiObjective-v0"])
def test_specs_hold_for_a_single_environment(id):
    check_env_specs(make(id))


def test_a_rollout_is_what_the_environment_does_with_these_actions():
    actions = digits(NUM_STEPS)
    ours = gym.make("TextMath-v0")
    start(ours)
    for action, found in zip(actions, steps(make("TextMath-v0"), actions), strict=True):
        observation, reward, terminated, _, _ = ours.step(action)
        assert found["observation"].tolist() == observation.tolist()
        assert found["reward"].item() == reward and found["terminated"].item() is terminated
        if terminated:
            ours.reset()


@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
@pytest.mark.parametrize("id", ["TextMath-v0", "TextGuess-v0"])
def test_specs_hold_for_a_native_vector_environment(id, mode):
    check_env_specs(make_vec(id, mode, details=False))


def test_a_rollout_with_disabled_autoreset_is_what_single_environments_do():
    actions = digits(NUM_STEPS, 3)
    ours = gym.make_vec("TextMath-v0", num_envs=3, autoreset_mode="Disabled")
    start(ours)
    for action, found in zip(
        actions, steps(make_vec("TextMath-v0", "Disabled"), actions), strict=True
    ):
        observations, rewards, terminations, _, _ = ours.step(action)
        assert found["observation"].tolist() == observations.tolist()
        assert found["reward"][:, 0].tolist() == rewards.tolist()
        assert found["terminated"][:, 0].tolist() == terminations.tolist()
        if terminations.any():
            ours.reset(options={"reset_mask": terminations})


def test_a_rollout_with_same_step_autoreset_has_the_last_observations():
    """Where infos have one set of keys: TorchRL stacks a reset's and a step's into one."""
    actions = digits(NUM_STEPS, 3)
    ours = gym.make_vec("TextMath-v0", num_envs=3, autoreset_mode="SameStep", details=False)
    start(ours)
    theirs = steps(make_vec("TextMath-v0", "SameStep", details=False), actions)
    num_ended = 0
    for action, found in zip(actions, theirs, strict=True):
        observations, rewards, terminations, _, infos = ours.step(action)
        for i in np.flatnonzero(terminations):
            observations[i] = infos["final_obs"][i]
        assert found["observation"].tolist() == observations.tolist()
        assert found["reward"][:, 0].tolist() == rewards.tolist()
        assert found["terminated"][:, 0].tolist() == terminations.tolist()
        num_ended += terminations.sum()
    assert num_ended > 3


def test_next_step_autoreset_is_refused_by_torchrl():
    with pytest.raises(RuntimeError, match="SAME_STEP or DISABLED"):
        make_vec("TextMath-v0", "NextStep")


@pytest.mark.parametrize("id", ["mo-TextMultiObjective-v0", "mo-TextConcise-v0"])
def test_vector_rewards_pass_through(id):
    pytest.importorskip("mo_gymnasium")
    env = make(id, mo=True)
    check_env_specs(env)
    ours = gym.make(id)
    start(ours)
    actions = [*digits(NUM_STEPS)[:3] + 40, 2]
    for action, found in zip(actions, steps(env, actions), strict=True):
        reward = ours.step(action)[1]
        assert found["reward"].shape == (2,) and found["reward"].tolist() == reward.tolist()


def test_vector_rewards_pass_through_a_wrapped_environment():
    mo_gymnasium = pytest.importorskip("mo_gymnasium")
    env = libs.MOGymWrapper(
        mo_gymnasium.make("mo-TextMultiObjective-v0"), categorical_action_encoding=True
    )
    check_env_specs(env)
    assert env.rollout(5)["next", "reward"].shape[-1] == 2


def test_the_text_forms_are_non_tensor_data():
    env = libs.GymEnv("TextGuess-v0", text_actions=True, text_observations=True)
    env.set_seed(0)
    state, found = env.reset(), []
    prompt = state["observation"]
    for turn in ("1000", "2000"):
        state["action"] = turn
        state = env.step(state)["next"]
        found.append(state["observation"])
    assert found[0].startswith(prompt + "1000\n") and found[1].startswith(found[0] + "2000\n")
    rollout = env.rollout(2)
    assert rollout["next", "reward"].shape == (2, 1)
