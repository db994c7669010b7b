"""What the tests of the problem families share: drawing, walking through all choices, solving."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from textgym import load_task
from textgym.task import Problem, Task
from textgym.tasks.math.choices import Choices

IDS = (
    *("TextWordProblem-v0", "TextEquation-v0", "TextPolynomial-v0", "TextFraction-v0"),
    *("TextNumberTheory-v0", "TextCombinatorics-v0", "TextSequence-v0", "TextCalculus-v0"),
    *("TextCountdown-v0", "TextUnits-v0", "TextProbability-v0"),
)
LEVELS = [(id, level) for id in IDS for level in load_task(id).difficulties]


@cache
def task_of(id: str) -> Task:
    return load_task(id)


def draw(id: str, level: str, count: int, seed: int = 0, **kwargs: Any) -> list[Problem]:
    task, rng = load_task(id, **kwargs), np.random.default_rng(seed)
    return [task.sample(rng, level) for _ in range(count)]


class Odometer(Choices):
    """Makes every sequence of choices once, as an odometer shows every number."""

    def __init__(self) -> None:
        self.digits: list[int] = []
        self.bounds: list[int] = []
        self.position = 0

    def below(self, bound: int) -> int:
        if self.position == len(self.digits):
            self.digits.append(0)
            self.bounds.append(bound)
        self.position += 1
        return self.digits[self.position - 1]

    def advance(self) -> bool:
        """On to the next sequence; False after the last one."""
        assert self.position == len(self.digits)
        while self.digits and self.digits[-1] == self.bounds[-1] - 1:
            self.digits.pop()
            self.bounds.pop()
        self.position = 0
        if self.digits:
            self.digits[-1] += 1
        return bool(self.digits)


def every(make: Callable[[Choices], Problem]) -> Iterator[Problem]:
    """What a generator makes of each sequence of choices that there is."""
    odometer = Odometer()
    yield make(odometer)
    while odometer.advance():
        yield make(odometer)


def check(problems: list[Problem], solvers: dict[str, Callable[..., Any]], per_kind: int) -> None:
    """Solve each problem with the one solver whose pattern matches its prompt.

    A solver gets the pattern's groups and returns the answer's text, something that prints as it,
    or None where solving it that way would take too long. Every solver has to have solved so many.
    """
    solved = dict.fromkeys(solvers, 0)
    for problem in problems:
        found = [(p, match) for p in solvers if (match := re.fullmatch(p, problem.prompt.strip()))]
        assert len(found) == 1, (problem, found)
        pattern, match = found[0]
        answer = solvers[pattern](*match.groups())
        if answer is not None:
            assert str(answer) == problem.answer, (problem, answer)
            solved[pattern] += 1
    assert min(solved.values()) >= per_kind, solved


def integers(solve: Callable[..., Any]) -> Callable[..., Any]:
    """A solver that gets its groups as integers."""
    return lambda *groups: solve(*map(int, groups))


def parsed(text: str) -> Any:
    """A text of our own in our notation as a sympy expression; sympy evaluates what it parses."""
    import sympy
    from sympy.parsing.sympy_parser import (
        convert_xor,
        implicit_multiplication_application,
        parse_expr,
        rationalize,
        standard_transformations,
    )

    names = {"e": sympy.E, "ln": sympy.log}
    return parse_expr(
        text,
        local_dict=names,
        transformations=(
            *standard_transformations,
            convert_xor,
            implicit_multiplication_application,
            rationalize,
        ),
    )
