"""What holds for every learner that plays: it repeats, resumes, accumulates, reads its config."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.metrics import METRICS, read_metrics
from tests.agents.learners import (
    BATCH_SIZE,
    SETTINGS,
    assert_same_weights,
    learner,
    new_config,
    new_policy,
    new_trainer,
    use_sgd,
    weights,
    without_timing,
    words,
)

each_learner = pytest.mark.parametrize("algorithm", SETTINGS)
with_groups = pytest.mark.parametrize("algorithm", ["grpo", "rloo"])


def trained(algorithm: str, **settings: Any) -> tuple[dict, list[dict]]:
    trainer = new_trainer(algorithm, num_iterations=2, kl_coef=0.1, **settings)
    envs = words(trainer)
    rows = [trainer.step(envs) for _ in range(2)]
    return weights(trainer.policy), without_timing(rows)


@each_learner
def test_a_seed_decides_a_run_and_the_global_generator_has_no_part_in_it(algorithm: str) -> None:
    first, rows = trained(algorithm, seed=7)
    before = torch.get_rng_state()
    again, same_rows = trained(algorithm, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_weights(first, again)
    assert rows == same_rows
    other, _ = trained(algorithm, seed=8)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@each_learner
def test_a_killed_run_resumes_to_the_same_weights_and_metrics(
    algorithm: str, tmp_path: Path
) -> None:
    settings = {"checkpoint_every": 2, "num_iterations": 4, "kl_coef": 0.1, "learning_rate": 3e-3}
    whole = new_trainer(algorithm, folder=tmp_path / "whole", **settings)
    whole.train(words(whole))

    killed = new_trainer(algorithm, folder=tmp_path / "resumed", **settings)
    step = killed.step

    def step_or_die(envs: Any) -> dict[str, float]:
        if killed.course.iteration == 3:
            raise RuntimeError("killed")
        return step(envs)

    killed.step = step_or_die
    with pytest.raises(RuntimeError, match="killed"):
        killed.train(words(killed))
    resumed = new_trainer(algorithm, folder=tmp_path / "resumed", **settings)
    resumed.load_checkpoint()
    assert resumed.course.iteration == 2
    resumed.train(words(resumed))

    assert_same_weights(weights(whole.policy), weights(resumed.policy))
    rows, same_rows = (read_metrics(tmp_path / name) for name in ("whole", "resumed"))
    assert len(rows) == 4 and without_timing(rows) == without_timing(same_rows)
    assert rows[-1]["kl"] > 1e-4  # the reference is the policy of the start, not of the checkpoint


@each_learner
@pytest.mark.parametrize(
    "split",
    [{"gradient_accumulation_steps": 3}, {"max_tokens": 40}],
    ids=lambda split: next(iter(split)),
)
def test_micro_batches_change_neither_a_step_nor_its_metrics(
    algorithm: str, split: dict[str, int]
) -> None:
    results = []
    for settings in ({}, split):
        trainer = new_trainer(algorithm, learning_rate=1e-2, kl_coef=0.1, **settings)
        use_sgd(trainer)
        metrics = trainer.step(words(trainer))
        results.append((weights(trainer.policy), *without_timing([metrics])))
    (whole, metrics), (parts, same_metrics) = results
    start = new_policy().state_dict()
    moved = max(float((tensor - start[name]).abs().max()) for name, tensor in whole.items())
    assert moved > 1e-4
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=1e-3 * moved, rtol=0, msg=name)
    assert same_metrics == pytest.approx(metrics, rel=1e-4, abs=1e-5)


@each_learner
def test_every_field_of_the_config_is_read(algorithm: str) -> None:
    kind, read = learner(algorithm, "Config"), set()

    class Watched(kind):
        def __getattribute__(self, name: str) -> Any:
            read.add(name)
            return super().__getattribute__(name)

    extra = {"normalization": "constant"} if algorithm == "grpo" else {}
    config = new_config(algorithm, kind=Watched, num_iterations=1, kl_coef=0.1, **extra)
    trainer = learner(algorithm, "Trainer")(config, new_policy(), show=False)
    read.clear()  # of what the check of the ranges read
    trainer.train(words(trainer))
    left = {field.name for field in dataclasses.fields(kind)} - read
    assert left <= {"learning_rate", "value"}  # which are read when the trainer is made


@each_learner
def test_values_out_of_range_are_refused_by_name(algorithm: str) -> None:
    wrong = {"kl_coef": -0.1, "entropy_coef": float("nan"), "batch_size": 0, "learning_rate": 0.0}
    wrong |= {"group_size": 1} if "group_size" in SETTINGS[algorithm] else {}
    for name, value in wrong.items():
        config = new_config(algorithm)
        setattr(config, name, value)
        with pytest.raises(ValueError, match=rf"^{name} is {value}, expected .* of at least|posit"):
            learner(algorithm, "Trainer")(config, new_policy(), show=False)


@each_learner
def test_another_learners_config_is_refused(algorithm: str) -> None:
    other = new_config("ppo" if algorithm != "ppo" else "grpo")
    with pytest.raises(TypeError, match=f"expected a {learner(algorithm, 'Config').__name__}"):
        learner(algorithm, "Trainer")(other, new_policy(), show=False)


@each_learner
def test_metrics_are_those_of_the_table(algorithm: str) -> None:
    trainer = new_trainer(algorithm)
    metrics = trainer.step(words(trainer))
    assert metrics.keys() <= METRICS.keys()
    assert metrics["episodes"] == BATCH_SIZE
    assert metrics["tokens"] == pytest.approx(BATCH_SIZE * metrics["response_length"])


@each_learner
def test_the_entropy_bonus_changes_a_step(algorithm: str) -> None:
    gradients = []
    for entropy_coef in (0.0, 0.5):
        trainer = new_trainer(algorithm, entropy_coef=entropy_coef)
        before = weights(trainer.policy)
        use_sgd(trainer)
        trainer.step(words(trainer))
        gradients.append({k: v - before[k] for k, v in trainer.policy.state_dict().items()})
    assert any(not torch.allclose(gradients[0][k], gradients[1][k]) for k in gradients[0])


@with_groups
def test_the_rows_of_a_group_answer_one_problem_and_stand_together(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents import play as play_module

    seen, collect = [], play_module.collect
    monkeypatch.setattr(
        play_module, "collect", lambda *a, **k: seen.append(collect(*a, **k)) or seen[-1]
    )
    trainer = new_trainer(algorithm, num_envs=6)
    trainer.step(words(trainer))
    problems = seen[0][0].problem.reshape(-1, 3)
    assert torch.equal(problems, problems[:, :1].expand(-1, 3))
    assert problems[:, 0].unique().numel() == 4


@with_groups
def test_a_batch_that_groups_do_not_divide_is_refused(algorithm: str) -> None:
    with pytest.raises(ValueError) as error:
        new_trainer(algorithm, batch_size=10)
    assert str(error.value) == "batch_size is 10, expected a multiple of group_size, 3"
