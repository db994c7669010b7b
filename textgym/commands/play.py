"""python -m textgym play: a person answers in the terminal."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from textgym.commands.shared import (
    EXPECTED,
    UserError,
    add_command,
    add_environment,
    count,
    one_line,
    open_environment,
)
from textgym.core import RLEnvironment, StepResult

_REASONS = {
    "eos": "a complete response",
    "stop": "ended by a stop string",
    "length": "the token budget is spent",
    "illegal": "the tokenizer lacks one of the characters",
    "task": "the task has ended",
}


def add(commands: Any) -> None:
    """Add the command to those of the parser."""
    help = "answer in the terminal; Ctrl-D or Ctrl-C stops"
    argument = add_command(commands, "play", run, help)
    add_environment(argument)
    argument("--seed", type=int, help="play the same problems again (default: others each time)")
    argument("--episodes", type=count, default=10, help="problems to play (default: 10)")


def run(options: argparse.Namespace) -> int:
    """Play until the episodes or the input are over, and tell the score."""
    env = open_environment(options)
    try:
        start = env.reset(seed=options.seed)
    except EXPECTED as error:
        raise UserError(one_line(error)) from None
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
