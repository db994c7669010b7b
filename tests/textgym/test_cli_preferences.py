"""python -m textgym preferences and label, as a person uses them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import pytest

from textgym import load_preferences
from textgym.__main__ import main
from textgym.preferences import terminal
from textgym.preferences.terminal import with_progress

ROOT = Path(__file__).resolve().parents[2]


def preferences(out: Path, *arguments: str, id: str = "TextPreference-v0") -> int:
    return main(["preferences", id, "--out", str(out), *arguments])


def test_pairs_are_those_of_the_environment(tmp_path: Path, capsys) -> None:
    arguments = ["--n", "20", "--seed", "3", "--split", "test", "--difficulty", "facts"]
    keywords = {"split": "test", "difficulty": "facts", "beta": 2.5, "form": "duel"}
    given = ["--set", "beta=2.5", "--set", "form=duel"]
    assert preferences(tmp_path / "a.jsonl", *arguments, *given) == 0
    env = gym.make("TextPreference-v0", **keywords).unwrapped
    assert load_preferences(tmp_path / "a.jsonl") == env.preferences(20, seed=3)
    told = capsys.readouterr()
    assert told.out.startswith("20 pairs of TextPreference-v0, split test, are in ")
    assert told.err == ""


def test_the_same_arguments_write_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert preferences(tmp_path / name, "--n", "5", id="TextMath-v0") == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert len((tmp_path / "a").read_text().splitlines()) == 5


def test_a_file_is_overwritten_only_if_that_is_said(tmp_path: Path, capsys) -> None:
    (tmp_path / "a").write_text("mine")
    assert preferences(tmp_path / "a", "--n", "1") == 2
    assert "exists already: give another name, or --overwrite" in capsys.readouterr().err
    assert (tmp_path / "a").read_text() == "mine"
    assert preferences(tmp_path / "a", "--n", "1", "--overwrite") == 0
    assert json.loads((tmp_path / "a").read_text()).keys() == {"prompt", "chosen", "rejected"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "noise=2"], "noise is 2, expected a number of at least 0"),
        (["--set", "colour=red"], "TextPreference got ['colour']"),
        (["--difficulty", "hard"], "no difficulty 'hard'; expected one of ['letters'"),
        (["--seed", "-1"], "seed is -1, expected an integer of at least 0"),
        (["--split", "dev"], "split is 'dev'"),
        (["--set", "dataset=none.jsonl"], "there is no file or folder none.jsonl"),
    ],
)
def test_a_mistake_gets_one_line_and_writes_nothing(tmp_path, capsys, arguments, message) -> None:
    assert preferences(tmp_path / "a", *arguments) == 2
    told = capsys.readouterr()
    assert message in told.err and told.err.count("\n") == 1 and told.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_task_without_anything_to_compare_says_so(tmp_path: Path, capsys) -> None:
    assert preferences(tmp_path / "a", id="TextGuess-v0") == 2
    assert "TextGuess compares no responses" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["beta", "=3", "a b=3"])
def test_what_is_no_keyword_is_refused(tmp_path: Path, capsys, text: str) -> None:
    with pytest.raises(SystemExit):
        preferences(tmp_path / "a", "--set", text)
    assert f"got {text!r}, expected NAME=VALUE" in capsys.readouterr().err


def test_labels_are_asked_for_and_counted(tmp_path: Path, capsys, monkeypatch) -> None:
    assert preferences(tmp_path / "pairs.jsonl", "--n", "5") == 0
    arguments = ["label", str(tmp_path / "pairs.jsonl"), "--out", str(tmp_path / "labels.jsonl")]
    for answers in ("a\nb\nq\n", "tie\nskip\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
        assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "2 labels (a 1, b 1, tie 0, skip 0)" in told
    assert told.rstrip().endswith("of 2 agree with the pairs")
    assert len((tmp_path / "labels.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("pairs", "out", "message"),
    [
        ("none.jsonl", "labels.jsonl", "there is no file or folder"),
        ("pairs.jsonl", "pairs.jsonl", "pairs.jsonl:1 is no label"),
        ("pairs.jsonl", "no/labels.jsonl", "there is no folder"),
    ],
)
def test_labels_that_cannot_be(tmp_path, capsys, monkeypatch, pairs, out, message) -> None:
    preferences(tmp_path / "pairs.jsonl", "--n", "2")
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\na\n"))
    assert main(["label", str(tmp_path / pairs), "--out", str(tmp_path / out)]) == 2
    assert message in capsys.readouterr().err


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "textgym", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_loses_no_label(tmp_path: Path) -> None:
    preferences(tmp_path / "pairs.jsonl", "--n", "5")
    process = start("label", str(tmp_path / "pairs.jsonl"), "--out", str(tmp_path / "labels.jsonl"))
    process.stdin.write("a\nb\n")
    process.stdin.flush()
    while "--- 3 of 5" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err == "" and "2 labels (a 1, b 1" in out
    assert len((tmp_path / "labels.jsonl").read_text().splitlines()) == 2


def test_ctrl_c_leaves_no_half_of_a_file(tmp_path: Path) -> None:
    process = start(
        "preferences", "TextPreference-v0", "--n", "999999", "--out", str(tmp_path / "a")
    )
    while not list(tmp_path.iterdir()):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and err == "textgym: interrupted: nothing has been written\n"
    assert list(tmp_path.iterdir()) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_once_it_takes_long(monkeypatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(with_progress("abcd", 4, "pairs")) == list("abcd")
    lines = sys.stderr.getvalue().split("\r")
    assert lines[0] == "" and "3 of 4 pairs" in lines[1] and lines[-1].startswith("[" + "#" * 30)
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(terminal.time, "monotonic", lambda: 0.0)
    assert list(with_progress("abcd", 4, "pairs")) and sys.stderr.getvalue() == ""


@pytest.mark.parametrize("form", ["text_actions", "vector_reward"])
def test_commands_play_any_form_of_an_id(tmp_path: Path, capsys, monkeypatch, form: str) -> None:
    arguments = ["mo-TextConcise-v0", "--seed", "0", "--set", f"{form}=true"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n"))
    assert main(["play", *arguments, "--episodes", "1"]) == 0
    assert "reward 0 (correct 0, brief 0)" in capsys.readouterr().out
    assert main(["preferences", *arguments, "--n", "1", "--out", str(tmp_path / "a")]) == 0


def test_play_takes_keywords_too(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a, b\n"))
    arguments = ["--set", "form=duel", "--set", "beta=8", "--episodes", "1", "--seed", "0"]
    assert main(["play", "TextPreference-v0", *arguments]) == 0
    assert "(preferred 0." in capsys.readouterr().out
