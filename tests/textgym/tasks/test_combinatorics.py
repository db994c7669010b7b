"""TextCombinatorics against counting one by one."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations, permutations, product
from math import comb, factorial, perm

import pytest

from tests.textgym.tasks.drawing import check, draw, integers
from textgym.tasks.math.combinatorics import WORDS, TextCombinatorics, derangements, surjections

MANY = 40_000
"""Things that are counted one by one; where there are more, the problem is left to others."""


def num(things) -> int:
    return sum(1 for _ in things)


def symbols(prompt: str) -> int:
    values = [
        num((combinations if name == "C" else permutations)(range(int(n)), int(k)))
        for name, n, k in re.findall(r"([CP])\((\d+),(\d+)\)", prompt)
    ]
    return sum(values) if "+" in prompt else values[0] * values[-1] ** ("*" in prompt)


def chosen(k: int, n: int) -> int | None:
    return num(combinations(range(n), k)) if comb(n, k) < MANY else None


def ordered(k: int, n: int) -> int | None:
    return num(permutations(range(n), k)) if perm(n, k) < MANY else None


def teams(a: str, _one: str, b: str, _other: str, i: str, j: str) -> int | None:
    n, k = int(a) + int(b), int(i) + int(j)
    if comb(n, k) >= MANY:
        return None
    return sum(sum(m < int(a) for m in team) == int(i) for team in combinations(range(n), k))


def codes(k: int, n: int, repeated: bool) -> int | None:
    if n**k >= MANY:
        return None
    return sum(repeated or len(set(code)) == k for code in product(range(n), repeat=k))


def letters(word: str) -> int | None:
    return len(set(permutations(word))) if len(word) < 9 else None


def balls(text: str) -> int | None:
    return letters("".join(name[:3][-1] * int(n) for n, name in re.findall(r"(\d+) (\w+)", text)))


def seats(n: str, k: str, kind: str) -> int | None:
    n, k = int(n), int(k)
    if n > 7:
        return None
    together = sum(
        max(row.index(i) for i in range(k)) - min(row.index(i) for i in range(k)) == k - 1
        for row in permutations(range(n))
    )
    return together if kind == "all" else factorial(n) - together


def shelf(a: str, b: str, how: str) -> int | None:
    a, b = int(a), int(b)
    if a + b > 7:
        return None
    count = 0
    for row in permutations(range(a + b)):
        subjects = "".join("m" if book < a else "n" for book in row)
        count += "m" * a in subjects and (how.startswith("the maths") or "n" * b in subjects)
    return count


def paths(
    a: str, b: str, _how: str | None, how: str | None, i: str | None, j: str | None
) -> int | None:
    a, b = int(a), int(b)
    if comb(a + b, a) > 3000:
        return None
    count = 0
    for ups in combinations(range(a + b), b):
        points, x, y = {(0, 0)}, 0, 0
        for step in range(a + b):
            x, y = (x, y + 1) if step in ups else (x + 1, y)
            points.add((x, y))
        count += how is None or ((int(i), int(j)) in points) == (how == "through")
    return count


def sums(total: int, lows: list[int], highs: list[int]) -> int:
    """Solutions of a sum, by adding one variable after the other."""
    ways = Counter({0: 1})
    for low, high in zip(lows, highs, strict=True):
        ways = Counter(
            {s: sum(ways[s - x] for x in range(low, min(high, s) + 1)) for s in range(total + 1)}
        )
    return ways[total]


def shared(n: str, _things: str, k: str, how: str) -> int:
    low = int("at least one" in how)
    return sums(int(n), [low] * int(k), [int(n)] * int(k))


def bounded_below(names: str, total: str, conditions: str) -> int:
    lows = [int(text.split(">=")[1]) for text in conditions.split(", ")]
    assert len(lows) == names.count("+") + 1
    return sums(int(total), lows, [int(total)] * len(lows))


def divisible(n: str, negated: str | None, listed: str) -> int:
    divisors = [int(d) for d in re.findall(r"\d+", listed)]
    return sum(any(i % d == 0 for d in divisors) == (negated is None) for i in range(1, int(n) + 1))


def onto(n: str, _things: str, k: str, _places: str) -> int | None:
    n, k = int(n), int(k)
    if k**n > MANY:
        return None
    return sum(len(set(places)) == k for places in product(range(k), repeat=n))


def fixed_points(n: int, _n: int, k: int) -> int | None:
    if n > 7:
        return None
    return sum(sum(i == x for i, x in enumerate(row)) == k for row in permutations(range(n)))


def at_least(a: str, _one: str, b: str, _other: str, size: str, least: str) -> int | None:
    n = int(a) + int(b)
    if comb(n, int(size)) >= MANY:
        return None
    return sum(
        sum(m < int(a) for m in team) >= int(least) for team in combinations(range(n), int(size))
    )


def digits(kind: str, length: str, highest: str) -> int:
    numbers = (
        "".join(row)
        for row in permutations("0123456789"[: int(highest) + 1], int(length))
        if row[0] != "0"
    )
    wanted = {"": "0123456789", "odd ": "13579", "even ": "02468"}[kind]
    return sum(number[-1] in wanted for number in numbers)


SOLVERS = {
    "symbols": {r"(.*)=": symbols},
    "selections": {
        r"In how many ways can (\d+) players be chosen from (\d+)\?": integers(chosen),
        r"How many subsets with (\d+) elements does a set of (\d+) elements have\?": integers(
            chosen
        ),
        r"A club has (\d+) members\. How many committees of (\d+) are there\?": integers(
            lambda n, k: chosen(k, n)
        ),
        r"In how many ways can the first (\d+) places of a race with (\d+) runners be taken\?": (
            integers(ordered)
        ),
        r"A club of (\d+) fills (\d+) different posts\. In how many ways\?": integers(
            lambda n, k: ordered(k, n)
        ),
        r"From (\d+) (\w+) and (\d+) (\w+), how many teams with (\d+) of the \2 and (\d+) "
        r"of the \4 "
        r"are there\?": teams,
        r"How many codes of (\d+) signs are there from (\d+) different signs that (may|may not) "
        r"repeat\?": lambda k, n, may: codes(int(k), int(n), may == "may"),
    },
    "arrangements": {
        r"In how many ways can the letters of (\w+) be arranged\?": letters,
        r"In how many ways can (.*) balls be put in a row \(one colour looks the same\)\?": balls,
        r"(\d+) people sit in a row; (\d+) of them are friends who must (not all|all) sit "
        r"together\. "
        r"How many ways are there\?": seats,
        r"(\d+) different maths books and (\d+) different novels stand in a row; (.*)\. How "
        r"many ways"
        r"(?: are there)?\?": shelf,
        r"How many paths of unit steps right or up lead from \(0,0\) to \((\d+),(\d+)\)"
        r"( (through|without) \((\d+),(\d+)\))?\?": paths,
    },
    "stars-bars": {
        r"In how many ways can (\d+) equal (.*) be shared by (\d+) children, (.*)\?": shared,
        r"How many integer solutions has (.*)=(\d+) with (.*)\?": bounded_below,
        r"How many solutions has x\+y\+z=(\d+) in integers from 0 to (\d+)\?": integers(
            lambda total, bound: sums(total, [0] * 3, [bound] * 3)
        ),
    },
    "hard": {
        r"How many integers from 1 to (\d+) are (not )?divisible by (.*)\?": divisible,
        r"In how many ways can (\d+) different (\w+) go into (\d+) different (\w+), with none left "
        r"empty\?": onto,
        r"(\d+) people take their (\d+) hats at random\. In how many ways do exactly (\d+) of them "
        r"get their own\?": integers(fixed_points),
        r"From (\d+) (\w+) and (\d+) (\w+), how many committees of (\d+) have at least "
        r"(\d+) of the "
        r"\2\?": at_least,
        r"How many (odd |even |)numbers of (\d) different digits can be formed from the "
        r"digits 0 to "
        r"(\d), not starting with 0\?": digits,
    },
}


@pytest.mark.parametrize("level", TextCombinatorics.difficulties)
def test_counting_one_by_one_finds_the_reference(level: str) -> None:
    problems = draw("TextCombinatorics-v0", level, 150 if level != "arrangements" else 120)
    check(problems, SOLVERS[level], per_kind=2)


def test_closed_forms_agree_with_counting() -> None:
    for n in range(7):
        assert derangements(n) == fixed_points(n, n, 0)
        for k in range(1, 5):
            rows = product(range(k), repeat=n)
            assert surjections(n, k) == sum(len(set(row)) == k for row in rows)


def test_no_word_stands_twice() -> None:
    assert len(set(WORDS)) == len(WORDS)


def test_an_answer_has_to_be_worked_out() -> None:
    task = TextCombinatorics()
    problem = draw("TextCombinatorics-v0", "symbols", 1)[0]
    assert task.grade(problem, problem.answer)["correct"] == 1.0
    for answer in (f"{problem.answer}*1", problem.prompt.rstrip("="), f"{problem.answer}+0"):
        assert task.grade(problem, answer)["correct"] == 0.0
