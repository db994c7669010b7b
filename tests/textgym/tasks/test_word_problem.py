"""TextWordProblem against a reader of its stories."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from tests.textgym.tasks.drawing import check, draw, integers
from textgym.task import Problem
from textgym.tasks.math.word_problem import _BYSTANDERS, _DISTRACTORS, TextWordProblem

ID = "TextWordProblem-v0"
PARTS = {"one friend": 2, "two friends": 3, "three friends": 4, "four friends": 5}
EVENTS = {
    r"Then \w+ finds (\d+) more \w+": lambda now, n: now + n,
    r"A friend adds (\d+) \w+": lambda now, n: now + n,
    r"Then \w+ gives (\d+) \w+ away": lambda now, n: now - n,
    r"After that (\d+) \w+ get lost": lambda now, n: now - n,
    r"The next day \w+ has (\d) times as many \w+ as before": lambda now, n: now * n,
}


def chain(start: str, story: str) -> Fraction:
    """Follow a story event by event."""
    now = Fraction(start)
    for event in filter(None, story.split(". ")):
        shared = re.fullmatch(r"\w+ shares all the \w+ equally with (.*) and keeps a part", event)
        if shared:
            now /= PARTS[shared[1]]
            assert now.denominator == 1
            continue
        ((follow, match),) = [
            (follow, match) for p, follow in EVENTS.items() if (match := re.fullmatch(p, event))
        ]
        now = follow(now, int(match[1]))
        assert now > 0
    return now


def first_number(holds) -> int:
    return next(n for n in range(1, 10_000) if holds(n))


def age(now: int, years: int, later: int) -> int:
    return first_number(lambda n: n % now == 0 and n + years == later * (n // now + years))


def meeting(distance: int, u: int, alone: int, v: int) -> Fraction:
    hours = Fraction(distance - u * alone, u + v)
    return u * (alone + hours)


def average(first: int, games: int, known: int, later: int) -> int:
    return later * (games + 2) - first * games - known


def backwards(b: int, parts: str, d: int, left: int) -> int:
    k = PARTS[parts]
    return first_number(lambda n: (n - b) % k == 0 and (n - b) // k - d == left)


def crew(a: int, made: int, hours: int, b: int, longer: int, aside: int) -> Fraction:
    return Fraction(made, a * hours) * b * longer - aside


N, W = r"(\d+)", r"\w+"
ONE = {
    rf"{W} has {N} {W}, gets {N}\. Total\?": integers(lambda a, b: a + b),
    rf"{W} has {N} {W}, loses {N}\. Left\?": integers(lambda a, b: a - b),
    rf"{N} bags hold {N} {W} each\. Total\?": integers(lambda a, b: a * b),
    rf"{N} girls share {N} {W}\. Each gets\?": integers(lambda a, b: Fraction(b, a)),
}
TWO = {
    rf"{W} has {N} {W}\. {W} buys {N} boxes with {N} {W} each\. How many {W} does {W} have now\?": (
        integers(lambda a, b, c: a + b * c)
    ),
    rf"{N} ({W})s cost \${N}\. How many dollars do {N} \2s cost\?": (
        lambda a, _, cost, c: Fraction(cost) / int(a) * int(c)
    ),
    rf"{W} buys {N} {W}s at \${N} each\. {W} pays with \${N}\. How many dollars of change "
    rf"are due\?": (integers(lambda a, price, paid: paid - a * price)),
    rf"{W} has {N} {W} and loses {N} of them\. The other {W} are shared equally by {N} children\. "
    rf"How many {W} does each child get\?": integers(lambda a, b, k: Fraction(a - b, k)),
    rf"{W} has {N} {W}\. {W} has {N} times as many {W} as {W}\. How many {W} do they have "
    r"together\?": integers(lambda a, k: a + k * a),
    rf"{W} is {N} years old\. {W} is {N} years younger than {W}\. How old will {W} be in {N} "
    r"years\?": integers(lambda a, b, c: a - b + c),
}
THREE = {
    rf"{W} has \${N}\. {W} buys {N} {W}s at \${N} each and {N} {W}s at \${N} each\. How "
    rf"many dollars "
    r"are left\?": integers(lambda money, a, p, b, q: money - a * p - b * q),
    rf"A machine makes {N} {W} an hour and runs {N} hours a day\. In {N} days {N} of these "
    rf"{W} come "
    rf"out broken\. How many {W} are not broken after \3 days\?": integers(
        lambda rate, hours, days, broken: rate * hours * days - broken
    ),
    rf"A {W} costs \${N}, but today there is a discount of {N}%\. Delivery costs \${N} in "
    rf"all\. How "
    rf"many dollars do {N} {W}s cost with delivery\?": integers(
        lambda price, percent, fee, count: count * price * Fraction(100 - percent, 100) + fee
    ),
    rf"A rectangular garden is {N} m long and {N} m wide\. The garden gets a fence all "
    rf"around except "
    rf"for a gate of {N} m\. One metre of fence costs \${N}\. How many dollars does the "
    rf"fence cost\?": (integers(lambda a, b, gate, price: (a + a + b + b - gate) * price)),
    rf"A tank of {N} litres holds {N} litres\. A pump adds {N} litres a minute to it, a leak loses "
    rf"{N} litres a minute\. After how many minutes is the tank full\?": integers(
        lambda full, start, pump, leak: Fraction(full - start, pump - leak)
    ),
}
CHAIN = {rf"{W} has {N} {W}\. (.*\. )How many {W} does {W} have in the end\?": chain}
FOUR = {
    rf"{W} gives {N} {W} to a brother\. Then {W} shares the other {W} equally with (.*) "
    rf"and keeps a "
    rf"part\. Of the part that {W} keeps, {N} get lost, and {N} remain\. How many {W} did {W} have "
    r"at first\?": lambda b, parts, d, left: backwards(int(b), parts, int(d), int(left)),
    rf"A farm has {W} and ({W}) with {N} heads and {N} legs in all\. How many \1 are there\?": (
        lambda _, heads, legs: first_number(
            lambda cows: 4 * cows + 2 * (int(heads) - cows) == int(legs)
        )
    ),
    rf"{W} is {N} times as old as {W}\. In {N} years {W} will be {N} times as old as {W}\. "
    rf"How old is "
    rf"{W} now\?": integers(age),
    rf"Two towns are {N} km apart\. A car leaves the first one at {N} km/h\. {N} h after that car, "
    rf"another one leaves the second town towards it at {N} km/h\. How many km from the first town "
    r"do they meet\?": integers(meeting),
    rf"{W} has an average of {N} points in {N} games\. After two more games, the first of "
    rf"them with "
    rf"{N} points, it is {N}\. How many points does {W} get in the last game\?": integers(average),
    rf"{N} workers pack {N} {W} in {N} hours, all at the same speed\. {N} such workers "
    rf"pack {W} for "
    rf"{N} hours and set {N} of them aside\. How many of their packed {W} are not set aside\?": (
        integers(crew)
    ),
}
SOLVERS = {
    "one-step": ONE,
    "two-step": TWO,
    "three-step": THREE | CHAIN,
    "four-step": FOUR | CHAIN,
    "distractors": TWO | THREE | FOUR | CHAIN,
}
IGNORED = [
    re.escape(text)
    .replace(r"\{name\}", f"({'|'.join(_BYSTANDERS)})")
    .replace(r"\{number\}", r"\d+")
    + " "
    for text in _DISTRACTORS
]


def without_distractors(problem: Problem) -> tuple[Problem, int]:
    prompt, count = re.subn("|".join(IGNORED), "", problem.prompt)
    return Problem(prompt, problem.answer), count


@pytest.mark.parametrize("level", TextWordProblem.difficulties)
def test_a_reader_of_the_story_finds_the_reference(level: str) -> None:
    problems = draw(ID, level, 400)
    if level == "distractors":
        read = [without_distractors(problem) for problem in problems]
        assert {count for _, count in read} == {2, 3}
        problems = [problem for problem, _ in read]
    check(problems, SOLVERS[level], per_kind=5)


def test_distractors_change_the_prompt_and_neither_answer_nor_key() -> None:
    plain = {}
    for level in ("two-step", "three-step", "four-step"):
        plain |= {problem.key: problem.answer for problem in draw(ID, level, 20_000)}
    shared = [p for p in draw(ID, "distractors", 2000) if p.key in plain]
    assert len(shared) > 100
    assert all(problem.answer == plain[problem.key] for problem in shared)


def test_names_and_things_do_not_make_another_question() -> None:
    prompts: dict[str, set[str]] = {}
    for problem in draw(ID, "one-step", 20_000):
        prompts.setdefault(problem.key, set()).add(problem.prompt)
    assert max(map(len, prompts.values())) > 10


def test_answers_are_positive_integers() -> None:
    for level in TextWordProblem.difficulties:
        assert all(int(problem.answer) > 0 for problem in draw(ID, level, 1000))


def test_a_noun_or_a_dollar_may_stand_by_the_number_and_a_calculation_may_not() -> None:
    task, problem = TextWordProblem(), Problem("?", "12", {"form": "number"})
    for answer in ("12", "12 apples", "$12", "12.0"):
        assert task.grade(problem, answer)["correct"] == 1.0
    for answer in ("3*4", "7+5", "13", "12, 13", "apples"):
        assert task.grade(problem, answer)["correct"] == 0.0
