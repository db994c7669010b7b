"""What several commands take: an id, a number, keywords of the environment."""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from textgym.core import RLEnvironment
from textgym.grading.sandbox import SandboxUnavailable
from textgym.registration import find_spec, make_env, task_specs

Command = Callable[[argparse.Namespace], int]
"""Does what its options say and returns the exit code."""


class UserError(Exception):
    """What the user can put right; the message is one line."""


def add_command(commands: Any, name: str, command: Command, help: str) -> Callable[..., Any]:
    """Add a command to a parser's commands; returns what adds arguments to it."""
    child = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
    child.set_defaults(command=command)
    return child.add_argument


def add_environment(argument: Callable[..., Any]) -> None:
    """The arguments that `open_environment` reads."""
    argument("id", help="environment, such as TextMath-v0 or my_package:MyTask-v0")
    argument("--difficulty", help="level, by name or number (default: the task's own; see list)")
    argument("--split", default="train", help="train, validation, test or all (default: train)")
    argument(
        "--set",
        action="append",
        default=[],
        type=keyword,
        metavar="NAME=VALUE",
        help="a keyword of the environment or the task, such as form=duel; as often as needed",
    )


def count(text: str) -> int:
    """An argument that is an integer of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an integer of at least 1")
    return int(text)


def keyword(text: str) -> tuple[str, Any]:
    """An argument NAME=VALUE; the value is JSON where it can be read as that, else a text."""
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected NAME=VALUE")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def find(id: str) -> EnvSpec:
    """The specification of an id, whose module is imported if it names one."""
    module, _, name = id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return find_spec(id)
    except ModuleNotFoundError as error:
        raise UserError(f"cannot import {module!r}: {error}") from None
    except gymnasium.error.Error:
        known = [spec.id for spec in task_specs()]
        near = difflib.get_close_matches(name, known, cutoff=0.8)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        raise UserError(f"there is no environment {name!r}; {hint}") from None
    except ValueError as error:
        raise UserError(str(error)) from None


def open_environment(options: argparse.Namespace) -> RLEnvironment:
    """The environment that the arguments of `add_environment` name."""
    keywords = {**find(options.id).kwargs, "split": options.split, **dict(options.set), **PLAIN}
    if options.difficulty is not None:
        level = options.difficulty
        keywords["difficulty"] = int(level) if level.isdecimal() else level
    try:
        return make_env(**keywords)
    except EXPECTED as error:
        raise UserError(one_line(error)) from None


PLAIN = {"details": True, "vector_reward": False, "text_actions": False, "text_observations": False}
"""The form in which commands play an environment, whichever form its id or the user asks for."""

EXPECTED = (ValueError, TypeError, OSError, ImportError, SandboxUnavailable, gymnasium.error.Error)
"""What is raised for an argument that makes no sense here."""


def one_line(error: Exception) -> str:
    """The message of an exception on a line."""
    return " ".join(str(error).split())
