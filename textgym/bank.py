"""The numbered problems of one task and split, tokenised once, as tables that a reset gathers from.

Problem `i` of a level is a pure function of (task, split, level, i): it does not depend on which
environment asks, in which order, or on any seed. Where the task's problems are a finite list, it is
the i-th of them in the split. Rows are made when first asked for.
"""

from __future__ import annotations

import math
import mmap
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from textgym.listed import ProblemLists
from textgym.task import SPLITS, Problem, Task, as_index
from textgym.tokenizer import Vocabulary

NUM_PROBLEMS = 2**14
"""How many numbered problems a level has unless said otherwise, where they are drawn."""

MAX_DRAWS = 1000
"""Draws after which a split counts as empty: with 10 % of the problems in it, 1,000 draws from a
task with many of them miss it with probability 1e-46."""

PROBE_SIZE = 64
"""Problems of each level that are drawn to learn how long prompts and answers are."""

SLACK = 64
"""Most tokens that a response may be longer than the longest reference unless said otherwise."""

LARGE_TABLE = 2**28
"""Bytes from which a table is kept out of huge pages."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hash64(stream: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Element `index` of random stream `stream`: uint64 arrays, broadcast together.

    A counter-based generator: SplitMix64's finaliser (Steele et al. 2014) on the mixed stream plus
    index times its odd constant. No state, so slots never disturb each other.
    """
    return _mix(_mix(stream) + index * _GOLDEN)


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class ProblemBank:
    """Token tables of `num_levels * num_problems` rows; row = level * num_problems + number.

    prompts [rows, L] int32: an episode's first observation, the prompt and then pad;
    facts [rows, 4] int64: the prompt's length, the problem's number, its id, its level;
    references [rows, T] int32: the reference answer, eos, pad (-1 throughout where there is none);
    is_graded [rows] bool: whether the reference answer's grade is known; where it is,
    reference_grades [rows, K] float64: what the task's grade says of its own reference answer;
    reference_facts: row -> facts that came with it, where there are some;
    answers [rows] object: the reference answer's text.

    Args:
        task: where the problems come from.
        vocabulary: turns text into tokens.
        split: "train", "validation", "test", or "all" (which leaves the split out of account).
        num_problems: problems per level. Memory is used by those rows only that were asked for.
            None: 2**14; where all levels are finite lists, the length of the longest. A list that
            is shorter begins anew at its end, so `num_at(level)` numbers are different problems.
        max_prompt_tokens: P; a longer prompt is never drawn, and left out of a list with a warning.
            None: the longest of all lists and of a probe, rounded up to a multiple of 4. These look
            at all splits, so that environments of the same task have the same spaces, whatever they
            play.
        max_response_tokens: T; None: the task's own, else by the longest reference answer of all
            lists and the probe (32 where there is none): twice its tokens, eos included, but at
            most 64 more than those. A short answer may be put in other words; for a solution of a
            page, twice the page would double the memory of every slot.

    Raises:
        ValueError: for an unknown split, a split without problems, a count below one, a prompt
            without tokens, or a response budget in which a reference answer of the probe (with eos)
            has no room. (Where one of a list has none there is a warning: it cannot be imitated.)
        MemoryError: if the tables of `num_problems` have no room.
    """

    _TABLES = frozenset(
        "filled prompts facts references is_graded reference_grades reference_facts answers "
        "_problems".split()
    )

    def __init__(
        self,
        task: Task,
        vocabulary: Vocabulary,
        *,
        split: str = "train",
        num_problems: int | None = None,
        max_prompt_tokens: int | None = None,
        max_response_tokens: int | None = None,
    ) -> None:
        if split not in (*SPLITS, "all"):
            raise ValueError(f"split is {split!r}, expected one of {[*SPLITS, 'all']}")
        for name, value in (
            ("num_problems", num_problems),
            ("max_prompt_tokens", max_prompt_tokens),
            ("max_response_tokens", max_response_tokens),
        ):
            if value is not None and not as_index(value):
                raise ValueError(f"{name} is {value!r}, expected an integer of at least 1")
        self.task, self.vocabulary, self.split = task, vocabulary, split
        self._has_unknown = False  # in some prompt, of which a warning told
        self.num_levels = max(len(task.difficulties), 1)
        self.lists = ProblemLists(task)
        self.lists.choose(split, vocabulary, max_prompt_tokens)
        self.num_problems = int(num_problems or self.lists.largest or NUM_PROBLEMS)
        self.num_rows = self.num_levels * self.num_problems
        longest_prompt, longest_answer = self._probe()
        self.max_prompt_tokens = max_prompt_tokens or -(-longest_prompt // 4) * 4
        for level, problems in enumerate(self.lists.chosen):
            if problems is None:
                self._draw(level * self.num_problems)  # what makes this impossible is said here
        self.max_response_tokens = self._budget(max_response_tokens, longest_answer)
        replies = (task.max_turns - 1) * task.max_reply_tokens
        self.observation_length = self.max_prompt_tokens + self.max_response_tokens + replies
        self._allocate()

    def _probe(self) -> tuple[int, str]:
        """The longest prompt, in tokens, and the longest reference answer of what is looked at."""
        encode, longest_prompt, longest_answer, answer = self.vocabulary.encode, 1, 0, ""
        for level, listed in enumerate(self.lists.all):
            rng = np.random.Generator(np.random.PCG64([level, 0]))
            drawn = (self.task.draw(rng, level) for _ in range(PROBE_SIZE))
            for problem in drawn if listed is None else listed:
                longest_prompt = max(longest_prompt, len(encode(problem.prompt)))
                length = len(encode(problem.answer))
                if length > longest_answer:
                    longest_answer, answer = length, problem.answer
        return longest_prompt, answer

    def _budget(self, asked: int | None, longest_answer: str) -> int:
        needed = len(self.vocabulary.encode(longest_answer)) + 1
        budget = asked or self.task.max_response_tokens
        if budget is None:
            budget = needed + min(needed, SLACK) if longest_answer else 32
            budget = max(budget, self.task.least_response_tokens)
        if longest_answer and budget < needed:
            shown = longest_answer if len(longest_answer) < 60 else longest_answer[:57] + "..."
            message = (
                f"max_response_tokens={budget} is too small: the reference answer {shown!r} of "
                f"{type(self.task).__name__} needs {needed} tokens with eos"
            )
            if any(problems is None for problems in self.lists.all):
                raise ValueError(message)
            warnings.warn(f"{message}; it can neither be given nor imitated", stacklevel=2)
        return budget

    def _allocate(self) -> None:
        rows, components = self.num_rows, len(self.task.rewards)
        try:
            self.filled = _zeros((rows,), bool)
            self.prompts = _zeros((rows, self.observation_length), np.int32)
            self.facts = _zeros((rows, 4), np.int64)
            self.references = _zeros((rows, self.max_response_tokens), np.int32)
            self.is_graded = _zeros((rows,), bool)
            self.reference_grades = _zeros((rows, components), np.float64)
            self.answers = np.empty(rows, dtype=object)
        except (MemoryError, OSError, OverflowError, ValueError):
            raise MemoryError(
                f"num_problems={self.num_problems} at {self.num_levels} levels with observations "
                f"of {self.observation_length} tokens have no room in memory; lower num_problems"
            ) from None
        self._problems: dict[int, Problem] = {}
        self.reference_facts: dict[int, Mapping[str, Any]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> ProblemBank:
        return self  # rows are pure functions of their number: sharing them cannot be told

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self._TABLES}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._allocate()

    def num_at(self, level: int) -> int:
        """How many of a level's numbers are different problems: all, unless a list is shorter."""
        problems = self.lists.chosen[level]
        return self.num_problems if problems is None else min(self.num_problems, len(problems))

    def problem(self, row: int) -> Problem:
        """The problem of a row."""
        if not self.filled[row]:
            self._fill(int(row))
        return self._problems[int(row)]

    def ensure(self, rows: np.ndarray) -> None:
        """Make every row of `rows` [k] that does not exist yet."""
        if len(self._problems) == self.num_rows:
            return
        filled = self.filled.take(rows)
        if not np.logical_and.reduce(filled):
            for row in np.unique(rows[~filled]):
                self._fill(int(row))

    def _fill(self, row: int) -> None:
        # Each table is written once, with what any other thread would write there.
        problem, tokens = self._draw(row)
        self.prompts[row] = self._padded(tokens, self.observation_length)
        level, number = divmod(row, self.num_problems)
        self.facts[row] = len(tokens), number, problem.id, level
        reference = np.full(self.max_response_tokens, -1)
        answer = self.vocabulary.encode(problem.answer)
        # Matching tokens stand for matching text only where decoding gives the answer back, and for
        # the grade of that text only if the environment would have it graded.
        if (
            self.task.max_turns == 1
            and 0 < len(answer) < self.max_response_tokens
            and self.vocabulary.decode(answer) == problem.answer
            and (self.task.alphabet is None or set(self.task.alphabet).issuperset(problem.answer))
        ):
            reference = self._padded([*answer, self.vocabulary.eos], self.max_response_tokens)
        self.references[row] = reference
        self.answers[row] = problem.answer
        self._problems[row] = problem
        self.filled[row] = True

    def keep_grade(self, row: int, verdict: Any) -> None:
        """Remember a core.Verdict on a row's reference answer: grading may take milliseconds."""
        self.reference_grades[row] = verdict.values
        if verdict.facts:
            self.reference_facts[row] = verdict.facts
        self.is_graded[row] = True

    def _padded(self, tokens: list[int], length: int) -> np.ndarray:
        padded = np.full(length, self.vocabulary.pad)
        padded[: len(tokens)] = tokens
        return padded

    def _draw(self, row: int) -> tuple[Problem, list[int]]:
        """The problem of a row and its prompt's tokens."""
        level, number = divmod(row, self.num_problems)
        listed = self.lists.chosen[level]
        if listed is None:
            return self._sample(level, number)
        if not listed:
            raise ValueError(self.lists.why_empty(level, self.split))
        problem = listed[number % len(listed)]
        return problem, self._encode(problem.prompt)

    def _encode(self, prompt: str) -> list[int]:
        tokens = self.vocabulary.encode(prompt)
        if not tokens:
            raise ValueError(
                f"{type(self.task).__name__} has the prompt {prompt!r}, in which the tokenizer "
                "sees no token; expected at least one"
            )
        if self.vocabulary.unknown in tokens and not self._has_unknown:
            self._has_unknown = True
            warnings.warn(
                f"{type(self.task).__name__} has the prompt {prompt[:60]!r}, and the tokenizer "
                f"keeps {self.vocabulary.decode(tokens)[:60]!r} of it: text without a token looks "
                "alike to the policy; give the environment another tokenizer=",
                stacklevel=2,
            )
        return tokens

    def _sample(self, level: int, number: int) -> tuple[Problem, list[int]]:
        """Draw until a problem falls into the split and its prompt into the table."""
        split = -1 if self.split == "all" else SPLITS.index(self.split)
        rng = np.random.Generator(np.random.PCG64([level, split + 1, number]))
        too_long = 0
        for _ in range(MAX_DRAWS):
            problem = self.task.draw(rng, level)
            if self.split not in ("all", problem.split):
                continue
            tokens = self._encode(problem.prompt)
            if len(tokens) <= self.max_prompt_tokens:
                return problem, tokens
            too_long += 1
        name, level_name = type(self.task).__name__, (*self.task.difficulties, "")[level]
        where = f"split {self.split!r}" + (f" at difficulty {level_name!r}" if level_name else "")
        if too_long:
            raise ValueError(
                f"{name}: {too_long} prompts of {where} are longer than "
                f"max_prompt_tokens={self.max_prompt_tokens}; raise it"
            )
        raise ValueError(
            f"{name} has no problem in {where} among {MAX_DRAWS} draws: it has too few distinct "
            "problems to be split; use split='all'"
        )


def _zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros whose pages take up memory only once they are written to."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE_TABLE or not hasattr(mmap, "MADV_NOHUGEPAGE"):
        return np.zeros(shape, dtype)
    # NumPy asks Linux for huge pages: one row, somewhere in a large table, would take up 2 MiB.
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, dtype).reshape(shape)
