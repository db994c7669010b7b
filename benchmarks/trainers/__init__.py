"""Our learners beside TRL's, in turn: tokens trained per CPU second, and peak memory.

Both sides get the same model folder (an untrained Llama, float32) and data alike: prompts of 64
tokens, responses of 64. A token counts once per optimizer batch, the prompt's too, whatever a side
does with it (PPO's passes over a batch count as one). Timed is a side's own training loop, between
the end of its first step and that of its last: generation (GRPO, PPO), rewards, reference, loss,
gradient, optimizer; not imports, loading or tokenisation. One thread each, CPU seconds. `peak_mb`
is the process's ru_maxrss less what it was after the imports. Each side is a process of its own;
they alternate, and a ratio is the median over rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.trainers.work import Work, make_folder

ROOT = Path(__file__).parents[2]
VOCABULARIES = (4096, 32000)

LEARNERS = {
    "grpo": {"learner": "grpo"},
    "grpo_kl": {"learner": "grpo", "beta": 0.04},
    "ppo": {"learner": "ppo", "beta": 0.05},
    "ppo_separate": {"learner": "ppo", "beta": 0.05, "separate_values": True},
    "dpo": {"learner": "dpo"},
    "reward_model": {"learner": "reward_model"},
}
"""Name -> what of Work differs. `beta` is the weight of the KL to the initial policy."""


def main(arguments: list[str] | None = None) -> None:
    """Print one JSON line per side, round by round, then one per comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks trainers", description=__doc__)
    parser.add_argument("--peers", default=sys.executable, help="interpreter that has trl")
    parser.add_argument("--peers-ppo", help="one whose trl still has PPOTrainer (default: peers)")
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    parser.add_argument("--vocabularies", nargs="+", type=int, default=VOCABULARIES)
    parser.add_argument("--sides", nargs="+", choices=("ours", "trl"), default=("ours", "trl"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=Work.rows, help="sequences per step")
    parser.add_argument(
        "--steps", type=int, default=Work.steps, help="timed, after one that is not"
    )
    parser.add_argument("--naive", action="store_true", help="a full forward per step, beside ours")
    options = parser.parse_args(arguments)
    if options.naive:
        from benchmarks.trainers.naive import measure as naive

        figures = naive(options.rounds)
    else:
        figures = measure(options)
    for figure in figures:
        print(json.dumps({"benchmark": "trainers", **figure}), flush=True)


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The figures, one after the other."""
    for vocabulary in options.vocabularies:
        with tempfile.TemporaryDirectory() as folder:
            make_folder(folder, vocabulary)
            for name in options.learners:
                what = {"learner": name, "vocabulary": vocabulary}
                work = Work(
                    folder=folder,
                    vocabulary=vocabulary,
                    rows=options.rows,
                    steps=options.steps,
                    **LEARNERS[name],
                )
                for figure in _compare(work, options):
                    yield {**what, **figure}


def _compare(work: Work, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Each side's figures, round by round, then their ratios."""
    peers = options.peers_ppo or options.peers if work.learner == "ppo" else options.peers
    interpreters = {"ours": sys.executable, "trl": peers}
    rounds: list[dict[str, dict[str, Any]]] = []
    for _ in range(options.rounds):
        rounds.append({side: _run(side, interpreters[side], work) for side in options.sides})
        for side, figures in rounds[-1].items():
            yield {"side": side, **figures}
        if any("absent" in figures for figures in rounds[-1].values()):
            return
    if len(options.sides) == 2:
        yield {"what": "ours / trl, medians", **_ratios(rounds)}


def _ratios(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, float]:
    """Medians over the rounds of ours / theirs."""

    def median(name: str) -> float:
        return round(statistics.median(x["ours"][name] / x["trl"][name] for x in rounds), 3)

    names = ("tokens_per_second", "learning_tokens_per_second", "peak_mb")
    return {name: median(name) for name in names}


def _run(side: str, interpreter: str, work: Work) -> dict[str, Any]:
    """Run one side in a process of its own."""
    command = [
        interpreter,
        "-m",
        f"benchmarks.trainers.{side}",
        json.dumps(dataclasses.asdict(work)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False
    )
    if done.returncode:
        error = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        if "ModuleNotFoundError" in error[0] or "ImportError" in error[0]:
            return {"absent": error[0]}
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        **{
            name: round(value, 2) if isinstance(value, float) else value
            for name, value in figures.items()
        },
        "tokens_per_second": round(figures["tokens"] / figures["cpu_seconds"]),
        "learning_tokens_per_second": round(figures["tokens"] / figures["learning_cpu_seconds"]),
    }
