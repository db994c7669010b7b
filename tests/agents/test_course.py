"""A run's course: iterations, learning rate, counters, checkpoints, Ctrl-C, for any learner."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor, nn

from agents.checkpoint import FILE_NAME
from agents.config import TrainingConfig
from agents.course import Course
from agents.metrics import METRICS_FILE, TIMING, read_metrics


class Learner:
    """Moves a few weights, by chance that is a function of the iteration."""

    def __init__(self, folder: Path | None = None, **settings: Any) -> None:
        plain = {"num_iterations": 6, "warmup_iterations": 1, "checkpoint_every": 2}
        self.config = TrainingConfig(**plain | settings)
        self.model = nn.Linear(3, 1, bias=False)
        nn.init.ones_(self.model.weight)
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.course = Course(self.config, self.model, self.optimizer, folder=folder, show=False)
        self.rates: list[float] = []

    def train(self, at: dict[int, Any] | None = None) -> None:
        """Run; `at` has what to call within an iteration."""
        self.at = at or {}
        self.course.run(lambda: self.course.step(self.learn))

    def learn(self) -> dict[str, float]:
        course, number = self.course, self.course.iteration + 1
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(number))
        self.optimizer.zero_grad()
        self.model(rows).square().sum().backward()
        self.optimizer.step()
        course.num_episodes += 4
        course.num_tokens += 10 * number
        course.state["kl_coef"] = course.state.get("kl_coef", 1.0) * 1.5
        self.at.get(number, lambda: None)()
        return {"kl": float(rows.sum())}


def rows(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMING} for row in read_metrics(folder)]


def test_the_learning_rate_rises_and_then_falls_to_a_tenth() -> None:
    learner = Learner(learning_rate=0.6, num_iterations=10, warmup_iterations=2)
    learner.train()
    # A third, two thirds, all of it; times a line from 1 to 0.1, of which it has 10 steps.
    rises = [1 / 3, 2 / 3, *[1.0] * 8]
    expected = [0.6 * rise * (1 - 0.09 * i) for i, rise in enumerate(rises)]
    assert learner.rates == pytest.approx(expected)


def test_an_iteration_is_counted_and_timed() -> None:
    learner = Learner()
    metrics = [learner.course.step(learner.learn) for learner.at in ({}, {})]
    assert [(m["episodes"], m["tokens"]) for m in metrics] == [(4, 10), (8, 30)]
    first, second = metrics
    assert second["tokens_per_second"] == pytest.approx(20 / second["seconds"])
    assert learner.course.seconds == pytest.approx(first["seconds"] + second["seconds"])
    assert first["learning_rate"] == learner.rates[0] and learner.course.iteration == 2


def test_metrics_and_a_curve_lie_in_the_folder(tmp_path: Path) -> None:
    Learner(tmp_path).train()
    assert [row["iteration"] for row in rows(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "learning_curve.png").stat().st_size > 1000


def test_checkpoints_are_written_at_the_start_as_often_as_asked_and_at_the_end(
    tmp_path: Path,
) -> None:
    learner, saved = Learner(tmp_path, num_iterations=5), []
    save = learner.course.save_checkpoint
    learner.course.save_checkpoint = lambda: saved.append(learner.course.iteration) or save()
    learner.train()
    assert saved == [0, 2, 4, 5]


def test_with_no_interval_there_are_the_first_and_the_last_checkpoint(tmp_path: Path) -> None:
    learner, saved = Learner(tmp_path, checkpoint_every=0), []
    learner.course.save_checkpoint = lambda: saved.append(learner.course.iteration)
    learner.train()
    assert saved == [0, 6]


def resumed(folder: Path, **settings: Any) -> Learner:
    learner = Learner(folder, **settings)
    nn.init.zeros_(learner.model.weight)
    learner.course.load_checkpoint()
    return learner


def assert_equal_runs(left: Learner, right: Learner) -> None:
    assert torch.equal(left.model.weight, right.model.weight)
    for name in ("iteration", "num_episodes", "num_tokens", "state"):
        assert getattr(left.course, name) == getattr(right.course, name), name
    assert rows(left.course.folder) == rows(right.course.folder)


def test_a_run_that_died_goes_on_to_the_same_end(tmp_path: Path) -> None:
    straight = Learner(tmp_path / "straight")
    straight.train()

    def die() -> None:
        raise RuntimeError("the machine is gone")

    with pytest.raises(RuntimeError):
        Learner(tmp_path / "died").train({4: die})  # after the checkpoint of iteration 2
    learner = resumed(tmp_path / "died")
    assert learner.course.iteration == 2 and learner.course.state == {"kl_coef": 1.5**2}
    learner.train()
    assert_equal_runs(learner, straight)


def test_dropout_is_a_function_of_the_iteration_and_spends_nobodys_chance(tmp_path: Path) -> None:
    drawn: dict[int, Tensor] = {}

    def learner() -> Learner:
        made = Learner(tmp_path, checkpoint_every=1)
        learn = made.learn

        def draw() -> dict[str, float]:
            got = torch.rand(3)
            assert torch.equal(got, drawn.setdefault(made.course.iteration, got))
            return learn()

        made.learn = draw
        return made

    first, again = learner(), learner()  # whose layers draw as well
    before = torch.get_rng_state()
    with pytest.raises(KeyError):
        first.train({4: lambda: {}["the machine is gone"]})
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        again.course.load_checkpoint()
        again.train()
    assert len({tuple(x.tolist()) for x in drawn.values()}) == 6  # iteration 4 was drawn twice


def test_ctrl_c_ends_the_iteration_saves_and_stops(tmp_path: Path) -> None:
    straight = Learner(tmp_path / "straight")
    straight.train()
    learner = Learner(tmp_path / "stopped", checkpoint_every=0)
    with pytest.raises(KeyboardInterrupt):
        learner.train({3: lambda: os.kill(os.getpid(), signal.SIGINT)})
    assert learner.course.iteration == 3 and len(rows(tmp_path / "stopped")) == 3
    learner = resumed(tmp_path / "stopped")
    assert learner.course.iteration == 3
    learner.train()
    assert_equal_runs(learner, straight)


def test_a_finished_run_has_nothing_left(tmp_path: Path) -> None:
    Learner(tmp_path).train()
    learner = resumed(tmp_path)
    learner.train()
    assert learner.rates == [] and len(rows(tmp_path)) == 6


def test_a_finished_run_goes_on_with_more_iterations(tmp_path: Path) -> None:
    Learner(tmp_path).train()
    learner = resumed(tmp_path, num_iterations=8)
    learner.train()
    assert [row["iteration"] for row in rows(tmp_path)][-2:] == [7, 8]


def test_an_aim_that_is_reached_ends_the_run_with_a_checkpoint(tmp_path: Path) -> None:
    learner = Learner(tmp_path, checkpoint_every=0)

    def step() -> dict[str, float]:
        metrics = learner.course.step(learner.learn)
        if learner.course.iteration == 3:
            learner.course.stop()
        return metrics

    learner.at = {}
    learner.course.run(step)
    assert learner.course.is_over and len(rows(tmp_path)) == 3
    assert resumed(tmp_path).course.iteration == 3
    assert learner.config.num_iterations == 6  # the learner's own is not touched


def test_another_runs_folder_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    Learner(tmp_path).train()
    before = {name: (tmp_path / name).read_bytes() for name in (METRICS_FILE, FILE_NAME)}
    with pytest.raises(FileExistsError, match="holds a run"):
        Learner(tmp_path).train()
    assert before == {name: (tmp_path / name).read_bytes() for name in before}


def test_one_course_may_run_twice(tmp_path: Path) -> None:
    learner = Learner(tmp_path)
    learner.train()
    learner.train()
    assert len(rows(tmp_path)) == 6


def test_without_a_folder_nothing_is_written_or_loaded(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    learner = Learner()
    learner.train()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="folder is None, expected the run folder"):
        learner.course.load_checkpoint()


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        Learner(tmp_path).course.load_checkpoint()


def test_a_number_that_is_not_finite_is_told_with_its_iteration() -> None:
    def fail() -> None:
        raise FloatingPointError("kl is nan")

    learner = Learner()
    with pytest.raises(FloatingPointError, match="^iteration 3: kl is nan$"):
        learner.train({3: fail})
    assert learner.course.iteration == 2


def test_an_adaptive_difficulty_goes_on_where_it_stood(tmp_path: Path) -> None:
    env, learner = gym.make("TextMath-v0", difficulty="adaptive"), Learner(tmp_path)
    learner.course.follow(env)
    env.unwrapped.curriculum.record([0] * 256, [1.0] * 256)
    learner.train()
    state = env.unwrapped.curriculum.state_dict()
    assert state["level"] == 1
    again, learner = gym.make("TextMath-v0", difficulty="adaptive"), resumed(tmp_path)
    assert again.unwrapped.curriculum.level == 0
    learner.course.follow(again)
    assert again.unwrapped.curriculum.state_dict() == state
