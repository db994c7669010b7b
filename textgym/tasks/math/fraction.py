"""TextFraction: fractions, mixed numbers, decimals and percentages."""

from __future__ import annotations

from fractions import Fraction
from math import gcd

from textgym.grading.expressions.reading import read
from textgym.grading.expressions.tree import Mixed, Negative, Number, Quotient
from textgym.grading.forms import is_lowest_terms
from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.family import FORMS, Family, question
from textgym.tasks.math.writing import decimal

_PROPER = [(p, q) for q in range(2, 21) for p in range(1, q) if gcd(p, q) == 1]
_SMALL = [Fraction(p, q) for q in range(2, 13) for p in range(1, q) if gcd(p, q) == 1]
_TERMINATING = [4, 5, 8, 10, 16, 20, 25, 40, 50]
_PERCENTS = [p for p in range(2, 151) if p != 100]
_ROUND_CHANGES = [p for p in range(-80, 101, 5) if p]


def is_fraction(answer: str) -> bool:
    """Whether an answer is a fraction in lowest terms or an integer: no decimal, nothing mixed."""
    node = read(answer).node
    node = node.operand if isinstance(node, Negative) else node
    whole = isinstance(node, Number) and node.digits.isdigit()
    return whole or (isinstance(node, Quotient) and is_lowest_terms(answer))


def is_mixed(answer: str) -> bool:
    """Whether an answer is a mixed number in lowest terms."""
    return isinstance(read(answer).node, Mixed) and is_lowest_terms(answer)


# ------------------------------------------------------------- simplify, convert


def simplify(choose: Choices) -> Problem:
    """A fraction in lowest terms."""
    (p, q), factor = choose.one_of(_PROPER), choose.between(2, 25)
    if choose.below(2):
        p, q = q, p
    prompt = f"Simplify {factor * p}/{factor * q}: "
    return question(prompt, Fraction(p, q), form="fraction")


def decimal_to_fraction(choose: Choices) -> Problem:
    """A terminating decimal as a fraction."""
    q = choose.one_of(_TERMINATING)
    number = Fraction(choose.between(1, 3 * q), q) + Fraction(1, 1000) * choose.below(2)
    text = decimal(number)
    prompt = f"Write {text} as a fraction in lowest terms: "
    return question(prompt, number, f"fraction {text}", "fraction")


def fraction_to_decimal(choose: Choices) -> Problem:
    """A fraction as a terminating decimal."""
    q = choose.one_of(_TERMINATING)
    p = choose.between(1, 4 * q)
    number = Fraction(p, q)
    return question(f"Write {p}/{q} as a decimal: ", decimal(number), form="decimal")


def mixed_to_improper(choose: Choices) -> Problem:
    """A mixed number as a fraction."""
    whole, (p, q) = choose.between(1, 19), choose.one_of(_PROPER)
    prompt = f"Write {whole} {p}/{q} as an improper fraction: "
    return question(prompt, f"{whole * q + p}/{q}", form="fraction")


def improper_to_mixed(choose: Choices) -> Problem:
    """A fraction as a mixed number."""
    whole, (p, q) = choose.between(1, 19), choose.one_of(_PROPER)
    prompt = f"Write {whole * q + p}/{q} as a mixed number such as 2 1/3: "
    return question(prompt, f"{whole} {p}/{q}", form="mixed")


def to_percent(choose: Choices) -> Problem:
    """A fraction or a decimal as a percentage."""
    q = choose.one_of(_TERMINATING)
    number = Fraction(choose.between(1, 3 * q), q)
    text = decimal(number) if choose.below(2) else f"{number}"
    return question(f"Fill in the number: {text} = ?% ", decimal(100 * number), form="decimal")


# -------------------------------------------------------------------- operations


def operation(choose: Choices) -> Problem:
    """The sum, difference, product or quotient of two fractions."""
    a, b = choose.one_of(_SMALL), choose.one_of(_SMALL)
    return _operation(choose, a, b, str(a), str(b))


def mixed_operation(choose: Choices) -> Problem:
    """The same with two mixed numbers."""
    (a, a_text), (b, b_text) = _mixed(choose), _mixed(choose)
    return _operation(choose, a, b, f"({a_text})", f"({b_text})")


def _operation(choose: Choices, a: Fraction, b: Fraction, left: str, right: str) -> Problem:
    kind = choose.below(4)
    symbol, value = (("+", a + b), ("-", a - b), ("*", a * b), ("/", a / b))[kind]
    if kind == 3 and left[0] != "(":
        left, right = f"({left})", f"({right})"
    text = f"{left}{symbol}{right}"
    commuted = symbol in "+*" and b < a
    key = f"{right}{symbol}{left}" if commuted else text
    phrase = choose.one_of(("{} = ", "Calculate {}: "))
    return question(phrase.format(text), value, key, "number")


def _mixed(choose: Choices) -> tuple[Fraction, str]:
    whole, part = choose.between(1, 6), choose.one_of(_SMALL)
    return whole + part, f"{whole} {part}"


# ------------------------------------------------------------------- percentages


def percent_of(choose: Choices) -> Problem:
    """P percent of a number; the answer may be a decimal."""
    p, n = choose.one_of(_PERCENTS), 5 * choose.between(2, 180)
    return question(f"What is {p}% of {n}? ", decimal(Fraction(p * n, 100)), form="number")


def which_percent(choose: Choices) -> Problem:
    """What percentage one number is of another."""
    p, n = choose.one_of(_PERCENTS), 20 * choose.between(2, 40)
    part = decimal(Fraction(p * n, 100))
    return question(f"Fill in the number: {part} is ?% of {n}. ", p, form="decimal")


def whole_from_part(choose: Choices) -> Problem:
    """The number of which p percent is given."""
    p, n = choose.one_of(_PERCENTS), 20 * choose.between(2, 60)
    part = decimal(Fraction(p * n, 100))
    return question(f"{part} is {p}% of which number? ", n, form="number")


def percent_change(choose: Choices) -> Problem:
    """By how many percent a price rose or fell."""
    change, old = choose.one_of(_ROUND_CHANGES), 20 * choose.between(2, 60)
    new = old * (100 + change) // 100
    verb = "rises" if change > 0 else "falls"
    prompt = f"A price {verb} from ${old} to ${new}. Fill in the number: it {verb} by ?%. "
    return question(prompt, abs(change), form="decimal")


# -------------------------------------------------------------------------- hard


def original_price(choose: Choices) -> Problem:
    """The price before a change that is given in percent."""
    change, old = choose.one_of(_ROUND_CHANGES), 20 * choose.between(2, 120)
    new = old * (100 + change) // 100
    how = f"an increase of {change}%" if change > 0 else f"a discount of {-change}%"
    prompt = f"After {how} a coat costs ${new}. What did it cost before, in dollars? "
    return question(prompt, old, form="number")


def successive_changes(choose: Choices) -> Problem:
    """The total of two changes in percent, one after the other."""
    first, second = 10 * choose.between(1, 9), 5 * choose.between(1, 18)
    up = (choose.below(2), choose.below(2))
    factor = Fraction(100 + first * (2 * up[0] - 1), 100) * (100 + second * (2 * up[1] - 1))
    words = [
        f"{'rises' if u else 'falls'} by {p}%" for u, p in zip(up, (first, second), strict=True)
    ]
    prompt = (
        f"A share {words[0]} and then {words[1]}. "
        "What percentage of its first price does it have in the end? Give the number: "
    )
    return question(prompt, decimal(factor), form="decimal")


def repeating_decimal(choose: Choices) -> Problem:
    """A repeating decimal as a fraction in lowest terms."""
    whole, digits = choose.below(4), choose.between(1, 3)
    block = choose.between(1, 10**digits - 2)
    repeated = str(block).rjust(digits, "0")
    number = whole + Fraction(block, 10**digits - 1)
    prompt = (
        f"Write the repeating decimal {whole}.{3 * repeated}... (the block {repeated} repeats) "
        "as a fraction in lowest terms: "
    )
    return question(prompt, number, f"repeating {number}", "fraction")


def compound_fraction(choose: Choices) -> Problem:
    """A quotient of two sums of fractions."""
    a, b, c, d = (choose.one_of(_SMALL) for _ in range(4))
    minus = choose.below(2) and c != d
    if minus:
        bottom, answer = f"{c}-{d}", (a + b) / (c - d)
        key = f"{min(a, b)}+{max(a, b)} over {bottom}"
    else:
        bottom, answer = f"{c}+{d}", (a + b) / (c + d)
        key = f"{min(a, b)}+{max(a, b)} over {min(c, d)}+{max(c, d)}"
    prompt = f"Calculate ({a}+{b})/({bottom}), in lowest terms: "
    return question(prompt, answer, key, "fraction")


def continued_fraction(choose: Choices) -> Problem:
    """A short continued fraction."""
    a, b, c, d = (choose.between(1, 9) for _ in range(4))
    value = a + 1 / (b + 1 / (c + Fraction(1, d + 1)))
    prompt = f"Calculate {a}+1/({b}+1/({c}+1/{d + 1})), in lowest terms: "
    return question(prompt, value, form="fraction")


def remaining_share(choose: Choices) -> Problem:
    """What is left after two shares are taken, the second one of the rest."""
    first, second = choose.one_of(_SMALL), choose.one_of(_SMALL)
    prompt = (
        f"Somebody spends {first} of the money and then {second} of what is left. "
        "What fraction of the money remains? "
    )
    return question(prompt, (1 - first) * (1 - second), form="number")


LEVELS = {
    "simplify": (simplify,),
    "convert": (
        decimal_to_fraction,
        fraction_to_decimal,
        mixed_to_improper,
        improper_to_mixed,
        to_percent,
    ),
    "operations": (operation, mixed_operation),
    "percent": (percent_of, which_percent, whole_from_part, percent_change),
    "hard": (
        original_price,
        successive_changes,
        repeating_decimal,
        compound_fraction,
        continued_fraction,
        remaining_share,
    ),
}


@register_task("TextFraction-v0")
class TextFraction(Family):
    """Simplify, convert and calculate with fractions, decimals and percentages.

    ## Description
    The prompt is a question such as `Simplify 18/24: ` or `What is 35% of 80? `, and the response a
    fraction `3/4`, a mixed number `2 1/3`, or a decimal `0.75`. Each prompt says which of these it
    asks for, unless any will do.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. A bare answer holds digits, blanks and
    `+ - / . %`. The budget is 24 tokens, eos included, and no reference answer in 20,000 of a level
    has more than 11 characters; give `max_response_tokens` where there is to be reasoning before
    the answer.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. Prompts have up to 18
    characters at the first level and 121 at the longest, without the words of an `answer_format`.

    ## Starting State
    A question of the level, at random, made backwards from its answer where it has to be. The kinds
    of a level are equally likely.

    ## Rewards
    `correct`, weight 1: 1 if the response is the number of the reference answer in the form that is
    asked for: in lowest terms, as a mixed number, as a decimal (with `%` behind it or not, where
    the number of percents is asked for), and elsewhere any literal number. So no prompt is an
    answer to itself. The reward comes at the end of the episode.

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
    the share of 20,000 draws whose question came before. Sums and products in another order are the
    same question.

    | level      | questions | repeats | what is asked                                |
    |------------|-----------|---------|----------------------------------------------|
    | simplify   |     6,096 |  70.7 % | to lowest terms                              |
    | convert    |     6,591 |  72.0 % | between fractions, mixed, decimals, percents |
    | operations |   225,090 |  27.8 % | + - * / of two fractions or mixed numbers    |
    | percent    |    43,120 |  32.2 % | part, percentage, whole, change              |
    | hard       | > 700,000 |  40.4 % | repeating, continued, compound, two changes  |

    An example of each:

    * simplify: `Simplify 18/24:`
    * convert: `Write 2.75 as a fraction ...`
    * operations: `(6 2/5)-(6 4/7) =`
    * percent: `What is 35% of 80?`
    * hard: `Calculate 4+1/(5+1/(1+1/8)) ...`

    ## References
    Saxton et al. 2019, "Analysing Mathematical Reasoning Abilities of Neural Models" (arithmetic:
    mul, add_or_sub, simplify).

    ## Version History
    * v0: initial version.
    """

    levels = LEVELS
    difficulties = tuple(LEVELS)
    max_response_tokens = 24
    forms = {**FORMS, "fraction": is_fraction, "mixed": is_mixed}
