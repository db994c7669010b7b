"""TextCalculus: derivatives, limits, definite and indefinite integrals."""

from __future__ import annotations

import re
from fractions import Fraction

from textgym.grading.expressions.reading import read
from textgym.grading.math import Verdict, equivalent, extract_answer
from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.family import FORMS, Family, question
from textgym.tasks.math.writing import (
    Rational,
    added,
    monomial,
    polynomial,
    power,
    product_of,
    times,
    value_at,
)

Pair = tuple[str, str]
"""A function of x and its derivative, as texts."""

_DERIVATIVE = ("d/dx ({})=", "Differentiate {}: ")
_INTEGRAL = "Integrate {} with respect to x: "


_X = re.compile(r"exp|max|\\[a-zA-Z]+|x")


def is_function(answer: str) -> bool:
    """Whether an answer is an expression, behind an equals sign or not."""
    return not read(answer.rpartition("=")[2]).is_text


def increment(answer: str) -> str:
    """F(x)-F(y) for an answer F(x): functions that differ by a constant have the same."""
    text = answer.rpartition("=")[2].strip(" .$")
    other = _X.sub(lambda match: "y" if match[0] == "x" else match[0], text)
    return f"({text})-({other})"


# ------------------------------------------------------------------- derivatives


def differentiate_power(choose: Choices) -> Problem:
    """A sum of two powers of x."""
    n = choose.between(2, 9)
    coefficients = [0] * (n + 1)
    coefficients[n] = choose.nonzero(9)
    coefficients[choose.below(n)] = choose.nonzero(9)
    return question(f"d/dx ({polynomial(coefficients)})=", polynomial(derived(coefficients)))


def differentiate_polynomial(choose: Choices) -> Problem:
    """A polynomial of degree 3 to 6."""
    coefficients = _coefficients(choose, choose.between(3, 6), 9)
    return _differentiate(choose, polynomial(coefficients), polynomial(derived(coefficients)))


def differentiate_roots(choose: Choices) -> Problem:
    """A sum of a root, a reciprocal power and a multiple of x."""
    a, b, c, n = choose.nonzero(9), choose.nonzero(9), choose.nonzero(9), choose.between(1, 4)
    bottom = power("x", n)
    text = added(times(2 * a, "sqrt(x)"), times(c, "x"), f"{b}/{bottom}")
    return _differentiate(choose, text, added(f"{a}/sqrt(x)", str(c), f"{-n * b}/x^{n + 1}"))


def slope(choose: Choices) -> Problem:
    """The derivative of a cubic polynomial at a point."""
    coefficients = [choose.between(-9, 9) for _ in range(3)] + [choose.between(1, 4)]
    at = choose.between(-4, 5)
    prompt = f"f(x)={polynomial(coefficients)}. What is the derivative of f at x={at}? "
    return question(prompt, value_at(derived(coefficients), at), form="number")


def chain_rule(choose: Choices) -> Problem:
    """A multiple of a function of ax+b."""
    text, derivative = _outer(choose, choose.nonzero(6))
    return _differentiate(choose, text, derivative)


def chain_square(choose: Choices) -> Problem:
    """A function of ax^2+b."""
    a, b, kind = choose.nonzero(5), choose.nonzero(9), choose.below(4)
    u = polynomial([b, 0, a])
    text = (f"sin({u})", f"cos({u})", f"e^({u})", f"({u})^5")[kind]
    outer = (f"cos({u})", f"sin({u})", f"e^({u})", f"({u})^4")[kind]
    factor = times((2 * a, -2 * a, 2 * a, 10 * a)[kind], "x")
    return _differentiate(choose, text, f"{factor}*{outer}")


def product_rule(choose: Choices) -> Problem:
    """A polynomial times a function of ax."""
    left = [choose.between(-5, 5), choose.nonzero(5), choose.below(4)]
    (text, derivative), factor = _outer(choose, 1, with_constant=False), f"({polynomial(left)})"
    answer = added(f"({polynomial(derived(left))})*{text}", f"{factor}*({derivative})")
    return _differentiate(choose, f"{factor}*{text}", answer)


def quotient_rule(choose: Choices) -> Problem:
    """A quotient of two linear polynomials."""
    a, b, c = choose.nonzero(9), choose.between(-9, 9), choose.between(1, 9)
    d = choose.other(-9, 9, 0, *([b * c // a] if b * c % a == 0 else []))
    bottom = f"({polynomial([d, c])})"
    return _differentiate(choose, f"({polynomial([b, a])})/{bottom}", f"{a * d - b * c}/{bottom}^2")


def second_derivative(choose: Choices) -> Problem:
    """The second derivative of a polynomial and a function of ax."""
    a, c, kind = choose.one_of((-4, -3, -2, 2, 3, 4)), choose.nonzero(5), choose.below(3)
    coefficients = [0, 0] + [choose.between(-5, 5) for _ in range(3)]
    name = (f"sin({a}x)", f"cos({a}x)", f"e^({a}x)")[kind]
    text = added(times(c, name), polynomial(coefficients))
    second = polynomial(derived(derived(coefficients)))
    answer = added(times(c * a * a * (1 if kind == 2 else -1), name), second)
    return question(f"What is the second derivative of {text}? ", answer)


def _coefficients(choose: Choices, degree: int, largest: int) -> list[int]:
    return [choose.between(-largest, largest) for _ in range(degree)] + [choose.nonzero(largest)]


def derived(coefficients: list[int]) -> list[int]:
    """The derivative of a polynomial."""
    return [k * c for k, c in enumerate(coefficients)][1:] or [0]


def _differentiate(choose: Choices, text: str, answer: str) -> Problem:
    return question(choose.one_of(_DERIVATIVE).format(text), answer, f"d/dx {text}")


def _outer(choose: Choices, c: int, with_constant: bool = True) -> Pair:
    """c*f(ax+b) and its derivative; never e^x, which is its own."""
    kind = choose.below(6)
    a = choose.one_of((-4, -3, -2, 2, 3, 4, 5))
    b = choose.between(-9, 9) if with_constant else 0
    u = polynomial([b, a])
    if kind == 0:
        return times(c, f"sin({u})"), times(c * a, f"cos({u})")
    if kind == 1:
        return times(c, f"cos({u})"), times(-c * a, f"sin({u})")
    if kind == 2:
        return times(c, f"e^({u})"), times(c * a, f"e^({u})")
    if kind == 3:
        return times(c, f"ln({u})"), f"{c * a}/({u})"
    if kind == 4:
        n = choose.between(3, 7)
        return times(c, f"({u})^{n}"), times(n * c * a, f"({u})^{n - 1}")
    return times(2 * c, f"sqrt({u})"), f"{c * a}/sqrt({u})"


# ------------------------------------------------------------------------ limits


def limit_infinity(choose: Choices) -> Problem:
    """A quotient of two polynomials of one degree, at infinity."""
    degree = choose.between(1, 3)
    top, bottom = ([choose.between(-9, 9) for _ in range(degree)] for _ in range(2))
    top.append(choose.nonzero(12))
    bottom.append(choose.between(1, 12))
    text = f"({polynomial(top)})/({polynomial(bottom)})"
    return _limit(choose, text, "infinity", Fraction(top[-1], bottom[-1]))


def limit_hole(choose: Choices) -> Problem:
    """A quotient of two quadratic polynomials with a common root."""
    p, a, b = choose.between(-6, 6), choose.between(1, 3), choose.between(-9, 9)
    c = choose.between(1, 3)
    d = choose.other(-9, 9, -c * p)
    top, bottom = product_of([-p, 1], [b, a]), product_of([-p, 1], [d, c])
    text = f"({polynomial(top)})/({polynomial(bottom)})"
    return _limit(choose, text, str(p), Fraction(a * p + b, c * p + d))


def limit_zero(choose: Choices) -> Problem:
    """A quotient that is 0/0 at zero, of sines, exponentials, logarithms or cosines."""
    a, b, kind = choose.nonzero(9), choose.between(2, 12), choose.below(5)
    text = (
        f"sin({times(a, 'x')})/({b}x)",
        f"(e^({times(a, 'x')})-1)/({b}x)",
        f"ln({polynomial([1, a])})/({b}x)",
        f"tan({times(a, 'x')})/sin({b}x)",
        f"(1-cos({times(a, 'x')}))/({b}x^2)",
    )[kind]
    value = Fraction(a, b) if kind < 4 else Fraction(a * a, 2 * b)
    return _limit(choose, text, "0", value)


def limit_power(choose: Choices) -> Problem:
    """(1+a/x)^(bx) at infinity."""
    a, b = choose.nonzero(9), choose.between(1, 9)
    text = f"(1{a:+}/x)^({times(b, 'x')})"
    return _limit(choose, text, "infinity", "e" if a * b == 1 else f"e^({a * b})", "any")


def _limit(choose: Choices, text: str, at: str, value: object, form: str = "number") -> Problem:
    phrase = choose.one_of(("Limit of {} as x->{}: ", "What does {} tend to as x->{}? "))
    return question(phrase.format(text, at), value, f"limit {text} {at}", form)


# --------------------------------------------------------------------- integrals


def definite_polynomial(choose: Choices) -> Problem:
    """A polynomial between whole bounds."""
    coefficients = _coefficients(choose, choose.between(1, 3), 6)
    low = choose.between(-3, 3)
    return _definite(polynomial(coefficients), integrated(coefficients), low, choose)


def definite_power(choose: Choices) -> Problem:
    """A power of ax+b between whole bounds."""
    a, b, n = choose.between(1, 3), choose.between(-4, 4), choose.between(2, 4)
    coefficients = [1]
    for _ in range(n):
        coefficients = product_of(coefficients, [b, a])
    text = f"({polynomial([b, a])})^{n}" if b or a > 1 else f"x^{n}"
    return _definite(text, integrated(coefficients), choose.between(-1, 1), choose)


def definite_reciprocal(choose: Choices) -> Problem:
    """c/x^n between two positive whole numbers."""
    c, n, low = choose.nonzero(12), choose.between(2, 3), choose.between(1, 4)
    high = low + choose.between(1, 4)
    answer = Fraction(c, n - 1) * (Fraction(1, low ** (n - 1)) - Fraction(1, high ** (n - 1)))
    return _between(f"{c}/x^{n}", low, high, answer)


def _definite(text: str, primitive: list[Rational], low: int, choose: Choices) -> Problem:
    high = low + choose.between(1, 4)
    return _between(text, low, high, value_at(primitive, high) - value_at(primitive, low))


def _between(text: str, low: int, high: int, answer: Rational) -> Problem:
    prompt = f"Integral of {text} from x={low} to x={high}: "
    return question(prompt, answer, form="number")


def integrated(coefficients: list[int]) -> list[Rational]:
    """The antiderivative of a polynomial that is 0 at 0."""
    return [0, *(Fraction(c, k + 1) for k, c in enumerate(coefficients))]


def integrate_polynomial(choose: Choices) -> Problem:
    """A polynomial of degree 1 to 3."""
    coefficients = _coefficients(choose, choose.between(1, 3), 12)
    return _integrate(polynomial(coefficients), polynomial(integrated(coefficients)))


def integrate_function(choose: Choices) -> Problem:
    """A multiple of the sine, cosine, exponential, reciprocal or a power of ax+b."""
    c, a, b = choose.nonzero(6), choose.one_of((-3, -2, 2, 3, 4, 5)), choose.between(-9, 9)
    kind, u = choose.below(5), polynomial([b, a])
    quotient = Fraction(c, a)
    if kind == 0:
        return _integrate(times(c, f"sin({u})"), times(-quotient, f"cos({u})"))
    if kind == 1:
        return _integrate(times(c, f"cos({u})"), times(quotient, f"sin({u})"))
    if kind == 2:
        return _integrate(times(c, f"e^({u})"), times(quotient, f"e^({u})"))
    if kind == 3:
        return _integrate(f"{c}/({u})", times(quotient, f"ln({u})"))
    n = choose.between(2, 5)
    return _integrate(times(c, f"({u})^{n}"), times(quotient / (n + 1), f"({u})^{n + 1}"))


def integrate_powers(choose: Choices) -> Problem:
    """A sum of a reciprocal power, a root and a multiple of x."""
    a, b, c, n = choose.nonzero(9), choose.nonzero(9), choose.nonzero(9), choose.between(2, 4)
    text = added(f"{a}/x^{n}", times(b, "sqrt(x)"), times(c, "x"))
    first = Fraction(-a, n - 1)
    bottom = (
        f"({first.denominator}{power('x', n - 1)})" if first.denominator > 1 else power("x", n - 1)
    )
    answer = added(
        f"{first.numerator}/{bottom}",
        times(Fraction(2 * b, 3), "x*sqrt(x)"),
        monomial(Fraction(c, 2), 2),
    )
    return _integrate(text, answer)


def by_parts(choose: Choices) -> Problem:
    """(ax+b) times an exponential, a sine or a cosine of cx, or x^n ln(x)."""
    a, b, kind = choose.nonzero(6), choose.between(-6, 6), choose.below(4)
    c = choose.one_of((-3, -2, 2, 3, 4))
    left, inner = f"({polynomial([b, a])})", f"{c}x"
    if kind == 0:  # ((ax+b)/c - a/c^2) e^(cx)
        inside = polynomial([Fraction(b, c) - Fraction(a, c * c), Fraction(a, c)])
        return _integrate(f"{left}*e^({inner})", f"({inside})*e^({inner})")
    if kind < 3:  # (ax+b) sin(cx)/c + a cos(cx)/c^2, or -(ax+b) cos(cx)/c + a sin(cx)/c^2
        name, other, sign = ("cos", "sin", 1) if kind == 1 else ("sin", "cos", -1)
        inside = polynomial([Fraction(sign * b, c), Fraction(sign * a, c)])
        rest = times(Fraction(a, c * c), f"{name}({inner})")
        return _integrate(f"{left}*{name}({inner})", added(f"({inside})*{other}({inner})", rest))
    n = choose.between(1, 7)
    first = times(Fraction(a, n + 1), f"x^{n + 1}*ln(x)")
    return _integrate(
        f"{monomial(a, n)}*ln(x)", added(first, monomial(Fraction(-a, (n + 1) ** 2), n + 1))
    )


def substitution(choose: Choices) -> Problem:
    """Cx times a function of x^2+b, or a power of a sine times a cosine."""
    c, b, kind = choose.nonzero(9), choose.nonzero(9), choose.below(4)
    n, half = choose.between(3, 6), Fraction(c, 2)
    u = polynomial([b, 0, 1])
    if kind == 0:
        return _integrate(times(c, f"x*({u})^{n}"), times(half / (n + 1), f"({u})^{n + 1}"))
    if kind == 1:
        return _integrate(times(c, f"x*e^({u})"), times(half, f"e^({u})"))
    if kind == 2:
        return _integrate(times(c, f"x*cos({u})"), times(half, f"sin({u})"))
    return _integrate(times(c, f"sin(x)^{n}*cos(x)"), times(Fraction(c, n + 1), f"sin(x)^{n + 1}"))


def _integrate(text: str, answer: str) -> Problem:
    return question(_INTEGRAL.format(text), answer, f"integrate {text}", "integral")


LEVELS = {
    "power": (differentiate_power,),
    "polynomial": (differentiate_polynomial, differentiate_roots, slope),
    "limit": (limit_infinity, limit_hole, limit_zero, limit_power),
    "rules": (chain_rule, chain_square, product_rule, quotient_rule),
    "definite": (definite_polynomial, definite_power, definite_reciprocal),
    "integral": (integrate_polynomial, integrate_function, integrate_powers),
    "hard": (by_parts, substitution, second_derivative),
}


@register_task("TextCalculus-v0")
class TextCalculus(Family):
    """Derivatives, limits, definite and indefinite integrals.

    ## Description
    The prompt is a question such as `d/dx (3x^4-5x)=`, and the response a function, `12x^3-5`, or a
    number. Functions are made of powers, roots, `sin`, `cos`, `tan`, `e^()` and `ln`.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. A bare answer holds digits, letters, brackets and
    `+ - * / ^`. The budget is 64 tokens, eos included, and no reference answer in 20,000 of a level
    has more than 44 characters; give `max_response_tokens` where there is to be reasoning before
    the answer.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. Prompts have up to 18
    characters at the first level and 71 at the longest, without the words of an `answer_format`.

    ## Starting State
    A question of the level, at random, made backwards from its answer where it has to be. The kinds
    of a level are equally likely.

    ## Rewards
    `correct`, weight 1: 1 if the response is equal to the reference answer; an antiderivative is
    right whatever its constant, with `+C` or without. A number has to be written as one, with
    nothing left to compute. No function in a prompt is its own derivative or integral. The reward
    comes at the end of the episode.

    `format`, weight 0: 1 if the answer stands where `answer_format` wants it.

    ## Episode End
    The episode terminates with eos or after 64 tokens. A response cut off there is graded as it
    stands. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`; `verdict` has the `rule` by which the response was judged.

    ## Arguments
    `difficulty`: a level of the table, the first one unless told otherwise. `answer_format`:
    "bare", "boxed", "hash" or "any"; see `textgym.tasks.math.base.MathTask`.

    ## Difficulties
    Questions are counted by their key, exactly where no `>` says that there are more. Repeats are
    the share of 20,000 draws whose question came before.

    | level      | questions | repeats | what is asked                                     |
    |------------|-----------|---------|---------------------------------------------------|
    | power      |    14,256 |  49.3 % | two powers of x                                   |
    | polynomial | > 700,000 |   4.8 % | degree 3 to 6, roots, 1/x^n; slopes at a point    |
    | limit      | > 500,000 |  45.6 % | at infinity, at holes, sin(ax)/(bx), (1+a/x)^(bx) |
    | rules      |   102,048 |  30.1 % | chain, product and quotient rules                 |
    | definite   |   801,060 |  60.3 % | polynomials, (ax+b)^n, c/x^n                      |
    | integral   |   419,040 |  25.2 % | polynomials, sin, cos, e, 1/(ax+b), powers        |
    | hard       |   244,020 |  48.2 % | by parts, substitution, second derivatives        |

    An example of each:

    * power: `d/dx (3x^4-5x)=`
    * polynomial: `Differentiate 2x^5-x^3+7:`
    * limit: `Limit of (x^2-4)/(x-2) as x->2:`
    * rules: `Differentiate (x+1)*sin(2x):`
    * definite: `Integral of 3x^2 from x=0 to x=2:`
    * integral: `Integrate 4sin(2x+1) with ...`
    * hard: `Integrate (x+1)*e^(2x) with ...`

    ## References
    Lample and Charton 2020, "Deep Learning for Symbolic Mathematics", make integrals backwards from
    their answers. Saxton et al. 2019, "Analysing Mathematical Reasoning Abilities of Neural Models"
    (calculus: differentiate).

    ## Version History
    * v0: initial version.
    """

    levels = LEVELS
    difficulties = tuple(LEVELS)
    max_response_tokens = 64
    forms = {**FORMS, "integral": is_function}

    def verdict(self, problem: Problem, answer: str) -> Verdict:
        """An antiderivative is right up to a constant."""
        if problem.info["form"] != "integral":
            return super().verdict(problem, answer)
        reference = extract_answer(problem.answer).text
        return equivalent(increment(reference), increment(answer))
