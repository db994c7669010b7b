"""TextCountdown: reach a target from given numbers; any valid expression is right."""

from __future__ import annotations

import numpy as np

from textgym.grading.countdown import reaches_target
from textgym.grading.math import Verdict
from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.math.base import AnswerFormat, MathTask
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.writing import listed

# Level -> how many numbers, the largest of them, the largest value on the way.
LEVELS = {
    "two": (2, 99, 999),
    "three": (3, 50, 500),
    "four": (4, 50, 999),
    "five": (5, 75, 999),
    "six": (6, 99, 9999),
}

SUM, PRODUCT, NUMBER = range(3)
Term = tuple[int, str, int]
"""The value of an expression, its text, and what it is outermost."""


def joined(left: Term, right: Term, operator: str) -> Term:
    """Two expressions joined, with the brackets that are needed."""
    (a, first, outer), (b, second, inner) = left, right
    if operator in "+-":
        if operator == "-" and inner == SUM:
            second = f"({second})"
        return (a + b if operator == "+" else a - b), f"{first}{operator}{second}", SUM
    first = f"({first})" if outer == SUM else first
    second = f"({second})" if inner == SUM or (operator == "/" and inner == PRODUCT) else second
    return (a * b if operator == "*" else a // b), f"{first}{operator}{second}", PRODUCT


def compose(choose: Choices, numbers: list[int], highest: int) -> Term:
    """An expression of all numbers, each value on the way a whole number from 1 to `highest`."""
    terms: list[Term] = [(n, str(n), NUMBER) for n in numbers]
    while len(terms) > 1:
        left = terms.pop(choose.below(len(terms)))
        right = terms.pop(choose.below(len(terms)))
        if left[0] < right[0]:
            left, right = right, left
        a, b = left[0], right[0]
        taken = numbers if not terms else ()  # a target that is given needs no expression
        results = {"+": a + b, "-": a - b, "*": a * b, "/": a // b if a % b == 0 < b - 1 else 0}
        if b == 1:
            del results["*"]
        operators = [o for o, v in results.items() if 0 < v <= highest and v not in taken]
        if not operators:
            return sum(numbers), "+".join(map(str, numbers)), SUM
        terms.append(joined(left, right, choose.one_of(operators)))
    return terms[0]


@register_task("TextCountdown-v0")
class TextCountdown(MathTask):
    """DOC"""

    difficulties = tuple(LEVELS)

    def __init__(self, answer_format: AnswerFormat = "bare", exactly_once: bool = False) -> None:
        super().__init__(answer_format)
        if not isinstance(exactly_once, bool):
            raise ValueError(f"exactly_once is {exactly_once!r}, expected True or False")
        self.exactly_once = exactly_once

    def sample(self, rng: np.random.Generator, difficulty: str | None = None) -> Problem:
        """Draw numbers, and a target that an expression of all of them has as its value."""
        level = self.difficulties[self.difficulty_index(difficulty)]
        return self.ask(Choices(rng), level)

    def ask(self, choose: Choices, level: str) -> Problem:
        """Numbers and a target of the level."""
        count, largest, highest = LEVELS[level]
        numbers = choose.distinct(count, 2, largest)
        target, expression, _ = compose(choose, numbers, highest)
        how = ""
        if self.exactly_once:
            how = " using each once"
        elif count > 2:
            how = " using each at most once"
        prompt = f"Make {target} from {listed(numbers)}{how}: "
        key = f"countdown {target} {sorted(numbers)}"
        return Problem(prompt, expression, {"numbers": tuple(numbers), "target": target}, key)

    def verdict(self, problem: Problem, answer: str) -> Verdict:
        """Whether an expression reaches the target, whatever the reference is."""
        numbers, target = problem.info["numbers"], problem.info["target"]
        return reaches_target(answer, numbers, target, exactly_once=self.exactly_once)
