"""TextProbability against lists of all outcomes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import combinations, permutations, product
from math import comb

import pytest

from tests.textgym.tasks.drawing import check, draw, integers
from textgym.task import Problem
from textgym.tasks.math.probability import TextProbability

F = Fraction
MANY = 20_000

TESTS: dict[str, Callable[[int, int], bool]] = {
    "equal to": lambda a, b: a == b,
    "exactly": lambda a, b: a == b,
    "greater than": lambda a, b: a > b,
    "less than": lambda a, b: a < b,
    "at least": lambda a, b: a >= b,
    "at most": lambda a, b: a <= b,
}


def share(outcomes: Iterable, holds: Callable[..., bool], given: Callable[..., bool] = bool) -> F:
    """The share of the outcomes, all equally likely, that are a hit."""
    possible = [outcome for outcome in outcomes if given(outcome)]
    return F(sum(map(holds, possible)), len(possible))


def dice(a: str, b: str, what: str, total: str) -> F:
    rolls = product(range(1, int(a) + 1), range(1, int(b) + 1))
    return share(rolls, lambda roll: TESTS[what](sum(roll), int(total)))


def heads(n: str, what: str, k: str) -> F:
    return share(product((0, 1), repeat=int(n)), lambda t: TESTS[what](sum(t), int(k)))


def urn(n: str, one: str, m: str, _other: str, asked: str) -> F:
    assert asked == one
    return share([True] * int(n) + [False] * int(m), bool, lambda ball: True)


def two(how: str, n: str, one: str, m: str, other: str, what: str) -> F:
    balls = [one] * int(n) + [other] * int(m)
    pairs = product(balls, repeat=2) if how == "with" else permutations(balls, 2)
    return share(
        pairs,
        {
            f"both are {one}": lambda pair: set(pair) == {one},
            "the colours differ": lambda pair: len(set(pair)) == 2,
            "the colours are the same": lambda pair: len(set(pair)) == 1,
        }[what],
    )


def several(size: str, n: str, one: str, m: str, _other: str, asked: str, k: str) -> F | None:
    assert asked == one
    if comb(int(n) + int(m), int(size)) > MANY:
        return None
    draws = combinations([True] * int(n) + [False] * int(m), int(size))
    return share(draws, lambda balls: sum(balls) == int(k))


def colours(text: str, what: str) -> F | None:
    balls = [name for n, name in re.findall(r"(\d+) (\w+)", text) for _ in range(int(n))]
    if comb(len(balls), 3) > MANY:
        return None
    wanted = 1 if "same" in what else 3
    return share(combinations(balls, 3), lambda drawn: len(set(drawn)) == wanted)


def table(a: int, i: int, b: int, j: int, plays: bool) -> F:
    people = [("girl", n < i) for n in range(a)] + [("boy", n < j) for n in range(b)]
    wanted = "girl" if plays else "boy"
    return share(people, lambda p: p[0] == wanted, lambda p: p[1] is plays)


def first_die(sides: int, least: int, value: int) -> F:
    rolls = product(range(1, sides + 1), repeat=2)
    return share(rolls, lambda roll: roll[0] == value, lambda roll: sum(roll) >= least)


def boxes(a: int, b: int, c: int, d: int) -> F:
    # As many balls in box A as in box B, so that every ball is as likely as any other.
    balls = [("A", n < a * (c + d)) for n in range((a + b) * (c + d))]
    balls += [("B", n < c * (a + b)) for n in range((a + b) * (c + d))]
    return share(balls, lambda ball: ball[0] == "A", lambda ball: ball[1])


def bayes(a: str, given: str, otherwise: str, asked: str) -> F:
    both, only_b = F(a) * F(given), (1 - F(a)) * F(otherwise)
    return both + only_b if asked == "B" else both / (both + only_b)


def game(text: str) -> F:
    pairs = re.findall(r"(-?\d+) with probability (\d+(?:/\d+)?)", text)
    assert len(pairs) == 3 and sum(F(p) for _, p in pairs) == 1
    return sum(F(value) * F(p) for value, p in pairs)


def expected_dice(n: int, sides: int, factor: int, plus: int) -> F:
    return n * factor * F(sum(range(1, sides + 1)), sides) + plus


def expected_red(k: int, n: int, m: int) -> F | None:
    if comb(n + m, k) > MANY:
        return None
    draws = list(combinations([1] * n + [0] * m, k))
    return F(sum(map(sum, draws)), len(draws))


def gain(win: int, sides: int, k: int, lose: int) -> F:
    return F(sum(win if face >= k else -lose for face in range(1, sides + 1)), sides)


def trials(p: str, k: int, n: str) -> F:
    total = F(0)
    for row in product((True, False), repeat=int(n)):
        if sum(row) >= k:
            chance = F(1)
            for success in row:
                chance *= F(p) if success else 1 - F(p)
            total += chance
    return total


def screening(ill: int, found: int, false: int) -> F:
    flagged = [ill * found, (100 - ill) * false]  # of 10,000 people
    return F(flagged[0], sum(flagged))


def cards(n: str, size: str, _name: str, what: str, k: str) -> F | None:
    if int(n) > 3:
        return None
    hands = combinations([1] * int(size) + [0] * (52 - int(size)), int(n))
    return share(hands, lambda hand: TESTS[what](sum(hand), int(k)))


def events(a: str, b: str, c: str, what: str) -> F:
    total = F(0)
    for row in product((True, False), repeat=3):
        if TESTS[what](sum(row), 1):
            chance = F(1)
            for happens, p in zip(row, map(F, (a, b, c)), strict=True):
                chance *= p if happens else 1 - p
            total += chance
    return total


def turns(p: str, q: str) -> F:
    """Ann's chance by rounds, until those that are left out do not matter."""
    total, going = F(0), F(1)
    miss = (1 - F(p)) * (1 - F(q))
    for _ in range(200):
        total += going * F(p)
        going *= miss
    return total.limit_denominator(100)


FRACTION = r"(\d+/\d+)"
SOLVERS = {
    "urn": {r"(\d+) (\w+), (\d+) (\w+): P\((\w+)\)=": urn},
    "coins-dice": {
        r"Dice with (\d+) and (\d+) sides are rolled\. What is the probability of a sum "
        r"(.*) (\d+)\?": (dice),
        r"A fair coin is thrown (\d+) times\. What is the probability that the number of heads is "
        r"(.*) (\d+)\?": heads,
        r"An integer from 1 to (\d+) is drawn at random\. What is the probability that it is "
        r"divisible by (\d+) or (\d+)\?": integers(
            lambda n, d, e: share(range(1, n + 1), lambda i: i % d == 0 or i % e == 0)
        ),
    },
    "draws": {
        r"Two balls are drawn (with|without) replacement from (\d+) (\w+) and (\d+) (\w+) ones\. "
        r"What is the probability that (.*)\?": two,
        r"(\d) balls are drawn without replacement from (\d+) (\w+) and (\d+) (\w+) ones\. What is "
        r"the probability that the number of (\w+) ones is exactly (\d)\?": several,
        r"Three balls are drawn without replacement from (.*) ones\. What is the probability that "
        r"they all have (the same colour|different colours)\?": colours,
    },
    "conditional": {
        r"Of (\d+) girls (\d+) play chess, of (\d+) boys (\d+) do\. Somebody who plays chess is "
        r"chosen at random: P\(girl\)=": integers(lambda *n: table(*n, plays=True)),
        r"Of (\d+) girls (\d+) play chess, of (\d+) boys (\d+) do\. Somebody who does not play "
        r"chess is chosen at random: P\(boy\)=": integers(lambda *n: table(*n, plays=False)),
        r"Two dice with (\d+) sides show a sum of at least (\d+)\. What is the probability "
        r"that the "
        r"first one shows (\d+)\?": integers(first_die),
        r"Box A has (\d) red and (\d) blue balls, box B (\d) red and (\d) blue\. A box is "
        r"chosen at "
        r"random, and a ball from it is red\. What is the probability that it came from box A\?": (
            integers(boxes)
        ),
        rf"P\(A\)={FRACTION}, P\(B\|A\)={FRACTION}, P\(B\|not A\)={FRACTION}\. "
        rf"P\((B|A\|B)\)=": bayes,
    },
    "expected": {
        r"A game pays (.*)\. What is the expected payment\?": game,
        r"(\d) dice with (\d+) sides are rolled; you get (\d) times their sum, "
        r"(plus|minus) (\d+)\. "
        r"What is the expected amount\?": lambda n, sides, factor, sign, plus: expected_dice(
            int(n), int(sides), int(factor), int(plus) * (1 if sign == "plus" else -1)
        ),
        r"(\d) balls are drawn without replacement from (\d+) red and (\d+) blue ones\. "
        r"What is the "
        r"expected number of red balls drawn\?": integers(expected_red),
        r"You win \$(\d+) if a die with (\d+) sides shows (\d+) or more, else you lose \$(\d+)\. "
        r"What is your expected gain in dollars\?": integers(gain),
    },
    "hard": {
        rf"A trial succeeds with probability {FRACTION}\. What is the probability of at least one "
        r"success in (\d) independent trials\?": lambda p, n: trials(p, 1, n),
        rf"A trial succeeds with probability {FRACTION}\. What is the probability of at least (\d) "
        r"successes in (\d) independent trials\?": lambda p, k, n: trials(p, int(k), n),
        r"(\d+)% of people are ill\. A test finds (\d+)% of the ill and wrongly flags "
        r"(\d+)% of the "
        r"healthy\. What is the probability, as a fraction, that somebody flagged is ill\?": (
            integers(screening)
        ),
        r"(\d) cards are drawn from a deck of 52 with (\d+) (.*)\. What is the probability "
        r"that the "
        r"number of \3 is (.*) (\d)\?": cards,
        rf"Independent events have probabilities {FRACTION}, {FRACTION} and {FRACTION}\. "
        rf"What is the "
        r"probability that (.*) one happens\?": events,
        rf"Ann and Bob take turns, Ann first\. Ann hits with probability {FRACTION}, Bob with "
        rf"{FRACTION}\. What is the probability that Ann hits first\?": turns,
    },
}


@pytest.mark.parametrize("level", TextProbability.difficulties)
def test_counting_outcomes_finds_the_reference(level: str) -> None:
    check(draw("TextProbability-v0", level, 120), SOLVERS[level], per_kind=4)


def test_a_fraction_need_not_be_reduced_but_has_to_be_worked_out_and_exact() -> None:
    task, problem = TextProbability(), Problem("?", "3/8", {"form": "number"})
    for answer in ("3/8", "6/16", "0.375", "37.5%", "P=3/8", r"\frac{3}{8}"):
        assert task.grade(problem, answer)["correct"] == 1.0
    for answer in ("C(3,2)/8", "1-5/8", "0.37", "3", "8/3"):
        assert task.grade(problem, answer)["correct"] == 0.0


def test_probabilities_lie_strictly_between_zero_and_one() -> None:
    for level in ("urn", "coins-dice", "draws", "conditional", "hard"):
        values = [F(problem.answer) for problem in draw("TextProbability-v0", level, 2000)]
        assert 0 < min(values) and max(values) < 1
