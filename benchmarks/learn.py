"""Do the learners learn? Each trains the embedded policy with its default settings.

Equal CPU time: a run goes on until training has taken its task's CPU seconds of one thread, playing
included, measuring not; the learning rate falls with the time that has passed. With `--iterations`
a run has so many instead, and takes what it takes. Where the embedded policy cannot do a task at
all, every run begins with it warmed up as `python -m agents` does it, which does not count.

One JSON line per run: return and success on 512 held-out problems before and after, sampled and
greedy, and the curve: mean return of the training episodes against CPU seconds. With `--out` the
lines are added to a file, and runs that it has already are not run again, so that a comparison can
be made in parts (`--algorithms grpo --tasks math --seeds 0`). Then a table of all its runs.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

import textgym  # noqa: F401  (registers the ids)
from agents import a2c, grpo, ppo, reinforce, rloo
from agents.models import Policy, load_policy
from agents.play import slots
from agents.rollout import evaluate
from agents.warm_up import warm_up

LEARNERS = {
    "reinforce": (reinforce.REINFORCEConfig, reinforce.REINFORCETrainer),
    "a2c": (a2c.A2CConfig, a2c.A2CTrainer),
    "ppo": (ppo.PPOConfig, ppo.PPOTrainer),
    "rloo": (rloo.RLOOConfig, rloo.RLOOTrainer),
    "grpo": (grpo.GRPOConfig, grpo.GRPOTrainer),
}


class Arena(NamedTuple):
    """A task on which learners are compared."""

    env: str
    difficulty: str | None
    cpu_seconds: float
    warm_up: float = 0.25


TASKS = {
    "math": Arena("TextMath-v0", None, 45.0),
    "concise": Arena("TextConcise-v0", "four", 30.0),
    "taste": Arena("TextTaste-v0", None, 15.0),
}
NUM_PROBLEMS = 512
NUM_POINTS = 40
"""Of a curve; each is a mean over as many iterations as fall to it."""


def main(arguments: list[str] | None = None) -> None:
    """Print one JSON line per run, then a table of all of them."""
    options = _options(arguments)
    torch.set_num_threads(1)
    tasks = {name: TASKS[name] for name in options.tasks or TASKS}
    if options.env is not None:
        given = Arena(options.env, options.difficulty, TASKS["math"].cpu_seconds, options.warm_up)
        tasks = {options.env: given}
    rows = read_rows(options.out)
    done = {_key(row) for row in rows}
    for name, task in tasks.items():
        for seed in options.seeds:
            for algorithm in options.algorithms:
                if (algorithm, task.env, task.difficulty, seed) in done:
                    continue
                row = {"task": name, **_train(algorithm, task, seed, options)}
                rows.append(row)
                print(json.dumps({k: v for k, v in row.items() if k != "curve"}), flush=True)
                if options.out is not None:
                    with options.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
    print("\n".join(table(rows)))
    if options.plot is not None:
        plot(rows, options.plot)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks learn",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--algorithms", "--algorithm", nargs="+", choices=LEARNERS)
    parser.add_argument("--tasks", nargs="+", choices=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--env", help="one environment instead of --tasks, with PPO unless told")
    parser.add_argument("--difficulty", help="its level")
    parser.add_argument("--warm-up", type=float, default=0.25, help="as in python -m agents ppo")
    parser.add_argument("--iterations", type=int, help="so many instead of equal CPU seconds")
    parser.add_argument("--cpu-seconds", type=float, help="instead of the tasks' own")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="of the config")
    parser.add_argument("--out", type=Path, help="JSON lines, added to")
    parser.add_argument("--plot", type=Path, help="where to draw the curves")
    options = parser.parse_args(arguments)
    options.algorithms = options.algorithms or (["ppo"] if options.env else list(LEARNERS))
    return options


def read_rows(path: Path | None) -> list[dict[str, Any]]:
    """The runs in a file, none if there is no file."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["algorithm"], row["env"], row["difficulty"], row["seed"]


def _train(algorithm: str, task: Arena, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run."""
    level = {} if task.difficulty is None else {"difficulty": task.difficulty}
    policy = load_policy("tiny")
    warmed_up = warm_up(policy, gym.make(task.env, **level), task.warm_up, tell=_tell)
    before = _measure(policy, task.env, level)
    config_class, trainer_class = LEARNERS[algorithm]
    changes = {name: json.loads(value) for name, value in (x.split("=", 1) for x in options.set)}
    config = config_class(seed=seed, **changes)
    trainer = trainer_class(config, policy, show=False)
    envs = slots(task.env, policy, config, **level)
    if options.iterations is not None:
        config.num_iterations, budget = options.iterations, math.inf
    else:
        budget = options.cpu_seconds or task.cpu_seconds
    course, curve = trainer.course, []
    while course.cpu_seconds < budget and course.iteration < (options.iterations or math.inf):
        if math.isfinite(budget) and course.iteration:
            # Which sets the learning rate: it falls with the share of the time that has passed.
            config.num_iterations = math.ceil(course.iteration * budget / course.cpu_seconds)
        metrics = trainer.step(envs)
        curve.append((course.cpu_seconds, course.num_episodes, metrics["return_mean"]))
    after = _measure(policy, task.env, level)
    return {
        "benchmark": "learn",
        "env": task.env,
        "difficulty": task.difficulty,
        "algorithm": algorithm,
        "seed": seed,
        "iterations": course.iteration,
        "episodes": course.num_episodes,
        "cpu_seconds": round(course.cpu_seconds, 1),
        "seconds": round(course.seconds, 1),
        "warm_up": warmed_up,
        **{f"{name}_before": value for name, value in before.items()},
        **{f"{name}_after": value for name, value in after.items()},
        "torch": torch.__version__,
        "curve": _thinned(curve),
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _measure(policy: Policy, env_id: str, level: dict[str, str]) -> dict[str, float]:
    """Return and success on the test split, sampled, and success of the most probable tokens."""
    sampled, greedy = (
        evaluate(policy, env_id, num_episodes=NUM_PROBLEMS, greedy=greedy, **level)
        for greedy in (False, True)
    )
    found = {"return": sampled.returns, "success": sampled.success, "greedy": greedy.success}
    return {name: round(float(values.mean()), 4) for name, values in found.items()}


def _thinned(curve: list[tuple[float, int, float]]) -> list[list[float]]:
    """[CPU seconds, episodes, mean return] in NUM_POINTS points at most."""
    parts = np.array_split(np.array(curve), min(NUM_POINTS, len(curve)))
    return [[round(x, 4) for x in part.mean(0).tolist()] for part in parts]


def table(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Lines: per task and learner the mean and spread (standard deviation) over the seeds."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["algorithm"]), []).append(row)
    lines = [f"{'task':12} {'learner':10} seeds  CPU s  return before  return after    lowest rise"]
    for (task, algorithm), runs in groups.items():
        after = [run["return_after"] for run in runs]
        rises = [run["return_after"] - run["return_before"] for run in runs]
        spread = statistics.stdev(after) if len(runs) > 1 else 0.0
        seconds = statistics.mean(run["cpu_seconds"] for run in runs)
        before = statistics.mean(run["return_before"] for run in runs)
        lines.append(
            f"{task:12} {algorithm:10} {len(runs):5}  {seconds:5.0f}  {before:13.3f}  "
            f"{statistics.mean(after):6.3f} ± {spread:.3f} {min(rises):12.3f}"
        )
    return lines


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """A panel per task: mean return against CPU seconds, mean and range over the seeds."""
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure = Figure(figsize=(5 * len(tasks) + 1, 4), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        for algorithm in LEARNERS:
            curves = [
                np.array(row["curve"]).T
                for row in rows
                if (row["task"], row["algorithm"]) == (task, algorithm)
            ]
            if not curves:
                continue
            seconds = np.linspace(0, min(curve[0, -1] for curve in curves), 100)
            returns = np.stack([np.interp(seconds, curve[0], curve[2]) for curve in curves])
            [line] = axes.plot(seconds, returns.mean(0), label=algorithm)
            axes.fill_between(
                seconds, returns.min(0), returns.max(0), color=line.get_color(), alpha=0.15, lw=0
            )
        axes.set_title(task)
        axes.set_xlabel("CPU seconds of one thread")
        axes.set_ylabel("mean return of training episodes")
        axes.legend()
    figure.savefig(path, dpi=120)
