"""The rows of a mathematical data set as problems: GSM8K's layout, MATH's, and others by name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from textgym.data_sets import Layout, load_rows
from textgym.task import Problem
from textgym.tasks.math.base import FORMATS, AnswerFormat

LAYOUTS = (
    Layout("GSM8K", prompt="question", answer="answer"),
    Layout("MATH", prompt="problem", answer="solution", optional={"level": "level"}),
    Layout("problem and answer", prompt="problem", answer="answer", optional={"level": "level"}),
    Layout("prompt and answer", prompt="prompt", answer="answer", optional={"level": "level"}),
)
"""What is known of columns; the answer may be bare, or a solution that marks it."""

SUBSETS = {"openai/gsm8k": "main", "gsm8k": "main"}
"""The configuration that is meant where a data set has several and none is named."""


class MathRows:
    """The problems of a data set, by level.

    Args:
        source: a file, a folder, or a name on the hub; see `textgym.data_sets.load_rows`.
        subset: the configuration of a data set on the hub.
        fields: field (prompt, answer, level) -> column.
        answer_format: None: as the data set's own solutions mark their answers.

    Raises:
        FileNotFoundError, ImportError, ValueError: as `load_rows` does.
    """

    def __init__(
        self,
        source: str,
        *,
        subset: str | None = None,
        fields: Mapping[str, str] | None = None,
        answer_format: AnswerFormat | None = None,
    ) -> None:
        if not isinstance(source, str | os.PathLike) or not str(source):
            raise TypeError(f"dataset is {source!r}, expected a file, a folder or a name")
        if fields is not None and not isinstance(fields, Mapping):
            raise TypeError(f"fields is {fields!r}, expected a mapping of fields to columns")
        name = subset or SUBSETS.get(source)
        layouts = () if fields and {"prompt", "answer"} <= fields.keys() else LAYOUTS
        rows = load_rows(source, layouts=layouts, fields=fields, name=name)
        self.answer_format = answer_format or _marked_by(rows[0]["answer"])
        if self.answer_format not in FORMATS:
            known = list(FORMATS)
            raise ValueError(f"answer_format is {self.answer_format!r}, expected one of {known}")
        instruction = FORMATS[self.answer_format][0]
        by_level: dict[str, list[Problem]] = {}
        for row in rows:
            question = row["prompt"]
            problem = Problem(
                question + instruction, row["answer"], key=question, fixed_split=row.split
            )
            by_level.setdefault(row.get("level", ""), []).append(problem)
        self._by_level = {level: by_level[level] for level in sorted(by_level)}
        self.levels = tuple(self._by_level) if any(self._by_level) else ()
        if "" in self.levels:
            first = next(row.place for row in rows if not row["level"])
            raise ValueError(f"{first} has no level, though other rows have one")

    def problems(self, level: str | None = None) -> Sequence[Problem]:
        """The problems of a level; all of them if the data set has no levels."""
        if not self.levels:
            return self._by_level[""]
        return self._by_level[self.levels[0] if level is None else level]


def _marked_by(solution: str) -> AnswerFormat:
    if "####" in solution:
        return "hash"
    return "boxed" if "boxed" in solution else "any"
