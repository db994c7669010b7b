"""TokenAutomaton: what a pattern allows to be said next, in tokens and within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from textgym.constraints.machine import compiled, steps_to_end
from textgym.constraints.prefix_tree import PrefixTree
from textgym.constraints.token_texts import Key, texts_of
from textgym.tokenizer import Vocabulary

NEVER = int(np.iinfo(np.uint16).max)
"""As a number of tokens: no number is enough."""

MAX_CACHED = 2**24
"""Numbers that one automaton keeps about the states it was asked about, 2 bytes each."""


class TokenAutomaton:
    """The tokens with which a response goes on so that the whole of it matches a pattern.

    A response is valid if its text matches and eos ends it. States are integers; -1 is the dead
    one, from which no response is valid. What an automaton says never changes, and threads may
    share one.

    Args:
        pattern: a regular expression as of Python's `re`, matched as by `re.fullmatch`; see
            `textgym.constraints`.
        vocabulary: whose tokens.

    Attributes:
        start: the state before the first token.

    Raises:
        ValueError: if the pattern is not supported, no text or no sequence of tokens matches it, or
            the tokenizer's way to decode is unknown.
    """

    def __init__(self, pattern: str, vocabulary: Vocabulary) -> None:
        self.pattern, self.vocabulary = pattern, vocabulary
        self._machine = machine = compiled(pattern)
        self._texts = texts = texts_of(Key.of(vocabulary))
        # Where a first token adds another text than behind others, the start is a state of its own.
        self.start = machine.start if texts.at_start is texts.inside else machine.dead
        self._needs: dict[int, np.ndarray] = {}
        self._cost = self._costs()
        if self.shortest(self.start) == NEVER:
            raise ValueError(
                f"pattern {pattern!r:.200}: no text that matches it can be written with the tokens "
                f"of {type(vocabulary.tokenizer).__name__}"
            )

    def advance(self, state: int, tokens: Sequence[int]) -> int:
        """The state after some more tokens; -1 if nothing valid can follow."""
        if not len(tokens):
            return state
        texts = self._texts.at_start if state == self._at_start else self._texts.inside
        state = self._in_machine(state)
        for token in tokens:
            text = texts[token]
            if text is None or state < 0:
                return -1
            state, texts = self._machine.after(state, text), self._texts.inside
        return state if self._cost[state] < NEVER else -1

    def mask(self, state: int, left: int) -> np.ndarray:
        """[V] bool, fresh: the tokens after which a valid response can still be completed.

        Args:
            state: where the response stands.
            left: how many more tokens it may have, this one and eos included.
        """
        return self._need(state) <= min(left, NEVER - 1)

    def accepts(self, state: int) -> bool:
        """Whether the response is complete: eos may be the next token."""
        return bool(self._machine.is_final[self._in_machine(state)])

    def shortest(self, state: int) -> int:
        """Tokens of the shortest valid completion, eos included; NEVER from the dead state."""
        return int(self._need(state).min())

    def __reduce__(self) -> tuple[Any, ...]:
        return automaton, (self.pattern, self.vocabulary)

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenAutomaton:
        return self  # nothing in it changes

    @property
    def _at_start(self) -> int | None:
        """The start where it is a state of its own: it has the number of the dead one, unused."""
        return self.start if self.start == self._machine.dead else None

    def _in_machine(self, state: int) -> int:
        return self._machine.start if state == self._at_start else state

    def _walk(self, state: int) -> tuple[PrefixTree, np.ndarray]:
        """A tree of the tokens' texts, and the machine's state after each of its nodes."""
        tree = self._texts.start_tree if state == self._at_start else self._texts.tree
        return tree, tree.walk(self._machine, self._in_machine(state))

    def _need(self, state: int) -> np.ndarray:
        """[V] uint16: tokens of the shortest valid completion that begins with each token."""
        need = self._needs.get(state)
        if need is None:
            tree, reached = self._walk(state)
            need = self._cost.take(reached).take(tree.node)
            need += need < NEVER
            if self.accepts(state):
                need[self._texts.eos] = 1
            if len(self._needs) * len(need) > MAX_CACHED:
                self._needs.clear()
            self._needs[state] = need
        return need

    def _costs(self) -> np.ndarray:
        """[S + 1] uint16: tokens of the shortest valid completion from each machine state.

        NEVER where no tokens lead.
        """
        dead = self._machine.dead
        num_states = dead + 1
        successors: list[list[int]] = [[] for _ in range(num_states)]
        is_seen = np.zeros(num_states, dtype=bool)
        is_seen[dead] = True
        states = [self.start]
        for state in states:  # grows as it is gone through
            follows = np.zeros(num_states, dtype=bool)
            tree, reached = self._walk(state)
            follows[reached.take(tree.ends)] = True
            states += np.flatnonzero(follows & ~is_seen).tolist()
            is_seen |= follows
            follows[dead] = False
            if state != self._at_start:
                successors[state] = np.flatnonzero(follows).tolist()
        steps = steps_to_end(successors, self._machine.is_final)
        return np.where(steps < num_states, steps + 1, NEVER).astype(np.uint16)


def automaton(pattern: str, vocabulary: Vocabulary) -> TokenAutomaton:
    """The automaton of a pattern over a vocabulary; the latest 32 are kept."""
    return _kept(pattern, Key.of(vocabulary))


@lru_cache(maxsize=32)
def _kept(pattern: str, key: Key) -> TokenAutomaton:
    return TokenAutomaton(pattern, key.vocabulary)
