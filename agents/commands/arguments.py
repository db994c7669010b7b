"""What commands have in common: the flags of a run, and how a command line is read."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import tyro

from agents import runs
from agents.commands.help_texts import REGISTRY
from agents.runs import UserError

if TYPE_CHECKING:
    from typing import Self

Arguments = TypeVar("Arguments")


class HasEnvironment(Protocol):
    """Flags that tell an environment's keywords."""

    difficulty: int | str | None
    reward_weights: tuple[str, ...]
    env_kwargs: tuple[str, ...]


DATA_ERRORS = (ValueError, TypeError, OSError, ImportError)
"""What is raised where files or data sets are not as they should be."""


@dataclass
class Source:
    """What is trained, and where the results go."""

    env: str | None = None
    """Id of the environment, such as TextMath-v0, or my_module:MyTask-v0 for a task that my_module
    registers. Needed unless --resume; dpo and sft need none to learn from a file, and then nothing
    is played: there is no warm-up, and no success before and after."""
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
    """The run folder (None: runs/ENV-ALGORITHM-SEED-DATE-TIME, without ENV the file's name)."""
    resume: bool = False
    """Go on with the run in --out, with its own settings; the algorithm's may be changed."""
    threads: int = 1
    """CPU threads; for a small model one is fastest."""

    shard: ClassVar[bool] = False  # a flag of those that can
    own: ClassVar[tuple[str, ...]] = ()  # the fields that a subclass adds

    def check(self) -> None:
        """Raise UserError if something is out of its range."""
        if (settings := env_kwargs(self)) and self.env is None:
            raise UserError(
                f"--env is missing: only an environment has the settings {', '.join(settings)}"
            )
        if self.threads < 1:
            raise UserError(f"threads is {self.threads}, expected at least 1")

    def settings(self) -> dict[str, Any]:
        """Its part of config.json."""
        return {
            "env_id": self.env,
            "env_kwargs": env_kwargs(self),
            "policy": self.policy,
            **{name: getattr(self, name) for name in (*self.own, "threads")},
        }

    @classmethod
    def saved(cls, config: dict[str, Any], out: Path) -> Self:
        """The run in folder `out`, from its config.json."""
        kwargs = dict(config["env_kwargs"])
        return cls(
            env=config["env_id"],
            policy=config["policy"],
            difficulty=kwargs.pop("difficulty", None),
            reward_weights=assignments(kwargs.pop("reward_weights", {})),
            env_kwargs=assignments(kwargs),
            out=out,
            **as_flags({name: config[name] for name in (*cls.own, "threads") if name in config}),
        )


@dataclass
class Run(Source):
    """What is trained, and where the results go."""

    warm_up: float = 0.25
    """A policy that cannot do the task at all is first fitted to reference answers, up to this
    sampled success (0: never)."""
    shard: bool = False
    """Let several processes share out the weights, gradients and optimizer state of the layers
    (FSDP), for a model that does not fit on one GPU with them; to play, its weights alone have to,
    in --dtype, and in float32 where it is measured before the run (a warm-up trains it there: see
    --warm-up 0). A run goes on with it or without: say it again with --resume."""

    own: ClassVar[tuple[str, ...]] = ("warm_up",)

    def check(self) -> None:
        """Raise UserError if something is out of its range."""
        super().check()
        if not 0 <= self.warm_up <= 1:
            raise UserError(f"warm_up is {self.warm_up}, expected from 0 to 1")


@dataclass
class Model:
    """How the policy's model is loaded for training."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the forward pass; with bfloat16 weights and optimizer stay in float32 (autocast)."""
    adapter_rank: int = 0
    """Train a LoRA adapter of this rank on all linear layers (0: train all weights)."""
    dora: bool = False
    """Make the adapter a DoRA one: direction by LoRA, and a trained magnitude."""
    gradient_checkpointing: bool = False
    """Compute activations again instead of keeping them: less memory, a third more time."""
    device: str | None = None
    """Such as cuda or cpu (None: the first GPU, if there is one; the embedded policy: cpu)."""

    def check(self) -> None:
        """Raise UserError if something is out of its range."""
        if self.adapter_rank < 0:
            raise UserError(f"adapter_rank is {self.adapter_rank}, expected at least 0")
        if self.dora and not self.adapter_rank:
            raise UserError("dora is an adapter's: give its rank too, as in --adapter-rank 16")

    def settings(self) -> dict[str, Any]:
        """Keywords of `load_policy`."""
        from agents.models import Adapter

        adapter = Adapter(rank=self.adapter_rank, alpha=2 * self.adapter_rank, dora=self.dora)
        return {
            "dtype": self.dtype,
            "adapter": adapter if self.adapter_rank else None,
            "gradient_checkpointing": self.gradient_checkpointing,
            "device": self.device,
        }


def parse(
    command: str,
    description: str | None,
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
                description=description,
                args=arguments,
                default=tyro.MISSING_NONPROP if default is None else default,
                config=(tyro.conf.OmitArgPrefixes,),
                registry=REGISTRY,
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


def check_unchanged(given: Source, saved: Source) -> None:
    """Another task or another first policy would be another run."""

    def fixed(run: Source) -> dict[str, Any]:
        names = ("env", "policy", *run.own)
        return {**{name: getattr(run, name) for name in names}, **env_kwargs(run)}

    old, new = fixed(saved), fixed(given)
    for name in {**old, **new}:
        if new.get(name) != old.get(name):
            raise UserError(
                f"{saved.out} has {name} {old.get(name)}, which --resume cannot change to "
                f"{new.get(name)}"
            )


def env_kwargs(given: HasEnvironment) -> dict[str, Any]:
    """The keywords of the environment that the user gives, and no others.

    Raises:
        UserError: if one is no NAME=VALUE, or stands there twice.
    """
    found = values("env-kwargs", given.env_kwargs)
    if given.difficulty is not None:
        found["difficulty"] = given.difficulty
    if given.reward_weights:
        found["reward_weights"] = values("reward-weights", given.reward_weights)
    return found


def values(flag: str, assignments: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE texts as a dict."""
    found: dict[str, Any] = {}
    for name, value in _split(flag, assignments).items():
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def columns(given: Sequence[str]) -> dict[str, str]:
    """What --fields says, NAME -> COLUMN: a text, though it be 1 or true."""
    return _split("fields", given, "COLUMN")


def _split(flag: str, assignments: Sequence[str], value: str = "VALUE") -> dict[str, str]:
    """NAME=VALUE texts as a dict of texts."""
    found: dict[str, str] = {}
    for text in assignments:
        name, equals, told = text.partition("=")
        if not equals or not name or name in found:
            raise UserError(f"--{flag} has {text}, expected NAME={value}, each NAME once")
        found[name] = told
    return found


def assignments(values: dict[str, Any]) -> tuple[str, ...]:
    """The inverse of `values`."""
    return tuple(f"{name}={json.dumps(value)}" for name, value in values.items())


def as_flags(saved: dict[str, Any]) -> dict[str, Any]:
    """Flags as config.json has them, whose tuples have become lists there."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()
    }


@contextlib.contextmanager
def data_errors(prefix: str) -> Iterator[None]:
    """`runs.user_errors` of a file or a data set; where they advise `fields=`, it is the flag."""
    try:
        with runs.user_errors(*DATA_ERRORS, prefix=prefix):
            yield
    except UserError as error:
        told = re.sub(
            r"fields=\{'(\w+)': COLUMN(?:,( \.\.\.))?\}", r"--fields \1=COLUMN\2", str(error)
        )
        raise UserError(told) from error
