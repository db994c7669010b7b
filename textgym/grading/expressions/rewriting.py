"""Copies of trees in which something is written out: the signs of ±, the base of a logarithm."""

from __future__ import annotations

from fractions import Fraction

from textgym.grading.expressions.tree import (
    Call,
    Negative,
    Node,
    Number,
    PlusMinus,
    Sum,
    rebuilt,
    walk,
)

_TEN = Number(Fraction(10), "10")


def expand_signs(node: Node) -> tuple[Node, ...]:
    """The two readings of an expression with ±, or the expression itself."""
    if not any(isinstance(child, PlusMinus) for child in walk(node)):
        return (node,)
    return _with_sign(node, False), _with_sign(node, True)


def _with_sign(node: Node, negative: bool) -> Node:
    """A copy in which every ± is + (or - if `negative`), and every ∓ the other."""
    if not isinstance(node, PlusMinus):
        return rebuilt(node, lambda child: _with_sign(child, negative))
    right = _with_sign(node.right, negative)
    right = Negative(right) if negative != node.flipped else right
    return right if node.left is None else Sum((_with_sign(node.left, negative), right))


def has_bare_logarithm(node: Node) -> bool:
    """Whether a `log` without a base is in a tree."""
    return any(map(_is_bare, walk(node)))


def with_base_ten(node: Node) -> Node:
    """A copy in which each `log` without a base has base ten."""
    node = rebuilt(node, with_base_ten)
    return Call("log", (_TEN, *node.arguments)) if _is_bare(node) else node


def _is_bare(node: Node) -> bool:
    return isinstance(node, Call) and node.name == "log" and len(node.arguments) == 1
