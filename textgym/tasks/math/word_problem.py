"""TextWordProblem: stories of one to four steps, at the last level with numbers to be ignored."""

from __future__ import annotations

import numpy as np

from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.family import Family, question
from textgym.tasks.math.stories import LEVELS

# Names that no story has: what is said of them contradicts nothing.
_BYSTANDERS = ("Olga", "Tariq", "Vera", "Yusuf", "Zoe")
_DISTRACTORS = (
    "{name} is {number} years old.",
    "The house has number {number}.",
    "It is {number} degrees outside.",
    "There are {number} chairs in the room.",
    "{name} lives {number} km from the sea.",
    "The radio has been on for {number} minutes.",
    "A friend of {name} has {number} cousins.",
    "The clock on the wall is {number} seconds slow.",
)


def distracted(choose: Choices, facts: tuple[str, ...]) -> list[str]:
    """Facts with two or three numbers among them that do not matter."""
    told = list(facts)
    for i in choose.distinct(choose.between(2, 3), 0, len(_DISTRACTORS) - 1):
        fact = _DISTRACTORS[i].format(name=choose.one_of(_BYSTANDERS), number=choose.between(2, 90))
        told.insert(choose.between(1, len(told)), fact)
    return told


@register_task("TextWordProblem-v0")
class TextWordProblem(Family):
    """DOC"""

    levels = LEVELS
    difficulties = tuple(LEVELS)

    def sample(self, rng: np.random.Generator, difficulty: str | None = None) -> Problem:
        """Draw a story of the level."""
        level = self.difficulties[self.difficulty_index(difficulty)]
        choose = Choices(rng)
        return self.tell(choose, level)

    def tell(self, choose: Choices, level: str) -> Problem:
        """A story of the level, with distractors at the last one."""
        story = choose.one_of(self.levels[level])(choose)
        facts = distracted(choose, story.facts) if level == "distractors" else story.facts
        prompt = " ".join((*facts, story.asked, ""))
        return question(prompt, story.answer, story.key, "number")
