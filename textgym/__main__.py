"""python -m textgym: list the environments, play one, check one, draw preferences from one."""

from __future__ import annotations

import argparse
import sys

from textgym.commands import check, listing, play, preferences
from textgym.commands.shared import UserError

EPILOG = """\
examples:
  python -m textgym list
  python -m textgym play TextMath-v0 --difficulty two-digit --episodes 5
  python -m textgym check my_package:MyTask-v0      (imports my_package, which registers MyTask-v0)
  python -m textgym preferences TextPreference-v0 --set beta=4 --n 1000 --out pairs.jsonl
  python -m textgym label pairs.jsonl --out labels.jsonl
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code is 0, 1 if a check failed, or 2 for what the user got wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        return options.command(options)
    except UserError as error:
        print(f"textgym: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m textgym",
        description="Text tasks as Gymnasium environments: list, play and check them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    parser.set_defaults(command=None)
    for module in (listing, play, check, preferences):
        module.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
