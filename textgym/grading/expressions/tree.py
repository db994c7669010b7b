"""The nodes of an answer's tree, and the one exception for what is outside the bounds.

Scalars stand for a number or a function of some variables; structures hold scalars. Nodes are
plain data: `parser` makes them, `fields` evaluates scalars, `compare` compares anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction


class OutOfBounds(ValueError):
    """A text or value that is longer, deeper or larger than any answer has to be."""


class Node:
    """Any node."""

    __slots__ = ()


# --------------------------------------------------------------------- scalars


@dataclass(slots=True, frozen=True)
class Number(Node):
    r"""A literal: `7`, `0.25`, `0.\overline{3}`; `digits` as written, so 0.50 has a form."""

    value: Fraction
    digits: str = ""


@dataclass(slots=True, frozen=True)
class Symbol(Node):
    """A variable: one letter, a Greek name, with its subscript and primes: `x`, `theta`, `a_1`."""

    name: str


@dataclass(slots=True, frozen=True)
class Constant(Node):
    """`pi`, `e`, `i` or `inf`."""

    name: str


@dataclass(slots=True, frozen=True)
class Sum(Node):
    """terms[0] + terms[1] + ..."""

    terms: tuple[Node, ...]


@dataclass(slots=True, frozen=True)
class Negative(Node):
    """-operand."""

    operand: Node


@dataclass(slots=True, frozen=True)
class Product(Node):
    """factors[0] * factors[1] * ..."""

    factors: tuple[Node, ...]


@dataclass(slots=True, frozen=True)
class Quotient(Node):
    """numerator / denominator."""

    numerator: Node
    denominator: Node


@dataclass(slots=True, frozen=True)
class Mixed(Node):
    """A mixed number: whole + fraction, written side by side."""

    whole: Number
    fraction: Quotient


@dataclass(slots=True, frozen=True)
class Power(Node):
    """base ^ exponent."""

    base: Node
    exponent: Node


@dataclass(slots=True, frozen=True)
class Call(Node):
    """A known function of arguments: `sin`, `root` (degree, radicand), `log` (base, x), ..."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(slots=True, frozen=True)
class PlusMinus(Node):
    """left ± right, or left ∓ right where `flipped`."""

    left: Node | None
    right: Node
    flipped: bool = False


@dataclass(slots=True, frozen=True)
class Percent(Node):
    """operand %."""

    operand: Node


@dataclass(slots=True, frozen=True)
class Degrees(Node):
    """operand °: an angle."""

    operand: Node


# ------------------------------------------------------------------ structures


@dataclass(slots=True, frozen=True)
class Quantity(Node):
    """A number with words behind it: `5 cm`, `10,000 people`, `$3.50`."""

    value: Node
    unit: str


@dataclass(slots=True, frozen=True)
class Based(Node):
    """Digits in a base other than ten: `204_5`."""

    digits: str
    base: str


@dataclass(slots=True, frozen=True)
class Ratio(Node):
    """a : b : c."""

    items: tuple[Node, ...]


@dataclass(slots=True, frozen=True)
class Listing(Node):
    """Several answers side by side, in no order: `1, 2`, `x=1 or x=2`, `1 2`."""

    items: tuple[Node, ...]
    spaced: bool = False  # side by side with nothing but blanks between them


@dataclass(slots=True, frozen=True)
class Bracketed(Node):
    """Items between two brackets: `(1,2)`, `[0,1)`, `<1,2>`. A tuple, an interval or a vector."""

    left: str
    items: tuple[Node, ...]
    right: str


@dataclass(slots=True, frozen=True)
class Braces(Node):
    r"""A set: `\{1, 2\}`, `\emptyset`."""

    items: tuple[Node, ...]


@dataclass(slots=True, frozen=True)
class NamedSet(Node):
    """One of the number sets: `R`, `Z`, `N`, `Q`, `C`."""

    name: str


@dataclass(slots=True, frozen=True)
class SetOperation(Node):
    """left ∪ right, left ∩ right, left ∖ right."""

    operator: str
    left: Node
    right: Node


@dataclass(slots=True, frozen=True)
class Relation(Node):
    """A chain such as `0 <= x < 1` or `a = b = c`: one operator fewer than sides."""

    sides: tuple[Node, ...]
    operators: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Matrix(Node):
    """Rows of entries."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(slots=True, frozen=True)
class Text(Node):
    """Words: `Evelyn`, `(C)`, `no solution`; lower case and without punctuation."""

    words: str


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below a node."""
    for name in type(node).__slots__:
        value = getattr(node, name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            for item in value:
                if isinstance(item, Node):
                    yield item
                elif isinstance(item, tuple):
                    yield from item


def walk(node: Node) -> Iterator[Node]:
    """A node and everything below it."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(children(node))


def symbols(node: Node) -> frozenset[str]:
    """The names of the variables in a tree."""
    return frozenset(child.name for child in walk(node) if isinstance(child, Symbol))


def rebuilt(node: Node, change: Callable[[Node], Node]) -> Node:
    """A copy of a node with each child changed."""
    values = []
    for name in type(node).__slots__:
        value = getattr(node, name)
        if isinstance(value, tuple):
            value = tuple(change(item) if isinstance(item, Node) else item for item in value)
        values.append(change(value) if isinstance(value, Node) else value)
    return type(node)(*values)
