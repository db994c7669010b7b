"""The rules of a game for two, as pure functions of small states. Nothing here knows of tokens.

A player says a move as text; where it is no legal one, the other player wins (see `Match`). What
one player wins, the other loses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Generic, TypeVar

import numpy as np

State = TypeVar("State")
"""Immutable and hashable: all there is to know of a game, what players must not see included."""

Strategy = Callable[[Any], Mapping[str, float]]
"""State -> the probability of each move of the player whose turn it is."""


class Game(ABC, Generic[State]):
    """Rules for the players 0, who begins, and 1.

    Class attributes bound what is said, so that observations have a fixed length.
    """

    name: str
    """As in `nim`, of PettingZoo's `nim_v0`."""

    difficulties: tuple[str, ...] = ()
    """Names of the levels, easiest first; empty: there is one, and `initial` gets no name."""

    highest_payoff: float = 1.0
    """The most that can be won; whoever makes no legal move loses it."""

    max_turns: int
    """Turns that a player has in the longest game."""

    max_prompt: int
    """Characters of the longest text that a player is told first: the rules, then the position."""

    max_reply: int
    """Characters of the longest position."""

    max_move: int
    """Characters of the longest move."""

    @abstractmethod
    def initial(self, rng: np.random.Generator, *difficulty: str) -> State:
        """Draw a state to begin with, by `rng` alone."""

    @abstractmethod
    def player(self, state: State) -> int:
        """Whose turn it is: 0 or 1."""

    @abstractmethod
    def moves(self, state: State) -> tuple[str, ...]:
        """The legal moves, texts without white space; none once the game is over."""

    @abstractmethod
    def play(self, state: State, move: str) -> State:
        """The state after one of the legal moves."""

    @abstractmethod
    def payoff(self, state: State) -> float:
        """What player 0 has won when the game is over; player 1 has won the negative of it."""

    @abstractmethod
    def rules(self, state: State) -> str:
        """What a player is told before its first position."""

    @abstractmethod
    def show(self, state: State, player: int) -> str:
        """The position as this player may see it, to be answered by a move."""

    @abstractmethod
    def optimal(self, state: State) -> Mapping[str, float]:
        """A strategy that no opponent can exploit, as probabilities of the legal moves."""

    def random(self, state: State) -> Mapping[str, float]:
        """The strategy that chooses any legal move."""
        moves = self.moves(state)
        return dict.fromkeys(moves, 1 / len(moves))

    def mixed(self, share: float) -> Strategy:
        """The strategy that chooses as `optimal` with probability `share`, else as `random`."""

        def strategy(state: State) -> dict[str, float]:
            best = self.optimal(state)
            return {
                move: share * best.get(move, 0.0) + (1 - share) * probability
                for move, probability in self.random(state).items()
            }

        return strategy


def expected_payoff(
    game: Game[State], first: Strategy | None, second: Strategy | None
) -> Callable[[State], float]:
    """What player 0 wins on average from a state on, by dynamic programming: exact.

    Args:
        game: the rules.
        first: what player 0 does; None: whatever is best for it against the other's strategy. It
            then knows that strategy and the whole state: too much, where there is something hidden.
        second: likewise of player 1.
    """

    @cache
    def payoff(state: State) -> float:
        moves = game.moves(state)
        if not moves:
            return game.payoff(state)
        player = game.player(state)
        strategy = (first, second)[player]
        if strategy is None:
            best = max if player == 0 else min
            return best(payoff(game.play(state, move)) for move in moves)
        chances = strategy(state).items()
        return sum(p * payoff(game.play(state, move)) for move, p in chances if p)

    return payoff
