"""Stable-Baselines3 and sb3-contrib on our environments: as they are, and through the adapter."""

from __future__ import annotations

import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

sb3 = pytest.importorskip("stable_baselines3", reason="pip install 'textgym[peers]'")
sb3_contrib = pytest.importorskip("sb3_contrib", reason="pip install 'textgym[peers]'")

from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402
from stable_baselines3.common.env_checker import check_env  # noqa: E402
from stable_baselines3.common.env_util import make_vec_env  # noqa: E402
from stable_baselines3.common.evaluation import evaluate_policy  # noqa: E402
from stable_baselines3.common.monitor import Monitor  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize  # noqa: E402

from tests.textgym.playing import CHAR, EOS, PAD  # noqa: E402
from textgym import Problem, RLEnvironment, Task, TokenVectorEnv  # noqa: E402
from textgym.adapters.stable_baselines3 import TextVecEnv  # noqa: E402

MATH = {"difficulty": "digit"}
SMALL = {"n_steps": 32, "batch_size": 32, "n_epochs": 2, "seed": 0, "device": "cpu"}


class Price(Task):
    """A price after the number: its form is all that is graded."""

    max_response_tokens = 6

    def sample(self, rng):
        return Problem(f"{rng.integers(10**4)}=", "1.50")

    def constraint(self, problem):
        return r"[1-9][0-9]?\.[0-9]{2}|free"

    def grade(self, problem, response):
        return {"correct": float(re.fullmatch(self.constraint(problem), response) is not None)}


def vec_env(num_envs: int = 8, **keywords: Any) -> TextVecEnv:
    keywords = {"autoreset_mode": "SameStep", **MATH, **keywords}
    return TextVecEnv(gym.make_vec("TextMath-v0", num_envs=num_envs, **keywords))


def price_env(num_envs: int) -> TextVecEnv:
    return TextVecEnv(TokenVectorEnv(Price(), num_envs, autoreset_mode="SameStep"))


class Record(BaseCallback):
    """Actions, infos and the losses of a run."""

    def __init__(self) -> None:
        super().__init__()
        self.actions, self.infos, self.losses = [], [], {}

    def _on_step(self) -> bool:
        self.actions += self.locals["actions"].tolist()
        self.infos += self.locals["infos"]
        self.losses.update(self.logger.name_to_value)
        return True

    @property
    def ended(self) -> list[dict[str, Any]]:
        return [info for info in self.infos if "stop_reason" in info]


def train(algorithm: type, env: Any, num_steps: int, **settings: Any) -> tuple[Any, Record]:
    """A model after `num_steps`, whose weights changed and whose losses are finite."""
    model, record = algorithm("MlpPolicy", env, **{**SMALL, **settings}), Record()
    before = [weight.detach().clone() for weight in model.policy.parameters()]
    model.learn(num_steps, callback=record)
    weights = list(model.policy.parameters())
    assert any((old != new).any() for old, new in zip(before, weights, strict=True))
    assert all(np.isfinite(value) for value in model.logger.name_to_value.values())
    losses = {key: value for key, value in record.losses.items() if "loss" in key}
    assert len(losses) >= 3 and np.isfinite(list(losses.values())).all()
    return model, record


@pytest.mark.filterwarnings("error:::stable_baselines3")
@pytest.mark.parametrize("id", ["TextMath-v0", "TextCode-v0", "TextGuess-v0"])
def test_check_env_has_nothing_to_say(id):
    check_env(gym.make(id))
    check_env(gym.make(id).unwrapped)


def test_ppo_trains_on_gym_make_as_it_is():
    model, record = train(sb3.PPO, gym.make("TextMath-v0", **MATH), 256)
    assert len(record.ended) == len(model.ep_info_buffer) > 10


@pytest.mark.parametrize("vec_env_cls", [DummyVecEnv, None])
def test_make_vec_env_takes_an_id(vec_env_cls):
    env = make_vec_env("TextMath-v0", 2, env_kwargs=MATH, vec_env_cls=vec_env_cls)
    _, record = train(sb3.PPO, env, 128)
    assert record.ended


def test_dqn_trains_on_gym_make_as_it_is():
    env = gym.make("TextMath-v0", **MATH)
    model = sb3.DQN("MlpPolicy", env, learning_starts=64, buffer_size=500, device="cpu").learn(256)
    assert len(model.ep_info_buffer) > 10


def test_ppo_trains_through_the_adapter():
    model, record = train(sb3.PPO, vec_env(), 1024)
    episodes = [info["episode"] for info in record.ended]
    assert len(episodes) > 50 and list(model.ep_info_buffer) == episodes[-100:]
    assert all(1 <= episode["l"] <= 10 for episode in episodes)


@pytest.mark.parametrize("num_envs", [0, 4], ids=["gym.make", "adapter"])
def test_maskable_ppo_never_says_an_illegal_token(num_envs):
    env = vec_env(num_envs) if num_envs else gym.make("TextMath-v0", **MATH)
    _, record = train(sb3_contrib.MaskablePPO, env, 512)
    legal = gym.make("TextMath-v0").get_wrapper_attr("action_masks")()
    assert not legal[PAD] and legal[EOS] and legal[np.array(record.actions)].all()
    assert record.ended and {info["stop_reason"] for info in record.ended} <= {"eos", "length"}


def test_ppo_without_masks_does_say_illegal_tokens():
    _, record = train(sb3.PPO, vec_env(), 1024)
    assert "illegal" in {info["stop_reason"] for info in record.ended}


@pytest.mark.parametrize("num_envs", [0, 4], ids=["single", "adapter"])
def test_every_masked_episode_of_a_constrained_task_is_valid(num_envs):
    env = price_env(num_envs) if num_envs else RLEnvironment(Price())
    _, record = train(sb3_contrib.MaskablePPO, env, 512)
    assert len(record.ended) > 20
    assert {info["components"]["correct"] for info in record.ended} == {1.0}
    assert len({info["response"] for info in record.ended}) > 5


def test_the_adapter_steps_as_dummy_vec_env_does():
    ours, theirs = vec_env(3), make_vec_env("TextMath-v0", 3, env_kwargs=MATH)
    ours.seed(7), theirs.seed(7)
    assert (ours.reset() == theirs.reset()).all()
    assert ours.reset_infos == theirs.reset_infos
    tokens = [*CHAR.encode("0123456789;"), EOS, EOS, PAD]
    rng, num_ended = np.random.default_rng(0), 0
    for _ in range(120):
        actions = rng.choice(tokens, size=3)
        (left, right) = ours.step(actions), theirs.step(actions)
        for a, b in zip(left[:3], right[:3], strict=True):
            assert a.dtype == b.dtype and (a == b).all()
        assert ours.reset_infos == theirs.reset_infos
        for slot in left[2].nonzero()[0].tolist():
            a, b = (infos[slot] for infos in (left[3], right[3]))
            assert a.keys() == b.keys()
            assert (a.pop("terminal_observation") == b.pop("terminal_observation")).all()
            assert a["episode"].pop("t") > 0 and b["episode"].pop("t") > 0
            assert a == b
            num_ended += 1
        assert all(info == {} for info, done in zip(left[3], left[2], strict=True) if not done)
    assert num_ended > 20


def test_the_adapter_steps_as_the_vector_environment_does():
    envs = gym.make_vec("TextMath-v0", num_envs=5, autoreset_mode="SameStep", **MATH)
    adapter = vec_env(5)
    adapter.seed(3)
    observations, _ = envs.reset(seed=3)
    assert (adapter.reset() == observations).all()
    rng = np.random.default_rng(1)
    for _ in range(100):
        actions = rng.integers(envs.single_action_space.n, size=5)
        observations, rewards, dones, _, infos = envs.step(actions)
        seen, earned, over, told = adapter.step(actions)
        assert (seen == observations).all() and (earned == rewards).all() and (over == dones).all()
        for slot in dones.nonzero()[0].tolist():
            assert (told[slot]["terminal_observation"] == infos["final_obs"][slot]).all()
            assert told[slot]["response"] == infos["final_info"]["response"][slot]
            assert told[slot]["TimeLimit.truncated"] is False


def test_episode_statistics_start_anew_in_every_episode():
    env = vec_env(1)
    env.reset()
    lengths = []
    for action in [5, 5, EOS, EOS, 5, EOS]:
        _, _, dones, infos = env.step(np.array([action]))
        lengths += [infos[0]["episode"]["l"]] if dones[0] else []
    assert lengths == [3, 1, 2]


def test_masks_come_by_slot():
    env = price_env(3)
    env.reset()
    env.step(np.array([CHAR.encode(c)[0] for c in "1f2"]))
    masks = env.env_method("action_masks", indices=[1, 0])
    assert [CHAR.decode(np.flatnonzero(mask).tolist()) for mask in masks] == ["r", ".0123456789"]
    assert env.has_attr("action_masks") and not env.has_attr("no_such_attribute")
    assert (np.stack(env.env_method("action_masks")) == env.envs.action_masks()).all()


def test_seeds_and_options_hold_for_one_reset():
    env = vec_env(2)
    assert env.seed(5) == [5, 6]
    env.set_options([{"problem": 3}, {"problem": 4}])
    env.reset()
    assert [info["problem"] for info in env.reset_infos] == [3, 4]
    env.set_options({"difficulty": 1})
    env.reset()
    assert [info["difficulty"] for info in env.reset_infos] == [1, 1]
    env.set_options([{"problem": 3}, {}])
    with pytest.raises(ValueError, match="the same keys in every slot"):
        env.reset()


def test_attributes_and_methods_are_for_all_slots():
    env = vec_env(2)
    assert env.get_attr("difficulty") == [0, 0] and env.get_attr("difficulty", 1) == [0]
    assert env.env_method("set_difficulty", 2) == [None, None]
    env.set_attr("note", "mine")
    assert env.get_attr("note") == ["mine", "mine"]
    assert env.env_is_wrapped(Monitor) == [True, True]
    assert env.env_is_wrapped(gym.wrappers.TimeLimit, 0) == [False]
    for call in (lambda: env.set_attr("note", "x", 0), lambda: env.env_method("close", indices=1)):
        with pytest.raises(ValueError, match="the slots share attributes"):
            call()


@pytest.mark.filterwarnings("error:Evaluation environment is not wrapped")
def test_sb3s_own_tools_take_the_adapter():
    env = VecNormalize(vec_env(4), norm_obs=False)
    model = sb3.A2C("MlpPolicy", env, n_steps=8, seed=0, device="cpu").learn(64)
    mean, deviation = evaluate_policy(model, env, n_eval_episodes=6)
    assert 0 <= mean <= 1 and deviation >= 0
    env.close()


def test_wrong_environments_are_refused():
    with pytest.raises(TypeError, match="expected what gymnasium.make_vec"):
        TextVecEnv(gym.make("TextMath-v0"))
    with pytest.raises(ValueError, match="expects 'SameStep'"):
        vec_env(autoreset_mode="NextStep")
    with pytest.raises(ValueError, match="vector_reward=True"):
        vec_env(vector_reward=True)
