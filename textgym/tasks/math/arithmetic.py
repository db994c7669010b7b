"""Arithmetic questions as pure functions of one integer. Nothing here draws a random number.

Each generator reads its choices off the integer as the digits of a mixed-radix number, so a uniform
integer gives a uniform choice, and counting upwards meets every question there is.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

Question = tuple[str, str, str]
"""Expression, reference answer, and key: the same for all ways to write the same question.

An expression is written with `+ - * ( )` and numbers without a sign. The operator of division is
"÷", because "/" stands inside fractions. An equation is written with `x` and `=` instead.
"""

# Pairs of digits x >= y: x - y needs no borrow, and (x - y) + y needs no carry.
_ONES = [(x, y) for x in range(10) for y in range(x + 1)]
_TENS_OF_DIFFERENCE = [(x, y) for x, y in _ONES if y]
_TENS_OF_SUM = [(x, y) for x, y in _ONES if 0 < y < x]

# The proper fractions in lowest terms with denominators up to 12.
_FRACTIONS = [(p, q) for q in range(2, 13) for p in range(1, q) if gcd(p, q) == 1]

# Dividends of two digits have divisors up to 12: with more, every fifth quotient would be 2.
_LARGEST_DIVISORS = (12, 99, 99)

_SIGNED = [k for k in range(-20, 21) if k]

_Shape = tuple[str, "_Shape", "_Shape"] | None
_N: _Shape = None  # one number
_PRODUCT, _SUM = ("*", _N, _N), ("±", _N, _N)
_SHAPES: list[_Shape] = [
    ("±", _N, _PRODUCT),  # 2+3*4
    ("±", _PRODUCT, _N),  # 2*3-4
    ("*", _SUM, _N),  # (2+3)*4
    ("*", _N, _SUM),  # 2*(3-4)
    ("±", _PRODUCT, _PRODUCT),  # 2*3-4*5
    ("*", _SUM, _SUM),  # (2+3)*(4-5)
    ("±", ("*", _SUM, _N), _N),  # (2+3)*4-5
    ("±", _N, ("*", _N, _SUM)),  # 2-3*(4+5)
]


def digit(n: int) -> Question:
    """Two or three one-digit terms: "3+4", "3-9", "3-5+4"."""
    n, three_terms = divmod(n, 2)
    n, a = divmod(n, 10)
    n, b = divmod(n, 10)
    if not three_terms:
        return _two_terms(a, b, n % 2)
    n, c = divmod(n, 10)
    return _three_terms(a, b, c, n % 4)


def no_carry(n: int) -> Question:
    """Two two-digit terms whose digits never carry or borrow: "12+34", "46-34"."""
    n, minus = divmod(n, 2)
    n, ones = divmod(n, len(_ONES))
    x, y = _ONES[ones]
    tens = _TENS_OF_DIFFERENCE if minus else _TENS_OF_SUM
    z, w = tens[n % len(tens)]
    a, b = 10 * z + x, 10 * w + y
    return _two_terms(a if minus else a - b, b, minus)


def two_digit(n: int) -> Question:
    """Any two two-digit terms: "57+68", "24-71"."""
    n, minus = divmod(n, 2)
    n, a = divmod(n, 90)
    return _two_terms(10 + a, 10 + n % 90, minus)


def three_digit(n: int) -> Question:
    """Two three-digit or three two-digit terms: "571-683", "57-24+71"."""
    n, three_terms = divmod(n, 2)
    if three_terms:
        n, a = divmod(n, 90)
        n, b = divmod(n, 90)
        n, c = divmod(n, 90)
        return _three_terms(10 + a, 10 + b, 10 + c, n % 4)
    n, minus = divmod(n, 2)
    n, a = divmod(n, 900)
    return _two_terms(100 + a, 100 + n % 900, minus)


def product(n: int) -> Question:
    """A two-digit number times one of 2 to 9 or a two-digit one, in either order: "7*12"."""
    n, kind = divmod(n, 4)
    n, a = divmod(n, 90)
    a += 10
    b = 10 + n % 90 if kind < 2 else 2 + n % 8
    if kind == 3:
        a, b = b, a
    return f"{a}*{b}", str(a * b), f"{min(a, b)}*{max(a, b)}"


def division(n: int) -> Question:
    """Exact division of a number of two, three or four digits: "84÷7"."""
    n, size = divmod(n, 3)
    lowest, highest = 10 ** (size + 1), 10 ** (size + 2) - 1
    n, divisor = divmod(n, _LARGEST_DIVISORS[size] - 1)
    divisor += 2
    smallest = max(2, -(-lowest // divisor))
    quotient = smallest + n % (highest // divisor - smallest + 1)
    expression = f"{divisor * quotient}÷{divisor}"
    return expression, str(quotient), expression


def order(n: int) -> Question:
    """A product and one or two sums of three or four numbers of 2 to 12: "(3+4)*5-2"."""
    n, shape = divmod(n, len(_SHAPES))
    _, expression, value, key = _fill(_SHAPES[shape], n)
    return expression, str(value), key


def fraction(n: int) -> Question:
    """Two proper fractions with denominators up to 12: "3/4+5/6", "(3/4)÷(5/6)"."""
    n, kind = divmod(n, 4)
    n, left = divmod(n, len(_FRACTIONS))
    right = n % len(_FRACTIONS)
    (a, b), (c, d) = _FRACTIONS[left], _FRACTIONS[right]
    if kind == 3:
        expression = f"({a}/{b})÷({c}/{d})"
        return expression, _ratio(a * d, b * c), expression
    expression = f"{a}/{b}{'+-*'[kind]}{c}/{d}"
    answer = _ratio(a * c, b * d) if kind == 2 else _ratio(a * d + (1 - 2 * kind) * b * c, b * d)
    commuted = kind != 1 and right < left
    return expression, answer, f"{c}/{d}{'+-*'[kind]}{a}/{b}" if commuted else expression


def equation(n: int) -> Question:
    """ax+b=d or ax+b=cx+d, half of them with a whole solution of -12 to 12: "3x+5=20"."""
    n, whole = divmod(n, 2)
    n, two_sided = divmod(n, 2)
    n, a = divmod(n, 18)
    n, b = divmod(n, len(_SIGNED))
    a, b, c = a - 9 + (a > 8), _SIGNED[b], 0
    if two_sided:
        n, c = divmod(n, 18)
        c = c - 9 + (c - 9 >= a)  # any of -9 to 9 but a, or there were no single solution
    d = b + (a - c) * (n % 25 - 12) if whole else n % 61 - 30
    left, right = _side(a, b), _side(c, d)
    key = f"{left}={right}" if left < right else f"{right}={left}"
    return f"{left}={right}", _ratio(d - b, a - c), key


GENERATORS: dict[str, Callable[[int], Question]] = {
    "digit": digit,
    "no-carry": no_carry,
    "two-digit": two_digit,
    "three-digit": three_digit,
    "product": product,
    "division": division,
    "order": order,
    "fraction": fraction,
    "equation": equation,
}
"""Level -> generator, easiest first."""


def _two_terms(a: int, b: int, minus: int) -> Question:
    if minus:
        expression = f"{a}-{b}"
        return expression, str(a - b), expression
    expression = f"{a}+{b}"
    return expression, str(a + b), expression if a <= b else f"{b}+{a}"


def _three_terms(a: int, b: int, c: int, signs: int) -> Question:
    """Neighbours of one sign commute: 3+4-5 has the key of 4+3-5, but not that of 3-5+4."""
    if signs == 0:
        x, y, z = sorted((a, b, c))
        return f"{a}+{b}+{c}", str(a + b + c), f"{x}+{y}+{z}"
    if signs == 1:
        return f"{a}+{b}-{c}", str(a + b - c), f"{min(a, b)}+{max(a, b)}-{c}"
    if signs == 2:
        return f"{a}-{b}-{c}", str(a - b - c), f"{a}-{min(b, c)}-{max(b, c)}"
    expression = f"{a}-{b}+{c}"
    return expression, str(a - b + c), expression


def _fill(shape: _Shape, n: int) -> tuple[int, str, int, str]:
    """A shape with numbers and signs read off `n`: the rest of `n`, expression, value and key."""
    if shape is None:
        n, number = divmod(n, 11)
        return n, str(number + 2), number + 2, str(number + 2)
    operator, left, right = shape
    n, first, x, first_key = _fill(left, n)
    n, second, y, second_key = _fill(right, n)
    if operator == "*":
        # In these shapes, what is multiplied is a number or a sum, and a sum needs brackets.
        if left:
            first, first_key = f"({first})", f"({first_key})"
        if right:
            second, second_key = f"({second})", f"({second_key})"
    else:
        n, minus = divmod(n, 2)
        operator = "-" if minus else "+"
    value = x * y if operator == "*" else x - y if operator == "-" else x + y
    if operator != "-" and second_key < first_key:
        first_key, second_key = second_key, first_key
    return n, first + operator + second, value, first_key + operator + second_key


def _ratio(numerator: int, denominator: int) -> str:
    """A fraction in lowest terms, as an integer where its denominator is 1."""
    divisor = gcd(numerator, denominator) if denominator > 0 else -gcd(numerator, denominator)
    numerator, denominator = numerator // divisor, denominator // divisor
    return str(numerator) if denominator == 1 else f"{numerator}/{denominator}"


def _side(coefficient: int, constant: int) -> str:
    """One side of an equation, without what is zero or goes without saying: "-x+5", "3x", "0"."""
    if not coefficient:
        return str(constant)
    x = {1: "x", -1: "-x"}.get(coefficient, f"{coefficient}x")
    return f"{x}{constant:+}" if constant else x
