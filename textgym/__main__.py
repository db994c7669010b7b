"""python -m textgym: list the environments, play one in the terminal, check one."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

import textgym
from textgym.checking.report import table
from textgym.core import RLEnvironment, StepResult
from textgym.grading.sandbox import LADDER, Sandbox, SandboxUnavailable
from textgym.registration import find_spec, make_env, task_class, task_specs

_REASONS = {
    "eos": "a complete response",
    "stop": "ended by a stop string",
    "length": "the token budget is spent",
    "illegal": "the tokenizer lacks one of the characters",
    "task": "the task has ended",
}

EPILOG = """\
examples:
  python -m textgym list
  python -m textgym play TextMath-v0 --difficulty two-digit --episodes 5
  python -m textgym check my_package:MyTask-v0      (imports my_package, which registers MyTask-v0)
"""


class _UserError(Exception):
    """What the user can put right; the message is one line."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code is 0, 1 if a check failed, or 2 for what the user got wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        return options.command(options)
    except _UserError as error:
        print(f"textgym: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m textgym",
        description="Text tasks as Gymnasium environments: list, play and check them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="{list,play,check,check-sandbox}")
    parser.set_defaults(command=None)

    def add(name: str, command: Callable[[argparse.Namespace], int], help: str) -> Callable:
        child = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        child.set_defaults(command=command)
        return child.add_argument

    add("list", _list, "show every registered text environment in a table")

    argument = add("play", _play, "answer in the terminal; Ctrl-D or Ctrl-C stops")
    argument("id", help="environment, such as TextMath-v0 or my_package:MyTask-v0")
    argument("--difficulty", help="level, by name or number (default: the task's own; see list)")
    argument("--split", default="train", help="train, validation, test or all (default: train)")
    argument("--seed", type=int, help="play the same problems again (default: others each time)")
    argument("--episodes", type=_count, default=10, help="problems to play (default: 10)")

    argument = add("check", _check, "report whether a task and its environment keep the contract")
    argument("id", help="environment, such as TextMath-v0 or my_package:MyTask-v0")
    argument("--problems", type=_count, default=500, help="problems drawn a level (default: 500)")
    argument("--seed", type=int, default=0, help="draw other problems (default: 0)")

    add("check-sandbox", _check_sandbox, "try what isolates untrusted programs on this machine")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an integer of at least 1")
    return int(text)


def _find(id: str) -> EnvSpec:
    module, _, name = id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return find_spec(id)
    except ModuleNotFoundError as error:
        raise _UserError(f"cannot import {module!r}: {error}") from None
    except gymnasium.error.Error:
        known = [spec.id for spec in task_specs()]
        near = difflib.get_close_matches(name, known, cutoff=0.8)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        raise _UserError(f"there is no environment {name!r}; {hint}") from None
    except ValueError as error:
        raise _UserError(str(error)) from None


# ------------------------------------------------------------------------ list


def _list(options: argparse.Namespace) -> int:
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


# ------------------------------------------------------------------------ play


def _play(options: argparse.Namespace) -> int:
    keywords = {**_find(options.id).kwargs, "split": options.split}
    if options.difficulty is not None:
        level = options.difficulty
        keywords["difficulty"] = int(level) if level.isdecimal() else level
    try:
        env = make_env(**keywords)
        start = env.reset(seed=options.seed)
    except (ValueError, TypeError, SandboxUnavailable, gymnasium.error.Error) as error:
        raise _UserError(str(error)) from None
    rewards: list[float] = []
    try:
        while len(rewards) < options.episodes:
            rewards.append(_play_episode(env, *start))
            start = env.reset()
    except (EOFError, KeyboardInterrupt):
        print()
    highest = len(rewards) * env.mdp.reward_range[1]
    print(f"score: {sum(rewards):g} of {highest:g} in {len(rewards)} episodes")
    return 0


def _play_episode(env: RLEnvironment, observation: np.ndarray, info: dict[str, Any]) -> float:
    """Ask the person until the episode ends; say how it went and return the reward."""
    problem = env.mdp.bank.problem(env.mdp.row(info["difficulty"], info["problem"]))
    print(problem.prompt)
    length = info["length"]
    while True:
        num_said, result = _say(env, input("> "))
        if result.terminated:
            break
        reply = result.observation[length + num_said : result.info["length"]]
        length = result.info["length"]
        print(env.mdp.vocabulary.decode(reply.tolist()))
    parts = [f"{name} {value:g}" for name, value in result.info["components"].items()]
    print(f"reward {result.reward:g} ({', '.join(parts)}); {_REASONS[result.info['stop_reason']]}")
    if reason := result.info.get("verdict", {}).get("reason"):
        print(f"reason: {reason}")
    if problem.answer:
        print(f"reference answer: {problem.answer}")
    print()
    return result.reward


def _say(env: RLEnvironment, text: str) -> tuple[int, StepResult]:
    """Give a turn to the environment token by token, as a policy would: (tokens, last result)."""
    vocabulary, turn = env.mdp.vocabulary, []
    for token in [*vocabulary.encode(text), vocabulary.eos]:
        turn.append(token)
        result = env.step(token)
        if result.terminated or env.mdp.stops(turn):
            break
    return len(turn), result


# ----------------------------------------------------------------------- check


def _check(options: argparse.Namespace) -> int:
    spec = _find(options.id)
    try:
        task = textgym.load_task(spec.id)
    except SandboxUnavailable as error:
        raise _UserError(str(error)) from None
    reports = (
        textgym.check_task(task, num_problems=options.problems, seed=options.seed),
        textgym.check_env(spec.id, seed=options.seed),
    )
    print(*reports, sep="\n\n")
    return 0 if all(report.ok for report in reports) else 1


def _check_sandbox(options: argparse.Namespace) -> int:
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


if __name__ == "__main__":
    sys.exit(main())
