"""Intervals and inequalities in one variable as sets of real numbers, and when two are the same."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from textgym.grading.expressions.fields import Budget
from textgym.grading.expressions.scalars import equal_scalars, infinity, real_value
from textgym.grading.expressions.tree import (
    Braces,
    Bracketed,
    Call,
    Constant,
    Listing,
    NamedSet,
    Negative,
    Node,
    Number,
    Relation,
    SetOperation,
    Sum,
    Symbol,
    symbols,
)

MAX_PIECES = 40
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_INFINITY = Constant("inf")


@dataclass(slots=True, frozen=True)
class End:
    """One end of an interval: where, as a node and as a float, and whether it belongs to it."""

    node: Node
    value: float
    closed: bool


Interval = tuple[End, End]
RealSet = list[Interval]
"""Intervals from left to right that neither overlap nor touch."""

MINUS_INFINITY = End(Negative(_INFINITY), -math.inf, False)
PLUS_INFINITY = End(_INFINITY, math.inf, False)
REALS: RealSet = [(MINUS_INFINITY, PLUS_INFINITY)]


def real_set(node: Node, budget: Budget) -> RealSet | None:
    """The set of real numbers that a node describes; None if it describes none."""
    match node:
        case NamedSet(name="R"):
            return REALS
        case Braces(items=items):
            points = [_end(item, True, budget) for item in items]
            return None if None in points else _union([(point, point) for point in points])
        case Bracketed(left=left, items=(low, high), right=right) if left in "([" and right in ")]":
            return _interval(_end(low, left == "[", budget), _end(high, right == "]", budget))
        case SetOperation(operator=operator, left=left, right=right):
            sets = real_set(left, budget), real_set(right, budget)
            if None in sets:
                return None
            return _OPERATIONS[operator](*sets)
        case Sum(terms=(NamedSet("R") | Symbol("R"), Negative(operand=Braces() as right))):
            return real_set(SetOperation("∖", NamedSet("R"), right), budget)
        case Relation(sides=(Symbol(), inner), operators=("∈",)):
            return real_set(inner, budget)
        case Relation():
            return _solved(node, budget)
        case Listing(items=items, spaced=False):
            return _joined([real_set(item, budget) for item in items])
    return None


def same_sets(a: RealSet, b: RealSet, budget: Budget) -> bool:
    """Whether two sets have the same ends."""
    if len(a) != len(b):
        return False
    return all(
        end.closed == other.closed and equal_scalars(end.node, other.node, budget)[0]
        for pair, others in zip(a, b, strict=True)
        for end, other in zip(pair, others, strict=True)
    )


def _end(node: Node, closed: bool, budget: Budget) -> End | None:
    sign = infinity(node)
    if sign:
        return None if closed else (PLUS_INFINITY if sign > 0 else MINUS_INFINITY)
    if symbols(node):
        return None
    value = real_value(node, budget)
    return None if value is None else End(node, value, closed)


def _interval(low: End | None, high: End | None) -> RealSet | None:
    if low is None or high is None or low.value > high.value:
        return None
    if low.value == high.value and not (low.closed and high.closed):
        return None
    return [(low, high)]


def _solved(relation: Relation, budget: Budget) -> RealSet | None:
    """A chain in which the variable stands alone: x < 3, 0 <= x < 1, 3 != x."""
    found: RealSet = REALS
    sides, operators = relation.sides, relation.operators
    if len(sides) == 2 and isinstance(sides[0], Call) and sides[0].name == "abs":
        return _distance(sides[0].arguments[0], operators[0], sides[1], budget)
    names = [side for side in sides if isinstance(side, Symbol)]
    if len(names) != 1 or len(sides) > 3 or "=" in operators:
        return None
    place = sides.index(names[0])
    if len(sides) == 3 and place != 1:
        return None
    for position, operator in enumerate(operators):
        if operator not in _FLIPPED:
            return None
        if position >= place:  # x < bound
            bound, direction = sides[position + 1], operator
        else:  # bound < x
            bound, direction = sides[position], _FLIPPED[operator]
        end = _end(bound, direction in ("<=", ">="), budget)
        if end is None or not math.isfinite(end.value) and direction == "!=":
            return None
        found = _intersection(found, _half_line(end, direction))
    return found


def _distance(inside: Node, operator: str, bound: Node, budget: Budget) -> RealSet | None:
    """|x| < 3, |x - 1| >= 2: what is so near to a centre, or so far."""
    centre: Node = Number(Fraction(0), "0")
    if isinstance(inside, Sum) and len(inside.terms) == 2:
        inside, shift = inside.terms
        centre = shift.operand if isinstance(shift, Negative) else Negative(shift)
    if not isinstance(inside, Symbol) or operator not in ("<", "<=", ">", ">="):
        return None
    closed = operator in ("<=", ">=")
    ends = [_end(Sum((centre, b)), closed, budget) for b in (Negative(bound), bound)]
    if None in ends or ends[0].value >= ends[1].value:
        return None
    low, high = ends
    if operator in ("<", "<="):
        return [(low, high)]
    return [(MINUS_INFINITY, low), (high, PLUS_INFINITY)]


def _half_line(end: End, direction: str) -> RealSet:
    if direction == "!=":
        return [(MINUS_INFINITY, end), (end, PLUS_INFINITY)]
    return [(MINUS_INFINITY, end)] if direction in ("<", "<=") else [(end, PLUS_INFINITY)]


def _joined(sets: list[RealSet | None]) -> RealSet | None:
    """Several conditions: either holds, unless one of them always does; then all hold at once."""
    if None in sets or not sets:
        return None
    union = _union([piece for found in sets for piece in found])
    if union != REALS:
        return union
    both = sets[0]
    for found in sets[1:]:
        both = _intersection(both, found)
    return both


def _union(pieces: RealSet, *others: RealSet) -> RealSet:
    for other in others:
        pieces = [*pieces, *other]
    merged: RealSet = []
    for low, high in sorted(pieces[:MAX_PIECES], key=lambda p: (p[0].value, not p[0].closed)):
        if merged:
            before = merged[-1]
            touching = low.value == before[1].value and (low.closed or before[1].closed)
            if low.value < before[1].value or touching:
                if (high.value, high.closed) > (before[1].value, before[1].closed):
                    merged[-1] = before[0], high
                continue
        merged.append((low, high))
    return merged


def _intersection(a: RealSet, b: RealSet) -> RealSet:
    pieces: RealSet = []
    for low, high in a[:MAX_PIECES]:
        for other_low, other_high in b[:MAX_PIECES]:
            start = max(low, other_low, key=lambda end: (end.value, not end.closed))
            stop = min(high, other_high, key=lambda end: (end.value, end.closed))
            pieces.extend(_interval(start, stop) or [])
    return _union(pieces)


def _difference(a: RealSet, b: RealSet) -> RealSet:
    """What of a is not in b."""
    for low, high in b[:MAX_PIECES]:
        before = End(low.node, low.value, not low.closed)
        after = End(high.node, high.value, not high.closed)
        rest = [] if low is MINUS_INFINITY else [(MINUS_INFINITY, before)]
        a = _intersection(a, rest + ([] if high is PLUS_INFINITY else [(after, PLUS_INFINITY)]))
    return a


_OPERATIONS = {"∪": _union, "∩": _intersection, "∖": _difference}
