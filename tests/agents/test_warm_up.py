"""The warm-up: to a stated success, only where it is needed, and only once."""

from __future__ import annotations

import copy

import gymnasium
import pytest
import torch

from agents import warm_up as module
from agents.models import Policy, new_tiny_model
from agents.rollout import evaluate
from agents.sft import SFTConfig, SFTTrainer
from agents.warm_up import cache_folder, warm_up
from textgym import Problem, Task, TokenVectorEnv

QUICK = SFTConfig(batch_size=32, num_iterations=200, warmup_iterations=10, evaluate_every=10)


class Yes(Task):
    """Answer every question with "yes"."""

    difficulties = ("letters", "digits")
    max_response_tokens = 5
    answer = "yes"

    def sample(self, rng, difficulty):
        symbols = list("abcdefgh" if difficulty == "letters" else "12345678")
        return Problem("".join(rng.choice(symbols, size=4)) + "?", answer=self.answer)

    def grade(self, problem, response):
        return {"correct": float(response == "yes")}


class Silent(Yes):
    """The same without reference answers."""

    answer = ""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTGYM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "warm-up"


@pytest.fixture
def policy():
    return Policy(new_tiny_model(0, hidden_size=32, num_layers=1), "char")


def env(task=None, **kwargs):
    return TokenVectorEnv(task or Yes(), num_problems=512, **kwargs)


def weights(policy):
    return torch.cat([tensor.flatten() for tensor in policy.state_dict().values()])


def test_a_policy_without_success_reaches_the_target_and_needs_no_second_warm_up(policy):
    lines = []
    reached = warm_up(policy, env(), 0.25, config=QUICK, tell=lines.append)
    assert reached >= 0.25
    assert evaluate(policy, env(split="test")).success.mean() >= 0.2
    assert lines[0].startswith("warm-up: sampled success is 0.0") and "of 0.25" in lines[-1]

    before = weights(policy)
    assert warm_up(policy, env(), 0.9) is None
    assert torch.equal(weights(policy), before)


def test_the_second_run_takes_the_first_ones_result(policy, monkeypatch):
    second = copy.deepcopy(policy)
    reached = warm_up(policy, env(), config=QUICK, tell=lambda line: None)
    monkeypatch.setattr(SFTTrainer, "train", lambda *_, **__: pytest.fail("it trained again"))
    lines = []
    assert warm_up(second, env(), config=QUICK, tell=lines.append) == reached
    assert torch.equal(weights(second), weights(policy))
    assert len(lines) == 1 and "an earlier run" in lines[0]


def test_whatever_changes_the_result_has_a_place_of_its_own_in_the_cache(
    policy, cache, monkeypatch
):
    monkeypatch.setattr(SFTTrainer, "train", lambda *_, **__: 0.5)

    def run(policy=policy, environment=None, target=0.25, config=QUICK):
        warm_up(copy.deepcopy(policy), environment or env(), target, config=config, tell=str)
        return len(list(cache.iterdir()))

    class Yes2(Yes):
        """Other problems under the same name."""

        def sample(self, rng, difficulty):
            return Problem("!" + super().sample(rng, difficulty).prompt, answer="yes")

    Yes2.__qualname__ = Yes.__qualname__
    other = Policy(new_tiny_model(1, hidden_size=32, num_layers=1), "char")
    assert run() == run() == 1
    assert run(policy=other) == 2
    assert run(environment=env(difficulty="digits")) == 3
    assert run(environment=env(Yes2())) == 4
    assert run(environment=env(max_response_tokens=6)) == 5
    assert run(target=0.5) == 6
    assert run(config=SFTConfig()) == 7
    assert run() == 7


def test_an_id_with_other_arguments_is_another_task(policy, cache, monkeypatch):
    monkeypatch.setattr(SFTTrainer, "train", lambda *_, **__: 0.5)
    monkeypatch.setattr(module, "PROBE_EPISODES", 8)
    for wording, num_places in (("symbols", 1), ("words", 2), ("symbols", 2)):
        math = gymnasium.make("TextMath-v0", wording=wording)
        assert warm_up(policy, math, tell=str) == 0.5
        assert len(list(cache.iterdir())) == num_places


def test_a_task_without_reference_answers_gets_one_line_of_warning(policy):
    before, lines = weights(policy), []
    assert warm_up(policy, env(Silent()), tell=lines.append) is None
    assert len(lines) == 1 and lines[0].startswith("warning: sampled success is 0.0")
    assert torch.equal(weights(policy), before)


def test_target_zero_means_never(policy, monkeypatch):
    monkeypatch.setattr(module, "evaluate", lambda *_, **__: pytest.fail("it played"))
    assert warm_up(policy, env(), 0) is None


def test_an_unwritable_cache_costs_nothing_but_time(policy, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TEXTGYM_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(SFTTrainer, "train", lambda *_, **__: 0.5)
    lines = []
    assert warm_up(policy, env(), tell=lines.append) == 0.5
    assert "not cached" in lines[-1]


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("TEXTGYM_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" / "warm-up"
    monkeypatch.delenv("TEXTGYM_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "textgym" / "warm-up"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "home" / ".cache" / "textgym" / "warm-up"


class Utility(Yes):
    """The same, worth 3 where it is right: no share of anything."""

    component_ranges = {"correct": (-3.0, 3.0)}

    def grade(self, problem, response):
        return {"correct": 3.0 if response == "yes" else -3.0}


def test_a_reward_that_is_no_share_is_not_called_success(policy):
    lines = []
    assert warm_up(policy, env(Utility()), 0.5, config=QUICK, tell=lines.append) >= 0.5
    assert "sampled reward is -3" in lines[0] and not any("success" in line for line in lines)
