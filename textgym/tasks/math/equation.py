"""TextEquation: linear and quadratic equations, and systems of two and three linear equations."""

from __future__ import annotations

import re
from fractions import Fraction
from math import gcd, isqrt

from textgym.grading.expressions.reading import read
from textgym.grading.expressions.relations import value_of
from textgym.grading.expressions.tree import Listing, Node, Relation, symbols
from textgym.grading.forms import is_number
from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.family import FORMS, Family, question
from textgym.tasks.math.writing import (
    added,
    in_braces,
    in_brackets,
    monomial,
    polynomial,
    product_of,
    times,
)

SQUARE_FREE = [n for n in range(2, 31) if all(n % (d * d) for d in range(2, isqrt(n) + 1))]

# Any matrix with a determinant but 0 serves, for the solution comes first.
_PATTERNS_3 = (
    ((1, 1, 1), (1, -1, 0), (0, 1, 2)),
    ((1, 1, 1), (1, 2, -1), (2, -1, 1)),
    ((2, 1, -1), (1, -1, 1), (1, 2, 3)),
    ((1, 0, 2), (3, -1, 0), (0, 2, 1)),
    ((3, 2, 1), (1, 1, -2), (2, -3, 1)),
    ((1, 2, 3), (2, 3, 1), (3, 1, 2)),
    ((2, -1, 3), (1, 3, -2), (4, 1, 1)),
    ((5, -2, 1), (1, 1, 1), (2, 3, -4)),
)

_IN = re.compile(r"\\in(?![a-z])|∈")


def is_solved(answer: str) -> bool:
    """Whether no unknown is left but those in front of `=` or `in`, as in `x=3`."""
    node = read(answer).node
    return all(map(_has_no_unknown, node.items if isinstance(node, Listing) else (node,)))


def _has_no_unknown(node: Node) -> bool:
    if isinstance(node, Relation):
        node = node.sides[-1] if node.operators == ("∈",) else value_of(node)
    return not isinstance(node, Relation) and not symbols(node)


def surd_root(p: int, q: int, n: int, divisor: int) -> str:
    """(p + q*sqrt(n))/divisor in lowest terms: "1+2sqrt(3)", "(1-sqrt(5))/2"."""
    common = gcd(gcd(p, q), divisor)
    p, q, divisor = p // common, q // common, divisor // common
    top = added(str(p), times(q, f"sqrt({n})"))
    return top if divisor == 1 else f"({top})/{divisor}" if p else f"{top}/{divisor}"


# ------------------------------------------------------------------------ linear


def one_step(choose: Choices) -> Problem:
    """x+a=b or ax=b with a whole solution."""
    x = choose.between(-50, 50)
    if choose.below(2):
        a = choose.other(-12, 12, -1, 0, 1)
        return _solve(f"{a}x={a * x}", x)
    a = choose.nonzero(50)
    return _solve(f"x{a:+}={x + a}", x)


def linear(choose: Choices) -> Problem:
    """ax+b=cx+d; the solution is a fraction half of the time."""
    a, b = choose.nonzero(12), choose.nonzero(30)
    c = choose.other(-12, 12, a)
    d = b + (a - c) * choose.between(-15, 15) if choose.below(2) else choose.between(-40, 40)
    return _linear(polynomial([b, a]), polynomial([d, c]), Fraction(d - b, a - c))


def brackets(choose: Choices) -> Problem:
    """a(bx+c)+d=e(x+f)."""
    a, b, c = choose.other(-6, 6, -1, 0, 1), choose.between(1, 4), choose.nonzero(9)
    e = choose.other(-6, 6, -1, 0, 1, a * b)
    f, d = choose.nonzero(9), choose.between(-20, 20)
    left = added(f"{a}({polynomial([c, b])})", str(d))
    right = f"{e}({polynomial([f, 1])})"
    return _linear(left, right, Fraction(e * f - a * c - d, a * b - e))


def fractional(choose: Choices) -> Problem:
    """(x+a)/b+(x+c)/d=e with a whole or fractional solution."""
    a, c, e = choose.nonzero(9), choose.nonzero(9), choose.nonzero(12)
    b, d = choose.distinct(2, 2, 9)
    left = f"(x{a:+})/{b}+(x{c:+})/{d}"
    return _linear(left, str(e), Fraction(e * b * d - a * d - c * b, b + d))


def _linear(left: str, right: str, x: Fraction) -> Problem:
    key = f"{left}={right}" if left < right else f"{right}={left}"
    return question(f"Solve for x: {left}={right}. x=", x, key, "number")


def _solve(equation: str, x: int) -> Problem:
    return question(f"{equation};x=", x, equation, "number")


# --------------------------------------------------------------------- quadratic


def quadratic(choose: Choices) -> Problem:
    """A quadratic equation with integer or rational roots, sometimes a double one."""
    p, q = choose.between(-12, 12), choose.between(-12, 12)
    a, c = 1, 1
    if choose.below(2):
        a, c = choose.between(1, 5), choose.between(2, 5)
    return _quadratic(choose, product_of([-p, a], [-q, c]), {Fraction(p, a), Fraction(q, c)})


def _quadratic(choose: Choices, coefficients: list[int], roots: set[Fraction]) -> Problem:
    common = gcd(*coefficients)
    constant, b, a = (n // common for n in coefficients)
    key = f"{polynomial([constant, b, a])}=0"
    prompt = _as_set(_rearranged(choose, constant, b, a))
    return question(prompt, in_braces(sorted(roots)), key, "roots")


def _rearranged(choose: Choices, constant: int, b: int, a: int) -> str:
    """The equation as it stands, or with some terms on the right."""
    kind = choose.below(3)
    if kind == 1 and constant:
        return f"{polynomial([0, b, a])}={-constant}"
    if kind == 2 and b:
        return f"{polynomial([0, 0, a])}={polynomial([-constant, -b])}"
    return f"{polynomial([constant, b, a])}=0"


def _as_set(equation: str) -> str:
    return f"Solve {equation}. Give the set of all solutions, as in {{-1,2}}: "


def surd_quadratic(choose: Choices) -> Problem:
    """A quadratic equation with irrational roots (p ± q sqrt(n))/r."""
    n, q, p = choose.one_of(SQUARE_FREE), choose.between(1, 3), choose.between(-9, 9)
    r = choose.between(1, 3)
    # r^2 x^2 - 2pr x + p^2 - q^2 n = 0
    coefficients = [p * p - q * q * n, -2 * p * r, r * r]
    common = gcd(*coefficients)
    constant, b, a = (k // common for k in coefficients)
    roots = in_braces((surd_root(p, -q, n, r), surd_root(p, q, n, r)))
    prompt = (
        f"Solve {_rearranged(choose, constant, b, a)} exactly. "
        "Give the set of all solutions, as in {1-sqrt(2),1+sqrt(2)}: "
    )
    return question(prompt, roots, f"{polynomial([constant, b, a])}=0", "solved")


# ----------------------------------------------------------------------- systems


def system_2(choose: Choices) -> Problem:
    """Two linear equations with a whole or a rational solution."""
    a, b, c = choose.nonzero(9), choose.nonzero(9), choose.nonzero(9)
    # b*c/a is the one value of d for which the rows are parallel, where it is a whole number.
    d = choose.other(-9, 9, 0, *([b * c // a] if b * c % a == 0 else []))
    x, y = choose.between(-12, 12), choose.between(-12, 12)
    rows = [((a, b), a * x + b * y), ((c, d), c * x + d * y)]
    return _system(rows, "xy", (x, y))


def rational_system(choose: Choices) -> Problem:
    """Two linear equations with any right sides, so that the solution is mostly a fraction."""
    a, b, c = choose.between(1, 7), choose.nonzero(7), choose.between(1, 7)
    d = choose.other(-7, 7, 0, *([b * c // a] if b * c % a == 0 else []))
    e, f = choose.between(-20, 20), choose.between(-20, 20)
    determinant = a * d - b * c
    x, y = Fraction(e * d - b * f, determinant), Fraction(a * f - e * c, determinant)
    return _system([((a, b), e), ((c, d), f)], "xy", (x, y))


def system_3(choose: Choices) -> Problem:
    """Three linear equations with a whole solution."""
    pattern = choose.one_of(_PATTERNS_3)
    columns = choose.shuffled((0, 1, 2))
    signs = [1 - 2 * choose.below(2) for _ in range(3)]
    solution = [choose.between(-9, 9) for _ in range(3)]
    rows = []
    for row in choose.shuffled(pattern):
        coefficients = tuple(row[j] * s for j, s in zip(columns, signs, strict=True))
        rows.append((coefficients, sum(a * x for a, x in zip(coefficients, solution, strict=True))))
    return _system(rows, "xyz", solution)


def _system(rows: list, names: str, solution: tuple | list) -> Problem:
    equations = []
    for coefficients, right in rows:
        terms = [monomial(a, 1, v) for a, v in zip(coefficients, names, strict=True) if a]
        equations.append(f"{added(*terms)}={right}")
    example = "(1,2)" if len(names) == 2 else "(1,2,3)"
    prompt = f"Solve {', '.join(equations)}. Give ({','.join(names)}), as in {example}: "
    return question(prompt, in_brackets(solution), ", ".join(sorted(equations)), "number")


LEVELS = {
    "one-step": (one_step,),
    "linear": (linear, brackets, fractional),
    "quadratic": (quadratic,),
    "surd": (surd_quadratic,),
    "system-2": (system_2, rational_system),
    "system-3": (system_3,),
}


@register_task("TextEquation-v0")
class TextEquation(Family):
    """Solve linear and quadratic equations and systems of linear ones.

    ## Description
    The prompt is an equation such as `x+5=12;x=` or
    `Solve x^2=5x-6. Give the set of all solutions, as in {-1,2}: `, and the response its solution:
    `7`, a fraction, a set `{2,3}`, or a tuple `(1,2)`. Each prompt says which of these it asks for.
    An equation has the same key whichever side its terms stand on, and a system whatever the order
    of its equations.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. A bare answer holds digits, brackets,
    `+ - / , x y z =` and `sqrt`. The budget is 56 tokens, eos included, and no reference answer in
    20,000 of a level has more than 35 characters; give `max_response_tokens` where there is to be
    reasoning before the answer.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. Prompts have up to 12
    characters at the first level and 90 at the longest, without the words of an `answer_format`.

    ## Starting State
    A question of the level, at random, made backwards from its answer where it has to be. The kinds
    of a level are equally likely.

    ## Rewards
    `correct`, weight 1: 1 if the response says what the reference answer says, solved: `7` or
    `x=7`, a set in any order, `x=2 or x=3`, but not the equation and no `12-5`. Roots at the level
    `surd` may be any expressions without x. The reward comes at the end of the episode.

    `format`, weight 0: 1 if the answer stands where `answer_format` wants it.

    ## Episode End
    The episode terminates with eos or after 56 tokens. A response cut off there is graded as it
    stands. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`; `verdict` has the `rule` by which the response was judged.

    ## Arguments
    `difficulty`: a level of the table, the first one unless told otherwise. `answer_format`:
    "bare", "boxed", "hash" or "any"; see `textgym.tasks.math.base.MathTask`.

    ## Difficulties
    Questions are counted by their key, exactly where no `>` says that there are more. Repeats are
    the share of 20,000 draws whose question came before.

    | level     |   questions | repeats | what is asked                          |
    |-----------|-------------|---------|----------------------------------------|
    | one-step  |      12,322 |  57.1 % | ax=b or x+a=b; integers                |
    | linear    | > 2,000,000 |   0.3 % | x on both sides, brackets, fractions   |
    | quadratic |       3,655 |  85.0 % | one or two rational roots              |
    | surd      |       2,790 |  86.1 % | roots p+q*sqrt(n)                      |
    | system-2  | > 1,000,000 |   0.0 % | 2 unknowns, integer or rational (half) |
    | system-3  |   > 100,000 |   0.4 % | 3 unknowns, integers                   |

    An example of each:

    * one-step: `-3x=24;x=`
    * linear: `Solve for x: 6(x+9)+13=-4(x-2). x=`
    * quadratic: `Solve 2x^2=5x+33. ...`
    * surd: `Solve x^2-18x=-51 exactly. ...`
    * system-2: `Solve x-9y=-67, 5x+y=-13. ...`
    * system-3: `Solve x-y+z=15, 5x-y-2z=4, ...`

    ## References
    Saxton et al. 2019, "Analysing Mathematical Reasoning Abilities of Neural Models" (algebra:
    linear_1d, linear_2d, polynomial_roots).

    ## Version History
    * v0: initial version.
    """

    levels = LEVELS
    difficulties = tuple(LEVELS)
    max_response_tokens = 56
    forms = {**FORMS, "solved": is_solved, "roots": lambda answer: is_number(_IN.split(answer)[-1])}
