"""Stop strings and dialogues in a vector environment: its slow part, which looks at each slot."""

from __future__ import annotations

import numpy as np

from textgym.mdp import EOS, STOP, TASK, TokenMDP


class Turns:
    """The current turn, and the turns before it, of every slot.

    Works on the vector environment's own arrays: `flat` [N * L] tokens, `cursor` [N] where each
    slot's next token goes in `flat`, `limit` [N] the cursor at which its budget is spent.
    """

    def __init__(
        self, mdp: TokenMDP, flat: np.ndarray, cursor: np.ndarray, limit: np.ndarray
    ) -> None:
        self.mdp, self.flat, self.cursor, self.limit = mdp, flat, cursor, limit
        num_slots = len(cursor)
        self.prompt_end = [0] * num_slots  # positions in flat
        self.turn_start = [0] * num_slots
        self.finished: list[list[str]] = [[] for _ in range(num_slots)]
        self.replies: list[list[tuple[int, int]]] = [[] for _ in range(num_slots)]

    def start(self, slots: np.ndarray) -> None:
        """Forget what `slots` [k] said: their cursors stand at the end of a new prompt."""
        for slot in slots.tolist():
            self.prompt_end[slot] = self.turn_start[slot] = int(self.cursor[slot])
            self.finished[slot], self.replies[slot] = [], []

    def end(self, reasons: np.ndarray, idle: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Why each slot's episode ended, or 0 where it goes on, given what its last token says.

        Args:
            reasons: [N] codes of core.STOP_REASONS by the last token and the budget alone.
            idle: [k] slots that took no step.
            rows: [N] their problems' rows in the bank.
        """
        reasons = reasons.copy()
        if self.mdp.stop_window:
            undecided = reasons < EOS
            undecided[idle] = False
            for slot in np.flatnonzero(undecided).tolist():
                if self.mdp.stops(self.flat[self.turn_start[slot] : self.cursor[slot]]):
                    reasons[slot] = STOP
        if self.mdp.task.max_turns > 1:
            for slot in np.flatnonzero((reasons == EOS) | (reasons == STOP)).tolist():
                reasons[slot] = self._next(slot, int(reasons[slot]), int(rows[slot]))
        return reasons

    def _next(self, slot: int, reason: int, row: int) -> int:
        """Append the task's reply to a finished turn: 0 if there is one, else why it all ended."""
        cursor = int(self.cursor[slot])
        turns = self.of(slot)
        if len(turns) == self.mdp.task.max_turns or cursor == self.limit[slot]:
            return reason
        reply = self.mdp.reply(row, turns)
        if reply is None:
            return TASK
        end = cursor + len(reply)
        self.flat[cursor:end] = reply
        self.cursor[slot] = end
        self.limit[slot] += len(reply)
        self.replies[slot].append((cursor, end))
        self.finished[slot], self.turn_start[slot] = turns, end
        return 0

    def of(self, slot: int) -> list[str]:
        """The policy's turns in a slot, the current one last."""
        tokens = self.flat[self.turn_start[slot] : self.cursor[slot]]
        return [*self.finished[slot], self.mdp.vocabulary.decode(tokens.tolist())]

    def response(self, slot: int) -> str:
        """Everything since the prompt, replies included."""
        tokens = self.flat[self.prompt_end[slot] : self.cursor[slot]]
        return self.mdp.vocabulary.decode(tokens.tolist())

    def masks(self, slots: np.ndarray) -> np.ndarray:
        """[N, L] bool: in `slots`, True where the policy chose the token."""
        masks = np.zeros(self.flat.shape, dtype=bool)
        for slot in slots.tolist():
            masks[self.prompt_end[slot] : self.cursor[slot]] = True
            for start, end in self.replies[slot]:
                masks[start:end] = False
        return masks.reshape(len(self.cursor), -1)
