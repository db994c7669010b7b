"""Family: a mathematical task whose levels are tuples of generators, all equally likely."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from textgym.grading.forms import is_expanded, is_lowest_terms, is_number
from textgym.task import Problem
from textgym.tasks.math.base import MathTask
from textgym.tasks.math.choices import Choices

Generator = Callable[[Choices], Problem]
"""Makes one question of a kind out of choices."""

_DECIMAL = re.compile(r"\$?[-+]?[0-9]*\.?[0-9]+(?: ?\\?%)?\$?")


def question(prompt: str, answer: object, key: str = "", form: str = "any") -> Problem:
    """A problem whose answer counts only in a form of `FORMS`.

    Args:
        prompt: what is asked.
        answer: the reference, as its text.
        key: the same for all ways to put this question; the prompt itself where it is empty.
        form: how an answer has to be written.
    """
    return Problem(prompt, str(answer), {"form": form}, key)


FORMS: Mapping[str, Callable[[str], bool]] = {
    "any": lambda answer: True,
    "number": is_number,
    "lowest": is_lowest_terms,
    "expanded": is_expanded,
    "decimal": lambda answer: _DECIMAL.fullmatch(answer.strip()) is not None,
}
"""Name of a form -> whether an answer has it."""


class Family(MathTask):
    """A MathTask with one tuple of generators a level.

    A subclass sets `levels` and `difficulties = tuple(levels)`.
    """

    levels: Mapping[str, tuple[Generator, ...]]
    """Level -> its kinds of questions, easiest level first."""

    forms: Mapping[str, Callable[[str], bool]] = FORMS
    """What a problem's form demands of an answer."""

    def sample(self, rng: np.random.Generator, difficulty: str | None = None) -> Problem:
        """Draw a question of one of the level's kinds."""
        kinds = self.levels[self.difficulties[self.difficulty_index(difficulty)]]
        choices = Choices(rng)
        return choices.one_of(kinds)(choices)

    def accepts(self, problem: Problem, answer: str) -> bool:
        """Whether the answer has the form that the question asks for."""
        return self.forms[problem.info.get("form", "any")](answer)
