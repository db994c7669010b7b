"""The token Markov decision process around one Task: what both forms of the environment share.

`textgym.core` plays one episode of it at a time, `textgym.vector` a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete

from textgym.attributes import check_attributes
from textgym.bank import ProblemBank, hash64
from textgym.curriculum import Curriculum
from textgym.masks import MaskCursor
from textgym.scoring import Scoring
from textgym.task import ADAPTIVE, Grade, Task
from textgym.tokenizer import Tokenizer, Vocabulary, load_tokenizer

STOP_REASONS = (None, "length", "eos", "stop", "illegal", "task")
"""Why an episode ended: token budget, end token, stop string, a token that is never legal, or the
task had nothing more to say. The position in this tuple is the code that the vector form keeps;
where two hold, the higher one counts."""

LENGTH, EOS, STOP, ILLEGAL, TASK = range(1, 6)

BY_CURRICULUM = -1
"""Instead of a level's position: whichever the curriculum says."""

_LEVELS = np.uint64(0x4C6576656C730000)
"""Mixed into a stream of problems, it gives the stream of an adaptive environment's levels."""


class Verdict(NamedTuple):
    """What a task said of a response: values in the order of `TokenMDP.components`; see Grade."""

    values: Sequence[float]
    facts: Mapping[str, Any] | None
    error: str | None


class TokenMDP:
    """What both forms of the environment share: task, tokens, problems, limits, grading.

    Holds nothing that changes during an episode, so that any number of environments may share one.

    Args:
        task: the task.
        tokenizer: "char", a Hugging Face name or folder, or a tokenizer object.
        reward_weights: component -> weight, instead of that in the task's `rewards`; components
            that are not named keep theirs.
        split, num_problems, max_prompt_tokens, max_response_tokens: see ProblemBank.

    Attributes:
        rewards: component -> weight, the task's own or those given instead.
        reward_range: the lowest and the highest reward of an episode, from these weights.
        scoring: how components become rewards.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: str | Tokenizer = "char",
        *,
        reward_weights: Mapping[str, float] | None = None,
        split: str = "train",
        num_problems: int | None = None,
        max_prompt_tokens: int | None = None,
        max_response_tokens: int | None = None,
    ) -> None:
        if not isinstance(task, Task):
            raise TypeError(f"task is {type(task).__name__}, expected a textgym.Task")
        check_attributes(task)
        self.task = task
        self.vocabulary = Vocabulary(load_tokenizer(tokenizer))
        self.bank = ProblemBank(
            task,
            self.vocabulary,
            split=split,
            num_problems=num_problems,
            max_prompt_tokens=max_prompt_tokens,
            max_response_tokens=max_response_tokens,
        )
        self.budget = self.bank.max_response_tokens
        self.observation_length = self.bank.observation_length
        self.scoring = Scoring(task, reward_weights)
        self.rewards, self.components = self.scoring.rewards, self.scoring.components
        self.reward_range = self.scoring.reward_range
        self.worthless = Verdict((0.0,) * len(self.components), None, None)
        self.has_constraints = type(task).constraint is not Task.constraint
        # A stop string of n characters has at most 4 n byte-level tokens.
        self.stop_window = max([4 * len(text) + 4 for text in task.stop_strings], default=0)
        self._alphabet = None if task.alphabet is None else frozenset(task.alphabet)

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenMDP:
        return self  # nothing in it changes, and a tokenizer takes long to copy

    def spaces(self) -> tuple[Box, Discrete]:
        """The observation and the action space."""
        size = self.vocabulary.size
        return Box(0, size - 1, (self.observation_length,), np.int64), Discrete(size)

    def row(self, level: int, number: int) -> int:
        """The bank's row of a level's problem `number`."""
        return level * self.bank.num_problems + number

    def level_of(
        self, difficulty: str | int | Curriculum | None, current: Curriculum | None = None
    ) -> tuple[int, Curriculum | None]:
        """A level's position and None, or BY_CURRICULUM and the curriculum that is meant.

        Args:
            difficulty: name, position, None (the default), "adaptive", or a curriculum.
            current: what "adaptive" goes on with; None: a new one, at the easiest level.

        Raises:
            ValueError: if there is no such level, or a curriculum does not fit the task.
        """
        name, num_levels = type(self.task).__name__, self.bank.num_levels
        if isinstance(difficulty, Curriculum):
            if difficulty.num_levels != num_levels:
                raise ValueError(
                    f"the curriculum has {difficulty.num_levels} levels, expected {name}'s number, "
                    f"{num_levels}"
                )
            current = difficulty
        elif difficulty != ADAPTIVE:
            return self.task.difficulty_index(difficulty), None
        if num_levels == 1:
            raise ValueError(f"{name} has one level: difficulty={ADAPTIVE!r} has nothing to adapt")
        for level in range(num_levels):
            if not self.bank.num_at(level):
                raise ValueError(self.bank.lists.why_empty(level, self.bank.split))
        return BY_CURRICULUM, current or Curriculum(num_levels)

    def success(self, grades: np.ndarray) -> np.ndarray:
        """How well episodes went, for a curriculum: [k, K] components -> [k] from 0 to 1.

        The component `correct`; of a task without it, whether the reward is at least half of the
        highest.
        """
        if "correct" in self.components:
            return grades[:, self.components.index("correct")]
        high = self.reward_range[1]
        rewards = self.scoring.total(grades.T, tuple(self.rewards.values()))
        return (rewards >= high / 2) & (high > 0)

    def grade(self, row: int, turns: Sequence[str]) -> Verdict:
        """The verdict on a finished episode of the problem in bank row `row`, by its turns."""
        if self._alphabet is not None and not self._alphabet.issuperset(turns[-1]):
            return self.worthless
        task, problem = self.task, self.bank.problem(row)
        if task.max_turns > 1:
            return self._verdict(task.grade_turns(problem, turns))
        return self._verdict(task.grade(problem, turns[-1]))

    def grade_many(self, rows: Sequence[int], turns: Sequence[Sequence[str]]) -> list[Verdict]:
        """The verdicts on finished episodes of one step, as `grade` gives them one by one."""
        if len(rows) == 1:
            return [self.grade(rows[0], turns[0])]
        if self.task.max_turns > 1:
            return [self.grade(*pair) for pair in zip(rows, turns, strict=True)]
        keys = [(row, texts[-1]) for row, texts in zip(rows, turns, strict=True)]
        verdicts = dict.fromkeys(keys, self.worthless)  # rows of a group often say the same
        alphabet = self._alphabet
        asked = [key for key in verdicts if alphabet is None or alphabet.issuperset(key[1])]
        if asked:
            problems, texts = (
                [self.bank.problem(row) for row, _ in asked],
                [key[1] for key in asked],
            )
            grades = self.task.grade_many(problems, texts)
            if len(grades) != len(asked):
                raise ValueError(
                    f"{type(self.task).__name__}.grade_many returned {len(grades)} verdicts on "
                    f"{len(asked)} responses, expected one on each"
                )
            verdicts.update(zip(asked, map(self._verdict, grades), strict=True))
        return [verdicts[key] for key in keys]

    def _verdict(self, grade: Mapping[str, float]) -> Verdict:
        """A task's verdict, checked."""
        facts = error = None
        if not isinstance(grade, Mapping):
            raise TypeError(
                f"{type(self.task).__name__}.grade returned {grade!r:.80}, expected a mapping of "
                f"components to numbers, such as {{{self.components[0]!r}: 1.0}}"
            )
        if isinstance(grade, Grade):
            facts, error = grade.facts, grade.error
            for name, value in facts.items():
                if not isinstance(name, str) or name[:1] in ("", "_") or not _is_fact(value):
                    raise ValueError(
                        f"{type(self.task).__name__}.grade returned the fact {name!r}: {value!r}, "
                        "expected a name without a leading _ and a str, float, bool or 64-bit int"
                    )
        if error is not None:
            return Verdict(self.worthless.values, facts, str(error))
        if grade.keys() != self.rewards.keys():
            raise ValueError(
                f"{type(self.task).__name__}.grade returned the components {sorted(grade)}, "
                f"expected those of its rewards, {sorted(self.rewards)}"
            )
        return Verdict([float(grade[name]) for name in self.components], facts, None)

    def reply_many(
        self, rows: Sequence[int], turns: Sequence[Sequence[str]]
    ) -> list[list[int] | None]:
        """The tokens of the task's answer to each dialogue's last turn, None if it has none."""
        task = self.task
        texts = task.reply_many([self.bank.problem(row) for row in rows], turns)
        if len(texts) != len(rows):
            raise ValueError(
                f"{type(task).__name__}.reply_many returned {len(texts)} replies to {len(rows)} "
                "dialogues, expected one to each"
            )
        return [
            None if text is None else self.vocabulary.encode_plain(text)[: task.max_reply_tokens]
            for text in texts
        ]

    def mask_cursor(self, row: int) -> MaskCursor | None:
        """For the masks of a response to a row's problem, if its task says what it has to match."""
        pattern = self.task.constraint(self.bank.problem(row)) if self.has_constraints else None
        if pattern is None:
            return None
        from textgym.constraints import automaton  # few tasks have constraints

        return MaskCursor(automaton(pattern, self.vocabulary))

    def stops(self, turn: Sequence[int]) -> bool:
        """Whether the last token of a turn completed a stop string."""
        text = self.vocabulary.decode([int(token) for token in turn[-self.stop_window :]])
        return any(stop in text for stop in self.task.stop_strings)


def level_draws(streams: np.ndarray, episodes: np.ndarray) -> np.ndarray:
    """Uniform uint64 [k] by which a curriculum chooses the levels of these slots' episodes."""
    return hash64(streams ^ _LEVELS, episodes)


def _is_fact(value: Any) -> bool:
    """Whether Gymnasium's vector environments can gather values like this one into an array."""
    kind = type(value)
    return kind in (str, float, bool) or (kind is int and -(2**63) <= value < 2**63)
