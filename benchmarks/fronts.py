"""Learned Pareto fronts beside the true one: a policy a weight, and one policy for all weights.

On TextMultiObjective-v0, level four, whose front is known and strictly concave, from the embedded
policy fitted to random points of the front. One policy is trained for each of five weights; one
more, that reads its weights in the prompt, for all of them. Measured on test problems, greedily.
One JSON line a policy, and one with the hypervolume as a share of the true front's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.models import Policy, load_policy
from agents.ppo import PPOConfig, PPOTrainer
from agents.rollout import evaluate
from agents.sft import SFTConfig, SFTTrainer
from textgym.pareto import hypervolume
from textgym.tasks.objectives import TextMultiObjective

ENV_ID, LEVEL = "TextMultiObjective-v0", "four"
WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of the first objective: the middles of the ranges in which the front's five points are best."""
CACHE = Path(tempfile.gettempdir(), "textgym-fronts")
NUM_RESPONSES = 64_000

Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Print the lines of each seed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fronts", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=80, help="of PPO, a weight")
    parser.add_argument("--out", type=Path, help="where to append the lines too")
    parser.add_argument("--plot", type=Path, help="where to draw the fronts")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows: list[Row] = []
    for seed in options.seeds:
        runs = (_a_policy_each, _one_for_all)
        for row in itertools.chain.from_iterable(run(seed, options.iterations) for run in runs):
            rows.append({"benchmark": "fronts", "env": ENV_ID, "seed": seed, **row})
            print(json.dumps(rows[-1]), flush=True)
            if options.out is not None:
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    if options.plot is not None:
        _plot(rows, options.plot)


def _a_policy_each(seed: int, num_iterations: int) -> Iterator[Row]:
    points = []
    for weight in WEIGHTS:
        policy = supervised(seed, weights_in_prompt=False)
        weighted = {"reward_weights": {"first": weight, "second": 1 - weight}}
        seconds = _train(policy, seed, num_iterations, **weighted)
        points.append(_point(policy, **weighted))
        yield {"policy": "each", "weight": weight, "cpu_seconds": seconds, "point": points[-1]}
    yield _summary("each", points)


def _one_for_all(seed: int, num_iterations: int) -> Iterator[Row]:
    policy = supervised(seed, weights_in_prompt=True)
    seconds = _train(policy, seed, 3 * num_iterations, weights_in_prompt=True)
    points = []
    for weight in WEIGHTS:
        points.append(_conditioned_point(policy, weight))
        yield {"policy": "one", "weight": weight, "cpu_seconds": seconds, "point": points[-1]}
    yield _summary("one", points)


def supervised(seed: int, *, weights_in_prompt: bool) -> Policy:
    """The embedded policy fitted to random points of the front, whatever the weights."""
    folder = CACHE / f"{seed}-{weights_in_prompt}"
    if not folder.is_dir():
        task, rng = (
            TextMultiObjective(weights_in_prompt=weights_in_prompt),
            np.random.default_rng(seed),
        )
        problems = [task.sample(rng, LEVEL) for _ in range(NUM_RESPONSES)]
        responses = [task.optimal_responses(problem) for problem in problems]
        policy = load_policy("tiny")
        config = SFTConfig(batch_size=64, num_epochs=1, learning_rate=3e-3, seed=seed)
        SFTTrainer(config, policy, show=False).train_on_responses(
            [problem.prompt for problem in problems],
            [front[int(rng.integers(len(front)))] for front in responses],
        )
        policy.save(folder)
    return load_policy(folder)


def _train(policy: Policy, seed: int, num_iterations: int, **env: Any) -> float:
    """Train by PPO; returns the CPU seconds."""
    config = PPOConfig(num_iterations=num_iterations, entropy_coef=0.005, seed=seed)
    start = time.process_time()
    PPOTrainer(config, policy, show=False).train(ENV_ID, difficulty=LEVEL, **env)
    return time.process_time() - start


def _point(policy: Policy, **env: Any) -> list[float]:
    """Mean of both objectives over test problems."""
    played = evaluate(policy, ENV_ID, num_episodes=256, greedy=True, difficulty=LEVEL, **env)
    return [float(played.components[name].mean()) for name in ("first", "second")]


def _conditioned_point(policy: Policy, weight: float) -> list[float]:
    """The same of a policy that is told this weight, of the first objective, in each prompt."""

    class Told(TextMultiObjective):
        """The task with one weight for all prompts."""

        def sample(self, rng: np.random.Generator, difficulty: str | None = None) -> Any:
            problem = self.question(rng, LEVEL)
            prompt = self.told(problem, (weight, 1 - weight))
            return type(problem)(prompt, info=problem.info)

    from textgym.core import RLEnvironment
    from textgym.mdp import TokenMDP

    env = RLEnvironment(TokenMDP(Told(), tokenizer=policy.tokenizer, split="test"))
    played = evaluate(policy, env, num_episodes=256, greedy=True)
    return [float(played.components[name].mean()) for name in ("first", "second")]


def _summary(policy: str, points: list[list[float]]) -> Row:
    truth = hypervolume(TextMultiObjective().pareto_front(LEVEL), (0, 0))
    first, second = np.array(points).T
    return {
        "policy": policy,
        "share_of_hypervolume": hypervolume(np.array(points), (0, 0)) / truth,
        "is_monotone": bool((np.diff(first) >= 0).all() and (np.diff(second) <= 0).all()),
    }


def _plot(rows: list[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(*TextMultiObjective().pareto_front(LEVEL).T, "k--", label="the true front")
    for color, policy in (("tab:blue", "each"), ("tab:orange", "one")):
        points = np.array([r["point"] for r in rows if r["policy"] == policy and "point" in r])
        label = "a policy a weight" if policy == "each" else "one policy, weights in its prompt"
        axes.plot(*points.T, "o", color=color, label=label, alpha=0.6)
    axes.set_xlabel("first")
    axes.set_ylabel("second")
    axes.legend()
    figure.savefig(path, dpi=120)
