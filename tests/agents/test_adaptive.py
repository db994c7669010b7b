"""Learners in adaptive environments: resumed to the last bit, measured on all levels alike."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TransformReward

from agents import cli, runs
from agents.environments import as_vector_env, curriculum_of
from agents.metrics import TIMING, read_metrics
from agents.ppo import PPOTrainer
from agents.rollout import evaluate
from agents.sft import SFTConfig, SFTTrainer
from agents.warm_up import warm_up
from tests.agents.learners import new_policy, weights
from tests.agents.test_ppo import new_trainer
from tests.textgym import sample_tasks  # noqa: F401
from textgym import Curriculum, Problem, RLEnvironment, Task, TokenVectorEnv, register_task

torch.set_num_threads(1)


@register_task("Letters-test-v0", max_response_tokens=3)
class Letters(Task):
    """Answer with letters: even a policy that knows nothing does so half of the time."""

    difficulties = ("one", "two", "three")

    def sample(self, rng, difficulty):
        return Problem(f"{difficulty} {rng.integers(10**6)}:")

    def grade(self, problem, response):
        return {"correct": float(any(map(str.isalpha, response)))}


def quick(level: int = 0) -> Curriculum:
    """One that moves up whatever happens, at first."""
    curriculum = Curriculum(3, window=10, promote_above=0.3, demote_below=0.1, rehearsal=0.3)
    curriculum.load_state_dict({"level": level, "successes": []})
    return curriculum


def adaptive(**settings) -> RLEnvironment:
    return RLEnvironment(Letters(), difficulty=quick(), **settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[PPOTrainer, Curriculum]:
    """An uninterrupted run of six iterations, and the curriculum after it."""
    trainer, env = new_trainer(folder=tmp_path_factory.mktemp("whole")), adaptive()
    trainer.train(env)
    return trainer, env.unwrapped.curriculum


def rows(trainer: PPOTrainer) -> list[dict]:
    found = read_metrics(trainer.course.folder)
    return [{k: v for k, v in row.items() if k not in TIMING} for row in found]


def test_the_level_reached_is_a_metric(whole) -> None:
    trainer, curriculum = whole
    levels = [row["level"] for row in rows(trainer)]
    assert levels[0] < levels[-1] == 2 == curriculum.level
    trainer = new_trainer()
    assert "level" not in trainer.step(as_vector_env(RLEnvironment(Letters()), 4))


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(whole, tmp_path, stop) -> None:
    class Stopped(PPOTrainer):
        def step(self, envs):
            if self.course.iteration == stop:
                raise FloatingPointError("stop here")
            return super().step(envs)

    first = new_trainer(folder=tmp_path, kind=Stopped, checkpoint_every=1)
    with pytest.raises(FloatingPointError):
        first.train(adaptive())
    second, env = new_trainer(folder=tmp_path), adaptive()
    second.load_checkpoint()
    second.train(env)  # a new environment, whose curriculum begins anew
    trainer, curriculum = whole
    assert rows(second) == rows(trainer)
    ours, theirs = weights(second.policy), weights(trainer.policy)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert env.curriculum.state_dict() == curriculum.state_dict()


def test_a_checkpoint_of_a_run_that_is_not_adaptive_has_no_curriculum(tmp_path) -> None:
    trainer = new_trainer(folder=tmp_path, num_iterations=1)
    trainer.train(RLEnvironment(Letters()))
    again, env = new_trainer(folder=tmp_path, num_iterations=2), adaptive()
    again.load_checkpoint()
    before = env.curriculum.state_dict()
    again.course.follow(env)
    assert env.curriculum.state_dict() == before


@pytest.mark.parametrize("wrap", [lambda env: env, lambda env: TransformReward(env, lambda r: r)])
def test_slots_share_the_curriculum_of_the_environment_given(wrap) -> None:
    env = wrap(adaptive())
    envs = as_vector_env(env, 4)
    assert isinstance(envs, TokenVectorEnv) == (env is env.unwrapped)
    assert curriculum_of(envs) is env.unwrapped.curriculum is not None
    assert curriculum_of(as_vector_env(RLEnvironment(Letters()), 4)) is None


def test_evaluation_plays_all_levels_in_equal_shares() -> None:
    episodes = evaluate(new_policy(), adaptive(), num_episodes=12)
    assert np.bincount(episodes.difficulties).tolist() == [4, 4, 4]
    one = evaluate(new_policy(), "Letters-test-v0", num_episodes=6, difficulty="adaptive")
    assert one.difficulties.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("wrap", [lambda env: env, lambda env: TransformReward(env, lambda r: r)])
def test_evaluation_never_moves_the_curriculum(wrap) -> None:
    env = wrap(adaptive())
    before = env.unwrapped.curriculum.state_dict()
    episodes = evaluate(new_policy(), env, num_episodes=60)
    assert set(episodes.difficulties.tolist()) == {0, 1, 2}
    assert env.unwrapped.curriculum.state_dict() == before


def test_warm_up_and_supervision_look_at_the_level_where_the_curriculum_stands() -> None:
    class Yes(Letters):
        def sample(self, rng, difficulty):
            return Problem(f"{difficulty} {rng.integers(10**6)}:", "yes")

        def grade(self, problem, response):
            return {"correct": float(problem.prompt.startswith("two"))}

    said: list[str] = []
    env = RLEnvironment(Yes(), difficulty=quick(level=1))
    assert warm_up(new_policy(), env, tell=said.append) is None and not said
    config = SFTConfig(target_success=0.0, evaluate_episodes=8)
    assert SFTTrainer(config, new_policy()).train(env) == 1.0


class Listed(Task):
    """A data set of 30 rows with splits of its own, of which none is validation."""

    problems = [Problem(f"{i}?", "a", fixed_split="test" if i % 3 else "train") for i in range(30)]

    def list_problems(self):
        return self.problems

    def sample(self, rng):
        return self.problems[rng.integers(30)]


def test_a_finite_list_is_evaluated_once_each() -> None:
    env = RLEnvironment(Listed(), split="test")
    assert len(evaluate(new_policy(), env, num_episodes=512).returns) == 20
    assert len(evaluate(new_policy(), env, num_episodes=7).returns) == 7


def test_a_data_set_without_a_validation_split_can_be_imitated() -> None:
    env = RLEnvironment(Listed())
    assert (
        SFTTrainer(SFTConfig(target_success=0.0, evaluate_episodes=4), new_policy()).train(env) >= 0
    )


# ------------------------------------------------------------------ the command line

SMALL = ["--batch-size", "8", "--num-iterations", "2", "--num-minibatches", "1", "--warm-up", "0"]


@pytest.fixture
def policy(tmp_path, monkeypatch):
    new_policy().save(tmp_path / "policy")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "TEST_EPISODES", 6)
    return tmp_path / "policy"


def test_the_command_line_knows_adaptive_and_the_weights_of_the_reward(policy, capsys) -> None:
    settings = ["--env", "Sort-test-v0", "--policy", "policy", "--out", "run", *SMALL]
    weighted = ["--reward-weights", "short=2", "shouting=-0.5"]
    assert cli.main(["ppo", *settings, "--difficulty", "adaptive", *weighted]) == 0
    config = json.loads((policy.parent / "run" / "config.json").read_text())
    assert config["env_kwargs"] == {
        **{"difficulty": "adaptive", "reward_weights": {"short": 2, "shouting": -0.5}}
    }
    assert [row["level"] for row in read_metrics("run")] == [0, 0]
    summary = json.loads((policy.parent / "run" / "summary.json").read_text())
    assert summary["difficulty"] == "adaptive" and summary["test_episodes"] == 6
    capsys.readouterr()
    assert cli.main(["evaluate", "--policy", "run", "--episodes", "4", "--greedy"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["difficulty"] == "adaptive" and found["verifier_errors"] == 0
    again = ["ppo", "--resume", "--out", "run", "--num-iterations", "3"]
    assert cli.main([*again, "--reward-weights", "short=1"]) == 2
    assert "has reward_weights {'short': 2, 'shouting': -0.5}, which --resume cannot" in (
        capsys.readouterr().err
    )
    assert cli.main(again) == 0 and len(read_metrics("run")) == 3


def test_more_keywords_of_the_environment_are_given_by_name(policy) -> None:
    settings = ["--env", "Sort-test-v0", "--policy", "policy", "--out", "run", *SMALL]
    assert cli.main(["ppo", *settings, "--env-kwargs", "num_problems=50", "difficulty=abc"]) == 0
    kwargs = json.loads((policy.parent / "run" / "config.json").read_text())["env_kwargs"]
    assert kwargs == {"num_problems": 50, "difficulty": "abc"}
    assert gym.make("Sort-test-v0", **kwargs).unwrapped.mdp.bank.num_problems == 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reward-weights", "short"], "--reward-weights has short, expected NAME=VALUE"),
        (["--reward-weights", "a=1", "a=2"], "--reward-weights has a=2, expected NAME=VALUE, each"),
        (["--reward-weights", "tall=1"], "reward_weights has ['tall'], expected some of Sort's"),
        (["--reward-weights", "short=big"], "reward_weights['short'] is 'big', expected a number"),
        (["--env-kwargs", "nunber=1"], "Sort got ['nunber']"),
    ],
)
def test_a_mistake_in_a_keyword_is_one_line(policy, capsys, arguments, message) -> None:
    settings = ["--env", "Sort-test-v0", "--policy", "policy", "--out", "run", *SMALL]
    assert cli.main(["ppo", *settings, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
