"""Mathematics as plain text: what prompts and reference answers are written with.

`x^2+3x-1`, `3/4`, `2sqrt(5)`, `0.25`, `{1,2}`, `(1,2)`: one notation, no blanks, printable ASCII.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

Rational = int | Fraction


def times(coefficient: Rational, text: str) -> str:
    """A coefficient in front of a factor: "3x", "-x", "3x/2", "0"."""
    top, bottom = coefficient.numerator, coefficient.denominator
    if not top:
        return "0"
    text = text if top == 1 else f"-{text}" if top == -1 else f"{top}{text}"
    return text if bottom == 1 else f"{text}/{bottom}"


def added(*terms: str) -> str:
    """A sum of terms, which may have signs of their own; those that are "0" are left out."""
    kept = [term for term in terms if term != "0"]
    if not kept:
        return "0"
    text = kept[0]
    for term in kept[1:]:
        text += term if term[0] == "-" else "+" + term
    return text


def power(base: str, exponent: int) -> str:
    """A base to an exponent of 0 or more: "1", "x", "x^2"."""
    return "1" if exponent == 0 else base if exponent == 1 else f"{base}^{exponent}"


def monomial(coefficient: Rational, exponent: int, variable: str = "x") -> str:
    """c*x^k without what goes without saying: "3x^2", "-x/2", "7", "0"."""
    if not exponent:
        return str(coefficient)
    return times(coefficient, power(variable, exponent))


def polynomial(coefficients: Sequence[Rational], variable: str = "x") -> str:
    """A polynomial from its coefficients, the constant first: [-1, 3, 1] is "x^2+3x-1"."""
    exponents = range(len(coefficients) - 1, -1, -1)
    return added(*[monomial(coefficients[k], k, variable) for k in exponents])


def product_of(left: Sequence[int], right: Sequence[int]) -> list[int]:
    """The coefficients of a product of two polynomials."""
    result = [0] * (len(left) + len(right) - 1)
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            result[i + j] += a * b
    return result


def value_at(coefficients: Sequence[Rational], x: Rational) -> Rational:
    """The value of a polynomial, by Horner's rule."""
    value: Rational = 0
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value


def decimal(number: Rational) -> str:
    """A number as a terminating decimal: "0.25", "-3".

    Raises:
        ValueError: if its decimal never ends.
    """
    number = Fraction(number)
    places, rest = 0, number.denominator
    while rest > 1:
        divisor = 10 if rest % 10 == 0 else 5 if rest % 5 == 0 else 2
        if rest % divisor:
            raise ValueError(f"{number} is no terminating decimal")
        rest //= divisor
        places += 1
    digits = str(abs(number.numerator) * 10**places // number.denominator).rjust(places + 1, "0")
    text = f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return "-" + text if number < 0 else text


def in_braces(items: Iterable[object]) -> str:
    """A set: "{1,2}"."""
    return "{" + ",".join(map(str, items)) + "}"


def in_brackets(items: Iterable[object]) -> str:
    """A tuple: "(1,2)"."""
    return "(" + ",".join(map(str, items)) + ")"


def listed(items: Iterable[object], last: str = "and") -> str:
    """Items of a sentence: "1, 2 and 3"."""
    *head, tail = map(str, items)
    return f"{', '.join(head)} {last} {tail}" if head else tail
