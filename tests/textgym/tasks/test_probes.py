"""The probes: what is optimal, and what a policy gets that does not know it."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from tests.textgym.playing import play
from textgym import TokenVectorEnv, load_task
from textgym.tasks import TextProbeDelay, TextProbeDiscount, TextProbeExplore, TextProbePrompt

BEST = {
    "TextProbeConstant-v0": ("k", ""),
    "TextProbePrompt-v0": (),
    "TextProbeDelay-v0": ("7 is how I begin", "012345678901"),
    "TextProbeDiscount-v0": ("eight or", "more than eight"),
    "TextProbeExplore-v0": ("7t", "7a!"),
}


@pytest.mark.parametrize("env_id", BEST)
def test_the_optimal_return_is_reached_and_nothing_earns_more(env_id: str) -> None:
    env = gym.make(env_id, num_problems=10)
    assert env.unwrapped.mdp.reward_range[1] == env.unwrapped.task.optimal_return == 1.0
    for number in range(10):
        _, info = env.reset(options={"problem": number})
        answer = env.unwrapped.mdp.bank.problem(info["problem"]).answer
        for response in (answer, *BEST[env_id]):
            env.reset(options={"problem": number})
            assert play(env, response).reward == 1.0


@pytest.mark.parametrize(
    ("env_id", "mean"), [*zip(BEST, (0.0205, 0.0103, 0.092, 0.588, 0.0289), strict=True)]
)
def test_a_random_policy_gets_what_is_stated(env_id: str, mean: float) -> None:
    envs = TokenVectorEnv(load_task(env_id), 2000, num_problems=200, autoreset_mode="SameStep")
    legal, rng = np.flatnonzero(~envs.mdp.vocabulary.illegal), np.random.default_rng(0)
    envs.reset(seed=0)
    returns = []
    while len(returns) < 20000:
        _, rewards, terminations, _, _ = envs.step(rng.choice(legal, size=2000))
        returns += rewards[terminations].tolist()
    # "The first N" favours short episodes, but by little in so many of up to 13 tokens.
    assert np.mean(returns) == pytest.approx(mean, abs=4 * np.std(returns) / 20000**0.5 + 0.01)


def test_the_better_end_is_the_one_that_gamma_says() -> None:
    task = TextProbeDiscount()
    problem = task.sample(np.random.default_rng(0))
    endings = [("-" * n + last, n) for n in range(10) for last in ("", "0")]
    for gamma in np.linspace(0.5, 1.0, 51):
        # n characters before the token that ends the response: eos, or a digit.
        values = [task.grade(problem, text)["correct"] * gamma**n for text, n in endings]
        assert task.optimal_discounted_return(gamma) == max(values)
        is_long = values.index(max(values)) > 1
        assert is_long == (gamma > 3 ** (-1 / 8))


def test_a_digit_ends_the_discount_probe_at_once() -> None:
    env = gym.make("TextProbeDiscount-v0", num_problems=5)
    env.reset(seed=0)
    result = play(env, "7", eos=False)
    assert result.terminated and result.reward == pytest.approx(1 / 3)


def test_no_constant_answers_more_than_a_quarter_of_the_prompts() -> None:
    task, rng = TextProbePrompt(), np.random.default_rng(0)
    problems = [task.sample(rng) for _ in range(4000)]
    counts = [sum(problem.answer == letter for problem in problems) for letter in "abcd"]
    assert max(counts) < 1100 and sum(counts) == 4000
    places = {(len(p.prompt), p.prompt.index(p.answer)) for p in problems}
    assert places == {(n, i) for n in range(5, 11) for i in range(n - 1)}


def test_delay_looks_at_the_first_character_and_the_length_alone() -> None:
    task = TextProbeDelay()
    problem = task.sample(np.random.default_rng(0))
    assert task.grade(problem, "3" + "\u00e9\n" * 6)["correct"] == 1.0
    for response in ("", "3" * 11, "a" * 12, "\u0663" * 12, " 33333333333"):
        assert task.grade(problem, response)["correct"] == 0.0


def test_explore_pays_the_rare_and_the_common_response() -> None:
    task = TextProbeExplore()
    problem = task.sample(np.random.default_rng(0))
    for response, value in (("7a", 1), ("7tx", 1), ("7u", 0), ("7", 0), ("A7a", 0.1), ("", 0)):
        assert task.grade(problem, response)["correct"] == value
