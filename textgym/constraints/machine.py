"""ByteMachine: the smallest deterministic automaton of a pattern, over the bytes of UTF-8."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from textgym.constraints.expressions import Expression, Expressions
from textgym.constraints.pattern import parse

MAX_STATES = 10_000
"""Of the automaton before equal states are merged."""


class ByteMachine:
    """What a pattern is to a reader of bytes.

    Attributes:
        jumps: [(S + 1) * 256] int64: `jumps[256 * s + b]` is 256 times the state after byte b in
            state s: so the next byte only has to be added.
        dead: state S, the last, from which nothing is accepted. From each other state something is.
        is_final: [S + 1] bool: whether the text may end here.
        start: the state before the first byte.
        shortest: bytes of the shortest text that is accepted.

    Raises:
        ValueError: if the pattern is no text, or none that is supported, or no text matches it, or
            it has too many states.
    """

    def __init__(self, pattern: str) -> None:
        if not isinstance(pattern, str):
            raise ValueError(f"pattern is {pattern!r:.80}, expected a text")
        make = Expressions()
        try:
            start = parse(pattern, make)
            if start is make.nothing:
                raise ValueError("no text matches it")
            table, is_final, byte_class = _explore(start, make)
        except RecursionError:
            raise ValueError(f"pattern {pattern!r:.200}: it is nested too deeply") from None
        except ValueError as error:
            raise ValueError(f"pattern {pattern!r:.200}: {error}") from None
        successors = [set(row) - {len(table) - 1} for row in table.tolist()]
        steps = steps_to_end(successors, is_final)
        block = _equal_states(table, np.column_stack([steps, _longest(successors)]))
        first = np.unique(block, return_index=True)[1]  # one state of each block, the dead one last
        self.jumps = block[table[first]][:, byte_class].astype(np.int64).reshape(-1) << 8
        self.is_final = is_final[first]
        self.start, self.dead, self.shortest = int(block[0]), len(first) - 1, int(steps[0])
        self._jumps = memoryview(self.jumps)  # faster to read one by one

    def after(self, state: int, text: bytes) -> int:
        """The state after some bytes."""
        jumps, row = self._jumps, state << 8
        for byte in text:
            row = jumps[row | byte]
        return row >> 8

    def matches(self, text: str) -> bool:
        """Whether `re.fullmatch` would accept a text, in time proportional to its length."""
        return bool(self.is_final[self.after(self.start, text.encode("utf-8", "surrogatepass"))])

    def reads(self, some: bytes) -> bool:
        """Whether a text that is accepted has any of these bytes."""
        table = self.jumps.reshape(-1, 256)[: self.dead]
        return bool((table[:, list(some)] != self.dead << 8).any())


@lru_cache(maxsize=256)
def compiled(pattern: str) -> ByteMachine:
    """The machine of a pattern; the latest 256 are kept."""
    return ByteMachine(pattern)


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of a text matches a pattern, in time proportional to the text's length.

    Raises:
        ValueError: if the pattern is not supported; see ByteMachine.
    """
    return compiled(pattern).matches(text)


def _explore(start: Expression, make: Expressions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The states that derivatives lead to, the start first and the dead one last.

    Returns:
        [S + 1, C] the state after a byte of class c; [S + 1] whether it is final; [256] the class
        of each byte: bytes that no set of the pattern tells apart have one.
    """
    masks = sorted(make.masks)
    kinds = [tuple(mask >> byte & 1 for mask in masks) for byte in range(256)]
    examples = {kind: byte for byte, kind in enumerate(kinds)}
    class_of_kind = {kind: i for i, kind in enumerate(examples)}
    number = {start: 0}
    states, rows = [start], []
    for state in states:  # grows as it is gone through
        row = dict.fromkeys(range(len(examples)), -1)
        for i, byte in enumerate(examples.values()):
            if state.first >> byte & 1:
                following = make.derivative(state, byte)
                if following not in number:
                    number[following] = len(states)
                    states.append(following)
                row[i] = number[following]
        rows.append(list(row.values()))
        if len(states) > MAX_STATES:
            raise ValueError(f"it has more than {MAX_STATES} states")
    dead = len(states)
    table = np.array([*rows, [-1] * len(examples)], dtype=np.int32)
    table[table < 0] = dead
    is_final = np.array([*(state.nullable for state in states), False])
    return table, is_final, np.array([class_of_kind[kind] for kind in kinds])


def _equal_states(table: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """[S + 1] the number of each state's block, equal states sharing one; the dead one's is last.

    Moore's refinement, begun from `lengths` [S + 1, 2] of the shortest and the longest text that
    each state accepts: where these differ, states are not equal, and long chains, which would take
    a round for each link, are told apart at once.
    """
    block = np.unique(lengths, axis=0, return_inverse=True)[1].reshape(-1)
    while True:
        signature = np.column_stack([block, block[table]])
        refined = np.unique(signature, axis=0, return_inverse=True)[1].reshape(-1)
        if refined.max() == block.max():
            return refined
        block = refined


Successors = Sequence[Iterable[int]]
"""For each state those that may follow it."""


def steps_to_end(successors: Successors, is_final: np.ndarray) -> np.ndarray:
    """[S] int64: how many steps each state is from a final one; S where there is no way."""
    num_states, predecessors = len(successors), _predecessors(successors)
    steps = np.where(is_final, 0, num_states).tolist()
    reached = np.flatnonzero(is_final).tolist()
    for state in reached:  # grows as it is gone through, nearest first
        for predecessor in predecessors[state]:
            if steps[predecessor] == num_states:
                steps[predecessor] = steps[state] + 1
                reached.append(predecessor)
    return np.array(steps)


def _longest(successors: Successors) -> np.ndarray:
    """[S] int64: the longest way from each state; S where there is one without end."""
    predecessors = _predecessors(successors)
    pending, longest = [len(list(following)) for following in successors], [0] * len(successors)
    done = [state for state, count in enumerate(pending) if not count]
    for state in done:
        for predecessor in predecessors[state]:
            longest[predecessor] = max(longest[predecessor], longest[state] + 1)
            pending[predecessor] -= 1
            if not pending[predecessor]:
                done.append(predecessor)
    return np.where(pending, len(successors), longest)


def _predecessors(successors: Successors) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in successors]
    for state, following in enumerate(successors):
        for successor in following:
            found[successor].append(state)
    return found
