"""TextNumberTheory against brute force on its prompts."""

from __future__ import annotations

from itertools import count
from math import factorial, gcd, lcm

import pytest

from tests.textgym.tasks.drawing import check, draw, integers
from textgym.tasks.math.number_theory import TextNumberTheory, is_prime_factorisation

ID = "TextNumberTheory-v0"


def prime_factors(n: int) -> list[int]:
    return [p for p in range(2, n + 1) if n % p == 0 and all(p % d for d in range(2, p))]


def factorisation(n: int) -> str:
    parts = []
    for p in prime_factors(n):
        k = max(k for k in range(20) if n % p**k == 0)
        parts.append(f"{p}^{k}" if k > 1 else str(p))
    return "*".join(parts)


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def first(start: int, holds) -> int:
    return next(n for n in count(start) if holds(n))


def remainders(prompt: str) -> int:
    pairs = [tuple(map(int, pair.rstrip(")").split(" (mod "))) for pair in prompt.split(", ")]
    return first(0, lambda x: all(x % m == r for r, m in pairs))


def power_in_factorial(p: int, n: int) -> int:
    value = factorial(n)
    return first(0, lambda k: value % p ** (k + 1))


SOLVERS = {
    "remainder": {r"(\d+) mod (\d+)=": integers(lambda a, m: a - a // m * m)},
    "gcd-lcm": {
        r"gcd\((\d+),(\d+)\)=": integers(
            lambda a, b: max(d for d in range(1, a + 1) if a % d == b % d == 0)
        ),
        r"lcm\((\d+),(\d+)\)=": integers(lambda a, b: first(1, lambda n: n % a == n % b == 0)),
    },
    "digits": {
        r"Sum of the digits of (\d+):": lambda n: sum(map(int, n)),
        r"Write (\d+) \(in base (\d)\) in base 10:": lambda n, base: int(n, int(base)),
        r"Write (\d+) in base (\d):": integers(
            lambda n, base: (
                next(
                    digits
                    for digits in map(str, count(1))
                    if max(digits) < str(base) and int(digits, base) == n
                )
                if base > 6 and n < 400
                else None
            )
        ),
    },
    "factors": {
        r"(?:Factor|Prime factorisation of) (\d+)(?: into primes)?, as in 2\^3\*5:": integers(
            factorisation
        ),
        r"What is the smallest prime factor of (\d+)\?": integers(lambda n: prime_factors(n)[0]),
        r"What is the largest prime factor of (\d+)\?": integers(lambda n: prime_factors(n)[-1]),
        r"(?:How many|Count the) positive divisors (?:does|of) (\d+)(?: have\?|:)": integers(
            lambda n: len(divisors(n))
        ),
        r"What is the sum of all positive divisors of (\d+)\?": integers(
            lambda n: sum(divisors(n))
        ),
    },
    "modular": {
        r"Find x with (\d+)x = (\d+) \(mod (\d+)\) and 0 < x < \3: x=": integers(
            lambda a, b, m: first(1, lambda x: (a * x - b) % m == 0)
        ),
        r"(?:What is|Find the remainder:) (\d+)\^(\d+) mod (\d+)[?=]": integers(
            lambda a, k, p: a**k % p
        ),
        r"Find the smallest x >= 0 that leaves remainder (\d+) when divided by (\d+) and remainder "
        r"(\d+) when divided by (\d+): x=": integers(
            lambda a, m, b, n: first(0, lambda x: x % m == a and x % n == b)
        ),
    },
    "hard": {
        r"What is the greatest common divisor of (\d+) and (\d+)\?": integers(gcd),
        r"Find the smallest integer x >= 0 that is congruent to (.*): x=": remainders,
        r"What is the remainder when (\d+)\^(\d+) is divided by 100\?": integers(
            lambda a, k: a**k % 100
        ),
        r"How many integers from 1 to (\d+) are coprime to \1\?": integers(
            lambda n: sum(gcd(i, n) == 1 for i in range(1, n + 1))
        ),
        r"What is the largest k with (\d+)\^k dividing (\d+)! \? k=": integers(power_in_factorial),
        r"What is the smallest k > 0 with (\d+)\^k = 1 \(mod (\d+)\)\? k=": integers(
            lambda a, p: first(1, lambda k: a**k % p == 1)
        ),
    },
}


@pytest.mark.parametrize("level", TextNumberTheory.difficulties)
def test_brute_force_finds_the_reference(level: str) -> None:
    check(draw(ID, level, 120), SOLVERS[level], per_kind=3)


@pytest.mark.parametrize(
    "answer",
    ["2^3*3^2*5", "5*2^3*9".replace("9", "3^2"), "2*2*2*3*3*5", r"2^{3}\cdot 3^2 \times 5"],
)
def test_a_product_of_primes_in_any_order_is_a_factorisation(answer: str) -> None:
    assert is_prime_factorisation(answer)


@pytest.mark.parametrize("answer", ["360", "36*10", "2^3*45", "2^3*3^2*5*1", "0*2", "", "x", "-7"])
def test_other_products_are_no_factorisation(answer: str) -> None:
    assert not is_prime_factorisation(answer)


def test_the_answer_to_a_factorisation_has_to_be_factored() -> None:
    task = TextNumberTheory()
    problem = next(p for p in draw(ID, "factors", 50) if p.info["form"] == "primes")
    n = problem.prompt.split(",")[0].split()[-1].removesuffix(" into primes")
    number = "".join(c for c in problem.prompt.split(", as")[0] if c.isdigit())
    assert task.grade(problem, problem.answer)["correct"] == 1.0
    assert task.grade(problem, "*".join(reversed(problem.answer.split("*"))))["correct"] == 1.0
    assert task.grade(problem, number)["correct"] == task.grade(problem, n)["correct"] == 0.0


def test_smaller_and_larger_numbers_commute_in_the_key() -> None:
    keys = {}
    for problem in draw(ID, "gcd-lcm", 20_000):
        keys[problem.prompt] = problem.key
    a, b = next((p, q) for p in keys if (q := _swapped(p)) in keys and p != q)
    assert keys[a] == keys[b]
    assert lcm(4, 6) == 12  # what `lcm` above stands for


def _swapped(prompt: str) -> str:
    name, _, rest = prompt.partition("(")
    a, b = rest.removesuffix(")=").split(",")
    return f"{name}({b},{a})="
