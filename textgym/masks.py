"""Where a response stands in its automaton, read on only when a mask is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from textgym.constraints import TokenAutomaton


class MaskCursor:
    """A position in one episode's response that moves forward with it.

    Args:
        automaton: what the response has to match.
    """

    __slots__ = ("_automaton", "_num_read", "_state")

    def __init__(self, automaton: TokenAutomaton) -> None:
        self._automaton, self._state, self._num_read = automaton, automaton.start, 0

    def mask(self, response: np.ndarray, left: int) -> np.ndarray | None:
        """[V] bool, fresh: tokens after which a match can be completed; None where none can be.

        Args:
            response: [T] the tokens chosen so far, those of earlier calls first.
            left: how many more there may be, eos included.
        """
        if self._state >= 0 and len(response) > self._num_read:
            unread = response[self._num_read :].tolist()
            self._state = self._automaton.advance(self._state, unread)
            self._num_read = len(response)
        if self._state < 0:
            return None
        mask = self._automaton.mask(self._state, left)
        return mask if mask.any() else None
