"""TextNumberTheory: remainders, divisors, primes, digits and congruences."""

from __future__ import annotations

from math import gcd, prod

from textgym.grading.expressions.reading import read
from textgym.grading.expressions.tree import Node, Number, Power, Product, Relation
from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.family import FORMS, Family, question
from textgym.tasks.math.writing import power

PRIMES = tuple(n for n in range(2, 100) if all(n % d for d in range(2, n)))

_COPRIME = [(p, q) for q in range(2, 21) for p in range(1, q) if gcd(p, q) == 1]
_SMALL_COPRIME = [(p, q) for q in range(2, 11) for p in range(1, q) if gcd(p, q) == 1]
_MODULI = [(m, n) for n in range(4, 21) for m in range(3, n) if gcd(m, n) == 1]
_UNITS = {m: [a for a in range(2, m) if gcd(a, m) == 1] for m in range(7, 61)}
_TRIPLES = [
    (a, b, c)
    for a in range(3, 14)
    for b in range(a + 1, 14)
    for c in range(b + 1, 14)
    if gcd(a, b) == gcd(a, c) == gcd(b, c) == 1
]

MAX_PRIME = 9999


def is_prime_factorisation(answer: str) -> bool:
    """Whether an answer is written as a product of powers of primes, in any order."""
    node = read(answer).node
    if isinstance(node, Relation):  # 360 = 2^3*3^2*5
        node = node.sides[-1]
    factors = node.factors if isinstance(node, Product) else (node,)
    return all(_is_prime(f.base if isinstance(f, Power) else f) for f in factors)


def _is_prime(node: Node) -> bool:
    if not isinstance(node, Number) or not 1 < node.value <= MAX_PRIME:
        return False
    return all(node.value % p for p in PRIMES if p * p <= node.value)


# --------------------------------------------------------- remainders, divisors


def remainder(choose: Choices) -> Problem:
    """97 mod 13."""
    a, m = choose.between(20, 999), choose.between(11, 40)
    return question(f"{a} mod {m}=", a % m, form="number")


def common_divisor(choose: Choices) -> Problem:
    """The greatest common divisor of two numbers below 400, which is 2 to 20."""
    divisor, (p, q) = choose.between(2, 20), choose.one_of(_COPRIME)
    a, b = choose.shuffled((divisor * p, divisor * q))
    return question(f"gcd({a},{b})=", divisor, _key("gcd", a, b), "number")


def common_multiple(choose: Choices) -> Problem:
    """The least common multiple of two numbers up to 120."""
    divisor, (p, q) = choose.between(1, 12), choose.one_of(_SMALL_COPRIME)
    a, b = choose.shuffled((divisor * p, divisor * q))
    return question(f"lcm({a},{b})=", divisor * p * q, _key("lcm", a, b), "number")


def large_divisor(choose: Choices) -> Problem:
    """The greatest common divisor of two numbers of about four digits."""
    divisor, (p, q) = choose.between(21, 399), choose.one_of(_COPRIME)
    a, b = choose.shuffled((divisor * p, divisor * q))
    prompt = f"What is the greatest common divisor of {a} and {b}? "
    return question(prompt, divisor, _key("gcd", a, b), "number")


# ----------------------------------------------------------------------- digits


def digit_sum(choose: Choices) -> Problem:
    """The sum of the digits of a number of three to six digits."""
    digits = choose.between(3, 6)
    n = choose.between(10 ** (digits - 1), 10**digits - 1)
    return question(f"Sum of the digits of {n}: ", sum(map(int, str(n))), form="number")


def to_base(choose: Choices) -> Problem:
    """A number in another base."""
    n, base = choose.between(20, 999), choose.between(2, 9)
    return question(f"Write {n} in base {base}: ", in_base(n, base), form="number")


def from_base(choose: Choices) -> Problem:
    """A number in base ten."""
    n, base = choose.between(20, 999), choose.between(2, 9)
    prompt = f"Write {in_base(n, base)} (in base {base}) in base 10: "
    return question(prompt, n, form="number")


def in_base(n: int, base: int) -> str:
    """The digits of a positive number in a base of 2 to 9."""
    digits = ""
    while n:
        n, digit = divmod(n, base)
        digits = str(digit) + digits
    return digits


# ---------------------------------------------------------------------- factors


def factorise(choose: Choices) -> Problem:
    """The prime factorisation of a number with up to three different primes."""
    exponents = _exponents(choose)
    n = prod(p**k for p, k in exponents)
    prompt = choose.one_of(
        ("Factor {} into primes, as in 2^3*5: ", "Prime factorisation of {}, as in 2^3*5: ")
    ).format(n)
    answer = "*".join(power(str(p), k) for p, k in exponents)
    return question(prompt, answer, f"factor {n}", "primes")


def smallest_factor(choose: Choices) -> Problem:
    """The smallest prime factor of a product of two primes."""
    i = choose.between(3, 14)
    p, q = PRIMES[i], PRIMES[choose.between(i, 24)]
    return question(f"What is the smallest prime factor of {p * q}? ", p, form="number")


def count_divisors(choose: Choices) -> Problem:
    """How many positive divisors a number has."""
    exponents = _exponents(choose)
    n = prod(p**k for p, k in exponents)
    prompt = choose.one_of(
        ("How many positive divisors does {} have? ", "Count the positive divisors of {}: ")
    ).format(n)
    return question(prompt, prod(k + 1 for _, k in exponents), f"count divisors {n}", "number")


def largest_factor(choose: Choices) -> Problem:
    """The largest prime factor of a number with two or three different ones."""
    exponents = _exponents(choose)
    n = prod(p**k for p, k in exponents)
    return question(f"What is the largest prime factor of {n}? ", exponents[-1][0], form="number")


def sum_divisors(choose: Choices) -> Problem:
    """The sum of all positive divisors of a number."""
    exponents = _exponents(choose)
    n = prod(p**k for p, k in exponents)
    answer = prod((p ** (k + 1) - 1) // (p - 1) for p, k in exponents)
    prompt = f"What is the sum of all positive divisors of {n}? "
    return question(prompt, answer, form="number")


def _exponents(choose: Choices) -> list[tuple[int, int]]:
    """Two or three of the first ten primes, the smallest first; 2, 3 and 5 with exponents."""
    primes = sorted(choose.distinct(choose.between(2, 3), 0, 9))
    return [(PRIMES[i], choose.between(1, (5, 3, 2)[i]) if i < 3 else 1) for i in primes]


# ------------------------------------------------------------------ congruences


def inverse(choose: Choices) -> Problem:
    """The inverse of a number modulo another."""
    m = choose.between(7, 60)
    a = choose.one_of(_UNITS[m])
    prompt = f"Find x with {a}x = 1 (mod {m}) and 0 < x < {m}: x="
    return question(prompt, pow(a, -1, m), form="number")


def congruence(choose: Choices) -> Problem:
    """A linear congruence with one solution."""
    m = choose.between(7, 60)
    a, x = choose.one_of(_UNITS[m]), choose.between(1, m - 1)
    prompt = f"Find x with {a}x = {a * x % m} (mod {m}) and 0 < x < {m}: x="
    return question(prompt, x, form="number")


def modular_power(choose: Choices) -> Problem:
    """A power modulo a prime."""
    p = choose.one_of(PRIMES[4:15])
    a, k = choose.between(2, p - 2), choose.between(5, 99)
    prompt = choose.one_of(("What is {}? ", "Find the remainder: {}=")).format(f"{a}^{k} mod {p}")
    return question(prompt, pow(a, k, p), f"{a}^{k} mod {p}", "number")


def two_remainders(choose: Choices) -> Problem:
    """The smallest number with two given remainders."""
    m, n = choose.one_of(_MODULI)
    x = choose.below(m * n)
    prompt = (
        f"Find the smallest x >= 0 that leaves remainder {x % m} when divided by {m} "
        f"and remainder {x % n} when divided by {n}: x="
    )
    return question(prompt, x, form="number")


def three_remainders(choose: Choices) -> Problem:
    """The smallest number with three given remainders."""
    moduli = choose.one_of(_TRIPLES)
    x = choose.below(prod(moduli))
    remainders = ", ".join(f"{x % m} (mod {m})" for m in moduli)
    prompt = f"Find the smallest integer x >= 0 that is congruent to {remainders}: x="
    return question(prompt, x, form="number")


def last_two_digits(choose: Choices) -> Problem:
    """What a power leaves modulo 100."""
    a, k = choose.between(3, 99), choose.between(11, 999)
    prompt = f"What is the remainder when {a}^{k} is divided by 100? "
    return question(prompt, pow(a, k, 100), form="number")


def totient(choose: Choices) -> Problem:
    """How many numbers up to n are coprime to n."""
    exponents = _exponents(choose)
    n = prod(p**k for p, k in exponents)
    answer = prod(p ** (k - 1) * (p - 1) for p, k in exponents)
    prompt = f"How many integers from 1 to {n} are coprime to {n}? "
    return question(prompt, answer, form="number")


def power_in_factorial(choose: Choices) -> Problem:
    """The exponent of a prime in a factorial (Legendre's formula)."""
    p, n = choose.one_of(PRIMES[:5]), choose.between(30, 400)
    answer, quotient = 0, n // p
    while quotient:
        answer += quotient
        quotient //= p
    return question(f"What is the largest k with {p}^k dividing {n}! ? k=", answer, form="number")


def order(choose: Choices) -> Problem:
    """The multiplicative order of a number modulo a prime."""
    p = choose.one_of(PRIMES[6:])
    a = choose.between(2, p - 2)
    k, value = 1, a
    while value != 1:
        k, value = k + 1, value * a % p
    prompt = f"What is the smallest k > 0 with {a}^k = 1 (mod {p})? k="
    return question(prompt, k, form="number")


def _key(name: str, a: int, b: int) -> str:
    return f"{name} {min(a, b)} {max(a, b)}"


LEVELS = {
    "remainder": (remainder,),
    "gcd-lcm": (common_divisor, common_multiple),
    "digits": (digit_sum, to_base, from_base),
    "factors": (factorise, smallest_factor, largest_factor, count_divisors, sum_divisors),
    "modular": (inverse, congruence, modular_power, two_remainders),
    "hard": (
        large_divisor,
        three_remainders,
        last_two_digits,
        totient,
        power_in_factorial,
        order,
    ),
}


@register_task("TextNumberTheory-v0")
class TextNumberTheory(Family):
    """Remainders, divisors, primes, digits and congruences.

    ## Description
    The prompt is a question such as `97 mod 13=` or `gcd(84,36)=`, and the response a number, or a
    product of prime powers: `2^3*5`. No question has yes or no for an answer.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. A bare answer holds digits and `* ^`. The budget
    is 24 tokens, eos included, and no reference answer in 20,000 of a level has more than 11
    characters; give `max_response_tokens` where there is to be reasoning before the answer.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. Prompts have up to 11
    characters at the first level and 108 at the longest, without the words of an `answer_format`.

    ## Starting State
    A question of the level, at random, made backwards from its answer where it has to be. The kinds
    of a level are equally likely.

    ## Rewards
    `correct`, weight 1: 1 if the response is the number of the reference answer, written as a
    number with nothing left to compute, or, where a factorisation is asked for, as a product of
    powers of primes in any order. The reward comes at the end of the episode.

    `format`, weight 0: 1 if the answer stands where `answer_format` wants it.

    ## Episode End
    The episode terminates with eos or after 24 tokens. A response cut off there is graded as it
    stands. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`; `verdict` has the `rule` by which the response was judged.

    ## Arguments
    `difficulty`: a level of the table, the first one unless told otherwise. `answer_format`:
    "bare", "boxed", "hash" or "any"; see `textgym.tasks.math.base.MathTask`.

    ## Difficulties
    Questions are counted by their key, exactly where no `>` says that there are more. Repeats are
    the share of 20,000 draws whose question came before. gcd(a,b) and gcd(b,a) are the same
    question.

    | level     | questions | repeats | what is asked                            |
    |-----------|-----------|---------|------------------------------------------|
    | remainder |    29,400 |  27.5 % | a mod m, m from 11 to 40                 |
    | gcd-lcm   |     2,785 |  86.3 % | of two numbers below 400 and 120         |
    | digits    | 1,015,580 |  27.2 % | sums of digits, bases 2 to 9             |
    | factors   |     2,654 |  88.1 % | prime factors; count and sum of divisors |
    | modular   |    80,723 |  34.0 % | inverses, ax=b, powers, two remainders   |
    | hard      |   181,639 |  38.3 % | CRT, a^k mod 100, totients, n!, orders   |

    An example of each:

    * remainder: `97 mod 13=`
    * gcd-lcm: `gcd(84,36)=`
    * digits: `Write 951 in base 3:`
    * factors: `How many positive divisors ...`
    * modular: `Find x with 22x = 4 (mod 51) ...`
    * hard: `How many integers from 1 to ...`

    ## References
    Saxton et al. 2019, "Analysing Mathematical Reasoning Abilities of Neural Models" (numbers:
    base_conversion, div_remainder, gcd, lcm, list_prime_factors).

    ## Version History
    * v0: initial version.
    """

    levels = LEVELS
    difficulties = tuple(LEVELS)
    max_response_tokens = 24
    forms = {**FORMS, "primes": is_prime_factorisation}
