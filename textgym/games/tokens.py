"""A match whose moves are spelled token by token: what both PettingZoo forms share."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Box, Dict, Discrete

from textgym.games.game import Game
from textgym.games.match import Match
from textgym.task import as_index
from textgym.tokenizer import Tokenizer, Vocabulary, load_tokenizer

SLACK = 2
"""Tokens by which a text may be longer than its characters: some tokenizers begin with a mark."""


class TokenMatch:
    """A turn is a player's tokens up to eos; a turn without room for more is a move as it stands.

    A player sees what it was told and has said, as in the single-agent view of the game; of the
    other's turns it sees what they do to the position. A special token other than eos loses.

    Args:
        game: the rules.
        tokenizer: "char", a Hugging Face name or folder, or a tokenizer object.
        difficulty: name of the level to play; None: the first.
        max_move_tokens: the most tokens of a turn, eos included; None: one for each character of
            the longest move, and eos.

    Raises:
        ValueError: if there is no such level, or no room for a move.
    """

    def __init__(
        self,
        game: Game[Any],
        tokenizer: str | Tokenizer = "char",
        *,
        difficulty: str | None = None,
        max_move_tokens: int | None = None,
    ) -> None:
        self.game, self.vocabulary = game, Vocabulary(load_tokenizer(tokenizer))
        least = game.max_move + 1
        if max_move_tokens is None:
            max_move_tokens = least
        if (as_index(max_move_tokens) or 0) < least:
            raise ValueError(
                f"max_move_tokens is {max_move_tokens!r}, expected an integer of at least {least}: "
                f"a move of {game.name} may have {game.max_move} characters, and eos ends it"
            )
        self.max_move_tokens = max_move_tokens
        self.set_difficulty(difficulty)
        self._room = game.max_prompt + SLACK, game.max_reply + 1 + SLACK  # to be told in
        self.length = self._room[0] - self._room[1]
        self.length += game.max_turns * (self._room[1] + max_move_tokens)
        self.match: Match[Any] | None = None

    def set_difficulty(self, difficulty: str | None) -> None:
        """Play this level from the next match on; None: the first."""
        names = self.game.difficulties
        if difficulty is not None and difficulty not in names:
            raise ValueError(
                f"{self.game.name} has no difficulty {difficulty!r}, expected one of {list(names)}"
                if names
                else f"{self.game.name} has one level, expected difficulty=None"
            )
        self._level = names[:1] if difficulty is None else (difficulty,)

    def spaces(self) -> tuple[Dict, Discrete]:
        """A player's observation and action space, fresh ones."""
        size = self.vocabulary.size
        observation = Box(0, size - 1, (self.length,), np.int64)
        mask = Box(0, 1, (size,), np.int8)
        return Dict({"observation": observation, "action_mask": mask}), Discrete(size)

    def start(self, rng: np.random.Generator) -> None:
        """Begin a match, drawn with `rng`."""
        self.match = Match(self.game, self.game.initial(rng, *self._level))
        self._tokens = np.full((2, self.length), self.vocabulary.pad, dtype=np.int64)
        self.lengths = [0, 0]  # tokens that each player sees
        self.turn: list[int] = []  # the current one's tokens
        self._tell()

    def step(self, token: int) -> None:
        """The next token of the player whose turn it is.

        Raises:
            gymnasium.error.ResetNeeded: if there is no match, or it is over.
            gymnasium.error.InvalidAction: if it is no token id.
        """
        match, vocabulary = self.match, self.vocabulary
        if match is None or match.is_over:
            raise ResetNeeded("there is no game to go on with: call reset() before step()")
        if as_index(token) is None or token >= vocabulary.size:
            raise InvalidAction(
                f"action is {token!r}, expected a token id from 0 to {vocabulary.size - 1}"
            )
        self._write(match.player, [token])
        self.turn.append(int(token))
        if vocabulary.illegal[token]:
            match.forfeit()
        elif token == vocabulary.eos or len(self.turn) == self.max_move_tokens:
            match.take(self._said())
        else:
            return
        self.turn = []
        if not match.is_over:
            self._tell()

    def _said(self) -> str:
        return self.vocabulary.decode(self.turn)

    def _tell(self) -> None:
        transcript = self.match.transcripts[self.match.player]
        tokens = self.vocabulary.encode(transcript[-1])
        self._write(self.match.player, tokens[: self._room[len(transcript) > 1]])

    def _write(self, player: int, tokens: list[int]) -> None:
        start = self.lengths[player]
        self.lengths[player] += len(tokens)
        self._tokens[player, start : self.lengths[player]] = tokens

    def observe(self, player: int) -> dict[str, np.ndarray]:
        """A player's tokens [L] and the mask [V] of those that it may say; fresh arrays."""
        return {"observation": self._tokens[player].copy(), "action_mask": self.mask(player)}

    def mask(self, player: int) -> np.ndarray:
        """[V] int8: 1 for the tokens after which the turn can still become a legal move.

        eos alone is left to a player who waits: it has nothing to say. (pad would be a word that no
        policy has; and no mask is ever empty.) The same goes for whoever can no longer be saved.
        """
        mask = np.zeros(self.vocabulary.size, dtype=np.int8)
        match, allowed = self.match, set()
        if player == match.player and not match.is_over:
            said = self._said()
            for move in match.moves:
                if move == said:
                    allowed.add(self.vocabulary.eos)
                elif move.startswith(said):
                    rest = move[len(said) :]
                    for end in range(1, len(rest) + 1):
                        allowed.update(self._spelling.get(rest[:end], ()))
        mask[list(allowed or {self.vocabulary.eos})] = 1
        return mask

    @cached_property
    def _spelling(self) -> dict[str, list[int]]:
        """Text -> the tokens that are this text."""
        found: dict[str, list[int]] = {}
        for token in np.flatnonzero(~self.vocabulary.illegal).tolist():
            found.setdefault(self.vocabulary.decode([token]), []).append(token)
        return found

    def render(self) -> str:
        """What either player was told and said."""
        if self.match is None:
            return ""
        said = ["".join(transcript) for transcript in self.match.transcripts]
        said[self.match.player] += self._said()
        return "\n".join(f"player_{player}: {text}" for player, text in enumerate(said))
