"""Reward models learn what they are shown, whatever the micro-batches, and resume to the bit."""

from __future__ import annotations

import json
import warnings
from dataclasses import fields
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from transformers.utils import logging

from agents import cli
from agents.metrics import read_metrics
from agents.models import Policy, new_tiny_model
from agents.reward_model import RewardModel
from agents.reward_trainer import RewardModelConfig, RewardModelTrainer, rows_of
from agents.reward_variants import MultiObjectiveRewardModel, PairwiseRewardModel
from textgym import CharTokenizer
from textgym.preferences import write_preferences
from textgym.task import Preference

LETTERS = list("abcdef")


def new_model(kind: type = RewardModel, **settings) -> RewardModel:
    return kind(new_tiny_model(0, hidden_size=32, num_layers=1), CharTokenizer(), **settings)


def some_pairs(num: int, seed: int = 0) -> tuple[list[str], list[str], list[str]]:
    """Of two letters the one that comes first in the alphabet is preferred."""
    rng = np.random.default_rng(seed)
    drawn = [sorted(rng.choice(LETTERS, 2, replace=False)) for _ in range(num)]
    prompts = [f"{rng.integers(100)}: " for _ in range(num)]
    return prompts, [a for a, _ in drawn], [b for _, b in drawn]


def records(num: int, seed: int = 0) -> list[Preference]:
    return [Preference(*texts) for texts in zip(*some_pairs(num, seed), strict=True)]


def trained(model: RewardModel | None = None, folder=None, **settings) -> RewardModelTrainer:
    config = RewardModelConfig(**{"num_iterations": 3, "batch_size": 8, **settings})
    model = new_model() if model is None else model
    trainer = RewardModelTrainer(config, model, folder=folder, show=False)
    trainer.train_on_preferences(*some_pairs(40))
    return trainer


def same(a: torch.nn.Module, b: torch.nn.Module, tolerance: float = 0.0) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.allclose(x, y, atol=tolerance, rtol=0) for x, y in pairs)


# ----------------------------------------------------------------- learning


@pytest.mark.parametrize("kind", [RewardModel, PairwiseRewardModel])
def test_an_order_of_letters_is_learned(kind):
    config = RewardModelConfig(num_iterations=60, batch_size=32, learning_rate=5e-3)
    trainer = RewardModelTrainer(config, new_model(kind), show=False)
    model = trainer.train_on_preferences(*some_pairs(500))
    assert model is trainer.model
    assert trainer.evaluate(records(200, seed=1)).accuracy >= 0.95


def test_two_objectives_are_learned_from_scores_and_rank_responses():
    model = new_model(MultiObjectiveRewardModel, objectives={"first": 1.0, "second": 1.0})
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(LETTERS, 2)) for _ in range(500)]
    truth = np.array([[LETTERS.index(word[0]), LETTERS.index(word[1])] for word in words]) / 5
    config = RewardModelConfig(num_iterations=150, batch_size=64, learning_rate=5e-3)
    trainer = RewardModelTrainer(config, model, show=False)
    trainer.train_on_scores([": "] * 500, words, truth)
    every = [a + b for a in LETTERS for b in LETTERS]
    found = model.components([": "] * 36, every).numpy()
    for k in range(2):
        levels = np.array([LETTERS.index(word[k]) for word in every])
        pairs = [(i, j) for i in range(36) for j in range(36) if levels[i] > levels[j]]
        right = np.mean([found[i, k] > found[j, k] for i, j in pairs])
        assert right >= 0.95


def test_unknown_scores_have_no_influence():
    texts = ["a", "b", "c", "d"] * 4
    found = []
    for other in (0.5, np.nan):
        model = new_model(MultiObjectiveRewardModel, objectives={"x": 1.0, "y": 1.0})
        before = model.head.weight[1].detach().clone()
        config = RewardModelConfig(num_iterations=2, batch_size=16)
        scores = [[1.0, other]] * 16
        RewardModelTrainer(config, model, show=False).train_on_scores(["p"] * 16, texts, scores)
        found.append(torch.equal(model.head.weight[1], before))
    assert found == [False, True]


def test_the_gate_learns_from_preferences_which_objective_a_prompt_asks_for():
    objectives = {"a": 0.5, "b": 0.5}
    model = new_model(MultiObjectiveRewardModel, objectives=objectives, gating=True)
    before = model.gate.output.bias.detach().clone()
    trained(model)
    assert not torch.equal(model.gate.output.bias, before)


def test_ties_pull_scores_together():
    config = RewardModelConfig(num_iterations=30, batch_size=16, learning_rate=5e-3)
    margins = []
    for are_ties in (False, True):
        trainer = RewardModelTrainer(config, new_model(), show=False)
        columns = ["p"] * 16, ["a"] * 16, ["b"] * 16
        trainer.train_on_preferences(*columns, ties=[are_ties] * 16)
        margins.append(abs(trainer.model.margins(["p"], ["a"], ["b"]).item()))
    assert margins[1] < 0.2 < 1.0 < margins[0]


def test_a_margin_widens_the_difference():
    config = RewardModelConfig(num_iterations=15, batch_size=16, learning_rate=3e-3)
    found = []
    for margin in (0.0, 3.0):
        trainer = RewardModelTrainer(config, new_model(), show=False)
        columns = ["p"] * 16, ["a"] * 16, ["b"] * 16
        trainer.train_on_preferences(*columns, margins=[margin] * 16)
        found.append(trainer.model.margins(["p"], ["a"], ["b"]).item())
    assert found[1] > found[0]


# ----------------------------------------------------------------- the course


@pytest.mark.parametrize(
    "settings", [{"gradient_accumulation_steps": 3}, {"max_tokens": 60}], ids=["parts", "tokens"]
)
def test_micro_batches_change_nothing_but_memory(settings):
    assert same(trained().model, trained(**settings).model, 1e-5)


def test_max_tokens_counts_a_pairs_padding():
    trainer = RewardModelTrainer(RewardModelConfig(num_iterations=1), new_model(), show=False)
    firsts, seconds = trainer.model.encode_pairs(["p"] * 2, ["a" * 9, "a"], ["b", "bbb"])
    longest = [max(len(a), len(b)) for a, b in zip(firsts.rows, seconds.rows, strict=True)]
    assert trainer._lengths(firsts, seconds).tolist() == [2 * length for length in longest]


def test_runs_of_one_seed_are_equal_and_of_two_are_not():
    assert same(trained().model, trained().model)
    assert not same(trained().model, trained(seed=1).model)


def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path):
    whole = trained(folder=tmp_path / "whole", num_iterations=6)
    part = RewardModelTrainer(
        RewardModelConfig(num_iterations=6, batch_size=8, checkpoint_every=3),
        new_model(),
        folder=tmp_path / "part",
        show=False,
    )
    step, part._step = part._step, lambda *a: step(*a) if part.course.iteration < 4 else stop()

    def stop():
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        part.train_on_preferences(*some_pairs(40))
    again = RewardModelTrainer(part.config, new_model(), folder=tmp_path / "part", show=False)
    again.course.load_checkpoint()
    assert again.course.iteration == 3
    again.train_on_preferences(*some_pairs(40))
    assert same(again.model, whole.model)
    drop = {"seconds", "tokens_per_second"}
    rows = [
        [{k: v for k, v in row.items() if k not in drop} for row in read_metrics(tmp_path / name)]
        for name in ("whole", "part")
    ]
    assert rows[0] == rows[1]


def test_every_pass_has_every_row_once():
    rows = torch.cat([rows_of(7, start, 3, seed=0) for start in range(0, 21, 3)]).tolist()
    passes = [rows[i : i + 7] for i in range(0, 21, 7)]
    assert all(sorted(each) == list(range(7)) for each in passes)
    assert passes[0] != passes[1] != passes[2]


def test_held_out_pairs_are_looked_at_when_due(tmp_path):
    config = RewardModelConfig(num_iterations=5, batch_size=8, evaluate_every=2)
    trainer = RewardModelTrainer(config, new_model(), folder=tmp_path, show=False)
    trainer.train_on_preferences(*some_pairs(40), validation=records(10, seed=1))
    looked = [row["iteration"] for row in read_metrics(tmp_path) if "validation_accuracy" in row]
    assert looked == [2, 4, 5]


def test_every_field_of_the_config_is_read():
    source = Path("agents/reward_trainer.py").read_text(encoding="utf-8")
    shared = {"num_iterations", "gradient_accumulation_steps", "max_tokens"}
    shared |= {"warmup_iterations", "checkpoint_every"}  # read by Course and micro_batches
    for item in fields(RewardModelConfig):
        assert f"config.{item.name}" in source or item.name in shared, item.name


# ----------------------------------------------------------------- data


def test_preferences_come_from_records_files_and_environments(tmp_path):
    write_preferences(tmp_path / "pairs.jsonl", records(20))
    for source in (records(20), str(tmp_path / "pairs.jsonl"), "TextPreference-v0"):
        config = RewardModelConfig(num_iterations=1, batch_size=4, num_pairs=20)
        trainer = RewardModelTrainer(config, new_model(), show=False)
        trainer.train(source)
        assert trainer.report.kept == trainer.report.rows == 20


def test_pairs_without_a_difference_are_left_out_and_counted():
    trainer = RewardModelTrainer(
        RewardModelConfig(num_iterations=1), new_model(max_length=5), show=False
    )
    # The second pair differs only in what is cut off.
    columns = ["p", "p", "p"], ["same", "axxxxxx", "a"], ["same", "bxxxxxx", "b"]
    with pytest.warns(UserWarning, match="1 of 3 rows kept .*2 identical.*2 cut"):
        trainer.train_on_preferences(*columns)


def test_nothing_but_identical_pairs_is_refused():
    trainer = RewardModelTrainer(RewardModelConfig(), new_model(), show=False)
    with pytest.raises(ValueError, match="expected at least one pair of responses that differ"):
        trainer.train_on_preferences(["p"], ["same"], ["same"])


def test_an_empty_response_is_a_response():
    trainer = RewardModelTrainer(RewardModelConfig(num_iterations=1), new_model(), show=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trainer.train_on_preferences(["p", "p"], ["", "a"], ["a", ""])
    assert trainer.report.kept == 2


def test_unequal_columns_are_refused():
    trainer = RewardModelTrainer(RewardModelConfig(), new_model(), show=False)
    with pytest.raises(ValueError, match="1 prompts, 2 chosen, 1 rejected"):
        trainer.train_on_preferences(["p"], ["a", "b"], ["c"])


@pytest.mark.parametrize(
    "scores, told",
    [
        ([1.0, np.nan], r"scores\[1\] is nan"),
        ([1.0, np.inf], r"scores\[1\] is inf"),
        ([[1.0], [2.0]], r"scores has shape \[2, 1\], expected \[2\]"),
    ],
)
def test_bad_scores_are_refused(scores, told):
    trainer = RewardModelTrainer(RewardModelConfig(), new_model(), show=False)
    with pytest.raises(ValueError, match=told):
        trainer.train_on_scores(["p", "q"], ["a", "b"], scores)


@pytest.mark.parametrize("margins", [[-1.0], [np.nan]])
def test_bad_margins_are_refused(margins):
    trainer = RewardModelTrainer(RewardModelConfig(), new_model(), show=False)
    with pytest.raises(ValueError, match=r"margins\[0\] is"):
        trainer.train_on_preferences(["p"], ["a"], ["b"], margins=margins)


def test_weights_that_are_no_number_stop_the_run_at_its_iteration():
    model = new_model()
    with torch.no_grad():
        model.head.weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="iteration 1: reward_loss is nan"):
        trained(model)


@pytest.mark.parametrize(
    "settings", [{"label_smoothing": 0.5}, {"centering_coef": -1}, {"num_pairs": 0}]
)
def test_the_config_is_checked(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"{name} is"):
        RewardModelTrainer(RewardModelConfig(**settings), new_model())


# ----------------------------------------------------------------- the command line


def test_the_command_line_trains_resumes_and_its_model_is_a_reward(tmp_path, capsys):
    out = tmp_path / "rm"
    command = ["reward-model", "--env", "TextTaste-v0", "--out", str(out), "--num-pairs", "40"]
    small = ["--num-iterations", "2", "--batch-size", "4"]
    assert cli.main([*command, *small]) == 0
    assert "reward_model:" in capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    assert summary["test_pairs"] == 10 and 0 <= summary["test_calibration_error"] <= 1
    env = gym.make("TextTaste-v0", reward_fn=f"reward_model:{out / 'model'}")
    _, info = env.reset(seed=0)
    _, reward, *_, ended = env.step(CharTokenizer.eos_token_id)
    prompt = env.unwrapped.mdp.bank.problem(info["problem"]).prompt
    assert reward == pytest.approx(RewardModel.load(out).score([prompt], [""]).item(), abs=1e-5)
    assert cli.main(["reward-model", "--resume", "--out", str(out), "--num-iterations", "3"]) == 0
    assert [row["iteration"] for row in read_metrics(out)] == [1, 2, 3]


def test_an_interrupted_run_goes_on_from_its_own_folder(tmp_path, monkeypatch, capfd):
    """Also with an adapter, whose trunk no checkpoint holds: the policy may have changed since."""
    policy = tmp_path / "policy"

    def write_policy(seed: int) -> None:
        Policy(new_tiny_model(seed, hidden_size=32, num_layers=1), CharTokenizer()).save(policy)

    settings = ["--env", "TextTaste-v0", "--policy", str(policy), "--adapter-rank", "2"]
    settings += ["--num-pairs", "16", "--num-iterations", "4", "--batch-size", "4"]
    write_policy(0)
    assert cli.main(["reward-model", *settings, "--out", str(tmp_path / "whole")]) == 0
    step = RewardModelTrainer._step

    def interrupted(trainer, *args):
        if trainer.course.iteration == 2:
            raise KeyboardInterrupt
        return step(trainer, *args)

    out = str(tmp_path / "part")
    with monkeypatch.context() as patch:
        patch.setattr(RewardModelTrainer, "_step", interrupted)
        begin = ["reward-model", *settings, "--out", out, "--checkpoint-every", "1"]
        assert cli.main(begin) == 130
    write_policy(1)
    logging.enable_progress_bar()
    capfd.readouterr()
    assert cli.main(["reward-model", "--resume", "--out", out]) == 0
    whole, part = (RewardModel.load(tmp_path / name) for name in ("whole", "part"))
    assert same(whole, part)
    assert not same(whole, RewardModel.load(tmp_path / "whole" / "initial"))
    assert not capfd.readouterr().err  # no progress bars of transformers either


def test_a_file_without_pairs_leaves_no_run(tmp_path, capsys):
    path, out = tmp_path / "pairs.jsonl", tmp_path / "run"
    path.write_text('{"prompt": "a"}\n')
    assert cli.main(["reward-model", "--pairs", str(path), "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not out.exists()


def test_the_command_line_says_what_is_missing(capsys):
    assert cli.main(["reward-model"]) == 2
    assert "give either --env ID or --pairs FILE" in capsys.readouterr().err
