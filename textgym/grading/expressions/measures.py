"""Whether two scalars are equal, and two percentages, angles and quantities with their units."""

from __future__ import annotations

from textgym.grading.expressions.fields import Budget
from textgym.grading.expressions.relations import Comparison, is_equation, value_of
from textgym.grading.expressions.rewriting import has_bare_logarithm, with_base_ten
from textgym.grading.expressions.scalars import Decision, equal_scalars, exact_value
from textgym.grading.expressions.tree import (
    Degrees,
    Listing,
    Node,
    Number,
    Percent,
    Power,
    Product,
    Quantity,
    Relation,
    Sum,
    Symbol,
)
from textgym.grading.expressions.units import DEGREE, PERCENT, Unit, contradict, read_unit

_UNIT_LETTERS = frozenset("msghLlJNWVA")


def compare_scalars(reference: Node, answer: Node, budget: Budget) -> Decision:
    """Two expressions; `log` without a base is natural or decimal, whichever agrees."""
    decision = equal_scalars(reference, answer, budget)
    if decision[0]:
        return decision
    if has_bare_logarithm(reference) or has_bare_logarithm(answer):
        decimal = equal_scalars(with_base_ten(reference), with_base_ten(answer), budget)
        if decimal[0]:
            return decimal
    return decision


def compare_percents(reference: Node, answer: Node, budget: Budget) -> Decision:
    """50 % is 1/2, and is met by 50; a bare 50, by 50 %: it is a count of percents."""
    decision = equal_scalars(reference, answer, budget)
    if decision[0]:
        return decision
    if isinstance(reference, Percent) and isinstance(answer, Percent):
        return False, "percent"
    if isinstance(reference, Percent):
        return equal_scalars(reference.operand, answer, budget)[0], "percent"
    whole = exact_value(reference, budget)
    if whole is not None and abs(whole) >= 1 and isinstance(answer, Percent):
        return equal_scalars(reference, answer.operand, budget)[0], "percent"
    return False, "percent"


def compare_degrees(reference: Node, answer: Node, budget: Budget) -> Decision:
    """90° is pi/2, and 90 where an angle is asked for."""
    if equal_scalars(reference, answer, budget)[0]:
        return True, "degrees"
    if isinstance(reference, Degrees) and isinstance(answer, Degrees):
        return False, "degrees"
    bare = [node.operand if isinstance(node, Degrees) else node for node in (reference, answer)]
    return equal_scalars(*bare, budget)[0], "degrees"


def compare_quantities(
    reference: Node, answer: Node, budget: Budget, compare: Comparison
) -> Decision:
    """Units have to agree where both are given; one that is not given goes without saying."""
    if isinstance(reference, Quantity) and isinstance(answer, Quantity):
        if contradict(reference.unit, answer.unit):
            return False, "unit"
    (x, unit), (y, other) = _measure(reference, answer), _measure(answer, reference)
    if unit is None or other is None or unit == other:
        return compare(x, y, budget)[0], "quantity"
    if unit.dimensions != other.dimensions:
        return False, "unit"
    sizes = [Number(unit.size), Number(other.size)]
    scaled = [Product((node, size)) for node, size in zip((x, y), sizes, strict=True)]
    return equal_scalars(*scaled, budget)[0], "conversion"


def _measure(node: Node, other: Node) -> tuple[Node, Unit | None]:
    """A quantity's number and unit; `5 m` has one only where the other side is a quantity too."""
    if isinstance(node, Quantity):
        return node.value, read_unit(node.unit)
    if isinstance(node, Percent | Degrees) and isinstance(other, Quantity):
        if not isinstance(other.value, Percent | Degrees):
            return node.operand, PERCENT if isinstance(node, Percent) else DEGREE
    if isinstance(node, Relation) and is_equation(node):
        return _measure(value_of(node), other)
    if isinstance(node, Product) and isinstance(other, Quantity) and len(node.factors) == 2:
        number, letter = node.factors
        power = ""
        if isinstance(letter, Power) and isinstance(letter.exponent, Number):
            letter, power = letter.base, f" ^ {letter.exponent.digits}"
        if isinstance(letter, Symbol) and letter.name in _UNIT_LETTERS:
            return number, read_unit(letter.name + power)
    return node, None


def is_area(node: Product) -> bool:
    """Whether a product is a number of square or cubic metres, `300 m^2`."""
    number, *others = node.factors
    if not isinstance(number, Number) or len(others) != 1 or not isinstance(others[0], Power):
        return False
    power = others[0]
    return power.base == Symbol("m") and getattr(power.exponent, "digits", "") in ("2", "3")


def total_of(listing: Listing) -> Quantity | None:
    """The one quantity of `5 feet 6 inches` or `2 hours and 30 minutes`; None for other lists."""
    items = listing.items
    if not all(isinstance(item, Quantity) for item in items):
        return None
    units = [read_unit(item.unit) for item in items]
    sizes = [unit.size for unit in units]
    if len({unit.dimensions for unit in units}) > 1 or not units[0].dimensions:
        return None
    if sorted(set(sizes), reverse=True) != sizes:  # 5 cm and 6 cm are two answers
        return None
    terms = [
        Product((item.value, Number(size / sizes[0])))
        for item, size in zip(items, sizes, strict=True)
    ]
    return Quantity(Sum(tuple(terms)), items[0].unit)
