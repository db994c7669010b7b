"""Problems that are a finite list, as a data set's are: which of them an environment asks."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

from textgym.task import Problem, Task
from textgym.tokenizer import Vocabulary


class ProblemLists:
    """The lists of a task's levels, and what of them belongs to a split.

    Args:
        task: the task; a level whose `list_problems` is None is no part of this.

    Attributes:
        all: for each level its whole list, or None.
        chosen: for each level the problems that are asked, in the list's order, or None.
    """

    def __init__(self, task: Task) -> None:
        self.name, self.levels = type(task).__name__, task.difficulties or ("",)
        self.all = [task.listed(level) for level in range(len(self.levels))]
        self.chosen: list[list[Problem] | None] = [None] * len(self.all)

    @property
    def largest(self) -> int | None:
        """The largest number of problems of any level; None if a level's problems are drawn."""
        counts = [None if problems is None else len(problems) for problems in self.chosen]
        return None if None in counts else max(counts)

    def choose(self, split: str, vocabulary: Vocabulary, max_prompt_tokens: int | None) -> None:
        """Keep the problems of a split; a prompt that is too long is left out, with a warning.

        Raises:
            ValueError: if there are lists and nothing is left of any.
        """
        for level, problems in enumerate(self.all):
            if problems is not None:
                found = [p for p in problems if split in ("all", p.split)]
                self.chosen[level] = self._fitting(found, level, vocabulary, max_prompt_tokens)
        if not any(found or found is None for found in self.chosen):
            raise ValueError(self.why_empty(0, split))

    def _fitting(
        self, found: list[Problem], level: int, vocabulary: Vocabulary, limit: int | None
    ) -> list[Problem]:
        if limit is None:
            return found
        kept = [p for p in found if len(vocabulary.encode(p.prompt)) <= limit]
        if len(kept) < len(found):
            warnings.warn(
                f"{self.name}{self._at(level)}: {len(found) - len(kept)} of {len(found)} prompts "
                f"are longer than max_prompt_tokens={limit} and are left out",
                stacklevel=2,
            )
        return kept

    def has(self, split: str) -> bool:
        """Whether every level has problems in a split (those that are drawn count as having)."""
        return all(
            problems is None or split == "all" or any(p.split == split for p in problems)
            for problems in self.all
        )

    def why_empty(self, level: int, split: str) -> str:
        """What is to be said of a level without problems."""
        problems: Sequence[Problem] = self.all[level] or ()
        counts = Counter(problem.split for problem in problems)
        if counts[split]:
            return (
                f"{self.name}{self._at(level)}: every prompt of split {split!r} is longer than "
                "max_prompt_tokens; raise it"
            )
        message = f"{self.name} has no problem in split {split!r}{self._at(level)}"
        told = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        if any(problem.fixed_split for problem in problems):
            return f"{message}: its data set has splits of its own, {told}; use one of them"
        return f"{message}: there are {told}, too few to be split; use split='all'"

    def _at(self, level: int) -> str:
        return f" at difficulty {self.levels[level]!r}" if self.levels[level] else ""
