"""Whether two scalar expressions are equal: exactly, modulo a prime, or in fifty digits.

No step simplifies anything, so none can run away: an expression is evaluated a bounded number of
times. Variables are real. Where two expressions are real at the same points, these points decide
(so that ln(x^2) is 2 ln x, where both exist, and sqrt(x^2) is not x).
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

from textgym.grading.expressions.fields import (
    PRIME,
    Budget,
    Exact,
    Inexact,
    Modular,
    Precise,
    Undefined,
    evaluate,
)
from textgym.grading.expressions.tree import (
    Call,
    Constant,
    Negative,
    Node,
    Number,
    OutOfBounds,
    Sum,
    symbols,
    walk,
)

DIGITS = 50
AGREEING_DIGITS = 38
ENOUGH_POINTS = 4

_NUMERATORS = (3178, -4471, 27435, -19133, 8123, 52314, -33871, 15721, 117907, -76003, 6131, -871)
POINTS = tuple(Fraction(numerator, 10007) for numerator in _NUMERATORS)
"""Values of the variables: of both signs, inside and outside of the unit interval."""

FAR_POINTS = tuple(map(Fraction, (37, -43, 461, -523, 7919, -6101)))
"""Tried as well where a function such as |x - 100| may have a corner far out."""

CORNERED = frozenset("abs max min floor ceil sgn sign root mod gcd lcm".split())

INTEGER_NAMES = frozenset("nkmj")
INTEGER_POINTS = tuple(map(Fraction, (3, 4, 7, 10, 5, 12)))
"""Values of n, k, m and j that are tried too: by custom these stand for integers."""

Decision = tuple[bool, str]
"""Whether two things are equal, and the rule that says so."""


def equal_scalars(a: Node, b: Node, budget: Budget) -> Decision:
    """Whether two expressions have the same value for all values of their variables.

    Raises:
        OutOfTime: if the budget is spent before that is known.
    """
    infinite = infinity(a), infinity(b)
    if any(infinite):
        return infinite[0] == infinite[1], "infinity"
    names = sorted(symbols(a) | symbols(b))
    try:
        if not names:
            decision = _exactly(a, b, budget)
            if decision is not None:
                return decision
        decision = _modulo(a, b, names, budget)
        if decision is not None:
            return decision
        return _at_points(a, b, names, budget), "digits"
    except Undefined:
        return False, "undefined"
    except OutOfBounds:
        return False, "bounds"


def infinity(node: Node) -> int:
    """1 for infinity, -1 for minus infinity, 0 for anything else."""
    if isinstance(node, Negative):
        return -infinity(node.operand)
    if isinstance(node, Sum) and len(node.terms) == 1:
        return infinity(node.terms[0])
    return int(node == Constant("inf"))


def exact_value(node: Node, budget: Budget) -> Fraction | None:
    """The rational number that an expression is; None if it is none, or that is not known."""
    try:
        return evaluate(node, Exact(budget))
    except (Undefined, Inexact, OutOfBounds):
        return None


def real_value(node: Node, budget: Budget) -> float | None:
    """The real number that an expression without variables is, as a float; None if it is none."""
    value = exact_value(node, budget)
    try:
        if value is not None:
            return float(value)
        field = Precise(budget, {}, DIGITS)
        found = evaluate(node, field)
        if abs(field.context.im(found)) > 1e-30 * (1 + abs(found)):
            return None
        return float(field.context.re(found))
    except (Undefined, Inexact, OutOfBounds, KeyError, OverflowError):
        return None


def _exactly(a: Node, b: Node, budget: Budget) -> Decision | None:
    """Compare as rational numbers, if both are some."""
    field, values, large = Exact(budget), [], 0
    for node in (a, b):
        try:
            values.append(evaluate(node, field))
        except Inexact:
            return None
        except OutOfBounds:
            large += 1
    if large == 1:
        return False, "bounds"
    return None if large else (values[0] == values[1], "rational")


def _modulo(a: Node, b: Node, names: list[str], budget: Budget) -> Decision | None:
    """Compare as rational functions, if both are some."""
    values = {name: _residue(i) for i, name in enumerate((" pi", " e", *names))}
    field = Modular(budget, values)
    try:
        return (evaluate(a, field) - evaluate(b, field)) % PRIME == 0, "rational function"
    except (Inexact, OutOfBounds):
        return None


@cache
def _residue(position: int) -> int:
    """The value of a variable modulo PRIME: fixed, and without structure."""
    return pow(3, 10**40 + 7919 * position, PRIME)


def _at_points(a: Node, b: Node, names: list[str], budget: Budget) -> bool:
    """Compare in DIGITS digits, at several points if there are variables."""
    if not names:
        return _agree_as_constants(a, b, budget)
    num_real, complex_verdicts = 0, []
    has_corners = any(
        isinstance(node, Call) and node.name in CORNERED for node in (*walk(a), *walk(b))
    )
    enough = 100 if has_corners else ENOUGH_POINTS
    for point in points(names, FAR_POINTS if has_corners else ()):
        field = Precise(budget, point, DIGITS)
        try:
            x, y = evaluate(a, field), evaluate(b, field)
        except (Undefined, OutOfBounds):
            continue
        agree = agreement(field.context, x, y)
        if _is_real(field.context, x) and _is_real(field.context, y):
            if not agree:
                return False
            num_real += 1
            if num_real == enough:
                return True
        else:
            complex_verdicts.append(agree)
    if num_real >= 2:
        return True
    if num_real + len(complex_verdicts) < 2:
        raise Undefined("no value at any point")
    return all(complex_verdicts)


def points(names: list[str], more: tuple[Fraction, ...] = ()) -> list[dict[str, Fraction]]:
    """The points at which expressions are compared: a value for each variable."""
    values = POINTS + more
    count = len(values)
    points = [
        {name: values[(trial + 5 * position) % count] for position, name in enumerate(names)}
        for trial in range(count)
    ]
    if INTEGER_NAMES.intersection(names):
        whole = len(INTEGER_POINTS)
        for trial in range(whole):
            point = dict(points[trial])
            for position, name in enumerate(names):
                if name in INTEGER_NAMES:
                    point[name] = INTEGER_POINTS[(trial + position) % whole]
            points.insert(2 * trial + 1, point)
    return points


def _agree_as_constants(a: Node, b: Node, budget: Budget) -> bool:
    """Compare two numbers: with more digits than either shows, and again if both are tiny."""
    shown = max(
        (len(n.digits) for node in (a, b) for n in walk(node) if isinstance(n, Number)), default=0
    )
    field = Precise(budget, {}, DIGITS + shown)
    x, y = evaluate(a, field), evaluate(b, field)
    if max(abs(x), abs(y)) > 1e-25:
        return agreement(field.context, x, y, AGREEING_DIGITS + shown)
    digits = 3 * DIGITS + shown
    field = Precise(budget, {}, digits)
    x, y = evaluate(a, field), evaluate(b, field)
    nothing = field.context.mpf(10) ** (30 - digits)
    if abs(x) < nothing or abs(y) < nothing:
        return bool(abs(x) < nothing and abs(y) < nothing)
    return agreement(field.context, x, y)


def agreement(context: Any, x: Any, y: Any, digits: int = AGREEING_DIGITS) -> bool:
    """Whether two values agree in so many digits."""
    scale = max(abs(x), abs(y))
    if scale < 1e-30:  # at a point, which is no special number: both are zero
        return True
    return bool(abs(x - y) <= scale * context.mpf(10) ** -digits)


def _is_real(context: Any, value: Any) -> bool:
    return bool(abs(context.im(value)) <= abs(value) * context.mpf(10) ** -40)
