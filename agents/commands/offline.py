"""What the commands share whose learners are given data: a run from beginning to end."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from agents import runs
from agents.commands.arguments import Model, Run, check_unchanged, parse
from agents.commands.on_policy import show
from agents.runs import UserError

Train = Callable[[Any, Any, Any], object]
"""(trainer, data, environment) -> whatever: one call of the trainer."""


def run(
    command: str,
    description: str,
    arguments: Sequence[str],
    default: tuple[Run, Any, Any],
    trainer_class: type,
    train: Train,
) -> None:
    """Train a policy on data, into a run folder.

    Args:
        command: its name.
        description: a line for --help.
        arguments: the rest of the command line.
        default: the run's flags, the data's (a dataclass of plain values) and the config, as they
            are unless given.
        trainer_class: called with config, policy and folder.
        train: calls it.
    """
    run, data, config = default
    fields = [("run", Run), ("data", type(data)), ("model", Model), ("config", type(config))]
    kind = dataclasses.make_dataclass(command.upper().replace("-", "_"), fields)
    given = parse(command, description, kind, arguments, kind(run, data, Model(), config))
    if given.run.resume:
        saved = runs.read_config(given.run.out, command)
        prefix = f"{given.run.out} was made by another version: "
        with runs.user_errors(KeyError, TypeError, prefix=prefix):
            default = kind(
                Run.saved(saved, given.run.out),
                type(data)(**saved["data"]),
                Model(**saved["model"]),
                type(config).from_dict(saved["config"]),
            )
        given = parse(command, description, kind, arguments, default)
        check_unchanged(given.run, default.run)
        for part in ("data", "model"):
            old, new = getattr(default, part), getattr(given, part)
            runs.check_same(given.run.out, vars(old), vars(new))
    given.run.check()
    given.model.check()
    with runs.user_errors(ValueError):
        given.config.validate()
    _train(command, given, trainer_class, train)


def _train(command: str, given: Any, trainer_class: type, train: Train) -> None:
    """Begin a run or go on with it, and bring it to its end; see `on_policy.train`."""
    import torch

    from agents.checkpoint import FILE_NAME
    from agents.distributed import by_first, rank, start, stop

    run, config = given.run, given.config
    torch.set_num_threads(run.threads)
    with runs.user_errors(RuntimeError):
        start()
    settings = {"algorithm": command, **run.settings()}
    for part in ("data", "model", "config"):
        settings[part] = dataclasses.asdict(getattr(given, part))
    folder = by_first(
        lambda: run.out if run.resume else runs.new_folder(run.out, run.env, command, config.seed)
    )
    with runs.interruptible(command, folder):
        by_first(lambda: None if run.resume else runs.start(folder, settings))
        policy = runs.policy_of(str(folder / runs.INITIAL), **given.model.settings())
        env = runs.env_of(run.env, policy, **settings["env_kwargs"])
        trainer = trainer_class(config, policy, folder=folder)
        if by_first((folder / FILE_NAME).exists):
            trainer.load_checkpoint()
        by_first(lambda: runs.go_on(folder, settings) if run.resume else None)
        if rank() == 0:
            print(f"{run.env}: into {folder}", flush=True)
        kinds = (ValueError, TypeError, OSError, ImportError)
        try:
            with runs.user_errors(*kinds, prefix=f"{run.env}: "):
                train(trainer, given.data, env)
        except UserError:
            if not run.resume and not trainer.course.iteration:
                # The data are at fault: the mended command shall find no run that has them.
                by_first(lambda: shutil.rmtree(folder))
            raise
        summary = by_first(lambda: runs.finish(folder, trainer))
    if rank() == 0:
        show(summary, folder)
    stop()
