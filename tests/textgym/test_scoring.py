"""From components to rewards: vectors, weights of a problem's own, ranges, illegal tokens."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tests.textgym.playing import EOS, PAD, assert_same, play
from textgym import Problem, RLEnvironment, Task, TokenVectorEnv
from textgym.scoring import Scoring


class Shares(Task):
    """Letters a and b; a problem's own weights say what their shares are worth."""

    rewards = {"a": 0.5, "b": 0.5}
    multi_objective = True
    max_response_tokens = 6

    def sample(self, rng):
        weight = int(rng.integers(11)) / 10
        return Problem(f"{weight} {rng.integers(1000)}:", "a", {"weight": weight})

    def weights(self, problem):
        return {"a": problem.info["weight"], "b": 1 - problem.info["weight"]}

    def grade(self, problem, response):
        length = max(len(response), 1)
        return {"a": response.count("a") / length, "b": response.count("b") / length}


class Unbounded(Shares):
    """The number of letters a, without a limit, less the share of letters b."""

    rewards = {"a": 1.0, "b": -2.0}
    component_ranges = {"a": (-np.inf, np.inf)}

    weights = Task.weights

    def grade(self, problem, response):
        grade = super().grade(problem, response)
        return {"a": float(response.count("a")), "b": grade["b"]}


def test_a_problem_s_own_weights_make_its_reward() -> None:
    env = RLEnvironment(Shares())
    for seed in range(5):
        env.reset(seed=seed)
        weight = env.mdp.bank.problem(env._row).info["weight"]
        result = play(env, "aab")
        assert result.reward == pytest.approx(weight * 2 / 3 + (1 - weight) / 3)
        np.testing.assert_allclose(result.info["vector_reward"], [2 / 3, 1 / 3], rtol=1e-6)
        np.testing.assert_allclose(result.info["reward_weights"], [weight, 1 - weight], rtol=1e-6)


def test_the_info_of_a_multi_objective_task_tells_zeros_until_the_end() -> None:
    env = RLEnvironment(Shares())
    _, info = env.reset(seed=0)
    assert info["vector_reward"].tolist() == [0, 0] and info["vector_reward"].dtype == np.float32
    result = env.step(env.tokenizer.encode("a")[0])
    assert result.info["vector_reward"].tolist() == [0, 0] and "reward_weights" in result.info


def test_a_vector_reward_is_the_unweighted_components_in_its_space() -> None:
    env = RLEnvironment(Shares(), vector_reward=True)
    env.reset(seed=0)
    first = env.step(env.tokenizer.encode("a")[0])
    assert first.reward.shape == (2,) and not first.reward.any()
    result = env.step(EOS)
    assert result.reward.dtype == np.float32 and result.reward.tolist() == [1, 0]
    assert result.reward in env.reward_space


@pytest.mark.parametrize("task", [Shares(), Unbounded()], ids=["own weights", "unbounded"])
@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
def test_the_native_vector_form_pays_and_tells_as_sync_does(task: Task, mode) -> None:
    ours = TokenVectorEnv(task, 3, autoreset_mode=mode)
    theirs = SyncVectorEnv([lambda: RLEnvironment(task)] * 3, autoreset_mode=mode)
    assert_same(ours.reset(seed=5), theirs.reset(seed=5))
    rng, tokens = np.random.default_rng(0), [EOS, EOS, PAD, *ours.mdp.vocabulary.encode("aabbc")]
    for _ in range(120):
        actions = rng.choice(tokens, size=3)
        result = ours.step(actions)
        assert_same(result, theirs.step(actions))
        if mode is AutoresetMode.DISABLED and result[2].any():
            options = {"reset_mask": result[2]}
            assert_same(ours.reset(options=options), theirs.reset(options=options))


def test_native_vector_rewards_are_those_of_single_environments() -> None:
    task = Shares()
    envs = TokenVectorEnv(task, 4, vector_reward=True, autoreset_mode="SameStep")
    singles = [RLEnvironment(task, vector_reward=True) for _ in range(4)]
    envs.reset(seed=3)
    for i, env in enumerate(singles):
        env.reset(seed=3 + i)
    rng, tokens = np.random.default_rng(1), [EOS, *envs.mdp.vocabulary.encode("ab")]
    for _ in range(60):
        actions = rng.choice(tokens, size=4)
        rewards = envs.step(actions)[1]
        assert rewards.shape == (4, 2) and rewards.dtype == np.float32
        for env, action, reward in zip(singles, actions, rewards, strict=True):
            result = env.step(action)
            np.testing.assert_array_equal(result.reward, reward)
            if result.terminated:
                env.reset()


def test_an_illegal_token_is_never_better_than_ending_where_no_lowest_reward_is_known() -> None:
    env = RLEnvironment(Unbounded())
    for text in ("", "a", "aabb", "bb"):
        env.reset(seed=0)
        honest = play(env, text).reward
        env.reset(seed=0)
        for token in env.tokenizer.encode(text):
            env.step(token)
        illegal = env.step(PAD)
        assert illegal.info["stop_reason"] == "illegal"
        # One less in the unbounded component, the worst value, 1, in the one that is to be avoided.
        share = text.count("b") / max(len(text), 1)
        assert illegal.reward == pytest.approx(honest - 1 - 2 * (1 - share))


def test_an_illegal_token_costs_the_worst_value_of_each_component() -> None:
    class Ranged(Unbounded):
        component_ranges = {"a": (-3.0, 5.0)}

    scoring = Scoring(Ranged(), None)
    values = scoring.after_illegal(np.zeros((1, 2)), scoring.weights_many([None]))
    assert values.tolist() == [[-3.0, 1.0]] and scoring.reward_range == (-5.0, 5.0)
    assert scoring.lowest == -5.0 and scoring.reward_space.low.tolist() == [-3.0, 0.0]


@pytest.mark.parametrize(
    "weights", [{"a": 1.0}, {"a": 0.5, "b": 0.6}, {"a": -0.5, "b": 1.5}, {"a": 0.5, "c": 0.5}]
)
def test_own_weights_that_are_no_mixture_are_refused(weights) -> None:
    class Wrong(Shares):
        def weights(self, problem):
            return weights

    with pytest.raises(ValueError, match="Wrong.weights returned"):
        RLEnvironment(Wrong()).reset(seed=0)


@pytest.mark.parametrize(
    "ranges", [{"c": (0.0, 1.0)}, {"a": (1.0, 0.0)}, {"a": 2}, {"a": (0, "1")}]
)
def test_ranges_that_are_none_are_refused(ranges) -> None:
    class Wrong(Shares):
        component_ranges = ranges

    with pytest.raises(ValueError, match="component_ranges has"):
        RLEnvironment(Wrong())


def test_make_and_make_vec_take_vector_reward() -> None:
    env = gym.make("TextMath-v0", vector_reward=True)
    env.reset(seed=0)
    assert env.unwrapped.step(EOS).reward.shape == env.unwrapped.reward_space.shape == (2,)
    envs = gym.make_vec("TextMath-v0", num_envs=3, vector_reward=True)
    envs.reset(seed=0)
    assert envs.step(np.full(3, EOS))[1].shape == (3, 2)


class Compared(Shares):
    """More letters a are preferred."""

    def sample_preference(self, problem, rng):
        from textgym import Preference

        return Preference(problem.prompt, "a" * int(rng.integers(2, 5)), "a")


def test_preferences_are_a_function_of_seed_and_position() -> None:
    env, other = RLEnvironment(Compared(), split="test"), RLEnvironment(Compared(), split="test")
    pairs = env.preferences(20, seed=3)
    assert other.preferences(30, seed=3)[:20] == pairs != env.preferences(20, seed=4)
    assert {Problem(pair.prompt).split for pair in pairs} == {"test"}
    with pytest.raises(ValueError, match="n is 0"):
        env.preferences(0)


def test_turns_that_end_in_one_step_are_answered_together() -> None:
    class Asked(Task):
        max_turns, max_reply_tokens, max_response_tokens = 3, 4, 9

        def __init__(self):
            self.sizes = []

        def sample(self, rng):
            return Problem(f"{rng.integers(1000)}?")

        def reply_many(self, problems, turns):
            self.sizes.append(len(problems))
            return [f"<{said[-1]}>" if said[-1] else None for said in turns]

    task = Asked()
    envs = TokenVectorEnv(task, 3, autoreset_mode="Disabled")
    envs.reset(seed=0)
    one, two = envs.mdp.vocabulary.encode("12")
    envs.step(np.array([one, two, EOS]))  # the last one ends a turn with nothing: no reply
    _, _, terminations, _, infos = envs.step(np.array([EOS, EOS, EOS]))
    assert task.sizes == [1, 2] and terminations.tolist() == [False, False, False]
    texts = [
        envs.mdp.vocabulary.decode(row[:n].tolist())
        for row, n in zip(envs._tokens, infos["length"], strict=True)
    ]
    assert texts[0].endswith("1<1>") and texts[1].endswith("2<2>")
