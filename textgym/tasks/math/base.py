"""MathTask: what the mathematical tasks share, which is how a response is graded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from textgym.grading.math import equivalent_many, extract_answer
from textgym.task import Grade, Problem, Task

AnswerFormat = Literal["bare", "boxed", "hash", "any"]

FORMATS: Mapping[str, tuple[str, str]] = {
    "bare": ("", "{}"),
    "boxed": ("\nPut the final answer in \\boxed{}.", "\\boxed{{{}}}"),
    "hash": ("\nEnd with a line that says #### and the final answer.", "#### {}"),
    "any": ("", "{}"),
}
"""Answer format -> what is said of it behind the question, and how the reference is written."""


class MathTask(Task):
    """A task whose answers are mathematics, graded by equivalence and not by their letters.

    A subclass draws problems whose `answer` is the bare final answer in `sample`. It may override
    `accepts` where being equivalent is not enough: a sum is no answer to itself.

    Two components: `correct`, 1 where the final answer is accepted and equivalent to the reference;
    `format`, weight 0 unless given, 1 where the answer stands where it was asked for.

    Args:
        answer_format: "bare": the response is the answer and nothing else; "boxed": it says
            `\\boxed{answer}`; "hash": it ends in a line `#### answer`; "any": wherever
            `textgym.grading.math.extract_answer` finds it. "boxed" and "hash" are asked for behind
            the question. Unless it is "bare", `correct` takes the answer wherever it is found.
    """

    rewards = {"correct": 1.0, "format": 0.0}

    def __init__(self, answer_format: AnswerFormat = "bare") -> None:
        if answer_format not in FORMATS:
            raise ValueError(f"answer_format is {answer_format!r}, expected one of {list(FORMATS)}")
        self.answer_format = answer_format

    def accepts(self, problem: Problem, answer: str) -> bool:
        """Whether a final answer is written as an answer, whatever its value (default: always)."""
        return True

    def draw(self, rng: np.random.Generator, difficulty: int = 0) -> Problem:
        """A problem with the answer format's words behind its question."""
        problem = super().draw(rng, difficulty)
        question, answer = FORMATS[self.answer_format]
        if self.answer_format in ("bare", "any"):
            return problem
        return replace(
            problem,
            prompt=problem.prompt + question,
            answer=answer.format(problem.answer),
            key=problem.key or problem.prompt,
        )

    def grade(self, problem: Problem, response: str) -> Grade:
        """`correct` and `format`; the rule that decided is among the facts."""
        return self.grade_many([problem], [response])[0]

    def grade_many(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Grade]:
        """Grade each response to its problem."""
        raise NotImplementedError
