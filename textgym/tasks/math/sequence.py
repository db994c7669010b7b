"""TextSequence: the next term, the n-th term and sums of sequences with a simple rule."""

from __future__ import annotations

from fractions import Fraction

from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.family import Family, question
from textgym.tasks.math.writing import added, polynomial, times, value_at


def arithmetic_terms(first: int, step: int, count: int) -> list[int]:
    """first, first+step, ..."""
    return [first + k * step for k in range(count)]


def geometric_terms(first: int, ratio: int, count: int) -> list[int]:
    """first, first*ratio, ..."""
    return [first * ratio**k for k in range(count)]


def quadratic_terms(coefficients: list[int], count: int) -> list[int]:
    """The values of a polynomial at 1, 2, ..."""
    return [value_at(coefficients, n) for n in range(1, count + 1)]


def recurrent_terms(start: list[int], p: int, q: int, r: int, count: int) -> list[int]:
    """a(n) = p*a(n-1) + q*a(n-2) + r from two first terms."""
    terms = list(start)
    while len(terms) < count:
        terms.append(p * terms[-1] + q * terms[-2] + r)
    return terms


def _joined(terms: list[int]) -> str:
    return ",".join(map(str, terms))


# --------------------------------------------------------------------- next term


def next_arithmetic(choose: Choices) -> Problem:
    """Four terms of an arithmetic sequence."""
    return _next(arithmetic_terms(choose.between(-20, 60), choose.nonzero(15), 5), "")


def next_geometric(choose: Choices) -> Problem:
    """Four terms of a geometric sequence."""
    first, ratio = choose.nonzero(12), choose.one_of((-4, -3, -2, 2, 3, 4, 5))
    return _next(geometric_terms(first, ratio, 5))


def next_quadratic(choose: Choices) -> Problem:
    """Five terms whose differences grow by the same amount."""
    return _next(quadratic_terms(_quadratic(choose), 6))


def next_fibonacci(choose: Choices) -> Problem:
    """Six terms, each the sum of the two before it."""
    return _next(recurrent_terms([choose.between(-4, 12), choose.between(1, 12)], 1, 1, 0, 7))


def next_affine(choose: Choices) -> Problem:
    """Five terms, each a multiple of the one before it and a constant more."""
    p, r = choose.between(2, 4), choose.nonzero(9)
    terms = [choose.between(1, 12)]
    for _ in range(5):
        terms.append(p * terms[-1] + r)
    return _next(terms)


def next_interleaved(choose: Choices) -> Problem:
    """Two arithmetic sequences in turn."""
    a = arithmetic_terms(choose.between(-9, 30), choose.nonzero(9), 4)
    b = arithmetic_terms(choose.between(-9, 30), choose.nonzero(9), 3)
    terms = [a[0], b[0], a[1], b[1], a[2], b[2], a[3]]
    return _next(terms)


def _next(terms: list[int], words: str = "Next term: ") -> Problem:
    text = _joined(terms[:-1])
    return question(f"{words}{text},", terms[-1], f"next {text}", "number")


def _quadratic(choose: Choices) -> list[int]:
    return [choose.between(-9, 9), choose.between(-5, 9), choose.other(-3, 4, 0)]


# --------------------------------------------------------------------- n-th term


def nth_arithmetic(choose: Choices) -> Problem:
    """A late term of an arithmetic sequence."""
    terms = arithmetic_terms(choose.between(-20, 60), choose.nonzero(15), 60)
    return _nth(choose, terms, 3, "arithmetic")


def nth_geometric(choose: Choices) -> Problem:
    """A later term of a geometric sequence."""
    first, ratio = choose.nonzero(9), choose.one_of((-3, -2, 2, 3))
    n = choose.between(6, 11)
    text = _joined(geometric_terms(first, ratio, 3))
    return _term(n, f"the geometric sequence {text},...", first * ratio ** (n - 1))


def nth_quadratic(choose: Choices) -> Problem:
    """A late term of a quadratic sequence."""
    return _nth(choose, quadratic_terms(_quadratic(choose), 60), 5, "quadratic")


def _nth(choose: Choices, terms: list[int], shown: int, kind: str) -> Problem:
    n = choose.between(11, len(terms))
    return _term(n, f"the {kind} sequence {_joined(terms[:shown])},...", terms[n - 1])


def _term(n: int, sequence: str, answer: int) -> Problem:
    prompt = f"What is the {_ordinal(n)} term of {sequence}? "
    return question(prompt, answer, form="number")


def _ordinal(n: int) -> str:
    """11th, 21st, 32nd."""
    suffix = "th" if 10 < n % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def formula(choose: Choices) -> Problem:
    """The rule of an arithmetic or quadratic sequence as a polynomial in n."""
    coefficients = [choose.between(-20, 40), choose.nonzero(12)]
    if choose.below(2):
        coefficients = _quadratic(choose)
    text = _joined(quadratic_terms(coefficients, 4 if len(coefficients) == 2 else 5))
    kind = "arithmetic" if len(coefficients) == 2 else "quadratic"
    prompt = f"The {kind} sequence {text},... starts at n=1. Its n-th term in n, as in 2n+1: "
    return question(prompt, polynomial(coefficients, "n"), form="expanded")


# -------------------------------------------------------------------------- sums


def sum_arithmetic(choose: Choices) -> Problem:
    """The sum of an arithmetic sequence from its first to its last term."""
    first, step, count = choose.between(-20, 60), choose.nonzero(12), choose.between(8, 40)
    terms = arithmetic_terms(first, step, count)
    shown = added(*map(str, terms[:3])) + f"+...{terms[-1]:+}"
    prompt = f"Calculate {shown}, the sum of {count} terms of an arithmetic sequence: "
    return question(prompt, sum(terms), f"sum {first} {step} {count}", "number")


def sum_geometric(choose: Choices) -> Problem:
    """The sum of the first terms of a geometric sequence."""
    first, ratio = choose.nonzero(9), choose.one_of((-3, -2, 2, 3, 4))
    count = choose.between(5, 9)
    terms = geometric_terms(first, ratio, count)
    prompt = (
        f"What is the sum of the first {count} terms of the geometric sequence "
        f"{_joined(terms[:3])},...? "
    )
    return question(prompt, sum(terms), form="number")


def sum_polynomial(choose: Choices) -> Problem:
    """The sum of a polynomial over k = 1, ..., n."""
    coefficients = [choose.between(-9, 9), choose.between(-9, 9), choose.between(0, 3)]
    coefficients[1] += not any(coefficients[1:])
    n = choose.between(8, 30)
    prompt = f"Calculate the sum of {polynomial(coefficients, 'k')} for k from 1 to {n}: "
    return question(prompt, sum(quadratic_terms(coefficients, n)), form="number")


# -------------------------------------------------------------------------- hard


def recurrence(choose: Choices) -> Problem:
    """A term of a second-order recurrence that is given."""
    start = [choose.between(-5, 9), choose.between(-5, 9)]
    p, q, r = choose.between(1, 3), choose.other(-3, 3, 0), choose.between(-5, 5)
    n = choose.between(6, 9)
    rule = added(times(p, "a(n-1)"), times(q, "a(n-2)"), str(r))
    prompt = f"a(1)={start[0]}, a(2)={start[1]}, a(n)={rule}. What is a({n})? a({n})="
    return question(prompt, recurrent_terms(start, p, q, r, n)[-1], form="number")


def infinite_sum(choose: Choices) -> Problem:
    """The sum of an infinite geometric series with a rational ratio."""
    first, q = choose.nonzero(24), choose.between(2, 7)
    p = choose.between(1, q - 1)
    ratio = Fraction(p, q) * (1 - 2 * choose.below(2))
    terms = [first * ratio**k for k in range(3)]
    listed = "+".join(f"({term})" if term < 0 else str(term) for term in terms)
    prompt = f"What is the sum of the infinite geometric series {listed}+...? "
    return question(prompt, first / (1 - ratio), form="number")


def arithmetic_from_two(choose: Choices) -> Problem:
    """A term of an arithmetic sequence of which two others are known."""
    first, step = choose.between(-30, 60), choose.nonzero(15)
    i, j, n = choose.distinct(3, 3, 40)
    value = [first + (k - 1) * step for k in (i, j, n)]
    prompt = (
        f"In an arithmetic sequence a({min(i, j)})={value[0 if i < j else 1]} and "
        f"a({max(i, j)})={value[1 if i < j else 0]}. What is a({n})? a({n})="
    )
    return question(prompt, value[2], form="number")


def count_terms(choose: Choices) -> Problem:
    """How many terms of an arithmetic sequence give a certain sum."""
    first, step, count = choose.between(1, 30), choose.between(1, 9), choose.between(6, 40)
    terms = arithmetic_terms(first, step, count)
    prompt = f"How many terms of {_joined(terms[:3])},... add up to {sum(terms)}? "
    return question(prompt, count, form="number")


def hidden_recurrence(choose: Choices) -> Problem:
    """The next term where each is a combination of the two before it, which has to be found."""
    start = [choose.between(-4, 9), choose.between(1, 9)]
    p, q = choose.between(1, 3), choose.other(-2, 3, 0)
    terms = recurrent_terms(start, p, q, 0, 8)
    text = _joined(terms[:-1])
    prompt = f"{text} follow a rule a(n)=p*a(n-1)+q*a(n-2). What is the next term? "
    return question(prompt, terms[-1], f"next {text}", "number")


LEVELS = {
    "arithmetic": (next_arithmetic,),
    "next": (next_geometric, next_quadratic, next_fibonacci, next_affine, next_interleaved),
    "nth": (nth_arithmetic, nth_geometric, nth_quadratic, formula),
    "sum": (sum_arithmetic, sum_geometric, sum_polynomial),
    "hard": (recurrence, infinite_sum, arithmetic_from_two, count_terms, hidden_recurrence),
}


@register_task("TextSequence-v0")
class TextSequence(Family):
    """Continue sequences, name their n-th terms and add them up.

    ## Description
    The prompt is the beginning of a sequence, such as `56,45,34,23,`, for which the response is the
    next term, `12`; or it asks for another term, a sum, or a formula such as `3n+2`.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. A bare answer holds digits, n and `+ - / ^`. The
    budget is 24 tokens, eos included, and no reference answer in 20,000 of a level has more than 10
    characters; give `max_response_tokens` where there is to be reasoning before the answer.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. Prompts have up to 16
    characters at the first level and 95 at the longest, without the words of an `answer_format`.

    ## Starting State
    A question of the level, at random, made backwards from its answer where it has to be. The kinds
    of a level are equally likely.

    ## Rewards
    `correct`, weight 1: 1 if the response is the number of the reference answer, written as a
    number with nothing left to compute, or, where a formula is asked for, an expanded polynomial in
    n. The reward comes at the end of the episode.

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
    the share of 20,000 draws whose question came before.

    | level      | questions | repeats | what is asked                              |
    |------------|-----------|---------|--------------------------------------------|
    | arithmetic |     2,430 |  87.8 % | the next term of an arithmetic sequence    |
    | next       |   521,408 |  66.3 % | geometric, quadratic, Fibonacci, 2 in turn |
    | nth        | > 200,000 |  35.5 % | a late term, or a formula in n             |
    | sum        |    97,377 |  36.5 % | arithmetic, geometric, polynomial          |
    | hard       | > 600,000 |  28.7 % | recurrences, series, from two terms        |

    An example of each:

    * arithmetic: `56,45,34,23,`
    * next: `Next term: 12,2,14,16,30,46,`
    * nth: `What is the 26th term of ...`
    * sum: `Calculate the sum of 2k^2-1 ...`
    * hard: `a(1)=2, a(2)=5, a(n)=...`

    ## References
    Saxton et al. 2019, "Analysing Mathematical Reasoning Abilities of Neural Models" (algebra:
    sequence_next_term, sequence_nth_term).

    ## Version History
    * v0: initial version.
    """

    levels = LEVELS
    difficulties = tuple(LEVELS)
    max_response_tokens = 24
