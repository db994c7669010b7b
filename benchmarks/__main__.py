"""`python -m benchmarks NAME`: run one benchmark."""

from __future__ import annotations

import importlib
import sys

NAMES = {
    "speed": "environment steps per second",
    "grading": "graders of mathematics, ours and others, on one corpus",
    "sandbox": "attacks on code graders that succeed, verdicts per second, lateness, leaks",
    "masks": "action masks of TextStructured, cold and warm, beside llguidance's",
    "memory": "a loss and its gradient: tokens per second and peak memory",
    "generation": "useful tokens per second, beside model.generate",
    "trainers": "our learners beside TRL's: tokens trained per second and memory",
    "rlhf": "reward models, DPO and PPO where the truth is known; over-optimisation; the frontier",
    "fronts": "learned Pareto fronts beside the true one",
    "components": "reward models of several objectives: do their components rank responses?",
    "learn": "the learners side by side at equal CPU time: three tasks, three seeds",
}


def main() -> int:
    """Run the benchmark named first; the rest of the line is its own."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in NAMES:
        importlib.import_module(f"benchmarks.{name}").main(rest)
        return 0
    print("usage: python -m benchmarks NAME [options]\n")
    print("\n".join(f"  {known:10} {what}" for known, what in NAMES.items()))
    return 0 if name in ("-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main())
