"""`python -m agents rlhf`: supervised, by preferences, by reward: the other commands in turn."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium

from agents import runs
from agents.commands import dpo, on_policy, reward_model, sft
from agents.commands.arguments import env_kwargs, parse
from agents.commands.training import TrainingCommand
from agents.runs import UserError

STAGES = {
    "reward-model": ("sft", "reward-model", "ppo"),
    "dpo": ("sft", "dpo", "ppo"),
}
"""Method -> its stages."""

COMMANDS: dict[str, TrainingCommand] = {
    command.name: command
    for command in (sft.COMMAND, reward_model.COMMAND, dpo.COMMAND, on_policy.COMMANDS["ppo"])
}

OWN = (
    "env",
    "policy",
    "out",
    "resume",
    "seed",
    "threads",
    "env_kwargs",
    "num_pairs",
    "data",
    "fields",
)
"""Options of the stages that follow from the recipe."""

RECIPE_FILE = "recipe.json"
"""What was asked for, in the folder of all stages."""

MEASURED = 512
"""Test problems on which each stage's policy is measured by the environment's own reward."""


@dataclass
class Recipe:
    """What is learned, how, and where the results go."""

    env: str = "TextPreference-v0"
    """Id of an environment with preferences of its own: TextPreference-v0 (as a duel), TextTaste-v0
    or yours. For reward-model it has to take reward_fn."""
    method: Literal["reward-model", "dpo"] = "reward-model"
    """reward-model: sft, reward-model, then ppo on the learned reward with a KL penalty. dpo: sft,
    dpo, then ppo on the environment's own reward."""
    policy: str = "tiny"
    """What to begin with: tiny (the embedded model), a Hugging Face name, a folder, or a run."""
    difficulty: int | str | None = None
    """Name or position of the environment's level (None: its default)."""
    reward_weights: tuple[str, ...] = ()
    """Weights of the environment's components, NAME=WEIGHT, where they are not its own."""
    env_kwargs: tuple[str, ...] = ()
    """More keywords of the environment, NAME=VALUE, such as noise=0.05."""
    num_pairs: int = 4096
    """Pairs of responses; the preferred ones are what sft imitates."""
    sft_options: tuple[str, ...] = ()
    """Settings of sft, NAME=VALUE, such as num_epochs=2 or dora=true; see `python -m agents sft
    --help`."""
    reward_model_options: tuple[str, ...] = ()
    """Settings of reward-model, likewise."""
    dpo_options: tuple[str, ...] = ()
    """Settings of dpo, likewise."""
    ppo_options: tuple[str, ...] = ("kl_coef=0.1", "num_iterations=100", "batch_size=128")
    """Settings of ppo, likewise."""
    out: Path | None = None
    """The folder, with a run folder a stage (None: runs/ENV-rlhf-SEED-DATE-TIME). If it exists,
    stages that are done are left as they are, and one that was interrupted goes on."""
    seed: int = 0
    """Of all stages."""
    threads: int = 1
    """CPU threads; for a small model one is fastest."""


def run(arguments: Sequence[str]) -> None:
    """Train by preferences in stages: sft, then a reward model or dpo, then ppo."""
    given = parse("rlhf", run.__doc__, Recipe, arguments, Recipe())
    folder = given.out
    if folder is None or not (folder / RECIPE_FILE).is_file():
        folder = runs.new_folder(folder, given.env, "rlhf", given.seed)
    kwargs = env_kwargs(given)
    recipe = _recipe(given, folder)
    if given.env.rpartition(":")[2].startswith("TextPreference"):
        kwargs = {"form": "duel", **kwargs}  # a judge has nothing to write
    stages = [x for x in STAGES[given.method] if not (folder / x / runs.SUMMARY_FILE).is_file()]
    for stage in stages:  # an error in the last one's settings shall not wait for the others
        with runs.user_errors(UserError, prefix=" ".join([stage, *_told(stage, given)]) + ": "):
            COMMANDS[stage].read(_arguments(stage, given, kwargs, folder))
    if given.method == "reward-model":
        _check_reward_fn(given, kwargs)
    _write_chosen(given, kwargs, folder)
    runs.write_json(folder / RECIPE_FILE, recipe)
    try:
        for stage in stages:
            _run_stage(stage, given, kwargs, folder)
    except KeyboardInterrupt:
        again = shlex.join(
            ["rlhf", *arguments] if given.out else ["rlhf", *arguments, "--out", str(folder)]
        )
        raise KeyboardInterrupt(f"Stopped. Go on with: python -m agents {again}") from None
    _finish(given, kwargs, folder)


def _check_reward_fn(given: Recipe, kwargs: dict[str, Any]) -> None:
    """Refuse an environment now whose reward cannot be learned, rather than after two stages."""
    policy = runs.policy_of(given.policy)
    runs.env_of(given.env, policy, **kwargs)
    try:
        runs.env_of(given.env, policy, **kwargs, reward_fn="distinct")
    except UserError as error:
        raise UserError(
            f"{given.env} takes no reward_fn, so a learned reward cannot be played for in it: "
            "use --method dpo, or TextTaste-v0, TextPreference-v0, or TextGeneration-v0"
        ) from error


def _recipe(given: Recipe, folder: Path) -> dict[str, Any]:
    """What is asked for; UserError if what is done already was made by another recipe."""
    recipe = {name: x for name, x in vars(given).items() if name not in ("out", "threads")}
    recipe = json.loads(json.dumps(recipe))  # tuples are lists in the file
    path = folder / RECIPE_FILE
    for name, old in (runs.read_json(path) if path.is_file() else {}).items():
        stage = "sft" if name == "policy" else name.removesuffix("_options").replace("_", "-")
        is_open = name.endswith(("_options", "policy")) and not runs.is_run(folder / stage)
        if recipe.get(name) != old and not is_open:
            raise UserError(
                f"{folder} has {name} {old}, which cannot become {recipe.get(name)} any more: "
                "choose another --out"
            )
    return recipe


def _write_chosen(given: Recipe, kwargs: dict[str, Any], folder: Path) -> Path:
    """The preferred responses of the pairs that the next stage learns from, as a file for sft."""
    from agents.preference_data import read_preferences

    path = folder / "chosen.jsonl"
    if path.is_file():
        return path
    if given.num_pairs < 1:
        raise UserError(f"num_pairs is {given.num_pairs}, expected at least 1")
    kinds = (gymnasium.error.Error, ImportError, OSError, ValueError, TypeError)
    with runs.user_errors(*kinds, prefix=f"{given.env}: "):
        pairs = read_preferences(given.env, num_pairs=given.num_pairs, seed=given.seed, **kwargs)
    rows = [json.dumps({"prompt": pair.prompt, "response": pair.chosen}) + "\n" for pair in pairs]
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text("".join(rows), encoding="utf-8")
    os.replace(unfinished, path)  # the next call takes what is there for whole
    return path


def _run_stage(stage: str, given: Recipe, kwargs: dict[str, Any], folder: Path) -> None:
    """Run a command as a user would."""
    arguments = _arguments(stage, given, kwargs, folder)
    print(f"\n$ python -m agents {stage} {shlex.join(arguments)}", flush=True)
    COMMANDS[stage].run(arguments)


def _arguments(stage: str, given: Recipe, kwargs: dict[str, Any], folder: Path) -> list[str]:
    """The command line of a stage, or that by which it goes on."""
    if runs.is_run(folder / stage):
        return ["--resume", "--out", str(folder / stage)]
    is_learned = stage == "ppo" and given.method == "reward-model"
    if is_learned:
        model = folder / "reward-model" / reward_model.MODEL
        kwargs = {**kwargs, "reward_fn": f"reward_model:{model}"}
    if stage == "sft":
        policy = given.policy
    else:
        policy = str(folder / ("dpo" if stage == "ppo" and not is_learned else "sft"))
    arguments = ["--env", given.env, "--policy", policy, "--out", str(folder / stage)]
    arguments += ["--threads", str(given.threads), "--seed", str(given.seed)]
    if kwargs:
        told = [f"{name}={json.dumps(value)}" for name, value in kwargs.items()]
        arguments += ["--env-kwargs", *told]
    if stage in ("dpo", "reward-model"):
        arguments += ["--num-pairs", str(given.num_pairs)]
    if stage != "reward-model":
        arguments += ["--warm-up", "0"]
    if stage == "sft":
        arguments += ["--data", str(folder / "chosen.jsonl")]
    return arguments + _options(stage, _told(stage, given))


def _told(stage: str, given: Recipe) -> tuple[str, ...]:
    """The settings of a stage that the user gives."""
    return getattr(given, f"{stage.replace('-', '_')}_options")


def _options(stage: str, assignments: Sequence[str]) -> list[str]:
    """NAME=VALUE texts as flags of a command line."""
    flags: list[str] = []
    for text in assignments:
        name, equals, value = text.partition("=")
        name, flag = name.replace("-", "_"), name.replace("_", "-")
        if not equals or not name or name in OWN:
            expected = "another NAME: this one follows from the recipe" if equals else "NAME=VALUE"
            raise UserError(f"--{stage}-options has {text}, expected {expected}")
        if value.lower() in ("true", "false"):
            flags.append(f"--{flag}" if value.lower() == "true" else f"--no-{flag}")
        else:
            flags += [f"--{flag}", value]
    return flags


def _finish(given: Recipe, kwargs: dict[str, Any], folder: Path) -> None:
    """Measure every stage's policy by the environment's own reward; write and show it."""
    from rich.console import Console
    from rich.table import Table

    from agents.rollout import evaluate

    found: dict[str, dict[str, float | None]] = {}
    stages = [stage for stage in STAGES[given.method] if stage != "reward-model"]
    for name, place in [
        ("start", given.policy),
        *((stage, str(folder / stage)) for stage in stages),
    ]:
        policy = runs.policy_of(place)
        env = runs.env_of(given.env, policy, **{**kwargs, "split": "test"})
        episodes = evaluate(policy, env, num_episodes=MEASURED)
        found[name] = {"return": episodes.mean_return, "success": episodes.mean_success}
    runs.write_json(
        folder / runs.SUMMARY_FILE, {"method": given.method, "env_id": given.env} | found
    )
    figures = [x for x in ("return", "success") if None not in [row[x] for row in found.values()]]
    table = Table("policy", *(f"mean {x}" for x in figures), title=f"{given.env}, its own reward")
    for name, row in found.items():
        table.add_row(name, *(f"{row[x]:.3f}" for x in figures))
    Console().print(table)
    print(f"runs      {folder} ({', '.join(STAGES[given.method])})")
