"""Nim with a limit: take from one heap; whoever takes the last object wins."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import xor
from typing import NamedTuple

import numpy as np

from textgym.games.game import Game

LEVELS = {"one": (1, 30), "two": (2, 15), "three": (3, 9), "four": (4, 7)}
"""Level -> number of heaps, and the most objects in each."""

LIMITS = (2, 9)
"""The fewest and the most that may be taken in a turn, as the game's limit."""

LETTERS = "abcd"


class NimState(NamedTuple):
    """Objects in each heap, the most that a player may take, and whose turn it is."""

    heaps: tuple[int, ...]
    limit: int
    player: int = 0


class Nim(Game[NimState]):
    """A move takes 1 to `limit` objects from one heap: `b3` takes three from the second.

    Where there is one heap, a move is the number alone. A heap of h counts as h mod (limit + 1):
    whoever leaves heaps whose counts have the binary sum (xor) 0 can win from there (Bouton 1902,
    "Nim, a Game with a Complete Mathematical Theory", and, for the limit, Sprague and Grundy).
    Games begin where player 0 can win, but not at once.
    """

    name = "nim"
    difficulties = tuple(LEVELS)
    max_turns = 15
    max_prompt = 69
    max_reply = 13
    max_move = 2

    def initial(self, rng: np.random.Generator, difficulty: str = "one") -> NimState:
        """Heaps and a limit, each as likely as any other from which player 0 can win."""
        num_heaps, most = LEVELS[difficulty]
        while True:
            heaps = rng.integers(1, most, size=num_heaps, endpoint=True)
            limit = int(rng.integers(*LIMITS, endpoint=True))
            state = NimState(tuple(heaps.tolist()), limit)
            if nim_sum(state) and (num_heaps > 1 or state.heaps[0] > limit):
                return state

    def player(self, state: NimState) -> int:
        """Whose turn it is."""
        return state.player

    def moves(self, state: NimState) -> tuple[str, ...]:
        """Every number from each heap."""
        heaps, limit, _ = state
        letters = LETTERS if len(heaps) > 1 else ("",)
        return tuple(
            f"{letter}{number}"
            for letter, heap in zip(letters, heaps, strict=False)
            for number in range(1, min(heap, limit) + 1)
        )

    def play(self, state: NimState, move: str) -> NimState:
        """Take the objects away."""
        heaps, limit, player = state
        several = len(heaps) > 1
        taken_from = LETTERS.index(move[0]) if several else 0
        left = heaps[taken_from] - int(move[several:])
        return NimState((*heaps[:taken_from], left, *heaps[taken_from + 1 :]), limit, 1 - player)

    def payoff(self, state: NimState) -> float:
        """1 for whoever took the last object: it is the other's turn."""
        return -1.0 if state.player == 0 else 1.0

    def rules(self, state: NimState) -> str:
        """The rules, with this game's limit."""
        heap = "" if len(state.heaps) == 1 else " from a heap"
        return f"Nim: take 1 to {state.limit}{heap}, taking the last one wins. "

    def show(self, state: NimState, player: int) -> str:
        """The heaps, which both players see."""
        if len(state.heaps) == 1:
            return f"{state.heaps[0]}: "
        return " ".join(map("{}{}".format, LETTERS, state.heaps)) + ": "

    def optimal(self, state: NimState) -> Mapping[str, float]:
        """Any move after which the opponent cannot win; where there is none, any move."""
        moves = self.moves(state)
        good = [move for move in moves if not nim_sum(self.play(state, move))] or moves
        return dict.fromkeys(good, 1 / len(good))


def nim_sum(state: NimState) -> int:
    """0 where whoever has the turn loses against a perfect opponent."""
    return reduce(xor, [heap % (state.limit + 1) for heap in state.heaps])
