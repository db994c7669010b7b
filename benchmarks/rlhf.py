"""RLHF in small, where the truth is known: what each stage gains, over-optimisation, the frontier.

On TextTaste-v0, from the embedded policy fitted to drafts of middling quality. The reward model
learns from pairs of drafts, DPO from pairs of the policy's own responses; 5 % of the labels are
turned around. Whatever is measured is measured on test problems, by the true utility. One JSON line
per run; CPU seconds are of one thread, without measuring.

stages    a reward model, DPO, and PPO on the learned reward with a KL penalty
overoptimise  PPO on the learned reward alone: Gao et al. 2022, figure 1
frontier  reward against KL of DPO by beta, PPO on the truth and on the learned reward by kl_coef:
          Rafailov et al. 2023, figure 2
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from agents.dpo import DPOConfig, DPOTrainer
from agents.models import Policy
from agents.play import slots
from agents.ppo import PPOConfig, PPOTrainer
from agents.reward_model import RewardModel
from benchmarks.taste import ENV_ID, Clock, measure, reward_model, sampled_pairs, supervised

BETAS = (0.05, 0.2, 0.5, 2.0)
KL_COEFS = (0.02, 0.1, 0.3, 1.0)
STEPS, LONG = 60, 300
"""Iterations of PPO: with a penalty, and until over-optimisation shows."""

Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Run one of the experiments for each seed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks rlhf",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=EXPERIMENTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="where to append the lines too")
    parser.add_argument(
        "--plot", type=Path, help="where to draw all lines of --out, or of this run"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for seed in options.seeds:
        for row in EXPERIMENTS[options.what](seed):
            rows.append({"benchmark": f"rlhf {options.what}", "seed": seed, **row})
            print(json.dumps(rows[-1]), flush=True)
            if options.out is not None:
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    if options.plot is not None:
        if options.out is not None:
            lines = options.out.read_text(encoding="utf-8").splitlines()
            rows = [
                row for row in map(json.loads, lines) if row["benchmark"] == rows[0]["benchmark"]
            ]
        PLOTS[options.what](rows, options.plot)


# ------------------------------------------------------------------ experiments


def stages(seed: int) -> Iterator[Row]:
    """Each stage of the loop once."""
    start, clock = supervised(seed), Clock()
    yield {"stage": "supervised", **measure(start, start)}
    judge, quality = reward_model(seed, clock)
    yield {"stage": "reward model", "cpu_seconds": clock.seconds, **quality}
    yield {"stage": "dpo", **_dpo(seed, start, beta=0.5)}
    yield {"stage": "ppo on the learned reward", **_ppo(seed, start, judge, kl_coef=0.1)}


def overoptimise(seed: int) -> Iterator[Row]:
    """The learned reward and the truth while the learned reward is all that counts."""
    start = supervised(seed)
    judge, _ = reward_model(seed, Clock())
    policy, clock = supervised(seed), Clock()
    trainer, envs = _trainer(seed, policy, judge, kl_coef=0.0, num_iterations=LONG)
    for iteration in range(LONG + 1):
        if iteration % 15 == 0:
            learned = _learned(policy, judge)
            yield {
                "iteration": iteration,
                "learned": learned,
                "cpu_seconds": clock.seconds,
            } | measure(policy, start)
        if iteration < LONG:
            with clock.timed():
                trainer.step(envs)


def frontier(seed: int) -> Iterator[Row]:
    """Utility and KL of every learner at every strength of staying close."""
    start = supervised(seed)
    yield {"learner": "supervised", "strength": None, **measure(start, start)}
    for beta in BETAS:
        yield {"learner": "DPO", "strength": beta, **_dpo(seed, start, beta=beta)}
    judge, _ = reward_model(seed, Clock())
    for name, reward in (("PPO, true reward", None), ("PPO, learned reward", judge)):
        for kl_coef in KL_COEFS:
            found = _ppo(seed, start, reward, kl_coef=kl_coef)
            yield {"learner": name, "strength": kl_coef, **found}


EXPERIMENTS: dict[str, Callable[[int], Iterator[Row]]] = {
    "stages": stages,
    "overoptimise": overoptimise,
    "frontier": frontier,
}


def _dpo(seed: int, start: Policy, *, beta: float) -> Row:
    policy, clock = supervised(seed), Clock()
    config = DPOConfig(beta=beta, num_epochs=2, learning_rate=1.5e-3, seed=seed)
    with clock.timed():
        DPOTrainer(config, policy, show=False).train(sampled_pairs(start, seed))
    return {"cpu_seconds": clock.seconds, **measure(policy, start)}


def _ppo(seed: int, start: Policy, judge: RewardModel | None, *, kl_coef: float) -> Row:
    policy, clock = supervised(seed), Clock()
    trainer, envs = _trainer(seed, policy, judge, kl_coef=kl_coef, num_iterations=STEPS)
    with clock.timed():
        trainer.course.run(lambda: trainer.step(envs))
    return {"cpu_seconds": clock.seconds, **measure(policy, start)}


def _trainer(
    seed: int, policy: Policy, judge: RewardModel | None, *, kl_coef: float, num_iterations: int
) -> tuple[PPOTrainer, Any]:
    config = PPOConfig(
        num_iterations=num_iterations,
        batch_size=128,
        learning_rate=1e-3,
        kl_coef=kl_coef,
        seed=seed,
    )
    trainer = PPOTrainer(config, policy, show=False)
    learned = {} if judge is None else {"reward_fn": judge.as_reward_fn()}
    return trainer, slots(gym.make(ENV_ID, tokenizer=policy.tokenizer, **learned), policy, config)


def _learned(policy: Policy, judge: RewardModel) -> float:
    """What the reward model thinks of the policy's responses."""
    from agents.rollout import evaluate

    env = gym.make(ENV_ID, tokenizer=policy.tokenizer, split="test", reward_fn=judge.as_reward_fn())
    return float(evaluate(policy, env, num_episodes=256).returns.mean())


# ------------------------------------------------------------------ pictures


def _plot_stages(rows: list[Row], path: Path) -> None:
    figure, axes = _figure("stage", "true utility")
    names = list(dict.fromkeys(row["stage"] for row in rows if "utility" in row))
    for place, name in enumerate(names):
        found = [row["utility"] for row in rows if row["stage"] == name]
        axes.bar(place, statistics.mean(found), color="tab:blue", alpha=0.4)
        axes.plot([place] * len(found), found, "o", color="tab:blue")
    axes.set_xticks(range(len(names)), names)
    figure.savefig(path, dpi=120)


def _plot_overoptimise(rows: list[Row], path: Path) -> None:
    figure, axes = _figure("√KL to the supervised policy (nats per response)", "reward")
    for seed in sorted({row["seed"] for row in rows}):
        run = [row for row in rows if row["seed"] == seed]
        distance = np.sqrt([max(row["kl"], 0.0) for row in run])
        label = {"label": None} if seed else {}
        axes.plot(
            distance,
            [row["learned"] for row in run],
            "--",
            color="tab:orange",
            **(label or {"label": "learned reward"}),
        )
        axes.plot(
            distance,
            [row["utility"] for row in run],
            color="tab:blue",
            **(label or {"label": "true utility"}),
        )
    axes.legend()
    axes.set_title("PPO on the learned reward alone, three seeds")
    figure.savefig(path, dpi=120)


def _plot_frontier(rows: list[Row], path: Path) -> None:
    figure, axes = _figure("KL to the supervised policy (nats per response)", "true utility")
    for color, name in enumerate(dict.fromkeys(row["learner"] for row in rows)):
        own = [row for row in rows if row["learner"] == name]
        axes.plot(
            [r["kl"] for r in own], [r["utility"] for r in own], ".", color=f"C{color}", alpha=0.5
        )
        means = [
            [
                statistics.mean(r[key] for r in own if r["strength"] == x)
                for key in ("kl", "utility")
            ]
            for x in dict.fromkeys(row["strength"] for row in own)
        ]
        axes.plot(*zip(*sorted(means), strict=True), "o-", color=f"C{color}", label=name)
    axes.set_xscale("symlog", linthresh=1.0)
    axes.legend()
    figure.savefig(path, dpi=120)


PLOTS: dict[str, Callable[[list[Row], Path], None]] = {
    "stages": _plot_stages,
    "overoptimise": _plot_overoptimise,
    "frontier": _plot_frontier,
}


def _figure(x: str, y: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes
