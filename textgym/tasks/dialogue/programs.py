"""Questions that a short program answers. Each comes with such a program and its answer.

The answer is computed here, the program is text and never run here: a test runs both and compares.
"""

from __future__ import annotations

from collections.abc import Callable

from textgym.task import Problem
from textgym.tasks.math.choices import Choices

_LETTERS = "abcdefgh"

Condition = tuple[str, str, Callable[[int], bool]]
"""A property of n in words, as a Python expression, and as a function."""


def _ask(text: str, answer: int, program: str) -> Problem:
    return Problem(text, str(answer), {"form": "lowest", "program": program})


def _digit_sum(n: int) -> int:
    return sum(map(int, str(n)))


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


_DIGIT_SUM = "sum(map(int, str(n)))"
_IS_PRIME = "all(n % d for d in range(2, int(n**0.5) + 1))"

# ------------------------------------------------------------------------ sums


def polynomial_sum(choose: Choices) -> Problem:
    """The sum of k^2 + 3*k for k from 17 to 412."""
    a, b = choose.between(1, 9), choose.between(1, 99)
    low = choose.between(1, 99)
    high = low + choose.between(50, 500)
    text = f"What is the sum of {a}*k^2 + {b}*k for all integers k from {low} to {high}?"
    program = f"print(sum({a}*k**2 + {b}*k for k in range({low}, {high} + 1)))"
    return _ask(text, sum(a * k**2 + b * k for k in range(low, high + 1)), program)


def remainder_sum(choose: Choices) -> Problem:
    """The sum of the remainders of 4817 divided by 1 to 300."""
    n, high = choose.between(1000, 9999), choose.between(50, 500)
    text = f"What is the sum of the remainders when {n} is divided by 1, 2, 3, ..., {high}?"
    program = f"print(sum({n} % k for k in range(1, {high} + 1)))"
    return _ask(text, sum(n % k for k in range(1, high + 1)), program)


def multiples_sum(choose: Choices) -> Problem:
    """The sum of the numbers up to 3000 that 7 or 11 divides."""
    a, b = choose.distinct(2, 3, 29)
    n = choose.between(500, 3000)
    text = f"What is the sum of the integers from 1 to {n} that are divisible by {a} or by {b}?"
    program = f"print(sum(n for n in range(1, {n} + 1) if n % {a} == 0 or n % {b} == 0))"
    return _ask(text, sum(k for k in range(1, n + 1) if k % a == 0 or k % b == 0), program)


# -------------------------------------------------------------------- counting


def _divisible(choose: Choices) -> Condition:
    m, r = choose.between(3, 9), choose.below(3)
    return f"leave the remainder {r} when divided by {m}", f"n % {m} == {r}", lambda n: n % m == r


def _digits_add_up(choose: Choices) -> Condition:
    s = choose.between(8, 20)
    words = f"have digits that add up to more than {s}"
    return words, f"{_DIGIT_SUM} > {s}", lambda n: _digit_sum(n) > s


def _contains(choose: Choices) -> Condition:
    d = str(choose.below(10))
    return f"contain the digit {d}", f"'{d}' in str(n)", lambda n: d in str(n)


def _lacks(choose: Choices) -> Condition:
    d = str(choose.below(10))
    return f"do not contain the digit {d}", f"'{d}' not in str(n)", lambda n: d not in str(n)


def counting(choose: Choices) -> Problem:
    """How many numbers of a range have a remainder and another property."""
    low = choose.between(1, 2000)
    high = low + choose.between(500, 2000)
    words, code, holds = _divisible(choose)
    more, condition, also = choose.one_of((_digits_add_up, _contains, _lacks))(choose)
    text = f"How many integers from {low} to {high} {words} and {more}?"
    program = f"print(sum({code} and {condition} for n in range({low}, {high} + 1)))"
    return _ask(text, sum(holds(n) and also(n) for n in range(low, high + 1)), program)


# --------------------------------------------------------------------- strings


def _text(choose: Choices, most: int) -> str:
    return "".join(choose.one_of(_LETTERS) for _ in range(choose.between(most // 2, most)))


def neighbours(choose: Choices) -> Problem:
    """How many different pairs of neighbouring letters a text has."""
    s = _text(choose, 60)
    text = f"How many different pairs of neighbouring letters, such as {s[:2]}, does {s} have?"
    program = f"s = '{s}'\nprint(len({{s[i:i + 2] for i in range(len(s) - 1)}}))"
    return _ask(text, len({s[i : i + 2] for i in range(len(s) - 1)}), program)


def positions(choose: Choices) -> Problem:
    """The sum of the positions of a letter in a text."""
    s = _text(choose, 60)
    letter = choose.one_of(s)
    text = f"What is the sum of the positions, counted from 1, of the letter {letter} in {s}?"
    program = f"s = '{s}'\nprint(sum(i for i, c in enumerate(s, 1) if c == '{letter}'))"
    return _ask(text, sum(i for i, c in enumerate(s, 1) if c == letter), program)


def shared_places(choose: Choices) -> Problem:
    """How many pairs of places of a text hold the same letter."""
    s = _text(choose, 50)
    text = f"How many pairs of places in {s} hold the same letter?"
    program = f"s = '{s}'\nprint(sum(s[i] == s[j] for j in range(len(s)) for i in range(j)))"
    return _ask(text, sum(s[i] == s[j] for j in range(len(s)) for i in range(j)), program)


# ---------------------------------------------------------------------- search


def next_prime(choose: Choices) -> Problem:
    """The smallest prime above a number with a given remainder."""
    low, m = choose.between(1000, 9999), choose.one_of((5, 7, 11, 13))
    r = choose.between(1, m - 1)
    text = (
        f"What is the smallest prime number above {low} that leaves the remainder {r} when divided "
        f"by {m}?"
    )
    program = f"n = {low} + 1\nwhile n % {m} != {r} or not {_IS_PRIME}:\n    n += 1\nprint(n)"
    n = low + 1
    while n % m != r or not _is_prime(n):
        n += 1
    return _ask(text, n, program)


def next_multiple(choose: Choices) -> Problem:
    """The smallest multiple above a number whose digits have a given sum."""
    low, m = choose.between(1000, 9999), choose.one_of((4, 5, 7, 8, 11, 13))
    s = choose.between(10, 24)
    text = f"What is the smallest multiple of {m} above {low} whose digits add up to {s}?"
    program = f"n = {low} + 1\nwhile n % {m} or {_DIGIT_SUM} != {s}:\n    n += 1\nprint(n)"
    n = low + 1
    while n % m or _digit_sum(n) != s:
        n += 1
    return _ask(text, n, program)


# ----------------------------------------------------------------------- steps


def iteration(choose: Choices) -> Problem:
    """What x is after many steps of x -> (a*x + b) mod m."""
    m = choose.between(500, 2000)
    x, a, b = choose.between(1, 99), choose.between(3, 99), choose.between(1, 99)
    times = choose.between(20, 200)
    text = (
        f"x is {x}. Then {times} times x becomes the remainder of {a}*x + {b} divided by {m}. "
        "What is x in the end?"
    )
    program = f"x = {x}\nfor _ in range({times}):\n    x = ({a}*x + {b}) % {m}\nprint(x)"
    for _ in range(times):
        x = (a * x + b) % m
    return _ask(text, x, program)


def halving(choose: Choices) -> Problem:
    """How many steps of Collatz's rule lead to 1, and the largest number on the way."""
    n = choose.between(1000, 99999)
    text = (
        f"Start at {n}. An even number is halved, an odd one n becomes 3n + 1, until 1 is reached. "
        "How many steps does it take, plus the largest number on the way?"
    )
    program = (
        f"n = most = {n}\nsteps = 0\nwhile n > 1:\n    n = 3*n + 1 if n % 2 else n // 2\n"
        "    steps, most = steps + 1, max(most, n)\nprint(steps + most)"
    )
    most, steps = n, 0
    while n > 1:
        n = 3 * n + 1 if n % 2 else n // 2
        steps, most = steps + 1, max(most, n)
    return _ask(text, steps + most, program)
