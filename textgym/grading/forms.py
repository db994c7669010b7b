"""In which form an answer is written: a number with nothing left to compute, lowest terms, a sum.

`12+34` is equal to 46 and no answer to `12+34=`. A task that asks for a computation asks for its
form too. Every function is total: False for a text that is no such thing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import gcd

from textgym.grading.expressions.reading import read
from textgym.grading.expressions.relations import is_equation, value_of
from textgym.grading.expressions.tree import (
    Braces,
    Bracketed,
    Constant,
    Degrees,
    Listing,
    Mixed,
    Negative,
    Node,
    Number,
    Percent,
    Power,
    Product,
    Quantity,
    Quotient,
    Ratio,
    Relation,
    Sum,
    Symbol,
    symbols,
)


def is_number(text: str) -> bool:
    """Whether an answer is one or more literal numbers, with nothing left to compute.

    An integer, a decimal, a fraction or mixed number of integers, any of them negative, with a
    percent sign or a unit, behind `x =`, in a tuple, set or list.
    """
    return _all_items(_node(text), _is_literal)


def is_computed(text: str) -> bool:
    """Whether an answer is one or more numbers as results are written: literals, 2^{10}, 3 * 10^5.

    A calculation counts by what it ends in: `9 * 2 = 18` is computed, `9 * 2` is not.
    """
    return _all_items(_node(text), lambda node: _is_literal(node) or _is_power(node))


def is_lowest_terms(text: str) -> bool:
    """Whether an answer is one or more literal numbers, its fractions in lowest terms."""
    return _all_items(_node(text), lambda node: _is_literal(node) and _is_reduced(node))


def is_expanded(text: str) -> bool:
    """Whether an answer is a sum of monomials, no two of them alike: `x^2+3x-1`, not `(x+1)x`."""
    node = _value(_node(text))
    monomials = [_monomial(term) for term in (node.terms if isinstance(node, Sum) else (node,))]
    return None not in monomials and len(set(monomials)) == len(monomials)


def is_product(text: str, *, at_least: int = 2) -> bool:
    """Whether an answer is a product of so many factors with variables, powers counted."""
    node = _value(_node(text))
    if isinstance(node, Negative):
        node = node.operand
    return not isinstance(node, Sum) and _num_factors(node) >= at_least


def _node(text: str) -> Node:
    return read(text).node


def _value(node: Node) -> Node:
    if is_equation(node):
        return value_of(node)
    if isinstance(node, Relation) and set(node.operators) <= {"=", "≈", "∈"}:
        return node.sides[-1]
    return node


def _all_items(node: Node, holds: Callable[[Node], bool]) -> bool:
    node = _value(node)
    if isinstance(node, Listing | Braces | Bracketed | Ratio):
        return bool(node.items) and all(_all_items(item, holds) for item in node.items)
    return holds(node)


def _is_literal(node: Node) -> bool:
    if isinstance(node, Quantity | Percent | Degrees):
        return _is_literal(node.value if isinstance(node, Quantity) else node.operand)
    if isinstance(node, Negative):
        return not isinstance(node.operand, Negative) and _is_literal(node.operand)
    if isinstance(node, Quotient):
        over, under = node.numerator, node.denominator
        if isinstance(over, Negative):
            over = over.operand
        return all(isinstance(part, Number) and part.digits.isdigit() for part in (over, under))
    return isinstance(node, Number | Mixed)


def _is_power(node: Node) -> bool:
    """A power of literals, with at most a literal in front of it."""
    if isinstance(node, Quantity | Negative):
        return _is_power(node.value if isinstance(node, Quantity) else node.operand)
    if isinstance(node, Product) and len(node.factors) == 2:
        return _is_literal(node.factors[0]) and _is_power(node.factors[1])
    return isinstance(node, Power) and _is_literal(node.base) and _is_literal(node.exponent)


def _is_reduced(node: Node) -> bool:
    if isinstance(node, Quantity):
        return _is_reduced(node.value)
    if isinstance(node, Negative | Percent | Degrees):
        return _is_reduced(node.operand)
    if isinstance(node, Mixed):
        return _is_reduced(node.fraction)
    if isinstance(node, Quotient):
        over, under = node.numerator, node.denominator
        over = over.operand if isinstance(over, Negative) else over
        return under.value > 1 and gcd(int(over.value), int(under.value)) == 1
    return True


def _monomial(node: Node) -> tuple[tuple[str, int], ...] | None:
    """The variables and powers of a monomial; None for anything else."""
    powers: Counter[str] = Counter()
    stack, num_coefficients = [node], 0
    while stack:
        node = stack.pop()
        if isinstance(node, Negative):
            stack.append(node.operand)
        elif isinstance(node, Product):
            stack.extend(node.factors)
        elif isinstance(node, Quotient) and not symbols(node.denominator):
            stack.append(node.numerator)
            if not _is_literal(node.denominator):
                return None
        elif isinstance(node, Symbol):
            powers[node.name] += 1
        elif isinstance(node, Power) and isinstance(node.base, Symbol):
            if not isinstance(node.exponent, Number) or node.exponent.value.denominator != 1:
                return None
            powers[node.base.name] += int(node.exponent.value)
        elif isinstance(node, Number | Mixed | Constant):
            num_coefficients += not isinstance(node, Constant)
        else:
            return None
    return tuple(sorted(powers.items())) if num_coefficients <= 1 else None


def _num_factors(node: Node) -> int:
    """Factors with variables of a product, a power counted as often as its exponent says."""
    if isinstance(node, Product):
        return sum(_num_factors(factor) for factor in node.factors)
    if isinstance(node, Power) and isinstance(node.exponent, Number):
        exponent = node.exponent.value
        whole = exponent.denominator == 1 and 0 < exponent < 100
        return _num_factors(node.base) * int(exponent) if whole else 1
    return 1 if symbols(node) else 0
