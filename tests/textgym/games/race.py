"""A game of one's own: race to 10."""

from __future__ import annotations

from textgym.games import Game


class Race(Game):
    """Players add 1 or 2 to a number in turn and say it; whoever says 10 wins."""

    name = "race"
    max_turns = 10
    max_prompt, max_reply, max_move = 33, 4, 2

    def initial(self, rng):
        return 0, 0

    def player(self, state):
        return state[1]

    def moves(self, state):
        return tuple(str(n) for n in (state[0] + 1, state[0] + 2) if n <= 10)

    def play(self, state, move):
        return int(move), 1 - state[1]

    def payoff(self, state):
        return -1.0 if state[1] == 0 else 1.0

    def rules(self, state):
        return "Add 1 or 2; who says 10 wins. "

    def show(self, state, player):
        return f"{state[0]}: "

    def optimal(self, state):
        moves = self.moves(state)
        return {next((move for move in moves if int(move) % 3 == 1), moves[0]): 1.0}
