"""Equations and inequalities: definitions such as x = 3 by their value, others up to a factor."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from textgym.grading.expressions.fields import (
    Budget,
    Inexact,
    Precise,
    Undefined,
    evaluate,
)
from textgym.grading.expressions.scalars import (
    DIGITS,
    Decision,
    agreement,
    equal_scalars,
    points,
)
from textgym.grading.expressions.sets import real_set, same_sets
from textgym.grading.expressions.tree import (
    Bracketed,
    Listing,
    Negative,
    Node,
    Number,
    OutOfBounds,
    Power,
    Product,
    Quotient,
    Relation,
    Sum,
    Symbol,
    symbols,
)

_EQUALS = frozenset("=≈")
_RISING = {"<": False, "<=": True}
_FALLING = {">": False, ">=": True}
ENOUGH_RATIOS = 4

Comparison = Callable[[Node, Node, Budget], Decision]


def is_relation(node: Node, operators: str) -> bool:
    """Whether a node is a relation with one of these operators' first characters."""
    return isinstance(node, Relation) and any(o[0] in operators for o in node.operators)


def is_equation(node: Node) -> bool:
    """Whether a node is a chain of equations that gives a name to its last side."""
    return isinstance(node, Relation) and _definition(node) is not None


def value_of(node: Node) -> Node:
    """The value that an equation gives to its name."""
    found = _definition(node) if isinstance(node, Relation) else None
    return node if found is None else found[1]


def conditions(listing: Listing) -> tuple[Node, ...]:
    """The items of a list, `x = 1 or x = 2` without the name that they share."""
    found = [_definition(item) if isinstance(item, Relation) else None for item in listing.items]
    names = {pair[0] for pair in found if pair is not None}
    if len(names) != 1:
        return listing.items
    return tuple(
        item if pair is None else pair[1] for item, pair in zip(listing.items, found, strict=True)
    )


def definitions(node: Node) -> dict[str, Node]:
    """Name -> value of a list that gives values to different names; empty for anything else."""
    if isinstance(node, Relation) and all(isinstance(side, Bracketed) for side in node.sides):
        names, values = node.sides[0].items, node.sides[-1].items
        if len(names) != len(values) or not _is_letters(node.sides[0]):
            return {}
        return {repr(name): value for name, value in zip(names, values, strict=True)}
    if not isinstance(node, Listing):
        return {}
    found = [_definition(item) if isinstance(item, Relation) else None for item in node.items]
    if None in found or len({pair[0] for pair in found}) != len(found):
        return {}
    return {repr(name): value for name, value in found}


def _definition(relation: Relation) -> tuple[Node, Node] | None:
    """(name, value) of `x = 3`, `3 = x`, `f(x) = 2x`, `(x, y) = (1, 2)`, `A = pi r^2 = 9 pi`."""
    if not _EQUALS.issuperset(relation.operators):
        return None
    first, last = relation.sides[0], relation.sides[-1]
    if _is_name(first) and not _mentions(last, first):
        return first, last
    if len(relation.sides) == 2 and isinstance(last, Symbol) and not _mentions(first, last):
        return last, first
    return None


def _is_name(node: Node) -> bool:
    if isinstance(node, Product):  # f(x), f^{-1}(x), and AB as a product of letters
        first, *others = node.factors
        if isinstance(first, Power) and first.exponent == Negative(Number(Fraction(1), "1")):
            first = first.base
        return len(others) <= 2 and isinstance(first, Symbol) and all(map(_is_letters, others))
    if isinstance(node, Quotient):  # dy/dx
        return _is_name(node.numerator) and _is_name(node.denominator)
    return _is_letters(node)


def _is_letters(node: Node) -> bool:
    if isinstance(node, Bracketed):
        return all(isinstance(item, Symbol) for item in node.items)
    if isinstance(node, Relation):  # P(X = 2)
        return isinstance(node.sides[0], Symbol)
    return isinstance(node, Symbol)


def _mentions(node: Node, name: Node) -> bool:
    if isinstance(name, Product):  # f(x) = 2x has x on both sides
        return not symbols(name.factors[0]).isdisjoint(symbols(node))
    if isinstance(name, Quotient):  # dy/dx = 2x
        return False
    return not symbols(name).isdisjoint(symbols(node))


def _is_application(name: Node) -> bool:
    return isinstance(name, Product) and len(name.factors) == 2


def _same_name(a: Node, b: Node) -> bool:
    """Whether two names are the same; y is the name of f(x)."""
    if a == b:
        return True
    pair = sorted((a, b), key=_is_application)
    return pair[0] == Symbol("y") and _is_application(pair[1])


def compare_relations(
    reference: Node, answer: Node, budget: Budget, compare: Comparison
) -> Decision:
    """An equation or inequality against another, or against a bare value."""
    named = _definition(reference) if isinstance(reference, Relation) else None
    given = _definition(answer) if isinstance(answer, Relation) else None
    if not isinstance(answer, Relation):
        if named is None:
            return _compare_as_sets(reference, answer, budget)
        return compare(named[1], answer, budget)[0], "value of an equation"
    if not isinstance(reference, Relation):
        if given is None:
            return _compare_with_chain(reference, answer, budget, compare)
        if not _is_consistent(answer, budget):
            return False, "chain"
        return compare(reference, given[1], budget)[0], "value of an equation"
    if named and given and _same_name(named[0], given[0]):
        if compare(named[1], given[1], budget)[0]:
            return True, "value of an equation"
    if named and not symbols(named[1]):
        return False, "equation to be solved"
    sets = real_set(reference, budget), real_set(answer, budget)
    if None not in sets:
        return same_sets(*sets, budget), "set"
    return _proportional(reference, answer, budget), "equation"


def _compare_as_sets(reference: Node, answer: Node, budget: Budget) -> Decision:
    sets = real_set(reference, budget), real_set(answer, budget)
    return (None not in sets and same_sets(*sets, budget)), "set"


def _compare_with_chain(
    reference: Node, answer: Relation, budget: Budget, compare: Comparison
) -> Decision:
    """A value against a calculation such as 16 - 7 = 9, which has to be right."""
    if not _EQUALS.issuperset(answer.operators) or symbols(answer):
        return _compare_as_sets(reference, answer, budget)
    if not _is_consistent(answer, budget):
        return False, "chain"
    return compare(reference, answer.sides[-1], budget)[0], "chain"


def _is_consistent(relation: Relation, budget: Budget) -> bool:
    """Whether the sides of a chain that are numbers are the same number."""
    numbers = [side for side in relation.sides if not symbols(side) and not _is_name(side)]
    if "≈" in relation.operators:
        return True
    return all(
        equal_scalars(first, second, budget)[0]
        for first, second in zip(numbers, numbers[1:], strict=False)
    )


def _proportional(a: Relation, b: Relation, budget: Budget) -> bool:
    """Whether two relations say that multiples of the same expression are zero, or positive."""
    if len(a.sides) != 2 or len(b.sides) != 2:
        return False
    (f, kind), (g, other) = _standard(a), _standard(b)
    names = sorted(symbols(f) | symbols(g))
    if kind != other or not names or symbols(f) != symbols(g):
        return False
    first: Any = None
    count = 0
    for point in points(names):
        field = Precise(budget, point, DIGITS)
        try:
            x, y = evaluate(f, field), evaluate(g, field)
        except (Undefined, OutOfBounds, Inexact):
            continue
        if abs(x) < 1e-30 or abs(y) < 1e-30:
            if abs(x) > 1e-30 or abs(y) > 1e-30:
                return False
            continue
        ratio = x / y
        if kind != "=" and not field.context.re(ratio) > 0:
            return False
        if first is not None and not agreement(field.context, ratio, first, DIGITS // 2):
            return False
        first, count = ratio, count + 1
        if count == ENOUGH_RATIOS:
            return True
    return False


def _standard(relation: Relation) -> tuple[Node, str]:
    """Left - right, turned so that it is = 0, != 0, > 0 or >= 0, and which of these."""
    (left, right), operator = relation.sides, relation.operators[0]
    if operator in _RISING:
        return Sum((right, Negative(left))), ">=" if _RISING[operator] else ">"
    difference = Sum((left, Negative(right)))
    if operator in _FALLING:
        return difference, ">=" if _FALLING[operator] else ">"
    return difference, "=" if operator in _EQUALS else operator
