"""check_task and check_env accept what is sound and name what is not."""

from __future__ import annotations

import random
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest

import textgym
from tests.textgym import sample_tasks  # noqa: F401
from tests.textgym.broken_tasks import BROKEN, Coin, GuessWithHints, ReferenceEarnsHalf, Sum
from textgym import Report, RLEnvironment, Task, check_env, check_task
from textgym.checking import Check, ContractError
from textgym.core import StepResult


def line_of(report: Report, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


@pytest.mark.parametrize("task_class", [Sum, GuessWithHints])
def test_a_sound_task_passes_every_check(task_class: type[Task]) -> None:
    report = check_task(task_class())
    assert report.ok and not report.of("warning"), str(report)
    report.raise_if_failed()
    assert len(report.checks) == 18 and len({check.name for check in report.checks}) == 18


@pytest.mark.parametrize(("task_class", "verdict", "name", "message"), BROKEN)
def test_a_defect_is_named(task_class: type[Task], verdict: str, name: str, message: str) -> None:
    report = check_task(task_class())
    check = line_of(report, name)
    assert check.verdict == verdict and message in check.message, str(report)
    assert report.ok == (verdict == "warning")
    assert "\n" not in check.message and len(check.message) <= 400


def test_every_check_of_a_task_has_a_task_that_fails_it() -> None:
    names = {check.name for check in check_task(Sum()).checks}
    assert names == {name for _, _, name, _ in BROKEN}


def test_the_report_counts_problems_and_rewards_of_each_level() -> None:
    report = check_task(textgym.load_task("TextMath-v0"), num_problems=200)
    assert report.ok and not report.of("warning"), str(report)
    assert list(report.levels) == list(textgym.tasks.TextMath.difficulties)
    digit = report.levels["digit"]
    assert 100 < digit["distinct"] < 200 and digit["duplicates"] == 1 - digit["distinct"] / 200
    assert digit["reference"] == 1.0 and digit["empty"] == digit["echo"] == 0.0


def test_a_stated_floor_is_neither_error_nor_warning_up_to_there() -> None:
    report = check_task(Coin())
    assert report.ok and not report.of("warning"), str(report)
    assert 0.4 < report.levels["all"]["constant"] < 0.6


def test_the_report_prints_as_a_table_and_raises_its_errors() -> None:
    report = check_task(ReferenceEarnsHalf())
    lines = str(report).splitlines()
    assert lines[0] == "check_task(ReferenceEarnsHalf): errors: 1, warnings: 0, checks: 18"
    assert len(lines) == 1 + 18 + 1 + 2
    with pytest.raises(
        ContractError, match="(?s)failed\n  reference answers: .* earns 0.5"
    ) as info:
        report.raise_if_failed()
    assert str(info.value).count("\n") == 1


def test_what_is_no_task_is_refused() -> None:
    with pytest.raises(TypeError, match="expected an instance of textgym.Task"):
        check_task(Sum)
    with pytest.raises(ValueError, match="num_problems is 0, expected an integer"):
        check_task(Sum(), num_problems=0)
    with pytest.raises(TypeError, match="expected an id or a gymnasium.Env"):
        check_env(Sum())


def test_the_checks_leave_the_global_generators_alone() -> None:
    states = random.getstate(), np.random.get_state()[1].tolist()
    check_task(Sum())
    check_env(RLEnvironment(Sum()))
    assert states == (random.getstate(), np.random.get_state()[1].tolist())


# ------------------------------------------------------------------- environments


class TruncatesAtTheBudget(RLEnvironment):
    def step(self, action):
        result = super().step(action)
        if result.info.get("stop_reason") == "length":
            return result._replace(terminated=False, truncated=True)
        return result


class PadIsFree(RLEnvironment):
    def step(self, action):
        if action == self.mdp.vocabulary.pad:
            return StepResult(self._tokens.copy(), 0.0, False, False, {"length": self._length})
        return super().step(action)


class PaysForEveryToken(RLEnvironment):
    def step(self, action):
        result = super().step(action)
        return result if result.terminated else result._replace(reward=0.01)


class UsesTheGlobalGenerator(RLEnvironment):
    def reset(self, *, seed=None, options=None):
        random.random()
        return super().reset(seed=seed, options=options)


class SharesTokensWithOthers(RLEnvironment):
    shared = np.zeros(1, dtype=np.int64)

    def reset(self, *, seed=None, options=None):
        self.shared[0] = seed or 0
        return super().reset(seed=seed, options=options)

    def step(self, action):
        result = super().step(action)
        result.observation[0] = self.shared[0]
        return result


class ForgetsItsSeed(RLEnvironment):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=0, options=options)


class MasksNothing(RLEnvironment):
    def action_masks(self):
        return np.ones(self.action_space.n, dtype=bool)


class GivesOneObservationAgain(RLEnvironment):
    def step(self, action):
        return super().step(action)._replace(observation=self._tokens)


class DoublesTheReward(RLEnvironment):
    def step(self, action):
        result = super().step(action)
        return result._replace(reward=2 * result.reward)


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (TruncatesAtTheBudget, "budget", "truncated after 6 tokens, expected the token budget to"),
        (PadIsFree, "illegal tokens", "token 0 gave terminated=False, truncated=False"),
        (PaysForEveryToken, "rewards", "a step before the end earned 0.01, expected 0"),
        (UsesTheGlobalGenerator, "isolation", "uses random's global generator"),
        (SharesTokensWithOthers, "isolation", "the runs of an environment alone and beside anothe"),
        (ForgetsItsSeed, "seeds", "20 seeds gave one first observation"),
        (MasksNothing, "action masks", "is wrong at the tokens [0, 1, 3]"),
        (GivesOneObservationAgain, "observations", "two steps give one array as observation"),
        (DoublesTheReward, "text form", "token by token and as a text: result[1] is 2.0 and 1.0"),
    ],
)
def test_a_broken_environment_is_named(
    make: Callable[[Task], RLEnvironment], name: str, message: str
) -> None:
    report = check_env(make(Sum()), num_steps=50)
    check = line_of(report, name)
    assert check.verdict == "error" and message in check.message, str(report)


def test_sound_environments_pass_every_check() -> None:
    for env in (
        *("TextMath-v0", "Stop-test-v0", "Guess-test-v0"),
        RLEnvironment(Sum(), difficulty=0, split="test"),
        gym.wrappers.TimeLimit(RLEnvironment(GuessWithHints()), 4),
    ):
        report = check_env(env, num_steps=60)
        assert report.ok and not report.of("warning"), str(report)
        assert len(report.checks) == 14


def test_an_environment_that_cannot_be_made_is_one_error() -> None:
    for id, message in (("TextMth-v0", "Did you mean: `TextMath`"), ("Nope:X-v0", "Nope")):
        report = check_env(id)
        assert [check.name for check in report.checks] == ["construction"]
        assert message in report.checks[0].message and not report.ok


def test_keywords_reach_the_environment() -> None:
    report = check_env("TextMath-v0", num_steps=20, difficulty="digit", max_response_tokens=9)
    assert report.ok and "after 9 tokens" in line_of(report, "budget").message, str(report)
