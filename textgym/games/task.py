"""A game for two as a task of one: a dialogue in which the environment's replies are the moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from textgym.games.game import Game
from textgym.games.match import Match
from textgym.games.opponents import Responder, load_opponent
from textgym.task import Grade, Problem, Task


class GameTask(Task):
    """Beat an opponent as the player who begins.

    A subclass says which `game`, takes over its bounds (`max_turns`, `max_reply_tokens`,
    `max_response_tokens`) and adds what is special about it; see TextNim.

    Args:
        opponent: "random", "optimal", "mixed:0.3" or a function; see `load_opponent`.
    """

    game: ClassVar[Game[Any]]

    rewards = {"correct": 1.0, "legal": 0.0}
    floor = 0.0

    def __init__(self, opponent: str | Responder = "random") -> None:
        self.opponent = load_opponent(opponent, self.game)

    def sample(self, rng: np.random.Generator, *difficulty: str) -> Problem:
        """Draw a state to begin with, and the seed of the opponent's moves."""
        state = self.game.initial(rng, *difficulty)
        info = {"state": state, "seed": int(rng.integers(2**63))}
        return Problem(Match(self.game, state).transcripts[0][0], info=info, key=self.key(state))

    def key(self, state: Any) -> str:
        """What states that are the same question in other words have in common."""
        return ""

    def reply(self, problem: Problem, turns: Sequence[str]) -> str | None:
        """The position after the opponent's move."""
        return self.reply_many([problem], [turns])[0]

    def reply_many(
        self, problems: Sequence[Problem], turns: Sequence[Sequence[str]]
    ) -> list[str | None]:
        """The positions after the opponent's moves; None where the game is over."""
        matches = self.play(problems, turns)
        return [None if match.is_over else match.transcripts[0][-1] for match in matches]

    def grade(self, problem: Problem, response: str) -> Grade:
        """The verdict on a game of one turn."""
        return self.grade_turns(problem, [response])

    def grade_turns(self, problem: Problem, turns: Sequence[str]) -> Grade:
        """1 for a game that is won; and the share of legal moves."""
        match = self.play([problem], [turns])[0]
        num_legal = len(turns) - (match.forfeiter == 0)
        components = {
            "correct": float(match.payoff(0) > 0),
            "legal": num_legal / max(len(turns), 1),
        }
        return Grade(components, facts={"outcome": match.outcome(0), "turns": len(turns)})

    def play(self, problems: Sequence[Problem], turns: Sequence[Sequence[str]]) -> list[Match[Any]]:
        """Games as they stand after the policy's turns and the opponent's answers to them."""
        matches = [Match(self.game, problem.info["state"]) for problem in problems]
        for number in range(max(map(len, turns), default=0)):
            waiting, seeds = [], []
            for match, problem, texts in zip(matches, problems, turns, strict=True):
                if number < len(texts) and not match.is_over:
                    match.take(texts[number])
                    if not match.is_over:
                        waiting.append(match)
                        seeds.append(problem.info["seed"])
            if waiting:
                answers = self.opponent.moves(waiting, seeds)
                for match, answer in zip(waiting, answers, strict=True):
                    match.take(answer)
        return matches
