"""The command line: `python -m agents ppo` trains a policy, `... evaluate` measures one.

Torch and transformers take seconds to load, so a command imports them only when it is called.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import math
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import tyro

from agents import runs
from agents.runs import UserError

if TYPE_CHECKING:
    from agents.ppo import PPOConfig

Arguments = TypeVar("Arguments")


@dataclass
class Run:
    """What is trained, and where the results go."""

    env: str | None = None
    """Id of the environment, such as TextMath-v0, or my_module:MyTask-v0 for a task that my_module
    registers (needed unless --resume)."""
    policy: str = "tiny"
    """What to begin with: tiny (the embedded model), a Hugging Face name, a folder, or a run."""
    difficulty: int | str | None = None
    """Name or position of the task's level (None: the task's default), or adaptive: from the
    easiest level on, as fast as they are learned."""
    reward_weights: tuple[str, ...] = ()
    """Weights of the reward's components, NAME=WEIGHT, where they are not the task's own."""
    env_kwargs: tuple[str, ...] = ()
    """More keywords of the environment, NAME=VALUE; a VALUE is JSON, or else text."""
    out: Path | None = None
    """The run folder (None: runs/ENV-ppo-SEED-DATE-TIME)."""
    resume: bool = False
    """Go on with the run in --out, with its own settings; PPO's may be changed by giving them."""
    warm_up: float = 0.25
    """A policy that cannot do the task at all is first fitted to reference answers, up to this
    sampled success (0: never)."""
    threads: int = 1
    """CPU threads; for a small model one is fastest."""

    def check(self) -> None:
        """Raise UserError if something is missing or out of its range."""
        if self.env is None:
            raise UserError("--env is missing: the environment's id, as in --env TextMath-v0")
        if not 0 <= self.warm_up <= 1:
            raise UserError(f"warm_up is {self.warm_up}, expected from 0 to 1")
        if self.threads < 1:
            raise UserError(f"threads is {self.threads}, expected at least 1")

    def settings(self) -> dict[str, Any]:
        """Its part of config.json."""
        return {
            "env_id": self.env,
            "env_kwargs": _env_kwargs(self),
            "policy": self.policy,
            "warm_up": self.warm_up,
            "threads": self.threads,
        }

    @classmethod
    def saved(cls, config: dict[str, Any], out: Path) -> Run:
        """The run in folder `out`, from its config.json."""
        kwargs = dict(config["env_kwargs"])
        return cls(
            env=config["env_id"],
            policy=config["policy"],
            difficulty=kwargs.pop("difficulty", None),
            reward_weights=_assignments(kwargs.pop("reward_weights", {})),
            env_kwargs=_assignments(kwargs),
            out=out,
            warm_up=config["warm_up"],
            threads=config["threads"],
        )


@dataclass
class Evaluation:
    """What is measured, and on which problems."""

    policy: str
    """A run, tiny (the embedded model), a Hugging Face name, or a folder."""
    env: str | None = None
    """Id of the environment, such as TextMath-v0 (None: the run's own)."""
    difficulty: int | str | None = None
    """Name or position of the task's level, or adaptive: all levels in equal shares (None: the
    run's own, else the task's default)."""
    reward_weights: tuple[str, ...] = ()
    """Weights of the reward's components, NAME=WEIGHT (none: the run's own, else the task's)."""
    env_kwargs: tuple[str, ...] = ()
    """More keywords of the environment, NAME=VALUE; a VALUE is JSON, or else text (none: the run's
    own)."""
    split: Literal["train", "validation", "test", "all"] = "test"
    """Whose problems; those of test are never trained on."""
    episodes: int = runs.TEST_EPISODES
    """How many problems, one episode each."""
    greedy: bool = False
    """Choose the most probable token instead of sampling."""
    seed: int = 0
    """Of the sampling; the problems are always the same."""
    threads: int = 1
    """CPU threads; for a small model one is fastest."""

    def check(self) -> None:
        """Raise UserError if something is out of its range."""
        for name, least in (("episodes", 1), ("threads", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}, expected at least {least}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 (training failed), 2 (usage) or 130 (Ctrl-C)."""
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        if command in ("-h", "--help"):
            print(_overview())
        elif command in COMMANDS:
            COMMANDS[command](rest)
        else:
            raise UserError(f"there is no command {command}; there are {', '.join(COMMANDS)}")
    except (UserError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt as interrupt:
        print(*interrupt.args or ["Stopped."], file=sys.stderr)
        return 130
    return 0


# ------------------------------------------------------------------ commands


def ppo(arguments: Sequence[str]) -> None:
    """Train a policy with proximal policy optimization, into a run folder."""
    from agents.ppo import PPOConfig

    # Two groups of flags: the run's, and one for every field of the algorithm's config.
    kind = dataclasses.make_dataclass("PPO", [("run", Run), ("config", PPOConfig)])
    given = _parse("ppo", kind, arguments, kind(Run(), PPOConfig()))
    if given.run.resume:
        saved = runs.read_config(given.run.out, "ppo")
        prefix = f"{given.run.out} was made by another version: "
        with runs.user_errors(KeyError, TypeError, prefix=prefix):
            default = kind(Run.saved(saved, given.run.out), PPOConfig(**saved["config"]))
        given = _parse("ppo", kind, arguments, default)
        _check_unchanged(given.run, default.run)
    given.run.check()
    with runs.user_errors(ValueError):
        given.config.validate()
    train_ppo(given.run, given.config)


def train_ppo(run: Run, config: PPOConfig) -> None:
    """Begin a run or go on with it, and bring it to its end.

    A new run reads its policy from the run folder as a resumed one does, so that both are the same.
    """
    import torch

    from agents.checkpoint import FILE_NAME
    from agents.ppo import PPOTrainer

    torch.set_num_threads(run.threads)
    settings = {"algorithm": "ppo", **run.settings(), "config": dataclasses.asdict(config)}
    folder = run.out if run.resume else runs.new_folder(run.out, run.env, "ppo", config.seed)
    again = f"python -m agents ppo --resume --out {shlex.quote(str(folder))}"
    try:
        if not run.resume:
            runs.start(folder, settings)
        policy = runs.policy_of(str(folder / runs.INITIAL))
        env = runs.env_of(run.env, policy, **settings["env_kwargs"])
        trainer = PPOTrainer(config, policy, folder=folder)
        if (folder / FILE_NAME).exists():
            trainer.load_checkpoint()
        first, last = trainer.iteration + 1, config.num_iterations
        if first > last + 1:
            raise UserError(
                f"num_iterations is {last}, expected at least {first - 1}: so many are done already"
            )
        if run.resume:
            runs.go_on(folder, settings)
        print(f"{run.env}: iterations {first} to {last}, into {folder}", flush=True)
        trainer.train(env)
        _show(runs.finish(folder, trainer), folder)
    except KeyboardInterrupt:
        advice = f"Go on with: {again}" if runs.is_run(folder) else "Nothing was trained yet."
        raise KeyboardInterrupt(f"Stopped. {advice}") from None
    except FloatingPointError as error:
        if not runs.is_run(folder):
            raise
        raise FloatingPointError(f"{error}: {again} --learning-rate ...") from error


def evaluate(arguments: Sequence[str]) -> None:
    """Measure a policy: a line to read, then the same as JSON."""
    given = _parse("evaluate", Evaluation, arguments)
    given.check()
    import torch

    from agents.rollout import NoVerdictError
    from agents.rollout import evaluate as play

    torch.set_num_threads(given.threads)
    policy = runs.policy_of(given.policy)
    env_id, env_kwargs = runs.task_of(given.policy, given.env, _env_kwargs(given))
    env = runs.env_of(env_id, policy, **{**env_kwargs, "split": given.split})
    with runs.user_errors(
        ValueError, NoVerdictError, prefix=f"{given.policy} cannot play {env_id}: "
    ):
        episodes = play(
            policy, env, num_episodes=given.episodes, greedy=given.greedy, seed=given.seed
        )
    success, level = float(episodes.success.mean()), runs.difficulty_of(env)
    num_graded = len(episodes.success)
    error = float(episodes.success.std()) / math.sqrt(num_graded)
    where = ", ".join(filter(None, [env_id, level, f"{given.split} split"]))
    how = "greedy" if given.greedy else "sampled"
    margin = f"± {1.96 * error:.3f} (95 %, {num_graded} episodes)"
    print(f"{where}: {how} success {success:.3f} {margin}")
    found = {
        "policy": given.policy,
        "env_id": env_id,
        "difficulty": level,
        "split": given.split,
        "episodes": len(episodes.returns),
        "verifier_errors": len(episodes.returns) - num_graded,
        "greedy": given.greedy,
        "seed": given.seed,
        "success": success,
        "success_standard_error": error,
        "return_mean": float(episodes.returns[episodes.is_graded].mean()),
    }
    print(json.dumps(found))


COMMANDS = {"ppo": ppo, "evaluate": evaluate}


# ------------------------------------------------------------------ reading the command line


def _parse(
    command: str,
    kind: type[Arguments],
    arguments: Sequence[str],
    default: Arguments | None = None,
) -> Arguments:
    """The arguments as a `kind`; what tyro has to complain about becomes a UserError."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                kind,
                prog=f"python -m agents {command}",
                description=COMMANDS[command].__doc__,
                args=arguments,
                default=tyro.MISSING_NONPROP if default is None else default,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as exit:
        if not exit.code:
            raise  # --help
        raise UserError(_in_one_line(complaint.getvalue())) from None


def _in_one_line(box: str) -> str:
    """What a box of tyro's says, without colors, its frame, its title and the help in it."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", box)
    rows = [row.strip("│╭╮╰╯─ ") for row in plain.splitlines()[1:]]
    # What was a rule is an empty row now.
    sections = [" ".join(group) for filled, group in itertools.groupby(rows, bool) if filled]
    help_starts = ("Argument helptext", "For full helptext")
    said = [text for text in sections if not text.startswith(help_starts)]
    return " ".join(said).removeprefix("Error parsing ")


def _check_unchanged(given: Run, saved: Run) -> None:
    """Another task or another first policy would be another run."""
    old, new = ({**run.settings(), **_env_kwargs(run)} for run in (saved, given))
    names = {"env_id": "env", "policy": "policy", "warm_up": "warm_up"}
    names |= {name: name for name in (*_env_kwargs(saved), *_env_kwargs(given))}
    for key, name in names.items():
        if new.get(key) != old.get(key):
            raise UserError(
                f"{saved.out} has {name} {old.get(key)}, which --resume cannot change to "
                f"{new.get(key)}"
            )


def _env_kwargs(given: Run | Evaluation) -> dict[str, Any]:
    """The keywords of the environment that the user gives, and no others.

    Raises:
        UserError: if one is no NAME=VALUE, or stands there twice.
    """
    found = _values("env-kwargs", given.env_kwargs)
    if given.difficulty is not None:
        found["difficulty"] = given.difficulty
    if given.reward_weights:
        found["reward_weights"] = _values("reward-weights", given.reward_weights)
    return found


def _values(flag: str, assignments: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE texts as a dict."""
    found: dict[str, Any] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name or name in found:
            raise UserError(f"--{flag} has {text}, expected NAME=VALUE, each NAME once")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def _assignments(values: dict[str, Any]) -> tuple[str, ...]:
    """The inverse of `_values`."""
    return tuple(f"{name}={json.dumps(value)}" for name, value in values.items())


# ------------------------------------------------------------------ telling


def _overview() -> str:
    lines = [f"  {name:10}{command.__doc__}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: python -m agents COMMAND [OPTIONS]",
            "",
            "Train policies in token environments, and measure them.",
            "",
            *lines,
            "",
            "`python -m agents COMMAND --help` lists a command's options, `python -m textgym list`",
            "the environments. For a start: python -m agents ppo --env TextMath-v0",
        ]
    )


def _show(summary: dict[str, Any], folder: Path) -> None:
    """What came of a run, where it lies and how to use it."""
    from rich.console import Console
    from rich.table import Table

    env_id, level = summary["env_id"], summary["difficulty"]
    table = Table("success")
    for name in ("before", "after"):
        table.add_column(name, justify="right")
    for row, key in (("sampled", "success"), ("greedy", "greedy")):
        table.add_row(row, *(f"{summary[f'{key}_{name}']:.3f}" for name in ("before", "after")))
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
