"""Does PPO learn? Trains the embedded policy with the default settings, once per seed.

One JSON line per seed and one for their median: success on 512 held-out problems before and after,
sampled and greedy, and the CPU seconds of one thread that training took. Where the embedded policy
cannot do the task at all, every seed begins with it warmed up as `python -m agents ppo` does it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

import textgym  # noqa: F401  (registers the ids)
from agents.metrics import read_metrics
from agents.models import load_policy
from agents.ppo import PPOConfig, PPOTrainer
from agents.rollout import evaluate
from agents.warm_up import warm_up

ENV_ID = "TextMath-v0"
NUM_PROBLEMS = 512
SMOOTH = 10
"""Iterations over which the training success of the curve is averaged."""


def main(arguments: list[str] | None = None) -> None:
    """Print one JSON line per seed, then the median's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks learn", description=__doc__)
    parser.add_argument("--env", default=ENV_ID)
    parser.add_argument("--difficulty", default=None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=PPOConfig().num_iterations)
    parser.add_argument("--warm-up", type=float, default=0.25, help="as in python -m agents ppo")
    parser.add_argument("--plot", type=Path, help="where to draw the seeds' learning curves")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows, curves = [], []
    for seed in options.seeds:
        row, curve = _train(
            options.env, options.difficulty, seed, options.iterations, options.warm_up
        )
        print(json.dumps(row), flush=True)
        rows.append(row)
        curves.append(curve)
    print(json.dumps(_summary(rows)), flush=True)
    if options.plot is not None:
        _plot(curves, rows, options.plot)


def _train(
    env_id: str, difficulty: str | None, seed: int, num_iterations: int, target: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    level = {} if difficulty is None else {"difficulty": difficulty}
    policy = load_policy("tiny")
    warmed_up = warm_up(policy, gym.make(env_id, **level), target, tell=lambda line: None)
    before = _success(policy, env_id, level)
    config = PPOConfig(seed=seed, num_iterations=num_iterations)
    with tempfile.TemporaryDirectory() as folder:
        trainer = PPOTrainer(config, policy, folder=folder, show=False)
        trainer.train(env_id, **level)
        curve = read_metrics(folder)
    row = {
        "benchmark": "learn",
        "env": env_id,
        "difficulty": difficulty or gym.make(env_id).unwrapped.task.default_difficulty,
        "algorithm": "ppo",
        "seed": seed,
        "iterations": num_iterations,
        "episodes": trainer.num_episodes,
        "cpu_seconds": round(trainer.cpu_seconds, 1),
        "seconds": round(trainer.seconds, 1),
        "warm_up": warmed_up,
        "success_before": before[0],
        "success_after": (after := _success(policy, env_id, level))[0],
        "greedy_before": before[1],
        "greedy_after": after[1],
        "torch": torch.__version__,
    }
    return row, curve


def _success(policy: Any, env_id: str, level: dict[str, str]) -> list[float]:
    """Sampled and greedy success on the test split."""
    return [
        round(float(episodes.success.mean()), 4)
        for episodes in (
            evaluate(policy, env_id, num_episodes=NUM_PROBLEMS, greedy=greedy, **level)
            for greedy in (False, True)
        )
    ]


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    numbers = ("cpu_seconds", "success_before", "success_after", "greedy_before", "greedy_after")
    median = {name: statistics.median(row[name] for row in rows) for name in numbers}
    rises = [row["success_after"] - row["success_before"] for row in rows]
    return {
        **{name: rows[0][name] for name in ("benchmark", "env", "difficulty", "algorithm")},
        "what": f"median of {len(rows)} seeds",
        **median,
        "rise_median": round(statistics.median(rises), 4),
        "rise_lowest": round(min(rises), 4),
    }


def _plot(curves: list[list[dict[str, Any]]], rows: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for curve, row in zip(curves, rows, strict=True):
        y = [step["success"] for step in curve]
        smooth = [statistics.mean(y[max(0, i - SMOOTH) : i + SMOOTH + 1]) for i in range(len(y))]
        axes.plot([step["episodes"] for step in curve], smooth, label=f"seed {row['seed']}")
    axes.set_xlabel("episodes")
    axes.set_ylabel("sampled success, training problems")
    axes.set_ylim(0, 1)
    axes.set_title(f"PPO on {rows[0]['env']} ({rows[0]['difficulty']})")
    axes.legend()
    figure.savefig(path, dpi=120)
