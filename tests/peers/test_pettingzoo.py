"""PettingZoo's own tests on our games, and a game as its documentation plays one."""

from __future__ import annotations

import io
import pickle
from contextlib import redirect_stdout

import numpy as np
import pytest

pettingzoo = pytest.importorskip("pettingzoo")

from pettingzoo.test import (  # noqa: E402
    api_test,
    parallel_api_test,
    parallel_seed_test,
    render_test,
    seed_test,
)

from textgym import CharTokenizer  # noqa: E402
from textgym.games import kuhn_v0, nim_v0  # noqa: E402

# A mask needs a dictionary as observation, as in PettingZoo's own board games, which its test knows
# by their names.
pytestmark = [
    pytest.mark.filterwarnings("error::UserWarning:pettingzoo"),
    pytest.mark.filterwarnings("ignore:Observation is not a NumPy array"),
    pytest.mark.filterwarnings("ignore:Observation space for each agent probably should be"),
]

MODULES = pytest.mark.parametrize("module", [nim_v0, kuhn_v0], ids=["nim", "kuhn"])
CHAR = CharTokenizer()


@MODULES
@pytest.mark.parametrize("form", ["env", "raw_env"])
def test_api(module, form: str) -> None:
    api_test(getattr(module, form)(), num_cycles=300)


@MODULES
def test_parallel_api(module) -> None:
    parallel_api_test(module.parallel_env(), num_cycles=300)


@MODULES
def test_seeds(module) -> None:
    seed_test(module.env, num_cycles=200)
    seed_test(module.raw_env, num_cycles=200)
    parallel_seed_test(module.parallel_env, num_cycles=200)


@MODULES
def test_rendering(module) -> None:
    with redirect_stdout(io.StringIO()):
        render_test(module.env)


@pytest.mark.parametrize("level", ["one", "two", "three", "four"])
def test_levels(level: str) -> None:
    api_test(nim_v0.env(difficulty=level), num_cycles=100)
    parallel_api_test(nim_v0.parallel_env(difficulty=level), num_cycles=100)


@MODULES
def test_rewards_add_to_zero_and_come_at_the_end(module) -> None:
    env, totals = module.env(), []
    for seed in range(20):
        env.reset(seed=seed)
        rewards = dict.fromkeys(env.possible_agents, 0.0)
        for agent in env.agent_iter():
            observation, reward, terminated, truncated, info = env.last()
            rewards[agent] += reward
            assert not truncated and (terminated or reward == 0)
            legal = np.flatnonzero(observation["action_mask"])
            env.step(None if terminated else int(legal[seed % len(legal)]))
        assert sum(rewards.values()) == 0 and info["outcome"] in ("won", "lost")
        totals.append(rewards["player_0"])
    assert len(set(totals)) > 1


def test_both_forms_play_the_same_game() -> None:
    env, parallel = nim_v0.raw_env(difficulty="two"), nim_v0.parallel_env(difficulty="two")
    env.reset(seed=3)
    observations, _ = parallel.reset(seed=3)
    rng = np.random.default_rng(0)
    while parallel.agents:
        speaker = env.agent_selection
        for agent in parallel.agents:
            for name in ("observation", "action_mask"):
                assert (env.observe(agent)[name] == observations[agent][name]).all()
        masks = {agent: observations[agent]["action_mask"] for agent in parallel.agents}
        waiting = next(agent for agent in parallel.agents if agent != speaker)
        assert np.flatnonzero(masks[waiting]).tolist() == [CHAR.eos_token_id]
        actions = {agent: int(rng.choice(np.flatnonzero(mask))) for agent, mask in masks.items()}
        env.step(actions[speaker])
        observations, rewards, terminations, _, infos = parallel.step(actions)
    assert env.rewards == rewards and env.terminations == terminations and env.infos == infos
    assert parallel.step({}) == ({}, {}, {}, {}, {})


def test_what_a_waiting_agent_says_is_not_heard() -> None:
    one, other = nim_v0.parallel_env(), nim_v0.parallel_env()
    one.reset(seed=0), other.reset(seed=0)
    token = CHAR.encode("1")[0]
    left = one.step({"player_0": token, "player_1": CHAR.eos_token_id})
    right = other.step({"player_0": token, "player_1": CHAR.pad_token_id})
    assert (left[0]["player_1"]["observation"] == right[0]["player_1"]["observation"]).all()
    assert left[1:] == right[1:]


def test_a_forfeit_is_a_loss_for_one_and_a_win_for_the_other() -> None:
    env = kuhn_v0.env()
    env.reset(seed=0)
    env.step(CHAR.pad_token_id)
    assert env.rewards == {"player_0": -2.0, "player_1": 2.0}
    assert env.infos["player_0"]["outcome"] == "illegal move"
    assert env.terminations == {"player_0": True, "player_1": True}


def test_options_choose_the_level() -> None:
    env = nim_v0.raw_env()
    env.reset(seed=0, options={"difficulty": "four"})
    length = env.infos["player_0"]["length"]
    assert "d" in CHAR.decode(env.observe("player_0")["observation"][:length].tolist())
    with pytest.raises(ValueError, match="nim has no difficulty 'five'"):
        env.reset(options={"difficulty": "five"})


def test_an_environment_is_pickled_in_the_middle_of_a_game() -> None:
    env = nim_v0.raw_env()
    env.reset(seed=0)
    env.step(CHAR.encode("1")[0])
    twin = pickle.loads(pickle.dumps(env))
    for each in (env, twin):
        each.step(CHAR.eos_token_id)
    assert (env.observe("player_1")["observation"] == twin.observe("player_1")["observation"]).all()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="render_mode is 'rgb_array'"):
        nim_v0.env(render_mode="rgb_array")
    with pytest.raises(Exception, match="reset"):
        nim_v0.parallel_env().step({})
