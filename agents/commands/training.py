"""A training run of any learner, from its command line to its end."""

from __future__ import annotations

import dataclasses
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from agents import runs
from agents.commands.arguments import as_flags, check_unchanged, parse
from agents.runs import UserError

GRACE = 10.0
"""Seconds that the first process has to find an error that another one has found."""


class TrainingCommand(ABC):
    """A command that trains something into a run folder; what and how its subclasses say.

    A new run reads what it trains from the run folder as a resumed one does, so that both are the
    same. Of several processes the first writes the folder, which all must be able to read.

    Args:
        name: the command's, and the run's `algorithm`.
        description: a line for --help.
    """

    def __init__(self, name: str, description: str) -> None:
        self.name, self.description = name, description

    # ------------------------------------------------------------ what a learner has to say

    @abstractmethod
    def defaults(self) -> dict[str, Any]:
        """Name -> group of flags, as they are unless given: "run", "config", and others.

        Each is a dataclass; all but the config have a `check`.
        """

    def file(self, given: Any) -> str | None:
        """The file, folder or data set on the hub that it learns from (None: from none)."""
        return None

    def check(self, given: Any) -> None:  # noqa: B027 - there may be nothing to check
        """Raise UserError if groups of flags do not go together."""

    @abstractmethod
    def begin(self, given: Any, folder: Path, settings: dict[str, Any]) -> None:
        """Make the folder of a new run: initial/, and config.json last. In the first process."""

    @abstractmethod
    def load(self, given: Any, folder: Path) -> tuple[Any, Any]:
        """The trainer, of what the run began with, and what it learns from."""

    @abstractmethod
    def learn(self, trainer: Any, data: Any, given: Any) -> None:
        """Train; UserError, if something about the data or settings makes it impossible."""

    @abstractmethod
    def finish(self, trainer: Any, data: Any, given: Any, folder: Path) -> dict[str, Any]:
        """Save and measure what came of it, write summary.json and return it: a meeting."""

    @abstractmethod
    def show(self, summary: dict[str, Any], folder: Path) -> None:
        """Print what came of it, where it lies and how to use it."""

    # ------------------------------------------------------------ the same for all

    def run(self, arguments: Sequence[str]) -> None:
        """Do what the rest of a command line says."""
        self.train(self.read(arguments))

    def read(self, arguments: Sequence[str]) -> Any:
        """What a command line says, with an attribute for each group; nothing is done yet.

        Raises:
            UserError: if it says anything wrong, as far as can be told without loading anything.
        """
        parts = self.defaults()
        fields = [(part, type(flags)) for part, flags in parts.items()]
        kind = dataclasses.make_dataclass(self.name.upper().replace("-", "_"), fields)
        given = parse(self.name, self.description, kind, arguments, kind(**parts))
        if given.run.resume:
            out = given.run.out
            saved = self._saved(parts, out)
            given = parse(self.name, self.description, kind, arguments, kind(**saved))
            check_unchanged(given.run, saved.pop("run"))
            del saved["config"]
            for part, flags in saved.items():
                runs.check_same(out, vars(flags), vars(getattr(given, part)))
        for part in parts:
            if part != "config":
                getattr(given, part).check()
        self.check(given)
        with runs.user_errors(ValueError):
            given.config.validate()
        return given

    def _saved(self, parts: dict[str, Any], out: Path | None) -> dict[str, Any]:
        """The groups of flags that the run in folder `out` has."""
        config = runs.read_config(out, self.name)
        with runs.user_errors(KeyError, TypeError, prefix=f"{out} was made by another version: "):
            others = [part for part in parts if part not in ("run", "config")]
            return {
                "run": type(parts["run"]).saved(config, out),
                **{part: type(parts[part])(**as_flags(config[part])) for part in others},
                "config": type(parts["config"]).from_dict(config["config"]),
            }

    def train(self, given: Any) -> None:
        """Begin a run or go on with it, and bring it to its end."""
        import torch

        from agents.distributed import by_first, num_ranks, rank, start, stop

        run, settings = given.run, self._settings(given)
        runs.quiet()
        torch.set_num_threads(run.threads)
        with runs.user_errors(RuntimeError):
            start()
        if run.shard and num_ranks() == 1:
            raise UserError(
                "shard is for several processes, and there is one: start them by torchrun "
                "--nproc-per-node N -m agents ..., or leave it out"
            )
        folder = by_first(
            lambda: (
                run.out
                if run.resume
                else runs.new_folder(run.out, self._told(given), self.name, given.config.seed)
            )
        )
        with runs.interruptible(self.name, folder, shard=run.shard):
            by_first(lambda: None if run.resume else self.begin(given, folder, settings))
            trainer = None
            try:
                trainer, data = self.load(given, folder)
                self._go_on(trainer, given, folder, settings)
                self.learn(trainer, data, given)
            except UserError:
                if not run.resume and not (trainer and trainer.course.iteration):
                    # The data are at fault: the mended command shall find no run that has them.
                    _discard(folder)
                raise
            summary = self.finish(trainer, data, given, folder)
        if rank() == 0:
            self.show(summary, folder)
        stop()

    def _told(self, given: Any) -> str:
        """What the run is called after: its environment, or else its file."""
        return given.run.env or Path(self.file(given) or "").absolute().stem

    def _settings(self, given: Any) -> dict[str, Any]:
        """What config.json says."""
        parts = {part: flags for part, flags in vars(given).items() if part != "run"}
        own = {part: dataclasses.asdict(flags) for part, flags in parts.items()}
        return {"algorithm": self.name, **given.run.settings(), **own}

    def _go_on(self, trainer: Any, given: Any, folder: Path, settings: dict[str, Any]) -> None:
        """Take up a run where its checkpoint stands, if it has one, and tell so."""
        from agents.checkpoint import FILE_NAME
        from agents.distributed import by_first, rank

        if by_first((folder / FILE_NAME).exists):
            with runs.user_errors(ValueError, prefix=f"{folder} cannot go on: "):
                trainer.load_checkpoint()
        done, last = trainer.course.iteration, given.config.num_iterations
        if last is not None and done > last:
            raise UserError(
                f"num_iterations is {last}, expected at least {done}: so many are done already"
            )
        by_first(lambda: runs.go_on(folder, settings) if given.run.resume else None)
        if rank() == 0:
            part = "" if last is None else f"iterations {done + 1} to {last}, "
            if done and done == last:
                part = f"all {last} iterations are done, more take a higher --num-iterations; "
            print(f"{self._told(given)}: {part}into {folder}", flush=True)


class PolicyCommand(TrainingCommand):
    """One that trains a policy in or for an environment, which measures it before and after.

    Without an environment, of a file alone, what the trainer has measured is shown instead.

    Args:
        name: see above.
        description: see above.
    """

    source: ClassVar[str] = ""  # the flag of the group "data" that names a file, if there is one
    figures: ClassVar[dict[str, str]] = {}  # metric -> what it is called, of a run on a file alone

    @abstractmethod
    def trainer_class(self) -> type:
        """Called with config, policy and folder."""

    def file(self, given: Any) -> str | None:
        """What the flag `source` says."""
        return getattr(given.data, self.source) if self.source else None

    def check(self, given: Any) -> None:
        """Raise UserError if there is nothing to learn from, or a warm-up has no environment."""
        run = given.run
        if run.env is None and self.file(given) is None:
            other = f", or give --{self.source} FILE, which needs none" if self.source else ""
            raise UserError(
                f"--env is missing: the environment's id, as in --env TextMath-v0{other}"
            )
        if run.env is None and run.warm_up not in (0, self.defaults()["run"].warm_up):
            raise UserError(f"--env is missing: a warm-up to {run.warm_up} has nothing to play")

    def rows(self, settings: dict[str, Any]) -> str:
        """What a run of these settings, those of config.json, counts as its episodes."""
        return "episodes"

    def begin(self, given: Any, folder: Path, settings: dict[str, Any]) -> None:
        """See `runs.start`."""
        runs.start(folder, settings)

    def load(self, given: Any, folder: Path) -> tuple[Any, Any]:
        """The trainer and the environment."""
        how = given.model.settings()
        if given.run.policy == "tiny" and how["device"] is None:
            how["device"] = "cpu"  # as `load_policy` does, which does not know it in initial/
        policy = runs.trainee(folder, given.config, shard=given.run.shard, **how)
        env = None
        if given.run.env is not None:
            env = runs.env_of(given.run.env, policy, **given.run.settings()["env_kwargs"])
        return self.trainer_class()(given.config, policy, folder=folder), env

    def finish(self, trainer: Any, data: Any, given: Any, folder: Path) -> dict[str, Any]:
        """See `runs.finish`."""
        return runs.finish(folder, trainer, () if given.run.env else tuple(self.figures))

    def show(self, summary: dict[str, Any], folder: Path) -> None:
        """What came of a run, where it lies and how to use it."""
        env_id, level = summary["env_id"], summary["difficulty"]
        place, settings = shlex.quote(str(folder)), runs.read_json(folder / runs.CONFIG_FILE)
        if env_id is None:
            self._show_figures(folder, settings)
        else:
            _show_success(summary)
        print(f"{summary['episodes']:,} {self.rows(settings)}", end=", ")
        print(f"{summary['tokens']:,} tokens", end=", ")
        print(f"{summary['seconds']:.0f} s ({summary['cpu_seconds']:.0f} CPU-seconds)")
        print(f"run       {folder} (summary.json, metrics.jsonl, learning_curve.png)")
        print(f"watch     tensorboard --logdir {place}")
        if env_id is not None:
            options = f"--policy {place} --env {env_id}" + (
                f" --difficulty {level}" if level else ""
            )
            options += " --split train" if summary["test_split"] == "train" else ""
            print(f"measure   python -m agents evaluate {options}")
        print(f"load      AutoModelForCausalLM.from_pretrained({str(folder / runs.POLICY)!r})")

    def _show_figures(self, folder: Path, settings: dict[str, Any]) -> None:
        """What the trainer has measured, when it did so first and last."""
        from rich.console import Console
        from rich.table import Table

        from agents.metrics import read_metrics

        table, rows = Table("", "first", "last"), read_metrics(folder)
        for name, title in self.figures.items():
            found = [row for row in rows if row.get(name) is not None]
            if found:
                ends = (found[0], found[-1])
                table.add_row(title, *(f"{x[name]:.3f} (iteration {x['iteration']})" for x in ends))
        print(f"{settings['data'][self.source]}, without an environment to play in:")
        Console().print(table)


def _show_success(summary: dict[str, Any]) -> None:
    """What the policy achieves in its environment, before and after."""
    from rich.console import Console
    from rich.table import Table

    table = Table("")
    for name in ("before", "after"):
        table.add_column(name, justify="right")
    for row, key in (
        ("success, sampled", "success"),
        ("success, greedy", "greedy"),
        ("return, sampled", "return"),
    ):
        values = [summary[f"{key}_{name}"] for name in ("before", "after")]
        if None not in values:
            table.add_row(row, *(f"{value:.3f}" for value in values))
    where = ", ".join(filter(None, [summary["env_id"], summary["difficulty"]]))
    print(f"{where}, {summary['test_episodes']} problems of the {summary['test_split']} split:")
    Console().print(table)


def _discard(folder: Path) -> None:
    """Remove a run that came to nothing, in the first process.

    Not in a meeting: whatever is wrong may be so in this process alone. The others wait a while,
    because a launcher ends them all when one ends.
    """
    from agents.distributed import rank

    deadline = time.monotonic() + GRACE
    while rank() and runs.is_run(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    if not rank():
        runs.discard(folder)
