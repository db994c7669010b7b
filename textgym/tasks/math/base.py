"""MathTask: what the mathematical tasks share, which is how a response is graded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from textgym.grading.math import Verdict, equivalent, extract_answer
from textgym.task import Grade, Problem, Task

AnswerFormat = Literal["bare", "boxed", "hash", "any"]

FORMATS: Mapping[str, tuple[str, str]] = {
    "bare": ("", "{}"),
    "boxed": ("\nPut the final answer in \\boxed{}.", "\\boxed{{{}}}"),
    "hash": ("\nEnd with a line that says #### and the final answer.", "#### {}"),
    "any": ("", "{}"),
}
"""Answer format -> what is said of it behind the question, and how the reference is written."""

WHERE: Mapping[str, frozenset[str]] = {
    "bare": frozenset(["whole"]),
    "boxed": frozenset(["boxed"]),
    "hash": frozenset(["hash"]),
    "any": frozenset(["boxed", "hash", "tag", "says", "whole"]),
}
"""Answer format -> the rules of `extract_answer` that find an answer which is in it."""


class MathTask(Task):
    r"""A task whose answers are mathematics, graded by equivalence and not by their letters.

    A subclass draws problems whose `answer` is the bare final answer in `sample`. It may override
    `accepts` where being equivalent is not enough (a sum is no answer to itself), and `verdict`
    where more than what is equivalent is right.

    Two components: `correct`, 1 where the final answer is accepted and equivalent to the reference;
    `format`, weight 0 unless given, 1 where the answer stands where it was asked for.

    Args:
        answer_format: "bare": the response is the answer and nothing else; "boxed": it says
            `\boxed{answer}`; "hash": it ends in a line `#### answer`; "any": wherever
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

    def verdict(self, problem: Problem, answer: str) -> Verdict:
        """Whether a final answer is equal to the reference (default: `equivalent`)."""
        return equivalent(problem.answer, answer)

    def draw(self, rng: np.random.Generator, difficulty: int = 0) -> Problem:
        """A problem with the answer format's words behind its question."""
        problem = super().draw(rng, difficulty)
        if self.answer_format in ("bare", "any"):
            return problem
        instruction, answer = FORMATS[self.answer_format]
        return replace(
            problem,
            prompt=problem.prompt + instruction,
            answer=answer.format(problem.answer),
            key=problem.key or problem.prompt,
        )

    def grade(self, problem: Problem, response: str) -> Grade:
        """`correct` and `format`; the rules that found the answer and decided are facts."""
        found = extract_answer(response)
        in_format = found.rule in WHERE[self.answer_format]
        if not in_format and self.answer_format == "bare":
            return Grade({"correct": 0.0, "format": 0.0}, facts={"rule": "not a bare answer"})
        verdict = self.verdict(problem, found.text)
        accepted = verdict.equal is True and self.accepts(problem, found.text)
        return Grade(
            {"correct": float(accepted), "format": float(in_format)},
            facts={"rule": verdict.rule if accepted or not verdict.equal else "form"},
            error=verdict.error,
        )
