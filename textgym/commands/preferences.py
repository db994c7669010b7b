"""python -m textgym preferences, and label: pairs of responses to a file, and a person's labels."""

from __future__ import annotations

import argparse
from typing import Any

from textgym.arguments import as_seed
from textgym.commands.shared import (
    EXPECTED,
    UserError,
    add_command,
    add_environment,
    count,
    one_line,
    open_environment,
)
from textgym.preferences import load_preferences, write_preferences
from textgym.preferences.drawing import draw_preferences
from textgym.preferences.labels import LabelFile, label_pairs, summary
from textgym.preferences.terminal import with_progress


def add(commands: Any) -> None:
    """Add the commands to those of the parser."""
    help = "write pairs of responses, one preferred to the other, for DPO and reward models"
    argument = add_command(commands, "preferences", run, help)
    add_environment(argument)
    argument("--n", type=count, default=1000, help="how many pairs (default: 1000)")
    argument("--out", required=True, help="JSON lines with prompt, chosen and rejected")
    argument("--seed", type=int, default=0, help="draw other pairs (default: 0)")
    argument("--overwrite", action="store_true", help="replace the file if it exists")

    help = "label pairs in the terminal: which response is better? Goes on where it was left"
    argument = add_command(commands, "label", run_label, help)
    argument("pairs", help="a file of pairs, or any data set that textgym.load_preferences reads")
    argument("--out", required=True, help="JSON lines with prompt, a, b and label")


def run(options: argparse.Namespace) -> int:
    """Draw the pairs and write them."""
    env = open_environment(options)
    try:
        pairs = draw_preferences(env.mdp, env.difficulty, options.n, as_seed(options.seed))
        shown = with_progress(pairs, options.n, "pairs")
        num_written = write_preferences(options.out, shown, overwrite=options.overwrite)
    except FileExistsError:
        raise UserError(
            f"{options.out} exists already: give another name, or --overwrite"
        ) from None
    except EXPECTED as error:
        raise UserError(one_line(error)) from None
    except KeyboardInterrupt:
        raise UserError("interrupted: nothing has been written") from None
    print(f"{num_written:,} pairs of {options.id}, split {options.split}, are in {options.out}")
    return 0


def run_label(options: argparse.Namespace) -> int:
    """Ask about the pairs that have no label yet, and tell what there is."""
    try:
        pairs = load_preferences(options.pairs)
        file = LabelFile(options.out)
        label_pairs(pairs, file)
    except EXPECTED as error:
        raise UserError(one_line(error)) from None
    print(summary(pairs, file))
    return 0
