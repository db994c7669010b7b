"""python -m textgym list."""

from __future__ import annotations

import argparse
from typing import Any

from textgym.checking.report import table
from textgym.commands.shared import add_command
from textgym.registration import task_class, task_specs


def add(commands: Any) -> None:
    """Add the command to those of the parser."""
    add_command(commands, "list", run, "show every registered text environment in a table")


def run(options: argparse.Namespace) -> int:
    """A line for each id."""
    rows = [("id", "what", "tokens", "rewards", "levels")]
    for spec in task_specs():
        task = task_class(spec.kwargs["task"])
        budget = spec.kwargs.get("max_response_tokens", task.max_response_tokens)
        weights = {**task.rewards, **(spec.kwargs.get("reward_weights") or {})}
        rewards = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
        what = (task.__doc__ or "").strip().partition("\n")[0]
        levels = ", ".join(task.difficulties) or "one"
        rows.append((spec.id, what, "auto" if budget is None else str(budget), rewards, levels))
    print(table(rows))
    return 0
