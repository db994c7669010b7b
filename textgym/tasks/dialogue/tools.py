"""ToolTask: questions with a tool at hand, which the policy calls inside its response."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from textgym.task import Grade, Problem, as_index
from textgym.tasks.math.base import AnswerFormat
from textgym.tasks.math.family import Family


class ToolTask(Family):
    """Questions and a tool: a turn that calls it is replied to, any other turn is the answer.

    A call is what stands between `opening` and `closing`, which is the task's stop string: it ends
    the turn. (What the last token holds behind it is passed over.) A turn that ends otherwise is
    the answer, and the end of the episode. Nothing that the policy writes is ever taken for a reply
    of the tool, whatever it looks like.

    A subclass has `opening`, `closing`, `instruction` and `run`.

    Args:
        answer_format: of the answer; see MathTask.
        instructions: whether the prompt says how to call the tool. Prompts without are shorter, for
            small policies that have learned it.
        max_calls: how many calls are served in an episode; None: the task's own number.
    """

    rewards = {"correct": 1.0, "called": 0.0, "format": 0.0}

    opening: str
    closing: str
    instruction: str
    """One sentence that says how to call the tool."""

    def __init__(
        self,
        answer_format: AnswerFormat = "bare",
        *,
        instructions: bool = True,
        max_calls: int | None = None,
    ) -> None:
        super().__init__(answer_format)
        if not isinstance(instructions, bool):
            raise ValueError(f"instructions is {instructions!r}, expected True or False")
        self.instructions = instructions
        if max_calls is not None:
            if not as_index(max_calls):
                raise ValueError(f"max_calls is {max_calls!r}, expected an integer of at least 1")
            self.max_turns = max_calls + 1

    @abstractmethod
    def run(self, calls: Sequence[str]) -> list[str]:
        """What the tool says to each of these calls, served side by side."""

    def num_errors(self, calls: Sequence[str]) -> int | None:
        """How many calls got no result; None: that is not known without running them again."""
        return None

    def draw(self, rng: np.random.Generator, difficulty: int = 0) -> Problem:
        """A question, and how to call the tool."""
        problem = super().draw(rng, difficulty)
        words = ""
        if self.instructions:
            words = f"\n{self.instruction}"
            words += " End with the answer alone." if self.answer_format == "bare" else ""
        return replace(
            problem,
            prompt=f"{problem.prompt}{words}\n",
            key=problem.key or problem.prompt,
        )

    def call_in(self, turn: str) -> str | None:
        """What a turn asks the tool; None if it ends in no call."""
        before, closing, _ = turn.partition(self.closing)
        return before.rpartition(self.opening)[2] if closing else None

    def reply(self, problem: Problem, turns: Sequence[str]) -> str | None:
        """The tool's reply to the call in which the last turn ends."""
        return self.reply_many([problem], [turns])[0]

    def reply_many(
        self, problems: Sequence[Problem], turns: Sequence[Sequence[str]]
    ) -> list[str | None]:
        """The tool's replies in all dialogues, their calls served side by side."""
        calls = [self.call_in(said[-1]) for said in turns]
        replies = iter(self.run([call for call in calls if call is not None]))
        return [None if call is None else next(replies) for call in calls]

    def grade(self, problem: Problem, response: str) -> Grade:
        """The verdict on a response that calls nothing."""
        return self.grade_turns(problem, [response])

    def grade_turns(self, problem: Problem, turns: Sequence[str]) -> Grade:
        """`correct` and `format` judge the last turn, `called` those before it."""
        calls = [self.call_in(turn) or "" for turn in turns[:-1]]
        # A call that got no reply, because turns or budget are spent, is no answer.
        answer = turns[-1] if self.call_in(turns[-1]) is None else ""
        verdict, errors = super().grade(problem, answer), self.num_errors(calls)
        facts = {**verdict.facts, "calls": len(calls)}
        if errors is not None:
            facts["errors"] = errors
        called = float(len(calls) > (errors or 0))
        return Grade({**verdict, "called": called}, facts=facts, error=verdict.error)
