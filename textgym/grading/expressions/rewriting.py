"""Copies of trees in which something is written out: ±, the base of a log, a scaled matrix."""

from __future__ import annotations

from fractions import Fraction

from textgym.grading.expressions.relations import value_of
from textgym.grading.expressions.tree import (
    Call,
    Listing,
    Matrix,
    Negative,
    Node,
    Number,
    PlusMinus,
    Product,
    Quotient,
    Sum,
    rebuilt,
    walk,
)

_TEN = Number(Fraction(10), "10")


def without_signs(node: Node) -> Node:
    """An answer in which each expression with ± is its two readings."""
    items = node.items if isinstance(node, Listing) else (node,)
    found: list[Node] = []
    for item in items:
        if any(isinstance(child, PlusMinus) for child in walk(item)):
            readings = (_with_sign(item, False), _with_sign(item, True))
            # x = 2 and x = -2 are the values of one x, not of two.
            found.extend(value_of(reading) for reading in readings)
        else:
            found.append(item)
    return node if len(found) == len(items) else Listing(tuple(found))


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


def scaled_matrix(node: Node) -> Matrix | None:
    """The matrix that a number times a matrix is; None for anything else."""
    if isinstance(node, Negative):
        factors: tuple[Node, ...] = (Number(Fraction(-1), "-1"), node.operand)
    elif isinstance(node, Quotient):
        factors = (node.numerator, Quotient(Number(Fraction(1), "1"), node.denominator))
    elif isinstance(node, Product):
        factors = node.factors
    else:
        return None
    matrices = [factor for factor in factors if isinstance(factor, Matrix)]
    if len(matrices) != 1:
        return None
    others = tuple(factor for factor in factors if factor is not matrices[0])
    rows = matrices[0].rows
    return Matrix(tuple(tuple(Product((*others, entry)) for entry in row) for row in rows))
