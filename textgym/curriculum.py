"""Curriculum: the level that `difficulty="adaptive"` plays, by how often it is solved.

A policy learns from problems that it solves sometimes. Where all or none of the answers are right,
every reward is the same and the gradient is 0; a reward that is 1 with probability p has the
variance p (1 - p). "Goals of intermediate difficulty" are those with a success between two bounds
(Florensa et al. 2018, "Automatic goal generation for reinforcement learning agents"); here the
bounds decide when to move along a task's levels (Narvekar et al. 2020, "Curriculum learning for
reinforcement learning domains", surveys such orders). Easier levels go on being played now and
then: a mixture did better than the hardest level alone in Zaremba & Sutskever 2014, "Learning to
execute".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from textgym.task import as_index

PROMOTE_ABOVE, DEMOTE_BELOW = 0.8, 0.2
"""The band: at both ends p (1 - p) is 64 % of what it is in the middle."""

WINDOW = 256
"""Episodes of a level by which it is judged: at a success of 0.8, a standard error of 0.025."""

REHEARSAL = 0.2
"""Share of the episodes that play an easier level."""


class Curriculum:
    """Holds the success rate in a band by moving along a task's levels, easiest first.

    Once `window` episodes of the current level are over, their mean success decides after each:
    above `promote_above` the next level follows, below `demote_below` the one before, and counting
    starts anew. At either end of the levels it stays. A share `rehearsal` of all episodes plays a
    level below the current one, each equally often; these are not counted.

    Deterministic: a function of the successes recorded and of the numbers given to `levels`.

    Args:
        num_levels: how many levels there are, at least two.
        promote_above, demote_below: the band of mean successes in which nothing changes.
        window: episodes of a level by which it is judged.
        rehearsal: from 0 to below 1.

    Raises:
        ValueError: for numbers that make no curriculum.
    """

    def __init__(
        self,
        num_levels: int,
        *,
        promote_above: float = PROMOTE_ABOVE,
        demote_below: float = DEMOTE_BELOW,
        window: int = WINDOW,
        rehearsal: float = REHEARSAL,
    ) -> None:
        if (as_index(num_levels) or 0) < 2:
            raise ValueError(
                f"num_levels is {num_levels!r}, expected at least 2: with one level there is "
                "nothing to adapt"
            )
        if not as_index(window):
            raise ValueError(f"window is {window!r}, expected an integer of at least 1")
        if not 0 <= demote_below < promote_above <= 1:
            raise ValueError(
                f"demote_below is {demote_below} and promote_above {promote_above}, expected "
                "0 <= demote_below < promote_above <= 1"
            )
        if not 0 <= rehearsal < 1:
            raise ValueError(f"rehearsal is {rehearsal}, expected at least 0 and below 1")
        self.num_levels, self.window, self.rehearsal = num_levels, window, rehearsal
        self.promote_above, self.demote_below = promote_above, demote_below
        self.level = 0
        self._successes: deque[float] = deque(maxlen=window)

    @property
    def success(self) -> float | None:
        """Mean success of the last episodes of this level, `window` at most; None before any."""
        return sum(self._successes) / len(self._successes) if self._successes else None

    def levels(self, draws: np.ndarray) -> np.ndarray:
        """The levels [k] int64 that new episodes play, by a uniform uint64 for each."""
        chosen = np.full(len(draws), self.level, dtype=np.int64)
        if self.level and self.rehearsal:
            # Of a draw's bits, the upper half says whether, the lower half which.
            again = (draws >> np.uint64(32)) < self.rehearsal * 2**32
            easier = (draws & np.uint64(2**32 - 1)) % np.uint64(self.level)
            chosen[again] = easier[again]
        return chosen

    def record(self, levels: Iterable[int], successes: Iterable[float]) -> None:
        """Take note of episodes that ended, in this order: their levels, and from 0 to 1 how well.

        Leave out episodes on which no verdict was reached.
        """
        for level, success in zip(levels, successes, strict=True):
            if level != self.level:
                continue  # rehearsal, or begun before the last move
            self._successes.append(float(success))
            if len(self._successes) == self.window:
                self._move()

    def _move(self) -> None:
        mean = self.success
        step = int(mean > self.promote_above) - int(mean < self.demote_below)
        if 0 <= self.level + step < self.num_levels and step:
            self.level += step
            self._successes.clear()

    def state_dict(self) -> dict[str, Any]:
        """Where it stands: plain numbers, which JSON can hold."""
        return {"level": self.level, "successes": list(self._successes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`.

        Raises:
            ValueError: if it is of a curriculum with more levels.
        """
        level = as_index(state["level"])
        if level is None or level >= self.num_levels:
            raise ValueError(
                f"the curriculum's level is {state['level']!r}, expected 0 to {self.num_levels - 1}"
            )
        self.level = level
        self._successes = deque(map(float, state["successes"]), maxlen=self.window)
