"""TextPolynomial: evaluate, collect, expand, factor and divide."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, gcd

from textgym.grading.expressions.reading import read
from textgym.grading.expressions.relations import value_of
from textgym.grading.expressions.tree import (
    Negative,
    Node,
    Number,
    Power,
    Product,
    Sum,
    Symbol,
)
from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.family import Family, question
from textgym.tasks.math.writing import (
    added,
    in_brackets,
    monomial,
    polynomial,
    power,
    product_of,
    value_at,
)


def factor_degrees(answer: str) -> list[int]:
    """The degrees of the factors of a product, ascending; empty for what is no such product.

    A product is of integers, letters and sums of monomials with integer coefficients, any of them
    to a power: `-2x(x+1)^2(x^2+x+1)` has the degrees 1, 1, 1, 2.
    """
    node = value_of(read(answer).node)
    node = node.operand if isinstance(node, Negative) else node
    degrees: list[int] = []
    try:
        for factor in node.factors if isinstance(node, Product) else (node,):
            base, exponent = _power(factor)
            terms = base.terms if isinstance(base, Sum) else (base,)
            degrees += [max(map(_degree, terms))] * exponent
    except ValueError:
        return []
    return sorted(degree for degree in degrees if degree)


def _power(node: Node) -> tuple[Node, int]:
    """A base and its exponent of 1 to 9."""
    if not isinstance(node, Power):
        return node, 1
    if not isinstance(node.exponent, Number) or node.exponent.value not in range(1, 10):
        raise ValueError("no small power")
    return node.base, int(node.exponent.value)


def _degree(node: Node) -> int:
    """The degree of a monomial with an integer coefficient."""
    node, exponent = _power(node.operand if isinstance(node, Negative) else node)
    if isinstance(node, Product):
        return sum(map(_degree, node.factors)) * exponent
    if isinstance(node, Symbol):
        return exponent
    if isinstance(node, Number) and node.value.denominator == 1:
        return 0
    raise ValueError("no monomial")


# ------------------------------------------------------------- evaluate, collect


def evaluate(choose: Choices) -> Problem:
    """The value of a quadratic polynomial at a whole number."""
    coefficients = [choose.nonzero(9), choose.between(-9, 9), choose.between(1, 5)]
    x = choose.other(-6, 9, 0, 1)
    return question(
        f"{polynomial(coefficients)}, x={x}: ", value_at(coefficients, x), form="number"
    )


def collect(choose: Choices) -> Problem:
    """A sum of four terms with like ones among them."""
    a, b, d = (choose.nonzero(9) for _ in range(3))
    c = choose.other(-9, 9, 0, -a)
    terms = choose.shuffled((monomial(a, 1), str(b), monomial(c, 1), str(d)))
    key = f"collect {min(a, c)} {max(a, c)} {min(b, d)} {max(b, d)}"
    return question(f"{added(*terms)}= ", polynomial([b + d, a + c]), key, "expanded")


def collect_squares(choose: Choices) -> Problem:
    """The sum or difference of two quadratic polynomials in brackets."""
    left = [choose.between(-9, 9), choose.nonzero(9), choose.between(2, 9)]
    right = [choose.between(-9, 9), choose.nonzero(9), choose.between(1, 9)]
    minus = choose.below(2)
    if minus:
        right[2] = choose.other(1, 9, left[2])
    total = [a - b if minus else a + b for a, b in zip(left, right, strict=True)]
    texts = [f"({polynomial(left)})", f"({polynomial(right)})"]
    prompt = f"{('-' if minus else '+').join(texts)}= "
    key = prompt if minus else f"{'+'.join(sorted(texts))}= "
    return question(prompt, polynomial(total), key, "expanded")


# ------------------------------------------------------------------------ expand


def expand_linear(choose: Choices) -> Problem:
    """The product of two linear factors."""
    left, right = _linear(choose, 4), _linear(choose, 4)
    return _expand(choose, [left, right])


def expand_quadratic(choose: Choices) -> Problem:
    """A linear factor times a quadratic one."""
    quadratic = [choose.between(-6, 6), choose.nonzero(6), choose.between(1, 3)]
    return _expand(choose, [_linear(choose, 3), quadratic])


def expand_square(choose: Choices) -> Problem:
    """The square or cube of a sum of two terms."""
    a, b, exponent = choose.between(1, 6), choose.nonzero(7), choose.between(2, 3)
    coefficients = [comb(exponent, k) * a**k * b ** (exponent - k) for k in range(exponent + 1)]
    text = f"({polynomial([b, a])})^{exponent}"
    return question(f"Expand {text}: ", polynomial(coefficients), f"expand {text}", "expanded")


def _expand(choose: Choices, factors: list[list[int]]) -> Problem:
    texts = [f"({polynomial(factor)})" for factor in factors]
    if choose.below(2):
        texts.reverse()
    answer = polynomial(product_of(*factors))
    key = "expand " + "".join(sorted(texts))
    return question(f"Expand {''.join(texts)}: ", answer, key, "expanded")


def _linear(choose: Choices, highest: int) -> list[int]:
    return [choose.nonzero(9), choose.between(1, highest)]


# ------------------------------------------------------------------------ factor


def factor_quadratic(choose: Choices) -> Problem:
    """A quadratic polynomial with two rational roots."""
    return _factor([_primitive(choose, 12, 4), _primitive(choose, 12, 3)])


def factor_out(choose: Choices) -> Problem:
    """A cubic polynomial without a constant."""
    return _factor([[0, 1], _primitive(choose, 9, 3), _primitive(choose, 9, 2)])


def factor_cubic(choose: Choices) -> Problem:
    """A cubic polynomial with three integer roots."""
    return _factor([[choose.nonzero(6), 1] for _ in range(3)])


def factor_cubes(choose: Choices) -> Problem:
    """The sum or difference of two cubes, times x or not."""
    a, b = choose.between(1, 4), choose.nonzero(7)
    divisor = gcd(a, b)
    a, b = a // divisor, b // divisor
    quadratic = [b * b, -a * b, a * a]
    return _factor([[0, 1]] * choose.below(3) + [[b, a], quadratic])


def _primitive(choose: Choices, constant: int, leading: int) -> list[int]:
    """ax+b in lowest terms."""
    a, b = choose.between(1, leading), choose.nonzero(constant)
    divisor = gcd(a, b)
    return [b // divisor, a // divisor]


def _factor(factors: Sequence[list[int]]) -> Problem:
    """Ask for factors of coprime coefficients: their product has coprime ones as well (Gauss)."""
    product = [1]
    for factor in factors:
        product = product_of(product, factor)
    texts = sorted(polynomial(factor) for factor in factors)
    if "x" in texts:
        texts = ["x"] * texts.count("x") + [text for text in texts if text != "x"]
    answer = "".join(
        power(text if text == "x" else f"({text})", texts.count(text))
        for text in dict.fromkeys(texts)
    )
    degrees = ",".join(str(len(factor) - 1) for factor in sorted(factors, key=len))
    prompt = f"Factor {polynomial(product)} completely: "
    return question(prompt, answer, form=f"factored {degrees}")


# ------------------------------------------------------------------------ divide


def divide(choose: Choices) -> Problem:
    """A quadratic or cubic polynomial divided by a linear one, with remainder."""
    quotient = [choose.between(-7, 7) for _ in range(choose.between(1, 2))]
    quotient.append(choose.between(1, 3))
    return _divide(quotient, [choose.nonzero(7), 1], [choose.between(-12, 12)])


def divide_quadratic(choose: Choices) -> Problem:
    """A cubic polynomial divided by a quadratic one, with remainder."""
    quotient = [choose.nonzero(7), choose.between(1, 3)]
    divisor = [choose.nonzero(7), choose.between(-5, 5), 1]
    return _divide(quotient, divisor, [choose.between(-9, 9), choose.between(-5, 5)])


def _divide(quotient: list[int], divisor: list[int], remainder: list[int]) -> Problem:
    dividend = product_of(quotient, divisor)
    for k, coefficient in enumerate(remainder):
        dividend[k] += coefficient
    prompt = (
        f"Divide {polynomial(dividend)} by {polynomial(divisor)}. "
        "Give (quotient,remainder), as in (x+2,3): "
    )
    answer = in_brackets((polynomial(quotient), polynomial(remainder)))
    return question(prompt, answer, form="any")


# -------------------------------------------------------------------------- hard


def expand_two_variables(choose: Choices) -> Problem:
    """(ax+by)(cx+dy+e)."""
    a, b, c, d, e = (choose.nonzero(5) for _ in range(5))
    left = added(monomial(a, 1), monomial(b, 1, "y"))
    right = added(monomial(c, 1), monomial(d, 1, "y"), str(e))
    answer = added(
        *(monomial(a * c, 2), monomial(a * d + b * c, 1, "xy"), monomial(b * d, 2, "y")),
        *(monomial(a * e, 1), monomial(b * e, 1, "y")),
    )
    return question(f"Expand ({left})({right}): ", answer, form="expanded")


def compose(choose: Choices) -> Problem:
    """f(g(x)) for a quadratic f and a linear g."""
    f = [choose.between(-9, 9), choose.nonzero(6), choose.other(-4, 4, 0)]
    b, a = choose.nonzero(6), choose.other(-4, 4, 0)
    square = product_of([b, a], [b, a])
    answer = [f[2] * s for s in square]
    answer[0] += f[1] * b + f[0]
    answer[1] += f[1] * a
    prompt = f"f(x)={polynomial(f)} and g(x)={polynomial([b, a])}. Expand f(g(x)): "
    return question(prompt, polynomial(answer), form="expanded")


def coefficient(choose: Choices) -> Problem:
    """One coefficient of a power of a binomial."""
    n = choose.between(5, 9)
    k = choose.between(2, n - 2)
    a, b = choose.between(1, 3), choose.nonzero(4)
    text = f"({polynomial([b, a])})^{n}"
    prompt = f"What is the coefficient of {power('x', k)} in the expansion of {text}? "
    return question(prompt, comb(n, k) * a**k * b ** (n - k), form="number")


LEVELS = {
    "evaluate": (evaluate,),
    "collect": (collect, collect_squares),
    "expand": (expand_linear, expand_quadratic, expand_square),
    "factor": (factor_quadratic, factor_out),
    "divide": (divide, divide_quadratic),
    "hard": (expand_two_variables, compose, coefficient, factor_cubic, factor_cubes),
}


@register_task("TextPolynomial-v0")
class TextPolynomial(Family):
    """Evaluate, collect, expand, factor and divide polynomials.

    ## Description
    The prompt is a polynomial with what to do to it, such as `Expand (x+2)(x+3): `, and the
    response the result: `x^2+5x+6`. A division asks for `(quotient,remainder)`.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. A bare answer holds digits, letters, brackets and
    `+ - * ^ ,`. The budget is 40 tokens, eos included, and no reference answer in 20,000 of a level
    has more than 25 characters; give `max_response_tokens` where there is to be reasoning before
    the answer.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. Prompts have up to 17
    characters at the first level and 80 at the longest, without the words of an `answer_format`.

    ## Starting State
    A question of the level, at random, made backwards from its answer where it has to be. The kinds
    of a level are equally likely.

    ## Rewards
    `correct`, weight 1: 1 if the response is equal to the reference answer and has the form that is
    asked for: a number; a sum of monomials no two of which are alike; factors with integer
    coefficients of the right degrees. So no prompt is an answer to itself. The reward comes at the
    end of the episode.

    `format`, weight 0: 1 if the answer stands where `answer_format` wants it.

    ## Episode End
    The episode terminates with eos or after 40 tokens. A response cut off there is graded as it
    stands. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`; `verdict` has the `rule` by which the response was judged.

    ## Arguments
    `difficulty`: a level of the table, the first one unless told otherwise. `answer_format`:
    "bare", "boxed", "hash" or "any"; see `textgym.tasks.math.base.MathTask`.

    ## Difficulties
    Questions are counted by their key, exactly where no `>` says that there are more. Repeats are
    the share of 20,000 draws whose question came before. Factors and terms in another order are the
    same question.

    | level    |   questions | repeats | what is asked                                 |
    |----------|-------------|---------|-----------------------------------------------|
    | evaluate |      23,940 |  32.2 % | a quadratic polynomial at an integer          |
    | collect  |   > 200,000 |   8.4 % | like terms of one or of two variables' powers |
    | expand   |      28,068 |  57.4 % | 2 factors of degrees 1 and 2, squares, cubes  |
    | factor   |       2,744 |  87.2 % | 2 or 3 linear factors                         |
    | divide   | > 1,000,000 |   4.2 % | by degree 1 or 2, with remainder              |
    | hard     |     276,068 |  56.1 % | 2 variables, f(g(x)), (ax+b)^n, cubic factors |

    An example of each:

    * evaluate: `5x^2-7x+9, x=-2:`
    * collect: `7x-3-2x+8=`
    * expand: `Expand (3x^2-5x+6)(2x-4):`
    * factor: `Factor 3x^3-13x^2+14x completely:`
    * divide: `Divide x^3+5x^2-3x+48 by ...`
    * hard: `f(x)=... Expand f(g(x)):`

    ## References
    Saxton et al. 2019, "Analysing Mathematical Reasoning Abilities of Neural Models" (polynomials:
    add, collect, compose, evaluate, expand).

    ## Version History
    * v0: initial version.
    """

    levels = LEVELS
    difficulties = tuple(LEVELS)
    max_response_tokens = 40

    def accepts(self, problem: Problem, answer: str) -> bool:
        """Whether the answer is expanded, or factored into factors of the right degrees."""
        form, _, degrees = problem.info["form"].partition(" ")
        if form == "factored":
            return factor_degrees(answer) == [int(degree) for degree in degrees.split(",")]
        return super().accepts(problem, answer)
