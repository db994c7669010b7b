"""Whether two answers of any shape are equal: numbers, quantities, equations, sets, tuples, texts.

`compare(reference, answer)` is not symmetric: a reference `5 cm` is met by `5`, which shows the
number alone; a reference `x = 3` is not met by `2x = 6`, which has yet to be solved.
"""

from __future__ import annotations

from textgym.grading.expressions.fields import Budget
from textgym.grading.expressions.measures import (
    compare_degrees,
    compare_percents,
    compare_quantities,
    compare_scalars,
    is_area,
    total_of,
)
from textgym.grading.expressions.relations import (
    compare_relations,
    conditions,
    definitions,
    is_equation,
    is_relation,
    value_of,
)
from textgym.grading.expressions.rewriting import scaled_matrix
from textgym.grading.expressions.scalars import Decision, equal_scalars
from textgym.grading.expressions.sets import real_set, same_sets
from textgym.grading.expressions.tree import (
    Based,
    Braces,
    Bracketed,
    Call,
    Degrees,
    Listing,
    Matrix,
    NamedSet,
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
    SetOperation,
    Sum,
    Symbol,
    Text,
)
from textgym.grading.expressions.units import DEGREE, PERCENT, read_unit

MAX_ITEMS = 60
_EMPTY = frozenset(
    (
        *("no solution", "no solutions", "no real solution", "no real solutions", "no real roots"),
        *("none", "empty set", "the empty set", "null set"),
    )
)
_UNDEFINED = frozenset(("undefined", "does not exist", "dne", "not defined"))
_ALL_REALS = frozenset(("all real numbers", "all reals", "real numbers", "the real numbers"))


def compare(reference: Node, answer: Node, budget: Budget) -> Decision:
    """Whether an answer is equal to the reference, and by which rule.

    Raises:
        OutOfTime: if the budget is spent before that is known.
    """
    budget.spend()
    if reference == answer:
        return True, "same"
    reference, answer = _plain(reference, answer), _plain(answer, reference)
    if isinstance(reference, Text) or isinstance(answer, Text):
        return _compare_texts(reference, answer)
    for shapes, rule in _RULES:
        if isinstance(reference, shapes) or isinstance(answer, shapes):
            return rule(reference, answer, budget)
    return compare_scalars(reference, answer, budget)


def _plain(node: Node, other: Node) -> Node:
    """An answer with percent and degrees as such, named sets as sets, points without names."""
    if isinstance(node, Quantity):
        unit = read_unit(node.unit)
        if unit in (PERCENT, DEGREE):
            return (Percent if unit == PERCENT else Degrees)(node.value)
    if isinstance(node, Product) and len(node.factors) == 2:
        name, point = node.factors  # P(2, 3) is the point (2, 3), C(10, 3) perhaps a count
        if isinstance(name, Symbol) and name.name.isupper() and isinstance(point, Bracketed):
            is_count = name.name == "C" and len(point.items) == 2 and _is_scalar(other)
            return Call("binomial", point.items) if is_count else point
    if (
        isinstance(node, Relation)
        and node.operators == ("∈",)
        and isinstance(node.sides[1], Braces)
    ):
        return node.sides[1]
    if isinstance(node, Product) and isinstance(other, Number) and is_area(node):
        return Quantity(node.factors[0], "m ^ " + node.factors[1].exponent.digits)
    if isinstance(node, Listing):
        return total_of(node) or node
    if isinstance(node, Product | Quotient | Negative) and isinstance(other, Matrix | Bracketed):
        return scaled_matrix(node) or node
    if isinstance(node, Text):
        words = node.words
        if words in _EMPTY:
            return Braces(())
        if words in _ALL_REALS:
            return NamedSet("R")
        return Text("undefined") if words in _UNDEFINED else node
    return node


def _is_scalar(node: Node) -> bool:
    return isinstance(node, Number | Call | Quotient | Power | Sum)


def _compare_texts(reference: Node, answer: Node) -> Decision:
    if isinstance(reference, Text) and isinstance(answer, Text):
        given, words = answer.words, reference.words
        if given == words:
            return True, "text"
        if words in ("yes", "no", "true", "false"):
            first, _, rest = given.partition(" ")
            opposite = {"yes": "no", "no": "yes", "true": "false", "false": "true"}[words]
            return first == words and opposite not in rest.split(), "text"
    return False, "text"


# --------------------------------------------------------------------- several


def _compare_sets(reference: Node, answer: Node, budget: Budget) -> Decision:
    """Sets of real numbers by their ends, finite sets by their elements."""
    if isinstance(reference, Relation) and reference.operators == ("∈",):
        reference = _plain(reference.sides[1], answer)
    if isinstance(answer, Relation) and answer.operators == ("∈",):
        answer = _plain(answer.sides[1], reference)
    if reference == answer:
        return True, "set"
    sets = real_set(reference, budget), real_set(answer, budget)
    if None not in sets:
        return same_sets(*sets, budget), "set"
    return False, "set"


def _compare_braces(reference: Node, answer: Node, budget: Budget) -> Decision:
    items = []
    for node in (reference, answer):
        if isinstance(node, Braces):
            items.append(node.items)
        elif isinstance(node, Listing) and not node.spaced:
            items.append(conditions(node))
        elif isinstance(node, Bracketed | SetOperation | NamedSet) or is_relation(node, "∈<>!"):
            return _compare_sets(reference, answer, budget)
        else:
            items.append((value_of(node) if is_equation(node) else node,))
    expected = _distinct(items[0], MAX_ITEMS, budget)
    given = _distinct(items[1], len(expected), budget)
    return _match(expected, given, budget), "set"


def _distinct(items: tuple[Node, ...], limit: int, budget: Budget) -> list[Node]:
    """Items of which no two are equal; no more are looked for once there are too many."""
    found: list[Node] = []
    for item in items:
        if not any(compare(item, other, budget)[0] for other in found):
            found.append(item)
            if len(found) > limit:
                break
    return found


def _match(first: list[Node], second: list[Node], budget: Budget) -> bool:
    """Whether each of the first has one of the second for itself."""
    if len(first) != len(second) or len(first) > MAX_ITEMS:
        return False
    left = list(second)
    for item in first:
        for position, other in enumerate(left):
            if compare(item, other, budget)[0]:
                del left[position]
                break
        else:
            return False
    return True


def _in_order(first: tuple[Node, ...], second: tuple[Node, ...], budget: Budget) -> bool:
    if len(first) != len(second) or len(first) > MAX_ITEMS:
        return False
    return all(compare(*pair, budget)[0] for pair in zip(first, second, strict=True))


def _compare_listings(reference: Node, answer: Node, budget: Budget) -> Decision:
    """Several answers, in any order, unless their names or brackets give them one."""
    sets = real_set(reference, budget), real_set(answer, budget)
    if None not in sets:
        return same_sets(*sets, budget), "set"
    named, others = definitions(reference), definitions(answer)
    if named and others:
        same_names = named.keys() == others.keys()
        return same_names and all(
            compare(named[name], others[name], budget)[0] for name in named
        ), "named values"
    if named or others:  # x = 1, y = 2 and (1, 2)
        values = [
            tuple(found[name] for name in sorted(found)) if found else _items(node)
            for found, node in ((named, reference), (others, answer))
        ]
        return _in_order(*values, budget), "named values"
    if isinstance(answer, Bracketed) and answer.left in "(⟨" or isinstance(reference, Bracketed):
        return _in_order(_items(reference), _items(answer), budget), "tuple"
    return _match([*_items(reference)], [*_items(answer)], budget), "list"


def _items(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Listing):
        return conditions(node)
    if isinstance(node, Bracketed):
        return node.items
    return (node,)


def _compare_brackets(reference: Node, answer: Node, budget: Budget) -> Decision:
    """Tuples and vectors in order; intervals with their brackets."""
    pair = [value_of(n) if is_equation(n) else n for n in (reference, answer)]
    if any(isinstance(node, Matrix) for node in pair):
        return _compare_matrices(*pair, budget)
    if not all(isinstance(node, Bracketed) for node in pair):
        return _compare_sets(*pair, budget)
    first, second = pair
    if len(first.items) == 2 and not _same_brackets(first, second):
        return False, "interval"
    return _in_order(first.items, second.items, budget), "tuple"


def _same_brackets(first: Bracketed, second: Bracketed) -> bool:
    pairs = [
        (node.left.replace("⟨", "("), node.right.replace("⟩", ")")) for node in (first, second)
    ]
    return pairs[0] == pairs[1]


def _compare_matrices(reference: Node, answer: Node, budget: Budget) -> Decision:
    rows = []
    for node in (reference, answer):
        node = value_of(node) if is_equation(node) else node
        if isinstance(node, Matrix):
            rows.append(node.rows)
        elif isinstance(node, Bracketed):  # (1, 2) is a row or a column with these entries
            rows.append(None)
            entries = node.items
        else:
            return False, "matrix"
    if None in rows:
        (matrix,) = [found for found in rows if found is not None]
        if len(matrix) != 1 and len(matrix[0]) != 1:
            return False, "matrix"
        return _in_order(tuple(entry for row in matrix for entry in row), entries, budget), "matrix"
    if len(rows[0]) != len(rows[1]):
        return False, "matrix"
    return all(_in_order(*pair, budget) for pair in zip(*rows, strict=True)), "matrix"


def _compare_ratios(reference: Node, answer: Node, budget: Budget) -> Decision:
    """Proportional numbers; a time of day by its digits."""
    items = []
    for node in (reference, answer):
        if isinstance(node, Ratio):
            items.append(node.items)
        elif isinstance(node, Quotient):
            items.append((node.numerator, node.denominator))
        else:
            return False, "ratio"
    first, second = items
    if len(first) != len(second):
        return False, "ratio"
    if _is_time(reference):
        return first == second, "time"
    return all(
        equal_scalars(Product((a, second[0])), Product((b, first[0])), budget)[0]
        for a, b in zip(first, second, strict=True)
    ), "ratio"


def _is_time(node: Node) -> bool:
    """Whether a ratio is a time of day: two digits for the minutes, and not in lowest terms."""
    if not isinstance(node, Ratio) or not all(isinstance(item, Number) for item in node.items):
        return False
    hour, minute, *_ = node.items
    if len(minute.digits) != 2 or not minute.digits.isdigit() or hour.value > 24:
        return False
    quotient = hour.value / minute.value if minute.value else hour.value
    return minute.digits[0] == "0" or quotient.denominator != minute.value


def _compare_based(reference: Node, answer: Node, budget: Budget) -> Decision:
    return False, "base"  # equal ones are the same node


_RULES = (
    ((Based,), _compare_based),
    ((Ratio,), _compare_ratios),
    ((Braces,), _compare_braces),
    ((Listing,), _compare_listings),
    ((SetOperation, NamedSet), _compare_sets),
    ((Bracketed,), _compare_brackets),
    ((Matrix,), _compare_matrices),
    ((Quantity,), lambda a, b, budget: compare_quantities(a, b, budget, compare)),
    ((Relation,), lambda a, b, budget: compare_relations(a, b, budget, compare)),
    ((Percent,), compare_percents),
    ((Degrees,), compare_degrees),
)
"""The first row with a shape that either answer has decides."""
