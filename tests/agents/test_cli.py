"""The command line: a run from beginning to end, its interruption, and every way to be misused."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from agents import cli, models
from agents.commands import dpo, on_policy, reward_model, rlhf, sft
from agents.commands.arguments import Model
from agents.commands.evaluate import Evaluation, share_interval
from agents.commands.help_texts import field_texts
from agents.metrics import TIMING, read_metrics
from agents.models import Policy, new_tiny_model
from agents.ppo import PPOConfig, PPOTrainer
from agents.sampling import Sampling

ROOT = Path(__file__).resolve().parents[2]

# Even a policy that knows nothing earns something here, so its weights change in every step.
TASK = '''
from textgym import Problem, Task, register_task

@register_task("Digits-v0", max_response_tokens=6)
class Digits(Task):
    """Answer with digits."""
    difficulties = ("few", "many")
    def sample(self, rng, difficulty):
        letters = rng.choice(list("abcdef"), size=3 if difficulty == "few" else 6)
        return Problem("".join(letters) + ":")
    def grade(self, problem, response):
        return {"correct": sum(map(str.isdigit, response)) / max(len(response), 1)}
'''
SETTINGS = ["--env", "digits_task:Digits-v0", "--policy", "policy", "--batch-size", "16"]
SETTINGS += ["--num-iterations", "20", "--checkpoint-every", "3", "--num-epochs", "2"]
SETTINGS += ["--kl-coef", "0.05", "--kl-target", "0.001", "--learning-rate", "1e-3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with an untrained policy and a task, in which the commands run."""
    folder = tmp_path_factory.mktemp("cli")
    Policy(new_tiny_model(0, hidden_size=32, num_layers=1), "char").save(folder / "policy")
    (folder / "digits_task.py").write_text(TASK, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    """What an uninterrupted run printed; it is in `full`."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        enter(folder, patch)
        assert cli.main(["ppo", *SETTINGS, "--out", "full"]) == 0
    return printed.getvalue()


@pytest.fixture
def inside(folder, monkeypatch):
    enter(folder, monkeypatch)
    return folder


def enter(folder, patch):
    patch.chdir(folder)
    patch.syspath_prepend(str(folder))
    patch.setenv("COLUMNS", "200")


def begin(folder, *arguments):
    """Start a command in a process of its own, where Ctrl-C means what it does in a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "agents", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_iteration(number, run):
    """Until the run has logged so many iterations."""
    deadline = time.monotonic() + 60
    metrics = run / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < number:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def results(run):
    """All of a finished run that must not depend on its interruptions."""
    summary = json.loads((run / "summary.json").read_text())
    rows = read_metrics(run)
    for name in ("seconds", "cpu_seconds"):
        del summary[name]
    for row in rows:
        for name in TIMING:
            del row[name]
    files = [run / "policy" / f"{name}.safetensors" for name in ("model", "value_head")]
    return rows, summary, [path.read_bytes() for path in files]


# ------------------------------------------------------------------ a whole run


def test_a_finished_run_has_all_its_files(folder, finished):
    names = {path.name for path in (folder / "full").iterdir()}
    assert {"config.json", "metrics.jsonl", "learning_curve.png", "summary.json"} <= names
    assert {"before.json", "initial", "policy", "checkpoint.safetensors"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert len(read_metrics(folder / "full")) == 20


def test_the_config_says_what_was_asked_for(folder, finished):
    config = json.loads((folder / "full" / "config.json").read_text())
    assert config["env_id"] == "digits_task:Digits-v0" and config["env_kwargs"] == {}
    assert config["policy"] == "policy" and config["algorithm"] == "ppo"
    assert config["config"]["batch_size"] == 16 and config["config"]["gamma"] == 1.0
    assert set(config["versions"]) >= {"python", "torch", "transformers", "textgym"}


def test_the_summary_says_what_came_of_it(folder, finished):
    summary = json.loads((folder / "full" / "summary.json").read_text())
    assert (summary["env_id"], summary["difficulty"]) == ("digits_task:Digits-v0", "few")
    assert (summary["algorithm"], summary["seed"]) == ("ppo", 0)
    assert (summary["iterations"], summary["episodes"]) == (20, 320)
    last = read_metrics(folder / "full")[-1]
    assert (summary["tokens"], summary["kl"]) == (last["tokens"], last["kl"])
    assert summary["cpu_seconds"] > 0 and summary["seconds"] > 0
    for name in ("success_before", "success_after", "greedy_before", "greedy_after"):
        assert 0 <= summary[name] <= 1
    assert summary["success_before"] > 0.02
    # This task's only component is its reward.
    assert summary["return_after"] == pytest.approx(summary["success_after"], abs=1e-6)


def test_the_end_is_a_table_and_the_line_that_loads_the_policy(finished):
    for words in (
        "before",
        "success, sampled",
        "greedy",
        "return, sampled",
        "tensorboard --logdir full",
        "summary.json",
    ):
        assert words in finished
    assert "AutoModelForCausalLM.from_pretrained('full/policy')" in finished


def test_transformers_loads_the_policy(folder, finished):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder / "full" / "policy")
    tokenizer = AutoTokenizer.from_pretrained(folder / "full" / "policy")
    prompt = tokenizer("abc:", return_tensors="pt", add_special_tokens=False)
    tokens = model.generate(**prompt, max_new_tokens=4)
    assert tokenizer.decode(tokens[0]).startswith("abc:")


@pytest.mark.parametrize(
    "end, code",
    [("SIGKILL", -9), ("SIGINT", 130), ("SIGTERM", 130)],
    ids=["SIGKILL", "Ctrl-C", "SIGTERM"],
)
def test_a_run_that_was_ended_and_resumed_equals_an_uninterrupted_one(
    inside, finished, capsys, end, code
):
    run = inside / end
    process = begin(inside, "ppo", *SETTINGS, "--out", end)
    wait_for_iteration(5, run)
    process.send_signal(getattr(signal, end))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert not (run / "summary.json").exists()
    if end != "SIGKILL":
        assert f"python -m agents ppo --resume --out {end}" in errors
        assert "Traceback" not in errors
    assert cli.main(["ppo", "--resume", "--out", end]) == 0
    first = int(re.search(r"iterations (\d+) to 20", capsys.readouterr().out)[1])
    # A kill falls back to the last multiple of 3, the others lose nothing.
    assert first > 5 if end != "SIGKILL" else first % 3 == 1 and first > 3
    assert results(run) == results(inside / "full")


@pytest.mark.parametrize("masked", [False, True])
def test_a_run_is_measured_under_masks_if_it_was_trained_so(inside, finished, monkeypatch, masked):
    from agents import rollout

    shutil.copytree("full", f"masks-{masked}")
    config = json.loads(Path("full/config.json").read_text())
    config["config"]["action_masks"] = masked
    Path(f"masks-{masked}/config.json").write_text(json.dumps(config))
    seen, evaluate = [], rollout.evaluate
    monkeypatch.setattr(
        rollout, "evaluate", lambda *args, **how: seen.append(how) or evaluate(*args, **how)
    )
    assert cli.main(["evaluate", "--policy", f"masks-{masked}", "--episodes", "4"]) == 0
    assert [how["action_masks"] for how in seen] == [masked]


def test_settings_of_ppo_may_change_on_the_way(inside, finished, capsys):
    shutil.copytree("full", "longer")
    arguments = ["--resume", "--out", "longer", "--num-iterations", "21"]
    assert cli.main(["ppo", *arguments, "--learning-rate", "1e-5"]) == 0
    assert len(read_metrics("longer")) == 21
    assert read_metrics("longer")[-1]["learning_rate"] < 1e-5
    config = json.loads(Path("longer/config.json").read_text())
    assert config["config"]["num_iterations"] == 21


def test_a_resumed_run_that_is_done_says_so(inside, finished, capsys):
    shutil.copytree("full", "done")
    assert cli.main(["ppo", "--resume", "--out", "done"]) == 0
    assert "all 20 iterations are done, more take a higher" in capsys.readouterr().out


def test_a_diverging_run_says_so_and_how_to_go_on(inside, capsys):
    arguments = [*SETTINGS, "--out", "diverging", "--warm-up", "0"]
    assert cli.main(["ppo", *arguments, "--learning-rate", "1e30"]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and error.count("\n") == 0
    assert "iteration 2" in error or "iteration 1" in error
    assert "python -m agents ppo --resume --out diverging --learning-rate" in error


def test_a_policy_is_on_the_device_asked_for_from_the_start(inside, monkeypatch):
    """Before the run, when it is measured, and in the run; the embedded one is on the CPU."""
    devices = []

    def load(source, **settings):
        devices.append(settings["device"])
        return load_policy(source, **settings | {"device": "cpu"})

    load_policy = models.load_policy
    monkeypatch.setattr("agents.models.load_policy", load)
    monkeypatch.setattr("agents.runs._measure", lambda *_: {})
    monkeypatch.setattr(PPOTrainer, "train", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    for policy, device in (("policy", "cuda:1"), ("policy", None), ("tiny", None)):
        line = ["ppo", "--env", "TextMath-v0", "--policy", policy, "--warm-up", "0"]
        line += ["--out", f"{policy}-{device}", *(["--device", device] if device else [])]
        assert cli.main(line) == 130
    assert devices == ["cuda:1", "cuda:1", None, None, None, "cpu"]


def test_ctrl_c_before_training_leaves_nothing_behind(inside, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("agents.runs._measure", interrupted)
    assert cli.main(["ppo", *SETTINGS, "--out", "early"]) == 130
    assert capsys.readouterr().err == "Stopped. Nothing was trained yet.\n"
    assert not Path("early").exists()


# ------------------------------------------------------------------ evaluate


def test_evaluate_prints_a_line_and_the_same_as_json(inside, finished, capsys):
    arguments = ["--policy", "full", "--env", "digits_task:Digits-v0", "--episodes", "512"]
    assert cli.main(["evaluate", *arguments]) == 0
    line, row = capsys.readouterr().out.splitlines()
    row = json.loads(row)
    assert line.startswith("digits_task:Digits-v0, few, test split: sampled success 0.")
    low, high = share_interval(row["success"], 512)
    assert f"success {row['success']:.3f} (95 %: {low:.3f} to {high:.3f}, 512 episodes)" in line
    assert row["success"] == json.loads(Path("full/summary.json").read_text())["success_after"]

    more = ["--greedy", "--split", "train", "--difficulty", "1", "--episodes", "8"]
    assert cli.main(["evaluate", *arguments, *more]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (row["difficulty"], row["split"], row["episodes"]) == ("many", "train", 8)


def test_the_interval_of_a_share_is_wilsons():
    # By hand, of z² = 3.8416: (p + z²/2n ± z √(p (1 - p) / n + z²/4n²)) / (1 + z²/n).
    assert share_interval(0.0, 8) == pytest.approx((0.0, 3.8416 / 11.8416))
    assert share_interval(1.0, 8) == pytest.approx((8 / 11.8416, 1.0))
    assert share_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)


# ------------------------------------------------------------------ help and errors


def test_help_comes_at_once():
    start = os.times()
    found = subprocess.run(
        [sys.executable, "-m", "agents", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    end = os.times()
    assert found.returncode == 0
    assert "ppo" in found.stdout and "evaluate" in found.stdout
    assert end.children_user - start.children_user < 1


def test_every_setting_is_explained_in_the_help(capsys):
    for command, names in (
        ("ppo", ["env", "resume", "warm-up", "learning-rate", "clip-param", "seed"]),
        ("evaluate", ["policy", "env", "difficulty", "split", "episodes", "greedy", "seed"]),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main([command, "--help"])
        assert not end.value.code
        page = capsys.readouterr().out
        assert all(f"--{name}" in page for name in names)
    with pytest.raises(SystemExit):
        cli.main(["ppo", "--help"])
    assert "Epsilon of the clipped ratio" in capsys.readouterr().out


def test_a_settings_help_is_one_paragraph(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit):
        cli.main(["ppo", "--help"])
    page = capsys.readouterr().out
    assert "or adaptive: from the easiest level on, as fast as they are learned. (default:" in page
    assert "--whiten-advantages, --no-whiten-advantages" in page
    assert "NAME=WEIGHT, where they are not the task's own. (default: none)" in page


@pytest.mark.parametrize(
    "command", [*on_policy.COMMANDS.values(), sft.COMMAND, dpo.COMMAND, reward_model.COMMAND]
)
def test_every_setting_has_a_help_of_its_own(command):
    for flags in (*command.defaults().values(), Sampling(), rlhf.Recipe(), Evaluation("tiny")):
        names = {field.name for field in fields(flags)}
        assert field_texts(type(flags)).keys() >= names - {"sampling"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("train", "there is no command train; there are ppo, "),
        ("ppo", "--env is missing"),
        ("dpo --env TextTaste-v0 --online --pairs x", "--online plays for its pairs and does not"),
        ("dpo --env TextTaste-v0 --num-pairs 0", "num_pairs is 0, expected at least 1"),
        ("sft --env TextMath-v0 --max-length 9", "--max-length is about the texts of --data"),
        ("ppo --env TextMat-v0 --policy policy", "Did you mean: `TextMath`?"),
        ("ppo --env TextMath-v9 --policy policy", "It provides versioned environments: [ `v0` ]"),
        ("ppo --env nowhere:X-v0 --policy policy", "No module named 'nowhere'"),
        ("ppo --env CartPole-v1 --policy policy", "CartPole-v1 takes no tokenizer"),
        ("ppo --env TextMath-v0 --policy policy --difficulty hard", "expected one of ['digit',"),
        ("ppo --env TextMath-v0 --policy runs/gone", "no policy or run folder runs/gone"),
        ("ppo --env TextMath-v0 --policy broken", "policy broken: "),
        ("ppo --env TextMath-v0 --out occupied", "occupied exists already and is no run"),
        ("ppo --env TextMath-v0 --out half", "half is a run already: go on with --resume"),
        ("ppo --env TextMath-v0 --clip-param x", "--clip-param: could not convert string to"),
        ("ppo --env TextMath-v0 --clip-param -1", "clip_param is -1.0, expected a positive"),
        ("ppo --env TextMath-v0 --clip-parm 1", "Unrecognized options: --clip-parm"),
        ("ppo --env TextMath-v0 --warm-up 2", "warm_up is 2.0, expected from 0 to 1"),
        ("ppo --env TextMath-v0 --threads 0", "threads is 0, expected at least 1"),
        ("ppo --resume", "--resume needs --out RUN"),
        ("ppo --resume --out gone", "there is no run folder gone"),
        ("ppo --resume --out occupied", "occupied holds no run"),
        ("ppo --resume --out damaged", "config.json is damaged"),
        ("ppo --resume --out foreign", "foreign is a run of grpo, not of ppo"),
        ("ppo --resume --out old", "old was made by another version: "),
        (
            "ppo --resume --out half --env A-v0",
            "has env B-v0, which --resume cannot change to A-v0",
        ),
        ("evaluate --env TextMath-v0", "Missing from python -m agents evaluate: --policy"),
        ("evaluate --policy gone/x --env X-v0 --split t", "invalid choice 't' for argument"),
        ("evaluate --policy ./gone --env TextMath-v0", "no policy or run folder ./gone"),
        ("evaluate --policy half --env TextMath-v0", "half is not over and has no policy/ yet"),
        ("evaluate --policy policy --env TextMat-v0", "Did you mean: `TextMath`?"),
        ("evaluate --policy policy --env TextMath-v0 --episodes 0", "episodes is 0, expected at"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(inside, capsys, arguments, message):
    config = {"algorithm": "ppo", "env_id": "B-v0", "env_kwargs": {}, "policy": "policy"}
    config |= {"warm_up": 0.0, "threads": 1}
    config |= {"model": asdict(Model()), "config": asdict(PPOConfig())}
    for name, text in {
        "half": json.dumps(config),
        "damaged": "{",
        "foreign": json.dumps(config | {"algorithm": "grpo"}),
        "old": json.dumps(config | {"config": {"clip_range": 0.2}}),
    }.items():
        (inside / name / "initial").mkdir(parents=True, exist_ok=True)
        (inside / name / "config.json").write_text(text)
    for name in ("occupied", "broken"):
        (inside / name).mkdir(exist_ok=True)
        (inside / name / "notes.txt").touch()
    assert cli.main(arguments.split()) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and message in printed.err
    assert printed.err.count("\n") == 1 and printed.out == ""


def test_a_mistake_on_the_real_command_line_shows_no_traceback(folder):
    process = begin(folder, "ppo", "--env", "TextMat-v0", "--policy", "policy")
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, printed) == (2, "")
    assert errors.startswith("error: TextMat-v0: ") and errors.count("\n") == 1


def test_a_defect_keeps_its_traceback(inside, monkeypatch):
    def broken(*_):
        raise ValueError("a defect of ours")

    monkeypatch.setattr(PPOTrainer, "train", broken)
    with pytest.raises(ValueError, match="a defect of ours"):
        cli.main(["ppo", *SETTINGS, "--out", "defect"])


def test_evaluate_takes_the_task_and_level_from_the_run(inside, finished, capsys):
    assert cli.main(["evaluate", "--policy", "full", "--episodes", "4"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["env_id"], found["difficulty"]) == ("digits_task:Digits-v0", "few")


def test_a_handful_of_prompts_is_measured_on_what_it_is_trained_on(inside, capsys):
    task = ["--env", "TextGeneration-v0", "--env-kwargs", 'prompts=["Say hello: "]']
    task += ['reward_fn="regex:.*l.*"', "max_response_tokens=6"]
    run = ["--policy", "policy", "--warm-up", "0", "--num-iterations", "1", "--batch-size", "16"]
    assert cli.main(["ppo", *task, *run, "--out", "handful"]) == 0
    printed = capsys.readouterr().out
    assert "TextGeneration-v0, 1 problems of the train split:" in printed
    assert "--split train" in printed
    assert json.loads((inside / "handful" / "summary.json").read_text())["test_split"] == "train"


@pytest.mark.parametrize("case", ["fewer iterations", "environment gone"])
def test_a_refused_resume_leaves_the_run_as_it_was(case, inside, finished, capsys, monkeypatch):
    shutil.copytree("full", case)
    before = {path.name: path.read_bytes() for path in Path(case).iterdir() if path.is_file()}
    arguments = ["ppo", "--resume", "--out", case]
    if case == "fewer iterations":
        arguments += ["--num-iterations", "3"]
    else:
        config = json.loads(before["config.json"])
        config["env_id"] = "no_such_module:Digits-v0"
        before["config.json"] = json.dumps(config).encode()
        Path(case, "config.json").write_bytes(before["config.json"])
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert {p.name: p.read_bytes() for p in Path(case).iterdir() if p.is_file()} == before


def test_a_checkpoint_that_does_not_fit_or_is_damaged_is_told(inside, finished, capsys):
    shutil.copytree("full", "hurt")
    path = Path("hurt", "checkpoint.safetensors")
    with safe_open(path, framework="pt") as file:
        tensors, metadata = {x: file.get_tensor(x) for x in file.keys()}, file.metadata()
    header = json.loads(metadata["header"])
    body, head = header["optimizer_parameters"]  # in one group, as it once was
    metadata["header"] = json.dumps(header | {"optimizer_parameters": [[*body, *head]]})
    save_file(tensors, path, metadata=metadata)
    assert cli.main(["ppo", "--resume", "--out", "hurt"]) == 2
    assert "error: hurt cannot go on: group 0 of the optimizer has" in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:2000])
    assert cli.main(["ppo", "--resume", "--out", "hurt"]) == 2
    error = capsys.readouterr().err
    assert "checkpoint.safetensors is damaged: " in error and error.count("\n") == 1
