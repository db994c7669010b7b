"""The learners that play, such as `python -m agents ppo`: a run from beginning to end."""

from __future__ import annotations

import dataclasses
import importlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agents import runs
from agents.commands.arguments import Model, Run, check_unchanged, parse
from agents.runs import UserError


class Learner(NamedTuple):
    """Where a learner lives: NAMEConfig and NAMETrainer of its module."""

    module: str
    name: str
    description: str


LEARNERS = {
    "ppo": Learner("agents.ppo", "PPO", "proximal policy optimization"),
    "grpo": Learner("agents.grpo", "GRPO", "group-relative policy optimization and its kin"),
    "rloo": Learner("agents.rloo", "RLOO", "REINFORCE with a leave-one-out baseline"),
    "reinforce": Learner("agents.reinforce", "REINFORCE", "REINFORCE with a batch baseline"),
    "a2c": Learner("agents.a2c", "A2C", "advantage actor-critic"),
}


def describe(algorithm: str) -> str:
    """A line for --help."""
    return f"Train a policy with {LEARNERS[algorithm].description}, into a run folder."


def run(algorithm: str, arguments: Sequence[str]) -> None:
    """Train a policy, into a run folder.

    Args:
        algorithm: a key of LEARNERS.
        arguments: the rest of the command line.
    """
    config_class = _class(algorithm, "Config")
    # Three groups of flags: the run's, the model's, and one for every field of the config.
    fields = [("run", Run), ("model", Model), ("config", config_class)]
    kind = dataclasses.make_dataclass(algorithm.upper(), fields)
    default = kind(Run(), Model(), config_class())
    given = parse(algorithm, describe(algorithm), kind, arguments, default)
    if given.run.resume:
        saved = runs.read_config(given.run.out, algorithm)
        prefix = f"{given.run.out} was made by another version: "
        with runs.user_errors(KeyError, TypeError, prefix=prefix):
            config = config_class.from_dict(saved["config"])
            default = kind(Run.saved(saved, given.run.out), Model(**saved["model"]), config)
        given = parse(algorithm, describe(algorithm), kind, arguments, default)
        check_unchanged(given.run, default.run)
        runs.check_same(given.run.out, vars(default.model), vars(given.model))
    given.run.check()
    given.model.check()
    with runs.user_errors(ValueError):
        given.config.validate()
    train(algorithm, given.run, given.model, given.config)


def train(algorithm: str, run: Run, model: Model, config: Any) -> None:
    """Begin a run or go on with it, and bring it to its end.

    A new run reads its policy from the run folder as a resumed one does, so that both are the same.
    Of several processes the first writes the folder, which all must be able to read.
    """
    import torch

    from agents.checkpoint import FILE_NAME
    from agents.distributed import by_first, rank, start, stop
    from agents.play import slots

    torch.set_num_threads(run.threads)
    with runs.user_errors(RuntimeError):
        start()
    settings = {"algorithm": algorithm, **run.settings(), "model": dataclasses.asdict(model)}
    settings["config"] = dataclasses.asdict(config)
    folder = by_first(
        lambda: run.out if run.resume else runs.new_folder(run.out, run.env, algorithm, config.seed)
    )
    with runs.interruptible(algorithm, folder):
        by_first(lambda: None if run.resume else runs.start(folder, settings))
        policy = runs.policy_of(str(folder / runs.INITIAL), **model.settings())
        env = runs.env_of(run.env, policy, **settings["env_kwargs"])
        trainer = _class(algorithm, "Trainer")(config, policy, folder=folder)
        if by_first((folder / FILE_NAME).exists):
            trainer.course.load_checkpoint()
        first, last = trainer.course.iteration + 1, config.num_iterations
        if first > last + 1:
            raise UserError(
                f"num_iterations is {last}, expected at least {first - 1}: so many are done already"
            )
        by_first(lambda: runs.go_on(folder, settings) if run.resume else None)
        if rank() == 0:
            print(f"{run.env}: iterations {first} to {last}, into {folder}", flush=True)
        with runs.user_errors(ValueError, prefix=f"{run.env}: "):
            envs = slots(env, policy, config)
        trainer.train(envs)
        summary = by_first(lambda: runs.finish(folder, trainer))
    if rank() == 0:
        show(summary, folder)
    stop()


def _class(algorithm: str, suffix: str) -> Any:
    learner = LEARNERS[algorithm]
    return getattr(importlib.import_module(learner.module), learner.name + suffix)


def show(summary: dict[str, Any], folder: Path) -> None:
    """What came of a run, where it lies and how to use it."""
    from rich.console import Console
    from rich.table import Table

    env_id, level = summary["env_id"], summary["difficulty"]
    table = Table("")
    for name in ("before", "after"):
        table.add_column(name, justify="right")
    for row, key in (
        ("success, sampled", "success"),
        ("success, greedy", "greedy"),
        ("return, sampled", "return"),
    ):
        values = [summary[f"{key}_{name}"] for name in ("before", "after")]
        if key == "return" or all(0 <= value <= 1 for value in values):  # else it is no share
            table.add_row(row, *(f"{value:.3f}" for value in values))
    where = ", ".join(filter(None, [env_id, level]))
    print(f"{where}, {summary['test_episodes']} problems of the {summary['test_split']} split:")
    Console().print(table)
    place = shlex.quote(str(folder))
    print(f"{summary['episodes']:,} episodes, {summary['tokens']:,} tokens", end=", ")
    print(f"{summary['seconds']:.0f} s ({summary['cpu_seconds']:.0f} CPU-seconds)")
    print(f"run       {folder} (summary.json, metrics.jsonl, learning_curve.png)")
    print(f"watch     tensorboard --logdir {place}")
    options = f"--policy {place} --env {env_id}" + (f" --difficulty {level}" if level else "")
    options += " --split train" if summary["test_split"] == "train" else ""
    print(f"measure   python -m agents evaluate {options}")
    print(f"load      AutoModelForCausalLM.from_pretrained({str(folder / runs.POLICY)!r})")
