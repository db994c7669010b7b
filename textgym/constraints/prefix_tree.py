"""The beginnings of many texts as a tree, through which a machine walks in one go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textgym.constraints.machine import ByteMachine

DENSE = 8
"""A level of a prefix tree is gone through as a whole if one in so many of its nodes is alive."""


class PrefixTree:
    """All beginnings of some texts, each a node, numbered level by level; node 0 is the empty one.

    Attributes:
        node: [V] int64: the node of each text; the number of nodes where it is None.
        ends: the nodes of texts, sorted.
    """

    def __init__(self, texts: Sequence[bytes | None]) -> None:
        known = [text or b"" for text in texts]
        content = np.frombuffer(b"".join(known) or b"\0", dtype=np.uint8)
        lengths = np.fromiter(map(len, known), np.int64, len(known))
        starts = np.cumsum(lengths) - lengths
        node = np.zeros(len(texts), dtype=np.int64)
        parents, endings, levels = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)], [0, 1]
        longer = np.flatnonzero(lengths)
        while longer.size:
            keys = node[longer] << 8 | content[starts[longer] + len(parents) - 1]
            unique, inverse = np.unique(keys, return_inverse=True)
            parents.append(unique >> 8)
            endings.append(unique & 255)
            node[longer] = levels[-1] + inverse
            levels.append(levels[-1] + len(unique))
            longer = longer[lengths[longer] > len(parents) - 1]
        self._levels = list(zip(levels[1:], levels[2:], strict=False))
        self._parent, self._byte = np.concatenate(parents), np.concatenate(endings)
        # Children of a node are neighbours, as those of a level are sorted by their parents.
        size = levels[-1]
        self._first_child = 1 + np.searchsorted(self._parent[1:], np.arange(size))
        self._num_children = np.bincount(self._parent[1:], minlength=size)
        is_none = np.array([text is None for text in texts])
        self.node, self.ends = np.where(is_none, size, node), np.unique(node[~is_none])

    def walk(self, machine: ByteMachine, state: int) -> np.ndarray:
        """[num_nodes + 1] int64: the machine's state after each node's bytes; behind them, dead."""
        jumps, dead = machine.jumps, machine.dead << 8
        reached = np.full(len(self._parent) + 1, dead)
        reached[0] = state << 8
        alive, above = np.zeros(1, dtype=np.int64), 0
        for low, high in self._levels:
            # Where much of a level is alive, looking at all of the next is quicker than choosing.
            is_dense = DENSE * alive.size > low - above
            children = slice(low, high) if is_dense else self._children(alive)
            rows = reached.take(self._parent[children])
            rows |= self._byte[children]
            states = jumps.take(rows)
            reached[children] = states
            alive = np.flatnonzero(states != dead)
            if not alive.size:
                break
            alive, above = alive + low if is_dense else children[alive], low
        reached >>= 8
        return reached

    def _children(self, nodes: np.ndarray) -> np.ndarray:
        counts = self._num_children.take(nodes)
        ends = counts.cumsum()
        children = (self._first_child.take(nodes) - ends + counts).repeat(counts)
        children += np.arange(len(children))
        return children
