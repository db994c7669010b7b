"""A run folder: its files, how a run starts and goes on, and what comes of it.

config.json              what was asked for and the versions that did it; the start's last file
initial/                 the policy at the start: the reference, and where a resumed run begins
before.json              what the initial policy achieves on the test split, if it has a task
metrics.jsonl            one line an iteration; also TensorBoard events and learning_curve.png
checkpoint.safetensors   what an exact resume needs
policy/                  the trained policy, which transformers loads
summary.json             what came of it; the last file of all
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.course import Course
    from agents.models import Policy
    from textgym.vector import TokenVectorEnv

CONFIG_FILE = "config.json"
BEFORE_FILE = "before.json"
SUMMARY_FILE = "summary.json"
INITIAL = "initial"
POLICY = "policy"

TEST_EPISODES = 512
"""Test problems on which a run's policy is measured, before and after, if there are as many."""

NOT_MEASURED = {"split": None, "success": None, "greedy": None, "return": None, "episodes": 0}
"""What is known of a policy without an environment to play in."""


class UserError(Exception):
    """A mistake of the person at the keyboard: shown as one line, without a traceback."""


@contextmanager
def user_errors(*kinds: type[Exception], prefix: str = "") -> Iterator[None]:
    """Turn exceptions of these kinds into UserErrors of one line; what is said is not repeated."""
    try:
        yield
    except kinds as error:
        # Gymnasium appends all keywords, among them the text of a whole tokenizer.
        told = str(error).partition(" was raised from the environment creator for ")[0]
        told = " ".join(told.split())
        is_said = prefix and told.startswith(prefix.removesuffix(": "))
        raise UserError(told if is_said else prefix + told) from error


# ------------------------------------------------------------------ folders


def new_folder(out: Path | None, env_id: str, algorithm: str, seed: int) -> Path:
    """Where a new run goes, which is not made yet; without `out`, a folder of a telling name.

    Raises:
        UserError: if something is there already.
    """
    if out is None:
        name = env_id.replace("/", "-").replace(":", "-")
        out = Path("runs", f"{name}-{algorithm}-{seed}-{datetime.now():%Y%m%d-%H%M%S}")
    if is_run(out):
        raise UserError(
            f"{out} is a run already: go on with --resume --out {out}, or choose another --out"
        )
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out} exists already and is no run: choose another --out")
    return out


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a new run's folder, with an empty initial/; if the block fails, it is gone again.

    Raises:
        UserError: if it cannot be made. Of several runs that are to have it, the first gets it.
    """
    try:
        (folder / INITIAL).mkdir(parents=True)
    except FileExistsError:
        raise UserError(f"{folder} is another run's by now: choose another --out") from None
    except OSError as error:
        raise UserError(f"{error}: choose another --out") from error
    try:
        yield
    except BaseException:
        discard(folder)
        raise


def discard(folder: Path) -> None:
    """Remove what a run has made before its first iteration is over, and nothing else."""
    shutil.rmtree(folder / INITIAL)
    own = (
        CONFIG_FILE,
        BEFORE_FILE,
        "metrics.jsonl",
        "checkpoint.*",
        "events.out.*",
        "*.unfinished",
    )
    for path in {path for pattern in own for path in folder.glob(pattern)}:
        path.unlink()
    with suppress(OSError):  # what others put there stays, as does a link to a folder
        folder.rmdir()


def is_run(folder: Path) -> bool:
    """Whether the folder holds a run that has started."""
    return (folder / CONFIG_FILE).is_file() and (folder / INITIAL).is_dir()


def read_config(out: Path | None, algorithm: str) -> dict[str, Any]:
    """The config.json of a run that is to go on.

    Raises:
        UserError: if there is no such run.
    """
    if out is None:
        raise UserError("--resume needs --out RUN, the folder of the run to go on with")
    if not out.is_dir():
        raise UserError(f"there is no run folder {out}")
    if not is_run(out):
        raise UserError(f"{out} holds no run: {CONFIG_FILE} or {INITIAL}/ is missing")
    with user_errors(json.JSONDecodeError, prefix=f"{out / CONFIG_FILE} is damaged: "):
        config = read_json(out / CONFIG_FILE)
    if config.get("algorithm") != algorithm:
        raise UserError(f"{out} is a run of {config.get('algorithm')}, not of {algorithm}")
    return config


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file in one step: nobody ever sees half of it."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(unfinished, path)


def versions() -> dict[str, str]:
    """Versions of what a run's numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("textgym", "torch", "transformers", "gymnasium", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed: run from its source"
    return found


# ------------------------------------------------------------------ policies and environments


def policy_of(name: str, **settings: Any) -> Policy:
    """The policy that a user names; `settings` are keywords of `load_policy`.

    Raises:
        UserError: if there is none.
    """
    from agents.models import load_policy

    check_policy(name)
    quiet()
    # torch asserts that it knows the device, and raises a RuntimeError where there is none such.
    kinds = (OSError, ValueError, TypeError, AssertionError, RuntimeError)
    with user_errors(*kinds, prefix=f"policy {name}: "):
        return load_policy(name, **settings)


def check_policy(name: str) -> None:
    """Refuse what is no policy, as far as folders tell.

    Raises:
        UserError: for a folder that is missing, or a run that has no policy to load.
    """
    path = Path(name)
    if (path / INITIAL).is_dir() and not (path / POLICY).is_dir():
        algorithm = read_json(path / CONFIG_FILE)["algorithm"]
        if algorithm == "reward-model":
            raise UserError(f"the run {name} is of a reward model, which is no policy")
        raise UserError(
            f"the run {name} is not over and has no {POLICY}/ yet: give {path / INITIAL} for the "
            "policy it began with, or finish it: "
            f"python -m agents {algorithm} --resume --out {name}"
        )
    beside_others = path.parent != Path() and path.parent.is_dir()
    if not path.is_dir() and (beside_others or name.startswith(("/", ".", "~", "runs/"))):
        raise UserError(f"there is no policy or run folder {name}")


def quiet() -> None:
    """Let transformers show no progress of loading and saving."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def trainee(folder: Path, config: Any, *, shard: bool, **settings: Any) -> Policy:
    """The policy that a run begins with, to be trained.

    Args:
        folder: the run's.
        config: the learner's; if it wants a value network, a sharded policy has to bring it.
        shard: whether all processes share out its layers.
        **settings: keywords of `load_policy`.

    Raises:
        UserError: if it cannot be loaded, or sharded.
    """
    source = str(folder / INITIAL)
    if not shard:
        return policy_of(source, **settings)
    import torch

    from agents.sharding import ShardedPolicy

    device = settings["device"] or ("cuda" if torch.cuda.is_available() else "cpu")
    settings |= {"device": "cpu", "value": getattr(config, "value", "head")}
    policy = policy_of(source, **settings)  # whole, for which a GPU may be too small
    with user_errors(ValueError, prefix=f"policy {source}: "):
        return ShardedPolicy(policy, device)


def env_of(env_id: str, policy: Policy, **kwargs: Any) -> TokenVectorEnv:
    """The environment that a user names, with the policy's tokenizer.

    Raises:
        UserError: if there is none of this name, or it takes no such settings.
    """
    import gymnasium

    from agents.rollout import as_vector_env
    from textgym.grading.sandbox import SandboxUnavailable
    from textgym.vector import TokenVectorEnv

    kinds = (gymnasium.error.Error, ImportError, OSError, ValueError, TypeError)
    kinds = (*kinds, SandboxUnavailable)
    with user_errors(*kinds, prefix=f"{env_id}: "):
        env = as_vector_env(env_id, 1, tokenizer=policy.tokenizer, **kwargs)
    if not isinstance(env, TokenVectorEnv):
        raise UserError(f"{env_id} is no textgym environment: its actions are not tokens")
    return env


def task_of(
    policy: str, env_id: str | None, env_kwargs: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """What a policy is measured on: what the user names, else what its run trained on.

    Args:
        policy: as the user names it.
        env_id: the environment that the user names, if any.
        env_kwargs: its keywords that the user gives; others are the run's own, if it is its own.

    Raises:
        UserError: if neither says which environment.
    """
    folder = Path(policy)
    config = read_json(folder / CONFIG_FILE) if is_run(folder) else {"env_id": None}
    if env_id is None:
        env_id = config["env_id"]
    if env_id is None:
        why = "learned without one" if is_run(folder) else "is no run, which would tell it"
        raise UserError(f"--env is missing, the environment: {policy} {why}")
    if env_id == config["env_id"]:
        env_kwargs = {**config["env_kwargs"], **env_kwargs}
    return env_id, env_kwargs


def has_masks(policy: str) -> bool:
    """Whether a policy is a run's that drew its tokens under action masks."""
    folder = Path(policy)
    config = read_json(folder / CONFIG_FILE) if is_run(folder) else {}
    return bool(config.get("config", {}).get("action_masks", False))


def difficulty_of(env: TokenVectorEnv) -> str | None:
    """The name of the level that is played, or "adaptive"; None if the task has only one."""
    names = env.mdp.task.difficulties
    if env.curriculum is not None:
        return "adaptive"
    return names[env.difficulty] if names else None


# ------------------------------------------------------------------ the course of a run


def start(folder: Path, config: dict[str, Any]) -> None:
    """Make a run folder that `--resume` can go on with: all that precedes the first iteration.

    Args:
        folder: where; made only when the policy is ready, which may take a while.
        config: env_id (None: nothing is played), env_kwargs, policy, warm_up and model's device are
            read here; all of it goes to config.json.

    Raises:
        UserError: if there is no such policy or environment, or the folder cannot be made.
    """
    from agents.warm_up import warm_up

    policy = policy_of(config["policy"], device=config["model"]["device"])
    before: dict[str, Any] = {**NOT_MEASURED, "warm_up": None}
    if config["env_id"] is not None:
        env = env_of(config["env_id"], policy, **config["env_kwargs"])
        with user_errors(ValueError, prefix=f"{config['policy']} cannot play {config['env_id']}: "):
            warmed_up = warm_up(policy, env, config["warm_up"])
            before = {**_measure(policy, config), "warm_up": warmed_up}
    with made(folder):
        policy.save(folder / INITIAL)
        write_json(folder / BEFORE_FILE, before)
        write_json(folder / CONFIG_FILE, {**config, "versions": versions()})


def check_same(out: Path, saved: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise UserError where settings differ that a run cannot change."""
    for name, value in saved.items():
        if given[name] != value:
            raise UserError(
                f"{out} has {name} {value}, which --resume cannot change to {given[name]}"
            )


@contextmanager
def interruptible(algorithm: str, folder: Path, *, shard: bool = False) -> Iterator[None]:
    """Say how a run that stops here goes on."""
    from agents.distributed import num_ranks

    program = "python" if num_ranks() == 1 else f"torchrun --nproc-per-node {num_ranks()}"
    again = f"{program} -m agents {algorithm} --resume --out {shlex.quote(str(folder))}"
    again += " --shard" if shard else ""
    try:
        yield
    except KeyboardInterrupt:
        advice = f"Go on with: {again}" if is_run(folder) else "Nothing was trained yet."
        raise KeyboardInterrupt(f"Stopped. {advice}") from None
    except FloatingPointError as error:
        if not is_run(folder):
            raise
        raise FloatingPointError(f"{error}: {again} --learning-rate ...") from error


def go_on(folder: Path, config: dict[str, Any]) -> None:
    """Prepare a run's folder for its next part: with these settings, and not finished any more."""
    write_json(folder / CONFIG_FILE, {**config, "versions": versions()})
    (folder / SUMMARY_FILE).unlink(missing_ok=True)


def finish(folder: Path, trainer: Any, metrics: Sequence[str] = ()) -> dict[str, Any]:
    """Save the trained policy, measure it and write summary.json, which is returned too.

    Of several processes all call it, and the first does it.

    Args:
        folder: the run's.
        trainer: with its `policy` and its `course`.
        metrics: whose last values stand in the summary too (None: never measured).
    """
    from agents.distributed import by_first
    from agents.sharding import ShardedPolicy, whole_policy

    if isinstance(trainer.policy, ShardedPolicy):
        trainer.policy.save(folder / POLICY)
    else:
        by_first(lambda: trainer.policy.save(folder / POLICY))
    with whole_policy(trainer.policy) as policy:
        return by_first(lambda: _summarise(folder, policy, trainer.course, metrics))


def _summarise(
    folder: Path, policy: Policy, course: Course, metrics: Sequence[str]
) -> dict[str, Any]:
    from agents.metrics import read_metrics

    config, before = read_json(folder / CONFIG_FILE), read_json(folder / BEFORE_FILE)
    after, difficulty, rows = NOT_MEASURED, None, read_metrics(folder)
    if config["env_id"] is not None:
        after = _measure(policy, config)
        difficulty = difficulty_of(env_of(config["env_id"], policy, **config["env_kwargs"]))
    figures = ("success", "greedy", "return")
    summary = {
        "env_id": config["env_id"],
        "difficulty": difficulty,
        **{name: config[name] for name in ("algorithm", "policy")},
        "seed": config["config"]["seed"],
        "iterations": course.iteration,
        "episodes": course.num_episodes,
        "tokens": course.num_tokens,
        "seconds": course.seconds,
        "cpu_seconds": course.cpu_seconds,
        "kl": next((row.get("kl") for row in rows[-1:]), None),
        **{name: next((x[name] for x in rows[::-1] if name in x), None) for name in metrics},
        "warm_up": before["warm_up"],
        "test_split": after["split"],
        "test_episodes": after["episodes"],
        **{f"{name}_before": before[name] for name in figures},
        **{f"{name}_after": after[name] for name in figures},
    }
    write_json(folder / SUMMARY_FILE, summary)
    return summary


def _measure(policy: Policy, config: dict[str, Any]) -> dict[str, Any]:
    """Success, sampled and greedy (None: no share), the mean sampled return, of which problems.

    The test split; where there is none, as with a handful of prompts, what is trained on.
    """
    from agents.rollout import NoVerdictError, evaluate

    kwargs = config["env_kwargs"]
    trained_on = env_of(config["env_id"], policy, **kwargs).unwrapped.mdp.bank
    has_test = trained_on.split != "all" and trained_on.lists.has("test")
    split = "test" if has_test else trained_on.split
    env = env_of(config["env_id"], policy, **{**kwargs, "split": split})
    settings = config.get("config", {})
    masks = {"action_masks": settings.get("action_masks", False)}
    with user_errors(NoVerdictError, prefix=f"{config['env_id']}: "):
        sampled = evaluate(policy, env, num_episodes=TEST_EPISODES, **masks)
        greedy = evaluate(policy, env, num_episodes=TEST_EPISODES, greedy=True, **masks)
    return {
        "split": split,
        "success": sampled.mean_success,
        "greedy": greedy.mean_success,
        "return": sampled.mean_return,
        "episodes": len(sampled.returns),
    }
