"""Where procedural problems come from: a level's name -> its generator, and the words around it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from textgym.grading.code import CallTests
from textgym.task import Problem
from textgym.tasks.code.algorithms import VARIANTS, algorithm
from textgym.tasks.code.bugs import NUM_BUGS, bug
from textgym.tasks.code.exercise import Case, Exercise, example
from textgym.tasks.code.expressions import (
    NUM_EXAMPLES,
    NUM_EXPRESSIONS,
    NUM_FUNCTIONS,
    examples,
    expression,
    function,
)
from textgym.tasks.code.lists import LISTS
from textgym.tasks.code.pipelines import pipeline
from textgym.tasks.code.programs import Target
from textgym.tasks.code.strings import STRINGS

MAX_DRAWS = 1000
"""Draws for one sound exercise; a fifth to nearly all of a level's numbers give one."""


class Family(NamedTuple):
    """A generator of exercises, pure in its number, and how many numbers it tells apart."""

    make: Callable[[int], Exercise]
    size: int


FAMILIES: Mapping[str, Family] = {
    "expression": Family(expression, NUM_EXPRESSIONS),
    "function": Family(function, NUM_FUNCTIONS),
    "examples": Family(examples, NUM_EXAMPLES),
    "lists": Family(partial(pipeline, LISTS), LISTS.size),
    "strings": Family(partial(pipeline, STRINGS), STRINGS.size),
    "algorithms": Family(algorithm, len(VARIANTS)),
    "bugfix": Family(bug, NUM_BUGS),
}
"""Level -> family, easiest first."""


class Generator:
    """The procedural problems, as TextCode asks for them."""

    levels = tuple(FAMILIES)

    def sample(self, rng: np.random.Generator, level: str) -> Problem:
        """Draw a sound exercise of a level."""
        make, size = FAMILIES[level]
        for _ in range(MAX_DRAWS):
            number = int(rng.random() * size)
            exercise = make(number)
            if exercise.is_sound:
                shown, _ = _cases(level, number, exercise)
                info = {"level": level, "number": number}
                return Problem(_prompt(exercise, shown), exercise.answer, info, exercise.key)
        raise AssertionError(f"no sound exercise in {MAX_DRAWS} draws at {level}")

    def target(self, problem: Problem) -> Target:
        """What the response to a problem has to do: made anew, from the number alone."""
        level, number = problem.info["level"], problem.info["number"]
        exercise = FAMILIES[level].make(number)
        _, hidden = _cases(level, number, exercise)
        reference = exercise.header + exercise.answer
        return Target(CallTests("f", hidden), "f", exercise.header, reference)

    def list_problems(self, *level: str) -> Sequence[Problem] | None:
        """None: they are drawn."""
        return None


def _cases(level: str, number: int, exercise: Exercise) -> tuple[list[Case], list[Case]]:
    return exercise.cases(random.Random(f"cases of {level} {number}"))


def _prompt(exercise: Exercise, shown: list[Case]) -> str:
    lines = [exercise.task] if exercise.task else []
    if exercise.mistaken:
        lines += ["This program has a mistake:", exercise.mistaken, "Right would be:"]
    return "\n".join([*lines, *map(example, shown), exercise.header])
