"""RLEnvironment, played by hand: what ends an episode, what it pays, what it refuses."""

from __future__ import annotations

import copy
import pickle
import random
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from tests.textgym.playing import (
    BOS,
    CHAR,
    EOS,
    PAD,
    UNK,
    Echo,
    assert_same,
    play,
    problem_of,
    random_run,
    random_steps,
)
from tests.textgym.sample_tasks import Guess, Sort, StopAtSemicolon
from textgym import CharTokenizer, Problem, RLEnvironment, StepResult, Task, TokenMDP
from textgym.checking.report import difference
from textgym.tasks import TextMath

# ------------------------------------------------------------- a hand-played episode


def test_a_hand_played_episode() -> None:
    env = RLEnvironment(Echo())
    observation, info = env.reset(seed=1)
    problem = problem_of(env, info)
    assert env.observation_space.shape == (8 + 5,) and env.action_space.n == 100
    assert info.keys() == {"length", "problem", "problem_id", "difficulty"}
    assert info["length"] == 8 and info["problem_id"] == problem.id and info["difficulty"] == 0
    assert CHAR.decode(observation[:8].tolist()) == problem.prompt
    assert (observation[8:] == PAD).all()
    for i, token in enumerate(CHAR.encode(problem.answer)):
        result = env.step(token)
        assert isinstance(result, StepResult) and result.info == {"length": 9 + i}
        assert result[1:4] == (0.0, False, False) and result.observation[8 + i] == token
    observation, reward, terminated, truncated, info = env.step(EOS)
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert [type(x) for x in (reward, terminated, truncated)] == [float, bool, bool]
    assert info == {
        "length": 12,
        "stop_reason": "eos",
        "response": problem.answer,
        "components": {"correct": 1.0},
    }
    assert CHAR.decode(observation[:12].tolist()) == f"{problem.prompt}{problem.answer}<eos>"


@pytest.mark.parametrize(
    ("response", "reward"),
    [("aaaa", 0.0), ("ab", 0.5), ("AB", 0.5 - 0.25), ("AAAA", -0.25), ("", 0.5)],
)
def test_the_reward_is_the_weighted_sum_of_the_components(response: str, reward: float) -> None:
    class NeverRight(Sort):
        def sample(self, rng, difficulty):
            return Problem(prompt=f"sort {rng.integers(1000)}", answer="right")

    env = RLEnvironment(NeverRight(), max_response_tokens=6)
    env.reset(seed=0)
    result = play(env, response)
    assert result.reward == reward
    weights = Sort.rewards
    assert sum(weights[k] * v for k, v in result.info["components"].items()) == reward


# ------------------------------------------------------------------- stop reasons


def test_eos_ends_the_episode_even_as_the_first_token() -> None:
    env = RLEnvironment(Echo())
    env.reset(seed=0)
    result = env.step(EOS)
    assert result.info["stop_reason"] == "eos" and result.info["response"] == ""
    assert result.terminated and result.reward == 0.0


def test_the_budget_terminates_and_what_was_said_is_graded_as_it_stands() -> None:
    class ThreeTokens(Echo):
        max_response_tokens = 4

    env = RLEnvironment(ThreeTokens())
    _, info = env.reset(seed=0)
    result = play(env, problem_of(env, info).answer + " zz", eos=False)
    assert (result.terminated, result.truncated) == (True, False)
    assert result.info["stop_reason"] == "length"
    assert len(result.info["response"]) == 4
    assert result.reward == 1.0  # the default grade strips the space


def test_eos_as_the_last_token_of_the_budget_counts_as_eos() -> None:
    env = RLEnvironment(Echo())
    env.reset(seed=0)
    result = play(env, "zzzz")
    assert result.info["stop_reason"] == "eos" and result.info["length"] == 8 + 5


def test_a_stop_string_ends_the_response_also_across_tokens() -> None:
    env = RLEnvironment(StopAtSemicolon(), max_response_tokens=7)
    for response, read in (("xx;yy", "xx;"), ("xaby", "xab"), ("ba;b", "ba;"), ("ba", "ba")):
        env.reset(seed=0)
        result = play(env, response)
        assert result.info["response"] == read
        assert result.info["stop_reason"] == ("eos" if read == "ba" else "stop")


def test_a_stop_string_of_the_prompt_does_not_count() -> None:
    class Prompted(StopAtSemicolon):
        def sample(self, rng):
            return Problem(prompt=f"{rng.integers(1000)}ab; a", answer="b")

    env = RLEnvironment(Prompted(), max_response_tokens=7)
    env.reset(seed=0)
    assert not env.step(CHAR.encode("b")[0]).terminated


@pytest.mark.parametrize("token", [PAD, BOS, UNK])
def test_an_illegal_token_ends_the_episode_with_the_lowest_reward(token: int) -> None:
    env = RLEnvironment(Sort(), max_response_tokens=6)
    env.reset(seed=0)
    assert not env.action_masks()[token] and env.action_masks().sum() == 97
    result = env.step(token)
    assert result.info["stop_reason"] == "illegal" and result.terminated
    assert result.reward == env.task.reward_range[0] == -0.25
    assert result.info["components"] == {"correct": 0.0, "short": 0.0, "shouting": 0.0}


def test_pad_is_no_free_way_to_say_nothing() -> None:
    """Dropped by decoding, pad would let a policy wait; here it costs the right answer's reward."""
    env = RLEnvironment(Echo())
    for position in range(4):
        _, info = env.reset(seed=0)
        tokens = CHAR.encode(problem_of(env, info).answer)
        tokens.insert(position, PAD)
        for token in tokens:
            result = env.step(token)
            if result.terminated:
                break
        assert result.reward == 0.0 and result.info["stop_reason"] == "illegal"


def test_the_task_ends_a_dialogue_when_it_has_nothing_to_reply() -> None:
    env = RLEnvironment(Guess(), max_response_tokens=8)
    _, info = env.reset(seed=0)
    result = play(env, problem_of(env, info).answer)
    assert result.info["stop_reason"] == "task" and result.reward == 1.0


# ----------------------------------------------------------------------- dialogue


def test_replies_appear_in_the_observation_and_are_not_the_policys() -> None:
    env = RLEnvironment(Guess(), max_response_tokens=8)
    observation, info = env.reset(seed=0, options={"problem": 3})
    secret, start = problem_of(env, info).answer, info["length"]
    guess, reply = ("9", " low") if secret < "9" else ("0", " up ")
    result = play(env, guess + "!", eos=False)
    assert not result.terminated and result.reward == 0.0
    assert result.info == {"length": start + 2 + 4}  # "!" ended the turn, " lower " is cut to 4
    said = CHAR.decode(result.observation[start : start + 6].tolist())
    assert said == f"{guess}!{reply}"
    result = play(env, secret)
    assert result.terminated and result.reward == 1.0
    assert result.info["response"] == f"{guess}!{reply}{secret}"
    mask = result.info["response_mask"]
    assert mask.shape == observation.shape and mask.dtype == bool
    chosen = [*[True] * 2, *[False] * 4, *[True] * 2]
    assert mask.tolist() == [*[False] * start, *chosen, *[False] * (len(mask) - start - 8)]


def test_replies_do_not_count_towards_the_budget() -> None:
    env = RLEnvironment(Guess(), max_response_tokens=4)
    _, info = env.reset(seed=0)
    wrong = "0" if problem_of(env, info).answer != "0" else "1"
    assert not play(env, wrong + "!", eos=False).terminated
    assert not env.step(CHAR.encode(wrong)[0]).terminated
    result = env.step(CHAR.encode(wrong)[0])
    assert result.info["stop_reason"] == "length" and result.terminated


def test_the_last_turn_ends_the_dialogue() -> None:
    env = RLEnvironment(Guess(), max_response_tokens=8)
    _, info = env.reset(seed=0)
    wrong = "0" if problem_of(env, info).answer != "0" else "1"
    assert [play(env, wrong).terminated for _ in range(3)] == [False, False, True]


# --------------------------------------------------------------- calls that are refused


def test_a_step_after_the_end_or_before_the_first_reset_raises_reset_needed() -> None:
    env = RLEnvironment(Echo())
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        env.step(EOS)
    env.reset(seed=0)
    env.step(EOS)
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        env.step(EOS)


@pytest.mark.parametrize("action", [-1, 100, 3.7, "5", None, [5], np.array([5, 6]), np.nan])
def test_what_is_no_token_id_is_an_invalid_action(action: object) -> None:
    env = RLEnvironment(Echo())
    env.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction, match="expected a token id from 0 to 99"):
        env.step(action)
    assert env.step(5).info == {"length": 9}  # the refused action left no trace


@pytest.mark.parametrize("action", [5, np.int64(5), np.int32(5), np.array(5), np.uint8(5)])
def test_every_kind_of_integer_is_an_action(action: object) -> None:
    env = RLEnvironment(Echo())
    env.reset(seed=0)
    assert env.step(action).observation[8] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dificulty": 1}, r"unknown options \['dificulty'\]; known: 'difficulty', 'problem'"),
        ({"difficulty": "hard"}, r"no difficulty 'hard'; expected one of \['digit', .* or 0 to 8"),
        ({"difficulty": 9}, "no difficulty 9; expected one of"),
        ({"problem": 2**14}, "problem is 16384, expected 0 to 16383"),
        ({"problem": -1, "difficulty": 0}, "problem is -1, expected 0 to"),
    ],
)
def test_a_wrong_option_is_one_clear_line_and_changes_nothing(
    options: dict[str, Any], message: str
) -> None:
    env, other = (RLEnvironment(TextMath()) for _ in range(2))
    for each in (env, other):
        each.reset(seed=0)
    with pytest.raises(ValueError, match=message) as info:
        env.reset(options=options)
    assert "\n" not in str(info.value)
    assert_same(env.reset(), other.reset())


class Empty(Echo):
    def sample(self, rng):
        return Problem(prompt="")


class Level(Task):
    difficulties = ("easy", "hard")

    def sample(self, rng, difficulty):
        return Problem(prompt="yes or no?")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RLEnvironment(Empty()), ValueError, "prompt is '', expected a text of at least"),
        (lambda: RLEnvironment(Echo), TypeError, "task is ABCMeta, expected a textgym.Task"),
        (
            lambda: RLEnvironment(Echo(), max_response_tokens=3),
            ValueError,
            "max_response_tokens=3 is too small: the reference answer '[a-h]{3}' of Echo needs 4",
        ),
        (lambda: RLEnvironment(Echo(), max_prompt_tokens=7), ValueError, "longer than max_prompt"),
        (lambda: RLEnvironment(Echo(), max_prompt_tokens=0), ValueError, "tokens is 0, expected"),
        (lambda: RLEnvironment(Echo(), split="dev"), ValueError, "split is 'dev', expected one"),
        (
            lambda: RLEnvironment(Level(), split="test"),
            ValueError,
            "too few distinct problems to be split",
        ),
        (lambda: RLEnvironment(Echo(), difficulty="hard"), ValueError, "expected nothing: it has"),
        (lambda: RLEnvironment(Echo(), render_mode="human"), TypeError, "None or 'ansi'"),
        (lambda: RLEnvironment(TokenMDP(Echo()), split="test"), TypeError, r"got \['split'\]"),
    ],
)
def test_a_wrong_construction_is_one_clear_line(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as info:
        make()
    assert "\n" not in str(info.value)


def test_a_tokenizer_without_eos_is_refused() -> None:
    tokenizer = CharTokenizer().to_hugging_face()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="has no eos token"):
        RLEnvironment(Echo(), tokenizer=tokenizer)


# ------------------------------------------------------------- options, levels, splits


def test_the_options_choose_problem_and_level_and_the_level_stays() -> None:
    env = RLEnvironment(TextMath())
    assert env.reset(seed=0)[1]["difficulty"] == 1  # "no-carry", the default
    first, info = env.reset(options={"difficulty": "equation", "problem": 7})
    assert (info["difficulty"], info["problem"]) == (8, 7)
    assert "x" in problem_of(env, info).prompt
    assert env.reset()[1]["difficulty"] == 8
    second, _ = RLEnvironment(TextMath(), difficulty=8).reset(seed=99, options={"problem": 7})
    np.testing.assert_array_equal(first, second)


def test_set_difficulty_holds_from_the_next_episode_on() -> None:
    env = gym.make("TextMath-v0")
    env.reset(seed=0)
    env.unwrapped.set_difficulty("digit")
    assert env.unwrapped.difficulty == 0
    assert env.reset()[1]["difficulty"] == 0


def test_options_reach_through_wrappers() -> None:
    env = gym.wrappers.TimeLimit(gym.wrappers.RecordEpisodeStatistics(gym.make("TextMath-v0")), 5)
    _, info = env.reset(seed=0, options={"difficulty": "digit", "problem": 11})
    assert (info["difficulty"], info["problem"]) == (0, 11)


def test_no_prompt_and_no_key_is_in_two_splits() -> None:
    task = TextMath(wording="both")
    owners: dict[str, str] = {}
    for split in ("train", "validation", "test"):
        bank = TokenMDP(task, split=split, num_problems=200).bank
        for row in range(bank.num_rows):
            problem = bank.problem(row)
            assert problem.split == split
            for text in (problem.prompt, f"key {problem.key}"):
                assert owners.setdefault(text, split) == split
    assert set(owners.values()) == {"train", "validation", "test"}


def test_the_split_all_draws_from_every_split() -> None:
    bank = TokenMDP(Echo(), split="all", num_problems=200).bank
    splits = [bank.problem(row).split for row in range(200)]
    assert set(splits) == {"train", "validation", "test"} and 130 < splits.count("train") < 185


# --------------------------------------------------------------------- randomness


@pytest.mark.parametrize("env_id", ["TextMath-v0", "Stop-test-v0", "Guess-test-v0"])
def test_one_seed_one_run(env_id: str) -> None:
    runs = []
    for seed in (3, 3, 4):
        env = gym.make(env_id)
        runs.append([env.reset(seed=seed), *random_run(env, 100)])
    assert_same(runs[0], runs[1])
    assert difference(runs[0], runs[2], "result")
    assert_same(runs[0], [env.reset(seed=3), *random_run(env, 100)])


def test_two_environments_do_not_disturb_each_other() -> None:
    def make(seed: int) -> RLEnvironment:
        env = gym.make("TextMath-v0").unwrapped
        env.reset(seed=seed)
        return env

    alone = [random_run(make(0), 100), random_run(make(1), 100)]
    in_turn = zip(random_steps(make(0), 100), random_steps(make(1), 100), strict=True)
    mixed = [list(results) for results in zip(*in_turn, strict=True)]
    assert_same(alone, mixed)


def test_the_global_generators_are_left_alone() -> None:
    states = random.getstate(), np.random.get_state()[1].tolist()
    env = gym.make("TextMath-v0")
    env.reset(seed=0)
    random_run(env, 50)
    gym.make("TextMath-v0", num_problems=100).reset()  # unseeded
    assert states == (random.getstate(), np.random.get_state()[1].tolist())


def test_unseeded_environments_play_different_problems() -> None:
    numbers = {gym.make("TextMath-v0").reset()[1]["problem"] for _ in range(8)}
    assert len(numbers) > 1


# -------------------------------------------------------- copies -----------------------


@pytest.mark.parametrize("env_id", ["TextMath-v0", "Stop-test-v0", "Guess-test-v0"])
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_made_within_an_episode_goes_on_the_same(env_id: str, clone: Any) -> None:
    env = gym.make(env_id)
    env.reset(seed=0)
    env.step(CHAR.encode("1")[0])
    twin = clone(env)
    assert_same(random_run(env, 60), random_run(twin, 60))


# -------------------------------------------------------------------- the vector form


@pytest.mark.parametrize("env_id", ["TextMath-v0", "Stop-test-v0", "Guess-test-v0"])
def test_a_single_environment_is_slot_0_of_the_vector_form(env_id: str) -> None:
    single = gym.make(env_id)
    vector = gym.make_vec(env_id, num_envs=3, autoreset_mode=AutoresetMode.SAME_STEP)
    observation, info = single.reset(seed=7)
    observations, infos = vector.reset(seed=7)
    rng, endings = np.random.default_rng(0), 0
    for _ in range(150):
        np.testing.assert_array_equal(observation, observations[0])
        assert infos["length"][0] == info["length"]
        actions = rng.choice([*CHAR.encode("0123456789ab;!"), EOS, EOS], size=3)
        observation, reward, terminated, _, info = single.step(int(actions[0]))
        observations, rewards, terminations, _, infos = vector.step(actions)
        assert (reward, terminated) == (rewards[0], terminations[0])
        if terminated:
            endings += 1
            np.testing.assert_array_equal(observation, infos["final_obs"][0])
            assert infos["final_info"]["response"][0] == info["response"]
            assert infos["final_info"]["stop_reason"][0] == info["stop_reason"]
            observation, info = single.reset()
            assert infos["problem"][0] == info["problem"]
    assert endings > 10


def test_a_group_plays_the_same_problems_in_all_episodes() -> None:
    envs = gym.make_vec("TextMath-v0", num_envs=6, group_size=3)
    _, infos = envs.reset(seed=0)
    seen: list[list[int]] = [[] for _ in range(6)]
    rng = np.random.default_rng(0)
    for _ in range(200):
        for slot in np.flatnonzero(infos.get("_problem", np.zeros(6, dtype=bool))):
            seen[slot].append(int(infos["problem"][slot]))
        infos = envs.step(rng.choice([*CHAR.encode("123"), EOS], size=6))[4]
    count = min(map(len, seen))  # the slots' episodes differ in length, not in problems
    assert count > 20
    for slot in range(6):
        assert seen[slot][:count] == seen[slot - slot % 3][:count]
    assert seen[0][:count] != seen[3][:count]
