"""Who sits on the other side: a strategy that needs no policy, or whatever answers texts.

An opponent is a pure function of the game so far, as a task's replies have to be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from textgym.games.game import Game
from textgym.games.match import Match

Transcript = tuple[str, ...]
"""What a player was told and what it said, in turn; it begins and ends with what it was told."""

Responder = Callable[[list[Transcript]], Sequence[str]]
"""Answers a batch of transcripts with moves, always the same ones to the same transcripts."""

MEMORY = 2**16
"""Answers of a responder that are kept: it would be asked for them again in every later turn."""


class Opponent(Protocol):
    """Moves in games whose turn it is."""

    def moves(self, matches: Sequence[Match], seeds: Sequence[int]) -> list[str]:
        """The text of a move in each match; all randomness is the seeds'."""


def load_opponent(opponent: str | Responder, game: Game[Any]) -> Opponent:
    """An opponent from "random", "optimal", "mixed:SHARE", or a function.

    Args:
        opponent: random: any legal move; optimal: a move that wins where one does; mixed:0.3: with
            probability 0.3 as optimal, else as random. A function gets a list of transcripts and
            returns as many moves.
        game: the rules.

    Raises:
        ValueError: for any other text.
        TypeError: for anything else.
    """
    if callable(opponent):
        return _Asked(opponent)
    if not isinstance(opponent, str):
        raise TypeError(
            f"opponent is {opponent!r:.80}, expected 'random', 'optimal', 'mixed:SHARE' or a "
            "function from a list of transcripts to as many moves"
        )
    name, _, share = opponent.partition(":")
    shares = {"random": "0", "optimal": "1"} if not share else {"mixed": share}
    try:
        optimal = float(shares[name])
    except (KeyError, ValueError):
        optimal = -1.0
    if not 0 <= optimal <= 1:
        raise ValueError(
            f"opponent is {opponent!r}, expected 'random', 'optimal', or 'mixed:SHARE' with the "
            "share of optimal moves, from 0 to 1"
        )
    return _Scripted(game, optimal)


class _Scripted:
    """Draws from a strategy by a hash of the game so far."""

    def __init__(self, game: Game[Any], optimal: float) -> None:
        self.game, self.optimal = game, optimal

    def moves(self, matches: Sequence[Match], seeds: Sequence[int]) -> list[str]:
        strategy, found = self.game.mixed(self.optimal), []
        for match, seed in zip(matches, seeds, strict=True):
            point, reached, chosen = _uniform(seed, match.transcripts[match.player]), 0.0, ""
            for move, probability in strategy(match.state).items():
                if probability and reached <= point:
                    chosen = move
                reached += probability
            found.append(chosen)
        return found


class _Asked:
    """Asks a function, for all games at once, and remembers what it said."""

    def __init__(self, respond: Responder) -> None:
        self.respond = respond
        self._memory: dict[Transcript, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"respond": self.respond, "_memory": {}}

    def moves(self, matches: Sequence[Match], seeds: Sequence[int]) -> list[str]:
        asked = [tuple(match.transcripts[match.player]) for match in matches]
        found = {transcript: self._memory.get(transcript) for transcript in asked}
        unknown = [transcript for transcript, move in found.items() if move is None]
        if unknown:
            answers = self.respond(unknown)
            if isinstance(answers, str) or len(answers) != len(unknown):
                raise ValueError(
                    f"the opponent answered {answers!r:.80} to {len(unknown)} transcripts, "
                    "expected a list of as many moves"
                )
            for transcript, answer in zip(unknown, answers, strict=True):
                if not isinstance(answer, str):
                    raise TypeError(f"the opponent moved {answer!r:.80}, expected a text")
                found[transcript] = self._memory[transcript] = answer
            while len(self._memory) > MEMORY:
                del self._memory[next(iter(self._memory))]  # the oldest
        return [found[transcript] for transcript in asked]


def _uniform(seed: int, transcript: Sequence[str]) -> float:
    """A number in [0, 1) that is a hash of its arguments: the same in every process."""
    digest = hashlib.blake2b("\0".join([str(seed), *transcript]).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2**53
