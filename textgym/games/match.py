"""One game as it is played: what either player has been told and has said."""

from __future__ import annotations

from typing import Generic

from textgym.games.game import Game, State


class Match(Generic[State]):
    """A game from a state on. Players say moves as text; one that is not legal loses at once.

    Each player is told its position when its turn comes, the first time with the rules before it;
    a later text begins with a newline. So whoever moves, and whoever began, sees the same form.

    Args:
        game: the rules.
        state: where to begin.

    Attributes:
        state: where the game stands.
        moves: the legal ones of the player whose turn it is.
        transcripts: of each player, what it was told and what it said, in turn.
        forfeiter: the player who made no legal move, if one did.
    """

    def __init__(self, game: Game[State], state: State) -> None:
        self.game, self.state, self.moves = game, state, game.moves(state)
        self.transcripts: tuple[list[str], list[str]] = ([], [])
        self.forfeiter: int | None = None
        self._tell()

    @property
    def player(self) -> int:
        """Whose turn it is: 0 or 1."""
        return self.game.player(self.state)

    @property
    def is_over(self) -> bool:
        """Whether nobody can move any more."""
        return self.forfeiter is not None or not self.moves

    def take(self, text: str) -> None:
        """What the player whose turn it is says: a move, white space around it apart."""
        player, move = self.player, text.strip()
        self.transcripts[player].append(text)
        if move not in self.moves:
            return self.forfeit()
        self.state = self.game.play(self.state, move)
        self.moves = self.game.moves(self.state)
        if self.moves:
            self._tell()

    def forfeit(self) -> None:
        """The player whose turn it is loses at once."""
        self.forfeiter = self.player

    def _tell(self) -> None:
        transcript = self.transcripts[self.player]
        position = self.game.show(self.state, self.player)
        transcript.append(f"\n{position}" if transcript else self.game.rules(self.state) + position)

    def payoff(self, player: int) -> float:
        """What a player won; 0 while the game goes on."""
        if not self.is_over:
            return 0.0
        if self.forfeiter is not None:
            return self.game.highest_payoff * (-1 if player == self.forfeiter else 1)
        return self.game.payoff(self.state) * (1 if player == 0 else -1)

    def outcome(self, player: int) -> str:
        """How it went for a player: won, lost, drawn, illegal move, unfinished."""
        if self.forfeiter == player:
            return "illegal move"
        if not self.is_over:
            return "unfinished"
        payoff = self.payoff(player)
        return "won" if payoff > 0 else "lost" if payoff < 0 else "drawn"
