"""TextProbability: coins, dice, urns, cards, conditional probability and expected values."""

from __future__ import annotations

from fractions import Fraction
from math import comb, gcd

from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.family import Family, question
from textgym.tasks.math.writing import listed

COLOURS = ("red", "blue", "green", "black", "white")
DICE = (4, 6, 8, 10, 12, 20)
_SHARES = [Fraction(p, q) for q in range(2, 11) for p in range(1, q) if gcd(p, q) == 1]


def sum_counts(a: int, b: int, total: int) -> int:
    """In how many ways dice with a and b sides add up to a total."""
    return max(0, min(total - 1, a, b, a + b + 1 - total))


def at_most(n: int, k: int, p: Fraction) -> Fraction:
    """The probability of at most k successes in n trials."""
    return sum((comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)), Fraction(0))


def _probability(prompt: str, answer: object, key: str = "") -> Problem:
    return question(prompt, answer, key, "number")


# --------------------------------------------------------------------------- urn


def urn(choose: Choices) -> Problem:
    """One ball out of an urn with two colours."""
    n, m = choose.between(1, 40), choose.between(1, 40)
    one, other = _two_colours(choose)
    return _probability(f"{n} {one}, {m} {other}: P({one})=", Fraction(n, n + m), f"urn {n} {m}")


def _two_colours(choose: Choices) -> list[str]:
    return [COLOURS[i] for i in choose.distinct(2, 0, len(COLOURS) - 1)]


# ----------------------------------------------------------------- coins and dice


def two_dice(choose: Choices) -> Problem:
    """The sum of two dice with any number of sides: equal to, above or below a number."""
    a, b = sorted((choose.one_of(DICE), choose.one_of(DICE)))
    kind, total = choose.below(3), choose.between(3, a + b - 1)
    sums = ((total,), range(total + 1, a + b + 1), range(2, total))[kind]
    ways = sum(sum_counts(a, b, s) for s in sums)
    what = ("equal to", "greater than", "less than")[kind]
    prompt = (
        f"Dice with {a} and {b} sides are rolled. What is the probability of a sum {what} {total}? "
    )
    return _probability(prompt, Fraction(ways, a * b))


def coins(choose: Choices) -> Problem:
    """Exactly, at least or at most k heads in n throws of a fair coin."""
    n, kind = choose.between(3, 12), choose.below(3)
    k = choose.between(1, n - 1)
    counts = ((k,), range(k, n + 1), range(k + 1))[kind]
    ways = sum(comb(n, i) for i in counts)
    what = ("exactly", "at least", "at most")[kind]
    prompt = (
        f"A fair coin is thrown {n} times. "
        f"What is the probability that the number of heads is {what} {k}? "
    )
    return _probability(prompt, Fraction(ways, 2**n))


def one_number(choose: Choices) -> Problem:
    """A number from 1 to n that is divisible by one or by another."""
    n = choose.between(20, 150)
    d, e = sorted(choose.distinct(2, 2, 12))
    hits = sum(1 for i in range(1, n + 1) if i % d == 0 or i % e == 0)
    prompt = (
        f"An integer from 1 to {n} is drawn at random. "
        f"What is the probability that it is divisible by {d} or {e}? "
    )
    return _probability(prompt, Fraction(hits, n))


# -------------------------------------------------------------------------- urns


def two_draws(choose: Choices) -> Problem:
    """Two balls, with or without replacement: both of one colour, one each, or the same."""
    n, m = choose.between(2, 20), choose.between(2, 20)
    replaced, kind = choose.below(2), choose.below(3)
    one, other = _two_colours(choose)
    total, less = n + m, 0 if replaced else 1
    ways = (
        n * (n - less),
        2 * n * m,
        n * (n - less) + m * (m - less),
    )[kind]
    what = (f"both are {one}", "the colours differ", "the colours are the same")[kind]
    how = "with" if replaced else "without"
    prompt = (
        f"Two balls are drawn {how} replacement from {n} {one} and {m} {other} ones. "
        f"What is the probability that {what}? "
    )
    key = (
        f"draws {n} {m} {replaced} {kind}"
        if not kind
        else (f"draws {min(n, m)} {max(n, m)} {replaced} {kind}")
    )
    return _probability(prompt, Fraction(ways, total * (total - less)), key)


def several_draws(choose: Choices) -> Problem:
    """Exactly k of one colour among balls drawn without replacement."""
    n, m, size = choose.between(3, 15), choose.between(3, 15), choose.between(3, 4)
    k = choose.between(max(0, size - m), min(size - 1, n))
    one, other = _two_colours(choose)
    prompt = (
        f"{size} balls are drawn without replacement from {n} {one} and {m} {other} ones. "
        f"What is the probability that the number of {one} ones is exactly {k}? "
    )
    answer = Fraction(comb(n, k) * comb(m, size - k), comb(n + m, size))
    return _probability(prompt, answer, f"exactly {n} {m} {size} {k}")


def three_colours(choose: Choices) -> Problem:
    """Three balls without replacement out of three colours, one of each or all the same."""
    counts = sorted(choose.between(2, 15) for _ in range(3))
    names, alike = choose.shuffled(COLOURS[:3]), choose.below(2)
    balls = listed(f"{n} {name}" for n, name in zip(counts, names, strict=True))
    what = "all have the same colour" if alike else "all have different colours"
    prompt = (
        f"Three balls are drawn without replacement from {balls} ones. "
        f"What is the probability that they {what}? "
    )
    a, b, c = counts
    ways = sum(comb(n, 3) for n in counts) if alike else a * b * c
    if alike and not ways:  # nobody asks for what cannot happen
        prompt, ways = prompt.replace(what, "all have different colours"), a * b * c
        alike = 0
    return _probability(prompt, Fraction(ways, comb(sum(counts), 3)), f"three {counts} {alike}")


# ------------------------------------------------------------------- conditional


def table(choose: Choices) -> Problem:
    """A table of two groups and a property."""
    a, b = choose.between(5, 40), choose.between(5, 40)
    i, j = choose.between(2, a - 1), choose.between(2, b - 1)
    backward = choose.below(2)
    facts = f"Of {a} girls {i} play chess, of {b} boys {j} do."
    if backward:
        prompt = f"{facts} Somebody who plays chess is chosen at random: P(girl)="
        return _probability(prompt, Fraction(i, i + j))
    prompt = f"{facts} Somebody who does not play chess is chosen at random: P(boy)="
    return _probability(prompt, Fraction(b - j, a - i + b - j))


def given_sum(choose: Choices) -> Problem:
    """The first of two dice, given that their sum is large enough."""
    sides = choose.one_of(DICE[1:])
    least = choose.between(sides - 1, 2 * sides - 3)
    value = choose.between(max(1, least - sides), sides)
    outcomes = [(x, y) for x in range(1, sides + 1) for y in range(max(1, least - x), sides + 1)]
    hits = sum(1 for x, _ in outcomes if x == value)
    prompt = (
        f"Two dice with {sides} sides show a sum of at least {least}. "
        f"What is the probability that the first one shows {value}? "
    )
    return _probability(prompt, Fraction(hits, len(outcomes)))


def two_boxes(choose: Choices) -> Problem:
    """Bayes' rule for two boxes that are equally likely."""
    a, b, c, d = (choose.between(1, 9) for _ in range(4))
    first, second = Fraction(a, a + b), Fraction(c, c + d)
    prompt = (
        f"Box A has {a} red and {b} blue balls, box B {c} red and {d} blue. A box is chosen at "
        "random, and a ball from it is red. What is the probability that it came from box A? "
    )
    return _probability(prompt, first / (first + second))


def from_probabilities(choose: Choices) -> Problem:
    """P(A|B) from P(A), P(B) and P(B|A)."""
    a, b_given_a, b_given_not = (choose.one_of(_SHARES) for _ in range(3))
    b = a * b_given_a + (1 - a) * b_given_not
    prompt = f"P(A)={a}, P(B|A)={b_given_a}, P(B|not A)={b_given_not}. "
    if choose.below(2):
        return _probability(f"{prompt}P(B)=", b)
    return _probability(f"{prompt}P(A|B)=", a * b_given_a / b)


# ---------------------------------------------------------------- expected values


def spinner(choose: Choices) -> Problem:
    """The expected value of three amounts with given probabilities."""
    weights = [choose.between(1, 6) for _ in range(3)]
    values = [choose.between(-12, 20) for _ in range(3)]
    total = sum(weights)
    outcomes = [
        f"{value} with probability {Fraction(weight, total)}"
        for value, weight in zip(values, weights, strict=True)
    ]
    prompt = f"A game pays {listed(outcomes)}. What is the expected payment? "
    answer = Fraction(sum(w * v for w, v in zip(weights, values, strict=True)), total)
    return _probability(prompt, answer, f"game {sorted(outcomes)}")


def expected_dice(choose: Choices) -> Problem:
    """The expected value of a multiple of a sum of dice and a constant."""
    n, sides = choose.between(2, 9), choose.one_of(DICE)
    factor, plus = choose.between(1, 9), choose.nonzero(20)
    prompt = (
        f"{n} dice with {sides} sides are rolled; you get {factor} times their sum, "
        f"{'plus' if plus > 0 else 'minus'} {abs(plus)}. What is the expected amount? "
    )
    return _probability(prompt, Fraction(factor * n * (sides + 1), 2) + plus)


def expected_count(choose: Choices) -> Problem:
    """The expected number of red balls among those drawn."""
    n, m = choose.between(2, 20), choose.between(2, 20)
    k = choose.between(2, min(9, n + m - 1))
    prompt = (
        f"{k} balls are drawn without replacement from {n} red and {m} blue ones. "
        "What is the expected number of red balls drawn? "
    )
    return _probability(prompt, Fraction(k * n, n + m))


def expected_game(choose: Choices) -> Problem:
    """Win so much if a die shows at least k, else lose so much."""
    sides, win, lose = choose.one_of(DICE), choose.between(2, 30), choose.between(1, 30)
    k = choose.between(2, sides)
    prompt = (
        f"You win ${win} if a die with {sides} sides shows {k} or more, else you lose ${lose}. "
        "What is your expected gain in dollars? "
    )
    return _probability(prompt, Fraction(win * (sides - k + 1) - lose * (k - 1), sides))


# -------------------------------------------------------------------------- hard


def at_least_one(choose: Choices) -> Problem:
    """At least one success in several trials."""
    p, n = choose.one_of(_SHARES), choose.between(2, 5)
    prompt = (
        f"A trial succeeds with probability {p}. What is the probability of at least one "
        f"success in {n} independent trials? "
    )
    return _probability(prompt, 1 - (1 - p) ** n)


def binomial(choose: Choices) -> Problem:
    """At least k successes in n trials."""
    p, n = choose.one_of(_SHARES), choose.between(3, 5)
    k = choose.between(2, n - 1)
    prompt = (
        f"A trial succeeds with probability {p}. What is the probability of at least {k} "
        f"successes in {n} independent trials? "
    )
    return _probability(prompt, 1 - at_most(n, k - 1, p))


def screening(choose: Choices) -> Problem:
    """Bayes' rule for a test of a rare disease, in percent."""
    ill, found, false = choose.between(1, 20), choose.between(80, 99), choose.between(1, 20)
    prompt = (
        f"{ill}% of people are ill. A test finds {found}% of the ill and wrongly flags {false}% "
        "of the healthy. What is the probability, as a fraction, that somebody flagged is ill? "
    )
    return _probability(prompt, Fraction(ill * found, ill * found + (100 - ill) * false))


def cards(choose: Choices) -> Problem:
    """Cards from a full deck of 52: exactly or at least k of a kind among those drawn."""
    name, size = choose.one_of((("hearts", 13), ("aces", 4), ("red cards", 26), ("face cards", 12)))
    n = choose.between(2, 5)
    k, least = choose.between(1, min(n, 4)), choose.below(2)
    counts = range(k, min(n, size) + 1) if least else (k,)
    ways = sum(comb(size, i) * comb(52 - size, n - i) for i in counts)
    prompt = (
        f"{n} cards are drawn from a deck of 52 with {size} {name}. What is the probability that "
        f"the number of {name} is {'at least' if least else 'exactly'} {k}? "
    )
    return _probability(prompt, Fraction(ways, comb(52, n)))


def three_events(choose: Choices) -> Problem:
    """Exactly one, or at least one, of three independent events."""
    a, b, c = sorted(choose.one_of(_SHARES) for _ in range(3))
    prompt = (
        f"Independent events have probabilities {a}, {b} and {c}. What is the probability that "
    )
    if choose.below(2):
        return _probability(f"{prompt}at least one happens? ", 1 - (1 - a) * (1 - b) * (1 - c))
    one = a * (1 - b) * (1 - c) + b * (1 - a) * (1 - c) + c * (1 - a) * (1 - b)
    return _probability(f"{prompt}exactly one happens? ", one)


def taking_turns(choose: Choices) -> Problem:
    """Who succeeds first, where two take turns (a geometric series)."""
    p, q = choose.one_of(_SHARES), choose.one_of(_SHARES)
    prompt = (
        f"Ann and Bob take turns, Ann first. Ann hits with probability {p}, Bob with {q}. "
        "What is the probability that Ann hits first? "
    )
    return _probability(prompt, p / (1 - (1 - p) * (1 - q)))


LEVELS = {
    "urn": (urn,),
    "coins-dice": (two_dice, coins, one_number),
    "draws": (two_draws, several_draws, three_colours),
    "expected": (spinner, expected_dice, expected_count, expected_game),
    "conditional": (table, given_sum, two_boxes, from_probabilities),
    "hard": (at_least_one, binomial, screening, cards, three_events, taking_turns),
}


@register_task("TextProbability-v0")
class TextProbability(Family):
    """Probabilities and expected values of coins, dice, urns and cards.

    ## Description
    The prompt is a question such as `3 red, 5 blue: P(red)=`, and the response a fraction, `3/8`.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. A bare answer holds digits and `- / . %`. The
    budget is 24 tokens, eos included, and no reference answer in 20,000 of a level has more than 12
    characters; give `max_response_tokens` where there is to be reasoning before the answer.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. Prompts have up to 29
    characters at the first level and 161 at the longest, without the words of an `answer_format`.

    ## Starting State
    A question of the level, at random, made backwards from its answer where it has to be. The kinds
    of a level are equally likely.

    ## Rewards
    `correct`, weight 1: 1 if the response is the number of the reference answer, written as a
    number with nothing left to compute: `3/8`, `6/16`, `0.375`, `37.5%`, but not `C(3,2)/8`; `0.33`
    is not `1/3`. The reward comes at the end of the episode.

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
    the share of 20,000 draws whose question came before. Questions about other colours, and
    outcomes in another order, are the same question.

    | level       |   questions | repeats | what is asked                       |
    |-------------|-------------|---------|-------------------------------------|
    | urn         |       1,600 |  92.0 % | one ball out of two colours         |
    | coins-dice  |       8,471 |  72.0 % | two dice, coins, divisible numbers  |
    | draws       |       3,771 |  81.5 % | 2 to 4 balls, replaced or not       |
    | expected    |   > 500,000 |  18.4 % | games, dice, draws                  |
    | conditional | > 1,000,000 |  31.4 % | tables, dice, boxes, Bayes' rule    |
    | hard        |      20,287 |  64.5 % | trials, tests, cards, events, turns |

    An example of each:

    * urn: `3 red, 5 blue: P(red)=`
    * coins-dice: `A fair coin is thrown 5 times. ...`
    * draws: `Two balls are drawn without ...`
    * expected: `You win $9 if a die with 6 ...`
    * conditional: `Of 30 girls 12 play chess, ...`
    * hard: `2 cards are drawn from a deck ...`

    ## References
    Saxton et al. 2019, "Analysing Mathematical Reasoning Abilities of Neural Models" (probability).
    Hendrycks et al. 2021, "Measuring Mathematical Problem Solving With the MATH Dataset" (counting
    and probability).

    ## Version History
    * v0: initial version.
    """

    levels = LEVELS
    difficulties = tuple(LEVELS)
    max_response_tokens = 24
