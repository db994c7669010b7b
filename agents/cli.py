"""The command line: `python -m agents ppo` trains a policy, `... evaluate` measures one.

Torch and transformers take seconds to load, so a command imports them only when it is called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from agents.commands import dpo, evaluate, on_policy, reward_model, rlhf, sft
from agents.runs import UserError

COMMANDS: dict[str, tuple[Callable[[Sequence[str]], None], str]] = {
    **{
        command.name: (command.run, command.description)
        for command in (
            *on_policy.COMMANDS.values(),
            sft.COMMAND,
            dpo.COMMAND,
            reward_model.COMMAND,
        )
    },
    "rlhf": (rlhf.run, rlhf.run.__doc__),
    "evaluate": (evaluate.run, evaluate.run.__doc__),
}
"""Name -> what it does with the rest of the command line, and a line about it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 (training failed), 2 (usage) or 130 (Ctrl-C)."""
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        if command in ("-h", "--help"):
            print(_overview())
        elif command in COMMANDS:
            run, _ = COMMANDS[command]
            run(rest)
        else:
            raise UserError(f"there is no command {command}; there are {', '.join(COMMANDS)}")
    except (UserError, FloatingPointError) as error:
        process = int(os.environ.get("RANK", 0))  # of several that train together
        where = f" in process {process}" if process else ""
        print(f"error{where}: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt as interrupt:
        if not int(os.environ.get("RANK", 0)):
            print(*interrupt.args or ["Stopped."], file=sys.stderr)
        return 130
    return 0


def _overview() -> str:
    lines = [f"  {name:14}{line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: python -m agents COMMAND [OPTIONS]",
            "",
            "Train policies in token environments, and measure them.",
            "",
            *lines,
            "",
            "`python -m agents COMMAND --help` lists a command's options, `python -m textgym list`",
            "the environments. For a start: python -m agents ppo --env TextMath-v0",
        ]
    )
