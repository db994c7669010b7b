"""python -m textgym check, and check-sandbox: whether things are as they have to be."""

from __future__ import annotations

import argparse
from typing import Any

from textgym.checking import check_env, check_task
from textgym.checking.report import table
from textgym.commands.shared import UserError, add_command, count, find
from textgym.grading.sandbox import LADDER, Sandbox, SandboxUnavailable
from textgym.registration import load_task


def add(commands: Any) -> None:
    """Add the commands to those of the parser."""
    help = "report whether a task and its environment keep the contract"
    argument = add_command(commands, "check", run, help)
    argument("id", help="environment, such as TextMath-v0 or my_package:MyTask-v0")
    argument("--problems", type=count, default=500, help="problems drawn a level (default: 500)")
    argument("--seed", type=int, default=0, help="draw other problems (default: 0)")
    help = "try what isolates untrusted programs on this machine"
    add_command(commands, "check-sandbox", run_sandbox, help)


def run(options: argparse.Namespace) -> int:
    """Print the reports; 1 if there is an error in one of them."""
    spec = find(options.id)
    try:
        task = load_task(spec.id)
    except SandboxUnavailable as error:
        raise UserError(str(error)) from None
    reports = (
        check_task(task, num_problems=options.problems, seed=options.seed),
        check_env(spec.id, seed=options.seed),
    )
    print(*reports, sep="\n\n")
    return 0 if all(report.ok for report in reports) else 1


def run_sandbox(options: argparse.Namespace) -> int:
    """A line for each way to isolate programs, the one that is used first of those that hold."""
    rows, best = [("isolation", "here", "use")], ""
    choices = [{"rung": rung} for rung in LADDER] + [{"backend": "bubblewrap"}]
    for choice in choices:
        name = choice.get("rung", "bubblewrap")
        try:
            sandbox = Sandbox(workers=1, **choice)
        except SandboxUnavailable as error:
            rows.append((name, "no", next(iter(error.reasons.values()))))
            continue
        sandbox.close()
        best = best or name
        use = 'sandbox="bubblewrap"' if name == "bubblewrap" else "default" * (best == name)
        rows.append((sandbox.isolation, "yes", use))
    print(table(rows))
    return 0 if best in LADDER else 1
