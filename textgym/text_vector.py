"""The text forms for a batch: whole turns as actions, texts as observations, without wrappers.

Step by step equal to Gymnasium's SyncVectorEnv over the wrappers of `textgym.wrappers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import batch_space

from textgym.mdp import TokenMDP
from textgym.task import Task
from textgym.vector import TokenVectorEnv
from textgym.wrappers import AnyText


class TextVectorEnv(TokenVectorEnv):
    """`num_envs` environments whose actions, observations or both are texts.

    Actions are then N texts in any sequence, each a whole turn, and observations a tuple of N
    texts; what these mean is said in `textgym.wrappers`, all else in TokenVectorEnv. All episodes
    that end in one step are graded together, and all turns that end in it are answered together.

    Args:
        task: a Task, or a TokenMDP to share.
        num_envs: N, the number of slots.
        text_actions: whether an action is a whole turn as a text (see WholeResponse), not a token.
        text_observations: whether an observation is the text so far (see TextObservation).
        **settings: see TokenVectorEnv.
    """

    def __init__(
        self,
        task: Task | TokenMDP,
        num_envs: int = 1,
        *,
        text_actions: bool = True,
        text_observations: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(task, num_envs, **settings)
        self._text_actions, self._text_observations = text_actions, text_observations
        if text_actions:
            self.single_action_space = AnyText(self.mdp.budget)
            self.action_space = batch_space(self.single_action_space, num_envs)
        if text_observations:
            self.single_observation_space = AnyText(self.mdp.observation_length)
            self.observation_space = batch_space(self.single_observation_space, num_envs)

    def step(
        self, actions: Sequence[str] | np.ndarray
    ) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Say a turn, or append a token, in every slot that is in an episode.

        Raises:
            gymnasium.error.ResetNeeded: if a slot has never been reset.
            gymnasium.error.InvalidAction: if `actions` are not N texts (or token ids).
        """
        return super().step(actions)

    def _append(self, actions: Sequence[str] | np.ndarray) -> np.ndarray:
        if not self._text_actions:
            return super()._append(actions)
        texts = _as_texts(actions, self.num_envs)
        slots = np.delete(np.arange(self.num_envs), self._idle)
        vocabulary, columns = self.mdp.vocabulary, np.arange(self.mdp.budget)
        rows, lengths = vocabulary.encode_rows([texts[i] for i in slots.tolist()], columns.size)
        rows[columns == lengths[:, None]] = vocabulary.eos
        start = self._cursor.take(slots)
        counts = self._num_said(rows, self._limit.take(slots) - start)
        said = columns < counts[:, None]
        self._flat[(start[:, None] + columns)[said]] = rows[said]
        self._cursor[slots] = start + counts
        return self._flat.take(self._cursor - 1)

    def _num_said(self, rows: np.ndarray, left: np.ndarray) -> np.ndarray:
        """How many tokens of each turn are played: up to what ends it, or while budget is left.

        Args:
            rows: [k, T] turns, eos behind them.
            left: [k] what is left of the budget, from 1 to T.
        """
        ends = self._ending.take(rows) > 0
        counts = np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, rows.shape[1])
        counts = np.minimum(counts, left)
        if self.mdp.stop_window:
            for i, row in enumerate(rows):
                stops = (n for n in range(1, counts[i]) if self.mdp.stops(row[:n]))
                counts[i] = next(stops, counts[i])
        return counts

    def _observations(self) -> np.ndarray | tuple[str, ...]:
        if not self._text_observations:
            return super()._observations()
        return tuple(self._texts(self._tokens, self._cursor - self._base))

    def _final_observations(self, slots: np.ndarray) -> np.ndarray:
        if not self._text_observations:
            return super()._final_observations(slots)
        final = np.empty(self.num_envs, dtype=object)  # None everywhere
        lengths = (self._cursor - self._base).take(slots)
        final[slots] = self._texts(self._tokens.take(slots, axis=0), lengths)
        return final

    def _texts(self, rows: np.ndarray, lengths: np.ndarray) -> list[str]:
        """The texts of observations [k, L] with `lengths` [k] tokens."""
        # There are some between the turns of a dialogue, and there may be some in prompts.
        return self.mdp.vocabulary.decode_rows(rows, lengths, special_inside=True)


def _as_texts(actions: Any, num_envs: int) -> Sequence[str]:
    is_row = isinstance(actions, list | tuple) or getattr(actions, "shape", None) == (num_envs,)
    fits = is_row and len(actions) == num_envs
    if not fits or not all(issubclass(kind, str) for kind in set(map(type, actions))):
        raise gymnasium.error.InvalidAction(
            f"actions are {actions!r:.200}, expected {num_envs} texts"
        )
    return actions
