"""Arithmetic functions of two whole numbers: the levels expression, function and examples.

Each generator reads its choices off an integer as the digits of a mixed-radix number, so a uniform
integer gives a uniform choice, and counting upwards meets every exercise there is.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

from textgym.tasks.code.exercise import Arguments, Exercise, Signature


def _draw(rng: random.Random) -> Arguments:
    reach = rng.choice((3, 9, 9, 40))
    return rng.randint(-reach, reach), rng.randint(-reach, reach)


INTEGERS = Signature("a, b", _draw)

ONE_LINE = "def f(a, b): return "
"""The header of a function whose body is one expression."""


class Term(NamedTuple):
    """An expression in words, as code, and as a function."""

    words: str
    code: str
    function: Callable[[int, int], int | bool]


VARIABLES = [
    Term("a", "a", lambda a, b: a),
    Term("b", "b", lambda a, b: b),
    Term("twice a", "2*a", lambda a, b: 2 * a),
    Term("twice b", "2*b", lambda a, b: 2 * b),
    Term("a squared", "a*a", lambda a, b: a * a),
    Term("b squared", "b*b", lambda a, b: b * b),
]
ATOMS = [*VARIABLES, *(Term(str(k), str(k), lambda a, b, k=k: k) for k in range(2, 10))]
OPERATORS = ("plus", "minus", "times")
SIGNS = dict(zip(OPERATORS, "+-*", strict=True))


def _join(left: Term, operator: str, right: Term) -> Callable[[int, int], int]:
    x, y = left.function, right.function
    if operator == "plus":
        return lambda a, b: x(a, b) + y(a, b)
    if operator == "minus":
        return lambda a, b: x(a, b) - y(a, b)
    return lambda a, b: x(a, b) * y(a, b)


def _binary(left: Term, operator: str, right: Term) -> Term:
    """Two products or atoms joined: what stands on either side never needs brackets."""
    words = f"{left.words} {operator} {right.words}"
    code = left.code + SIGNS[operator] + right.code
    return Term(words, code, _join(left, operator, right))


def _ternary(x: Term, first: str, y: Term, second: str, z: Term) -> Term:
    """Three atoms with the precedence that Python and school know."""
    if second == "times" and first != "times":
        right = _binary(y, second, z)
        return _binary(x, first, right)
    return _binary(_binary(x, first, y), second, z)


def _bracketed(x: Term, operator: str, y: Term, z: Term) -> Term:
    """The comma says that all before it is multiplied: "a plus b, times 3" is (a+b)*3."""
    inner = _binary(x, operator, y)
    function = _join(inner, "times", z)
    return Term(f"{inner.words}, times {z.words}", f"({inner.code})*{z.code}", function)


NUM_EXPRESSIONS = 5 * 3**2 * len(ATOMS) * len(VARIABLES) ** 2 * 3


def expression(n: int) -> Exercise:
    """Two or three terms: "twice a minus b, times 7" is (2*a-b)*7."""
    n, form = divmod(n, 5)
    n, first = divmod(n, 3)
    n, second = divmod(n, 3)
    n, place = divmod(n, 3)
    n, x = divmod(n, len(VARIABLES))
    n, y = divmod(n, len(VARIABLES))
    # At most one number: two of them would often be one number, written as a sum or product.
    terms = [VARIABLES[x], VARIABLES[y]]
    terms.insert(place, ATOMS[n % len(ATOMS)])
    x, y, z = terms
    if form == 0:
        term = _binary(x, OPERATORS[first], y)
        near = (x, y)
    elif form < 4:
        term = _ternary(x, OPERATORS[first], y, OPERATORS[second], z)
        near = (_binary(x, OPERATORS[first], y), z)
    else:
        term = _bracketed(x, OPERATORS[first % 2], y, z)
        near = (_binary(x, OPERATORS[first % 2], y), z)
    wrong = tuple(other.function for other in near)
    return Exercise(
        INTEGERS, term.words, ONE_LINE, term.code, term.function, near=wrong, examples=()
    )


# ------------------------------------------------------------------ function: cases by condition

CONDITIONS = [
    Term("a is even", "a % 2 == 0", lambda a, b: a % 2 == 0),
    Term("b is odd", "b % 2 == 1", lambda a, b: b % 2 == 1),
    Term("a is negative", "a < 0", lambda a, b: a < 0),
    Term("b is positive", "b > 0", lambda a, b: b > 0),
    Term("a is greater than b", "a > b", lambda a, b: a > b),
    Term("a is less than b", "a < b", lambda a, b: a < b),
    Term("both are positive", "a > 0 and b > 0", lambda a, b: a > 0 and b > 0),
    Term("either is negative", "a < 0 or b < 0", lambda a, b: a < 0 or b < 0),
    Term("their sum is even", "(a + b) % 2 == 0", lambda a, b: (a + b) % 2 == 0),
    *(
        Term(f"a is a multiple of {k}", f"a % {k} == 0", lambda a, b, k=k: a % k == 0)
        for k in (3, 4, 5)
    ),
    *(Term(f"b is greater than {k}", f"b > {k}", lambda a, b, k=k: b > k) for k in (1, 2, 3, 4)),
    *(Term(f"a is at most {k}", f"a <= {k}", lambda a, b, k=k: a <= k) for k in (-2, -1, 1, 2)),
]

VALUES = [
    Term("a", "a", lambda a, b: a),
    Term("b", "b", lambda a, b: b),
    Term("their sum", "a + b", lambda a, b: a + b),
    Term("their product", "a * b", lambda a, b: a * b),
    Term("a minus b", "a - b", lambda a, b: a - b),
    Term("b minus a", "b - a", lambda a, b: b - a),
    Term("the larger of them", "max(a, b)", lambda a, b: max(a, b)),
    Term("the smaller of them", "min(a, b)", lambda a, b: min(a, b)),
    Term("their distance", "abs(a - b)", lambda a, b: abs(a - b)),
    Term("the absolute value of a", "abs(a)", lambda a, b: abs(a)),
    Term("a squared", "a * a", lambda a, b: a * a),
    Term("b squared", "b * b", lambda a, b: b * b),
    *(Term(f"a plus {k}", f"a + {k}", lambda a, b, k=k: a + k) for k in (1, 2, 3, 5, 10)),
    *(Term(f"{k} times b", f"{k} * b", lambda a, b, k=k: k * b) for k in (2, 3, 4, 5)),
    *(Term(f"the remainder of a by {k}", f"a % {k}", lambda a, b, k=k: a % k) for k in (3, 7, 10)),
]

_NC, _NV = len(CONDITIONS), len(VALUES)
NUM_FUNCTIONS = 2 * _NC**2 * _NV**3


def function(n: int) -> Exercise:
    """Two or three cases by condition: "if a is even, their sum; otherwise b squared"."""
    n, three = divmod(n, 2)
    n, x = divmod(n, _NV)
    n, y = divmod(n, _NV)
    n, z = divmod(n, _NV)
    n, first = divmod(n, _NC)
    values = [VALUES[x], VALUES[y], VALUES[z]][: 2 + three]
    return by_cases([CONDITIONS[first], CONDITIONS[n % _NC]][: 1 + three], values)


def by_cases(conditions: list[Term], values: list[Term]) -> Exercise:
    """The function with values[i] where conditions[i] is the first to hold, else the last one."""
    words = f"if {conditions[0].words}, return {values[0].words}"
    lines = [f"    if {conditions[0].code}:", f"        return {values[0].code}"]
    for condition, value in zip(conditions[1:], values[1:], strict=False):
        words += f"; otherwise, if {condition.words}, {value.words}"
        lines += [f"    if {condition.code}:", f"        return {value.code}"]
    words += f"; otherwise {values[-1].words}"
    lines.append(f"    return {values[-1].code}")
    # Near-misses: a case forgotten. The last one is the function without its last condition.
    near = [value.function for value in values]
    if len(conditions) == 2:
        near += [_branch(conditions[:1], values[::2]), _branch(conditions[:1], values[:2])]
        near.append(_branch(conditions[1:], values[1:]))
    return Exercise(
        INTEGERS,
        words,
        INTEGERS.header,
        "\n".join(lines),
        _branch(conditions, values),
        near=tuple(near),
    )


def _branch(conditions: list[Term], values: list[Term]) -> Callable[[int, int], int]:
    cases = [(c.function, v.function) for c, v in zip(conditions, values, strict=False)]
    otherwise = values[-1].function

    def function(a: int, b: int) -> int:
        for condition, value in cases:
            if condition(a, b):
                return value(a, b)
        return otherwise(a, b)

    return function


# ------------------------------------------------------------------ examples: quadratics

MONOMIALS = [
    Term("", "a", lambda a, b: a),
    Term("", "b", lambda a, b: b),
    Term("", "a*b", lambda a, b: a * b),
    Term("", "a*a", lambda a, b: a * a),
    Term("", "b*b", lambda a, b: b * b),
]
COEFFICIENTS = (1, -1, 2, -2, 3, -3)
CONSTANTS = range(-9, 10)
CHOSEN = [
    *((term,) for term in MONOMIALS),
    *combinations(MONOMIALS, 2),
]
CORNER = ((0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2))
"""Six points on which only one quadratic in a and b takes given values; shifted, they still are."""

NUM_EXAMPLES = len(CHOSEN) * len(COEFFICIENTS) ** 2 * len(CONSTANTS) * 49


def examples(n: int) -> Exercise:
    """A quadratic of one or two monomials and a constant, by six values that determine it."""
    n, terms = divmod(n, len(CHOSEN))
    n, first = divmod(n, len(COEFFICIENTS))
    n, second = divmod(n, len(COEFFICIENTS))
    n, constant = divmod(n, len(CONSTANTS))
    n, p = divmod(n, 7)
    weights = [COEFFICIENTS[first], COEFFICIENTS[second]]
    parts = list(zip(weights, CHOSEN[terms], strict=False))
    value = _quadratic(parts, CONSTANTS[constant])
    return Exercise(
        INTEGERS,
        "",  # its examples say all
        ONE_LINE,
        _polynomial(parts, CONSTANTS[constant]),
        value,
        near=(_quadratic(parts, CONSTANTS[constant] + 1),),
        examples=tuple(_shifted(p - 3, n % 7 - 3)),
    )


def _shifted(p: int, q: int) -> list[tuple[int, int]]:
    points = [(p + x, q + y) for x, y in CORNER]
    random.Random(100 * p + q).shuffle(points)
    return points


def _quadratic(parts: list[tuple[int, Term]], constant: int) -> Callable[[int, int], int]:
    terms = [(weight, term.function) for weight, term in parts]
    return lambda a, b: sum(weight * term(a, b) for weight, term in terms) + constant


def _polynomial(parts: list[tuple[int, Term]], constant: int) -> str:
    """Its shortest code: no coefficient of one, and no sign in front where that can be avoided."""
    texts = []
    for weight, term in sorted(parts, key=lambda part: part[0] < 0):
        factor = "" if abs(weight) == 1 else f"{abs(weight)}*"
        texts.append(("-" if weight < 0 else "+") + factor + term.code)
    if constant:
        text = f"{constant:+}"
        # A sum that would begin with a minus begins with its positive constant instead.
        texts.insert(0 if constant > 0 and texts[0].startswith("-") else len(texts), text)
    return "".join(texts).removeprefix("+")
