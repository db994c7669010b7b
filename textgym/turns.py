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
            reasons: [N] codes of mdp.STOP_REASONS by the last token and the budget alone.
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
            self._reply(np.flatnonzero((reasons == EOS) | (reasons == STOP)), reasons, rows)
        return reasons

    def _reply(self, slots: np.ndarray, reasons: np.ndarray, rows: np.ndarray) -> None:
        """Append the task's replies to the turns that ended in `slots` [k].

        Where there is one, the episode goes on: `reasons` [N] is 0 then. Where the task has none,
        it says so; where turns or budget are spent, it stays as it is.
        """
        waiting, turns = [], []
        for slot in slots.tolist():
            said = self.of(slot)
            if len(said) < self.mdp.task.max_turns and self.cursor[slot] < self.limit[slot]:
                waiting.append(slot)
                turns.append(said)
        if not waiting:
            return
        replies = self.mdp.reply_many(rows[waiting].tolist(), turns)
        for slot, said, reply in zip(waiting, turns, replies, strict=True):
            reasons[slot] = TASK if reply is None else 0
            if reply is not None:
                self._append(slot, said, reply)

    def _append(self, slot: int, turns: list[str], reply: list[int]) -> None:
        start = int(self.cursor[slot])
        end = start + len(reply)
        self.flat[start:end] = reply
        self.cursor[slot] = end
        self.limit[slot] += len(reply)
        self.replies[slot].append((start, end))
        self.finished[slot], self.turn_start[slot] = turns, end

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
