"""The value of a scalar tree: an exact rational, a residue, or a complex number in fifty digits.

Every operation is bounded in size before it is carried out, and a budget of time is asked at each.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from textgym.grading.expressions.tree import (
    Call,
    Constant,
    Degrees,
    Matrix,
    Mixed,
    Negative,
    Node,
    Number,
    OutOfBounds,
    Percent,
    Power,
    Product,
    Quotient,
    Sum,
    Symbol,
)

MAX_BITS = 40_000
"""Size of an exact number."""

MAX_FACTORIAL = 2_000
MAX_LOG2 = 100_000
"""Largest |log2| of a number in digits."""

MAX_ANGLE = 1e12
"""Largest argument of a trigonometric function: more would need more digits than are carried."""

PRIME = 2**127 - 1
MAX_MATRIX = 4


class Undefined(ArithmeticError):
    """There is no such value: a division by zero, the logarithm of zero, a text."""


class Inexact(ArithmeticError):
    """This field does not hold the value; another may."""


class OutOfTime(TimeoutError):
    """The budget of time is spent."""


class Budget:
    """A deadline: `spend` raises once it has passed."""

    __slots__ = ("deadline",)

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def spend(self) -> None:
        """Raise OutOfTime after the deadline."""
        if time.monotonic() > self.deadline:
            raise OutOfTime("the deadline of this verdict has passed")


class Exact:
    """Rational numbers. Whatever may be irrational is Inexact, variables too."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def number(self, value: Fraction) -> Fraction:
        """A literal."""
        return value

    def symbol(self, name: str) -> Fraction:
        """Variables have no value here."""
        raise Inexact

    constant = symbol

    def checked(self, value: Fraction) -> Fraction:
        """A value that is not too large to go on with."""
        self.budget.spend()
        if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
            raise OutOfBounds(f"a number of more than {MAX_BITS} bits")
        return value

    def divide(self, a: Fraction, b: Fraction) -> Fraction:
        """The quotient a / b."""
        if not b:
            raise Undefined("a division by zero")
        return self.checked(a / b)

    def power(self, base: Fraction, exponent: Node) -> Fraction:
        """A rational base to a rational exponent, where the result is rational."""
        power = evaluate(exponent, self)
        if power.denominator != 1:
            return self.power_of(self.root(power.denominator, base), power.numerator)
        return self.power_of(base, power.numerator)

    def power_of(self, base: Fraction, exponent: int) -> Fraction:
        """A rational base to an integer exponent."""
        if base in (0, 1, -1):
            if not base and exponent < 0:
                raise Undefined("a division by zero")
            return base if exponent % 2 else base * base if exponent else Fraction(1)
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(exponent) * bits > MAX_BITS:
            raise OutOfBounds(f"a power of more than {MAX_BITS} bits")
        return base**exponent

    def root(self, degree: Any, value: Fraction) -> Fraction:
        """An exact root."""
        if degree != int(degree) or not 0 < degree <= 64 or value < 0:
            raise Inexact
        parts = (value.numerator, value.denominator)
        roots = [_integer_root(part, int(degree)) for part in parts]
        return Fraction(*roots)

    def call(self, name: str, arguments: list[Fraction]) -> Fraction:
        """The functions that keep rationals rational."""
        self.budget.spend()
        function = _EXACT_FUNCTIONS.get(name)
        if function is None:
            raise Inexact
        return function(*arguments)


class Modular:
    """Integers modulo a prime of 127 bits, with a fixed value for each variable.

    Two rational functions that agree at a random point are the same but for a chance of their
    degree in 2**127 (Schwartz 1980).
    """

    def __init__(self, budget: Budget, values: Mapping[str, int]) -> None:
        self.budget, self.values = budget, values
        self.exact = Exact(budget)

    def number(self, value: Fraction) -> int:
        """A literal."""
        return self.divide(value.numerator, value.denominator)

    def symbol(self, name: str) -> int:
        """A variable."""
        return self.values[name]

    def constant(self, name: str) -> int:
        """Pi and e are transcendental: they count as variables; i does not."""
        if name in ("pi", "e"):
            return self.values[f" {name}"]
        raise Inexact

    def checked(self, value: int) -> int:
        """A value as its residue."""
        self.budget.spend()
        return value % PRIME

    def divide(self, a: int, b: int) -> int:
        """The quotient a / b."""
        if b == 1:
            return a
        if not b % PRIME:
            raise Undefined("a division by zero")
        return self.checked(a * pow(b, -1, PRIME))

    def power(self, base: int, exponent: Node) -> int:
        """A base to an integer exponent that is a constant."""
        power = evaluate(exponent, self.exact)
        if power.denominator != 1:
            raise Inexact
        if not base % PRIME and power < 0:
            raise Undefined("a division by zero")
        return pow(base, power.numerator, PRIME)

    def call(self, name: str, arguments: list[int]) -> int:
        """Functions are not for this field."""
        raise Inexact


class Precise:
    """Complex numbers of so many digits (mpmath), with a value for each variable."""

    def __init__(self, budget: Budget, values: Mapping[str, Any], digits: int) -> None:
        self.budget, self.values = budget, values
        self.context = _context()
        self.context.dps = digits

    def number(self, value: Fraction) -> Any:
        """A literal."""
        return self.context.mpf(value.numerator) / value.denominator

    def symbol(self, name: str) -> Any:
        """A variable."""
        value = self.values[name]
        return self.context.mpf(value.numerator) / value.denominator

    def constant(self, name: str) -> Any:
        """pi, e and i."""
        if name == "inf":
            raise Undefined("infinity is no number")
        return {"pi": +self.context.pi, "e": +self.context.e, "i": self.context.mpc(0, 1)}[name]

    def checked(self, value: Any) -> Any:
        """A value that is a number and not too large."""
        self.budget.spend()
        if not self.context.isfinite(value):
            raise Undefined("no finite number")
        if value and abs(self.context.mag(value)) > MAX_LOG2:
            raise OutOfBounds(f"a number beyond 2^{MAX_LOG2}")
        return value

    def divide(self, a: Any, b: Any) -> Any:
        """The quotient a / b."""
        if not b:
            raise Undefined("a division by zero")
        return self.checked(a / b)

    def power(self, base: Any, exponent: Node) -> Any:
        """The principal value; the real root of a negative number for exponents 1/3, 1/5, ..."""
        power = evaluate(exponent, self)
        if not base:
            if not self.context.re(power) > 0 and power:
                raise Undefined("a division by zero")
            return self.context.mpf(0 if power else 1)
        if abs(power) * max(abs(self.context.mag(base)), 3) > MAX_LOG2:
            raise OutOfBounds(f"a power beyond 2^{MAX_LOG2}")
        return self.checked(self.context.power(base, power))

    def root(self, degree: Any, value: Any) -> Any:
        """The principal root; the real one of a negative number if the degree is odd."""
        if not degree:
            raise Undefined("a root of degree zero")
        if not value:
            return value
        odd = self.context.isint(degree) and int(self.context.re(degree)) % 2
        if odd and self.context.im(value) == 0 and self.context.re(value) < 0:
            return -self.checked(self.context.power(-value, 1 / degree))
        if abs(1 / degree) * max(abs(self.context.mag(value)), 3) > MAX_LOG2:
            raise OutOfBounds(f"a power beyond 2^{MAX_LOG2}")
        return self.checked(self.context.power(value, 1 / degree))

    def call(self, name: str, arguments: list[Any]) -> Any:
        """A function."""
        from textgym.grading.expressions.functions import precise

        return self.checked(precise(self.context, name, arguments))


Field = Exact | Modular | Precise


def evaluate(node: Node, field: Field) -> Any:
    """The value of a scalar tree.

    Raises:
        Undefined: if it has none.
        Inexact: if this field does not hold it.
        OutOfBounds: if it is too large.
        OutOfTime: if the budget is spent.
    """
    match node:
        case Number(value=value):
            return field.number(value)
        case Symbol(name=name):
            return field.symbol(name)
        case Constant(name=name):
            return field.constant(name)
        case Sum(terms=terms):
            total = evaluate(terms[0], field)
            for term in terms[1:]:
                total = field.checked(total + evaluate(term, field))
            return total
        case Product(factors=factors):
            total = evaluate(factors[0], field)
            for factor in factors[1:]:
                total = field.checked(total * evaluate(factor, field))
            return total
        case Negative(operand=operand):
            return -evaluate(operand, field)
        case Quotient(numerator=over, denominator=under):
            return field.divide(evaluate(over, field), evaluate(under, field))
        case Power(base=base, exponent=exponent):
            return field.power(evaluate(base, field), exponent)
        case Mixed(whole=whole, fraction=fraction):
            return evaluate(whole, field) + evaluate(fraction, field)
        case Percent(operand=operand):
            return field.divide(evaluate(operand, field), field.number(Fraction(100)))
        case Degrees(operand=operand):
            half_turn = field.constant("pi")
            return field.divide(evaluate(operand, field) * half_turn, field.number(Fraction(180)))
        case Call(name="det", arguments=(Matrix(rows=rows),)):
            return _determinant([[evaluate(x, field) for x in row] for row in rows], field)
        case Call(name="root", arguments=(degree, radicand)) if not isinstance(field, Modular):
            return field.root(evaluate(degree, field), evaluate(radicand, field))
        case Call(name=name, arguments=arguments):
            return field.call(name, [evaluate(argument, field) for argument in arguments])
    raise Undefined(f"a {type(node).__name__.lower()} is no number")


def _determinant(rows: list[list[Any]], field: Field) -> Any:
    if len(rows) != len(rows[0]) or len(rows) > MAX_MATRIX:
        raise Undefined(f"no determinant of {len(rows)} x {len(rows[0])}")
    if len(rows) == 1:
        return rows[0][0]
    total: Any = 0
    for column, entry in enumerate(rows[0]):
        minor = [row[:column] + row[column + 1 :] for row in rows[1:]]
        term = field.checked(entry * _determinant(minor, field))
        total = total - term if column % 2 else total + term
    return total


def _integer_root(value: int, degree: int) -> int:
    """The exact root of a natural number, by Newton's method.

    Raises:
        Inexact: if there is none.
    """
    if value < 2:
        return value
    if degree == 2:
        root = math.isqrt(value)
    else:
        root = 1 << -(-value.bit_length() // degree)
        while True:
            better = ((degree - 1) * root + value // root ** (degree - 1)) // degree
            if better >= root:
                break
            root = better
    if root**degree != value:
        raise Inexact
    return root


def _natural(value: Fraction, limit: int) -> int:
    if value.denominator != 1 or value < 0:
        raise Inexact
    if value > limit:
        raise OutOfBounds(f"a factorial of more than {limit}")
    return value.numerator


def _factorial(value: Fraction) -> Fraction:
    return Fraction(math.factorial(_natural(value, MAX_FACTORIAL)))


def _double_factorial(value: Fraction) -> Fraction:
    return Fraction(math.prod(range(_natural(value, MAX_FACTORIAL), 0, -2)))


def _binomial(n: Fraction, k: Fraction) -> Fraction:
    return Fraction(math.comb(_natural(n, MAX_FACTORIAL), _natural(k, MAX_FACTORIAL)))


def _integers(values: tuple[Fraction, ...]) -> list[int]:
    if any(value.denominator != 1 for value in values):
        raise Inexact
    return [value.numerator for value in values]


def _mod(a: Fraction, b: Fraction) -> Fraction:
    if not b:
        raise Undefined("a division by zero")
    return a % b


_EXACT_FUNCTIONS = {
    "abs": abs,
    "floor": lambda x: Fraction(math.floor(x)),
    "ceil": lambda x: Fraction(math.ceil(x)),
    "factorial": _factorial,
    "factorial2": _double_factorial,
    "binomial": _binomial,
    "max": lambda *values: max(values),
    "min": lambda *values: min(values),
    "gcd": lambda *values: Fraction(math.gcd(*_integers(values))),
    "lcm": lambda *values: Fraction(math.lcm(*_integers(values))),
    "mod": _mod,
    "sgn": lambda x: Fraction((x > 0) - (x < 0)),
    "sign": lambda x: Fraction((x > 0) - (x < 0)),
}

_local = threading.local()


def _context() -> Any:
    """This thread's mpmath context: the global one would be shared with everybody else."""
    if not hasattr(_local, "context"):
        import mpmath

        _local.context = mpmath.mp.clone()
    return _local.context
