"""Kuhn poker: three cards, one bet. A game in which each player knows what the other does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from textgym.games.game import Game

PASS, BET = "pass", "bet"

ENDS = ((PASS, PASS), (BET, PASS), (BET, BET), (PASS, BET, PASS), (PASS, BET, BET))

BLUFF = 1 / 3
"""How often the first player bets with the lowest card; from 0 to 1/3, each is an equilibrium."""


class KuhnState(NamedTuple):
    """The players' cards, and what they said so far."""

    cards: tuple[int, int]
    said: tuple[str, ...] = ()


class Kuhn(Game[KuhnState]):
    """Each of two players antes 1 and gets one of the cards 1, 2, 3; a bet is 1 more.

    After a bet, `bet` calls it and `pass` gives up the ante. In the end the higher card wins. Under
    equilibrium play, the first player loses 1/18 a game (Kuhn 1950, "A Simplified Two-Person
    Poker").
    """

    name = "kuhn"
    highest_payoff = 2.0
    max_turns = 2
    max_prompt = 82
    max_reply = 24
    max_move = 4

    def initial(self, rng: np.random.Generator) -> KuhnState:
        """Deal."""
        first, second = rng.permutation([1, 2, 3])[:2].tolist()
        return KuhnState((first, second))

    def player(self, state: KuhnState) -> int:
        """Players speak in turn."""
        return len(state.said) % 2

    def moves(self, state: KuhnState) -> tuple[str, ...]:
        """Both words, until the end."""
        return () if state.said in ENDS else (PASS, BET)

    def play(self, state: KuhnState, move: str) -> KuhnState:
        """Say it."""
        return KuhnState(state.cards, (*state.said, move))

    def payoff(self, state: KuhnState) -> float:
        """The ante for a bet that was not called; else the higher card wins the ante, or both."""
        if state.said[-2:] == (BET, PASS):
            return 1.0 if len(state.said) == 2 else -1.0
        stake = 2.0 if state.said[-1] == BET else 1.0
        return stake if state.cards[0] > state.cards[1] else -stake

    def rules(self, state: KuhnState) -> str:
        """The rules."""
        return "Poker: cards 1 2 3, ante 1, one bet of 1. Say bet or pass. "

    def show(self, state: KuhnState, player: int) -> str:
        """The player's own card, and what was said."""
        return f"Card {state.cards[player]}, said: {' '.join(state.said) or 'nothing'}: "

    def optimal(self, state: KuhnState) -> Mapping[str, float]:
        """An equilibrium: bluffs are as frequent as makes calling them worth nothing."""
        card, after_bet = state.cards[self.player(state)], state.said[-1:] == (BET,)
        if len(state.said) == 1:  # the second player
            bet = (0.0, 1 / 3, 1.0) if after_bet else (1 / 3, 0.0, 1.0)
        else:
            bet = (0.0, BLUFF + 1 / 3, 1.0) if after_bet else (BLUFF, 0.0, 3 * BLUFF)
        return {PASS: 1 - bet[card - 1], BET: bet[card - 1]}
