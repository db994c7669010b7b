"""The commands that learn from a file: without an environment, and with columns of any name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.cli import main
from agents.metrics import read_metrics
from agents.models import Policy, new_tiny_model

COLUMNS = ["--fields", "prompt=q", "chosen=1", "rejected=bad"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Policy(new_tiny_model(0, hidden_size=32, num_layers=1), "char").save(tmp_path / "policy")
    rows = [json.dumps({"q": f"{i}:", "1": "yes", "bad": "no" + "o" * i}) for i in range(20)]
    Path("mine.jsonl").write_text("\n".join(rows))
    return tmp_path


def test_dpo_without_an_environment_shows_the_pairs_held_out_and_goes_on(capsys) -> None:
    line = ["dpo", "--pairs", "mine.jsonl", *COLUMNS, "--policy", "policy", "--batch-size", "8"]
    assert main([*line, "--validation-share", "0.2"]) == 0
    (run,) = Path("runs").glob("mine-dpo-0-*")
    printed, summary = capsys.readouterr().out, json.loads((run / "summary.json").read_text())
    last = read_metrics(run)[-1]
    for name in ("validation_accuracy", "validation_margin"):
        assert summary[name] == last[name]
        assert f"{last[name]:.3f} (iteration 2)" in printed
    assert summary["env_id"] is summary["success_after"] is None
    assert "measure " not in printed and "load " in printed and "watch " in printed
    assert json.loads((run / "before.json").read_text())["episodes"] == 0
    assert main(["dpo", "--resume", "--out", str(run), "--num-epochs", "2"]) == 0
    assert len(read_metrics(run)) == 4


def test_sft_without_an_environment_shows_the_loss(capsys) -> None:
    line = ["sft", "--data", "mine.jsonl", "--fields", "prompt=q", "response=1"]
    assert main([*line, "--policy", "policy", "--num-iterations", "2", "--out", "run"]) == 0
    first, last = (row["nll"] for row in read_metrics("run"))
    assert json.loads(Path("run/summary.json").read_text())["nll"] == last
    printed = capsys.readouterr().out
    assert f"{first:.3f} (iteration 1)" in printed and f"{last:.3f} (iteration 2)" in printed


def test_a_reward_model_reads_the_columns_named_and_goes_on() -> None:
    line = ["reward-model", "--pairs", "mine.jsonl", *COLUMNS, "--policy", "policy"]
    assert main([*line, "--num-iterations", "1", "--out", "run"]) == 0
    assert main(["reward-model", "--resume", "--out", "run", "--num-iterations", "2"]) == 0
    assert len(read_metrics("run")) == 2


@pytest.mark.parametrize(
    "line, message",
    [
        ("dpo", "--env TextMath-v0, or give --pairs FILE, which needs none"),
        ("sft", "--env TextMath-v0, or give --data FILE, which needs none"),
        ("dpo --pairs mine.jsonl", "which column holds what: --fields prompt=COLUMN ..."),
        ("sft --data mine.jsonl", "which column holds what: --fields prompt=COLUMN ..."),
        ("reward-model --pairs mine.jsonl", "which column holds what: --fields prompt=COLUMN ..."),
        ("dpo --pairs mine.jsonl --fields q", "--fields has q, expected NAME=COLUMN"),
        ("sft --env A-v0 --fields prompt=q", "--fields is about the columns of --data"),
        ("dpo --pairs mine.jsonl --warm-up 0.5", "a warm-up to 0.5 has nothing to play"),
        ("dpo --pairs mine.jsonl --difficulty 1", "an environment has the settings difficulty"),
    ],
)
def test_what_does_not_go_together_is_told_in_a_line(line: str, message: str, capsys) -> None:
    assert main(line.split()) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
