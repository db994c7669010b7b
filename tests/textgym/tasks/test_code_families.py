"""The generators of code problems: sound, distinct, short, and what their words say."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache

import numpy as np
import pytest

from textgym.task import Problem
from textgym.tasks.code import solutions
from textgym.tasks.code.algorithms import TEMPLATES, VARIANTS
from textgym.tasks.code.expressions import examples
from textgym.tasks.code.generator import FAMILIES, Generator
from textgym.tasks.code.text_code import TextCode

LEVELS = tuple(FAMILIES)
LONGEST = {  # level -> characters of a prompt and of a reference response
    "expression": (62, 13),
    "function": (190, 115),
    "examples": (125, 20),
    "lists": (290, 175),
    "strings": (290, 175),
    "algorithms": (330, 290),
    "bugfix": (640, 290),
}


@cache
def drawn(level: str, count: int = 1000) -> list[Problem]:
    rng = np.random.default_rng(0)
    return [Generator().sample(rng, level) for _ in range(count)]


def row_of_table(level: str) -> list[str]:
    line = next(
        line for line in TextCode.__doc__.splitlines() if line.startswith(f"    | {level} ")
    )
    return [cell.strip() for cell in line.strip("| ").split("|")]


def exercise_of(problem: Problem):
    return FAMILIES[problem.info["level"]].make(problem.info["number"])


# ------------------------------------------------------------------ the docstring's figures


@pytest.mark.parametrize("level", LEVELS)
def test_the_docstring_states_the_number_of_repeated_questions(level: str) -> None:
    problems = drawn(level)
    repeated = len(problems) - len({problem.key for problem in problems})
    assert row_of_table(level)[3] == str(repeated)


def distinct(level: str, period: int) -> int:
    make = FAMILIES[level].make
    exercises = map(make, range(period))
    return len({exercise.key for exercise in exercises if exercise.is_sound})


@pytest.mark.parametrize(
    ("level", "period"),
    [
        ("expression", FAMILIES["expression"].size),
        ("examples", FAMILIES["examples"].size // 49),  # the rest shifts the places of the values
        ("algorithms", FAMILIES["algorithms"].size),
    ],
)
def test_the_docstring_states_the_exact_number_of_questions(level: str, period: int) -> None:
    assert row_of_table(level)[1] == f"{distinct(level, period):,}"


# ------------------------------------------------------------------ what is asked


@pytest.mark.parametrize("level", LEVELS)
def test_prompts_and_answers_are_short_and_plain(level: str) -> None:
    longest_prompt, longest_answer = LONGEST[level]
    for problem in drawn(level):
        assert problem.prompt.isascii() and problem.answer.isascii()
        assert len(problem.prompt) <= longest_prompt, problem.prompt
        assert 0 < len(problem.answer) <= longest_answer, problem.answer


@pytest.mark.parametrize("level", LEVELS)
def test_one_key_means_one_split_and_one_behaviour(level: str) -> None:
    seen: dict[str, Problem] = {}
    for problem in drawn(level):
        first = seen.setdefault(problem.key, problem)
        assert problem.split == first.split
        assert exercise_of(problem).behaviour == exercise_of(first).behaviour


@pytest.mark.parametrize("level", LEVELS)
def test_every_split_has_its_share(level: str) -> None:
    splits = Counter(problem.split for problem in drawn(level))
    assert splits["train"] > 700 and splits["validation"] > 50 and splits["test"] > 50


@pytest.mark.parametrize("level", LEVELS)
def test_the_prompt_ends_with_what_the_response_continues(level: str) -> None:
    for problem in drawn(level)[:100]:
        target = Generator().target(problem)
        assert problem.prompt.endswith(target.header)
        assert target.reference == target.header + problem.answer


@pytest.mark.parametrize("level", LEVELS)
def test_hidden_arguments_are_not_shown(level: str) -> None:
    for problem in drawn(level)[:200]:
        cases = Generator().target(problem).tests.cases
        assert len(cases) >= 8
        for arguments, _ in cases:
            assert f"f({', '.join(map(repr, arguments))}) = " not in problem.prompt


@pytest.mark.parametrize("level", LEVELS)
def test_hidden_tests_refute_every_near_miss(level: str) -> None:
    for problem in drawn(level)[:200]:
        cases = Generator().target(problem).tests.cases
        for wrong in exercise_of(problem).near:
            assert any(wrong(*arguments) != expected for arguments, expected in cases), problem


@pytest.mark.parametrize("level", LEVELS)
def test_no_constant_passes_the_hidden_tests(level: str) -> None:
    for problem in drawn(level):
        values = {repr(expected) for _, expected in Generator().target(problem).tests.cases}
        assert len(values) > 1, problem


@pytest.mark.parametrize("level", LEVELS)
def test_one_generator_state_gives_one_problem(level: str) -> None:
    first, second = (Generator().sample(np.random.default_rng(7), level) for _ in range(2))
    assert first == second
    targets = [Generator().target(problem) for problem in (first, second)]
    assert targets[0].tests.cases == targets[1].tests.cases


# ------------------------------------------------------------------ words against other words


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("a plus twice b", "a+2*b"),
        ("a plus b times 3", "a+b*3"),
        ("a plus b, times 3", "(a+b)*3"),
        ("a squared minus b squared", "a*a-b*b"),
        ("7 times a minus b", "7*a-b"),
    ],
)
def test_expressions_mean_what_school_teaches(words: str, code: str) -> None:
    for number in range(FAMILIES["expression"].size):
        exercise = FAMILIES["expression"].make(number)
        if exercise.task == words:
            assert exercise.answer == code
            return
    pytest.fail(f"no expression {words!r}")


def test_six_values_leave_one_quadratic() -> None:
    """The matrix of the monomials at the six places has full rank."""
    for number in (0, 12_345, 400_000):
        places = examples(number).examples
        matrix = np.array([[1, a, b, a * a, a * b, b * b] for a, b in places])
        assert abs(round(np.linalg.det(matrix))) >= 1


def brute_ways_to_pay(n: int, coins: tuple[int, ...]) -> int:
    if not coins:
        return int(n == 0)
    return sum(brute_ways_to_pay(n - k * coins[0], coins[1:]) for k in range(n // coins[0] + 1))


def brute_survivor(n: int, k: int) -> int:
    circle, place = list(range(1, n + 1)), 0
    while len(circle) > 1:
        place = (place + k - 1) % len(circle)
        del circle[place]
    return circle[0]


def brute_edits(s: str, t: str, a: int, b: int, k: int) -> int:
    if not s or not t:
        return a * len(t) + b * len(s)
    if s[0] == t[0]:
        return min(brute_edits(s[1:], t[1:], a, b, k), b + brute_edits(s[1:], t, a, b, k))
    return min(
        k + brute_edits(s[1:], t[1:], a, b, k),
        b + brute_edits(s[1:], t, a, b, k),
        a + brute_edits(s, t[1:], a, b, k),
    )


def test_algorithms_agree_with_brute_force() -> None:
    rng = random.Random(0)
    for _ in range(50):
        n, k = rng.randint(1, 25), rng.randint(2, 9)
        assert solutions.ways_to_pay(n, x=2, y=3, z=k + 2) == brute_ways_to_pay(n, (2, 3, k + 2))
        assert solutions.survivor(n, k=k) == brute_survivor(n, k)
        assert solutions.fewest_coins(n, x=3, y=k + 2) == min(
            i + j + n - 3 * i - (k + 2) * j
            for i in range(n // 3 + 1)
            for j in range((n - 3 * i) // (k + 2) + 1)
        )
        s, t = ("".join(rng.choices("abc", k=rng.randint(0, 5))) for _ in "st")
        assert solutions.edits(s, t, a=1, b=2, k=2) == brute_edits(s, t, 1, 2, 2)
        xs = [rng.randint(-9, 9) for _ in range(rng.randint(0, 8))]
        sums = [sum(xs[i:j]) - 2 * (j - i) for i in range(len(xs)) for j in range(i + 1, 9)]
        assert solutions.best_run(xs, k=2) == max([0, *sums])


def test_every_algorithm_is_asked() -> None:
    numbers = {VARIANTS[problem.info["number"]][0] for problem in drawn("algorithms")}
    assert numbers == set(range(len(TEMPLATES))) == set(range(28))


def test_a_program_with_a_bug_differs_from_the_reference_in_one_place() -> None:
    for problem in drawn("bugfix")[:300]:
        exercise = exercise_of(problem)
        wrong, right = exercise.mistaken, exercise.header + exercise.answer
        assert wrong != right and wrong in problem.prompt and wrong.startswith(exercise.header)
        assert right not in problem.prompt
