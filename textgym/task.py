"""What is asked and how a response is graded: Problem, Preference, Grade and Task.

Nothing here knows of tokens, environments or learners.
"""

from __future__ import annotations

import hashlib
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SPLITS = ("train", "validation", "test")

ADAPTIVE = "adaptive"
"""The difficulty that is no level of its own but a `textgym.curriculum.Curriculum` over all."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One question. `answer` is the reference, never shown to the policy.

    Two problems with the same `key` are the same question in other words (the prompt itself where
    no key is given); they always fall into the same split. `fixed_split` says which one, where a
    data set has decided that already; without it, a hash of the key does.
    """

    prompt: str
    answer: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    fixed_split: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str) or not self.prompt:
            raise ValueError(
                f"Problem.prompt is {self.prompt!r}, expected a text of at least one character"
            )
        for name, text in (("answer", self.answer), ("key", self.key)):
            if not isinstance(text, str):
                raise TypeError(f"Problem.{name} is {text!r}, expected a text")
        if self.fixed_split not in ("", *SPLITS):
            raise ValueError(
                f"Problem.fixed_split is {self.fixed_split!r}, expected one of {list(SPLITS)}, or "
                "'' for a split by the question's hash"
            )

    @property
    def id(self) -> int:
        """A hash of prompt and answer in [0, 2**63): the same in every process."""
        return _hash63(f"{self.prompt}\0{self.answer}")

    @property
    def split(self) -> str:
        """Where this question belongs: "train" (80 %), "validation" or "test" (10 % each)."""
        if self.fixed_split:
            return self.fixed_split
        bucket = _hash63(self.key or self.prompt) % 10
        return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


@dataclass(frozen=True, slots=True)
class Preference:
    """One comparison: `chosen` is preferred to `rejected` (Ouyang et al. 2022, section 3.5)."""

    prompt: str
    chosen: str
    rejected: str


class Grade(dict[str, float]):
    """A verdict on a response: component -> number in [0, 1], and what else is to be told.

    A plain mapping of components is a verdict too, without facts and error.

    Example:
        >>> Grade({"correct": 1.0}, facts={"rule": "rational"})
        Grade({'correct': 1.0}, facts={'rule': 'rational'}, error=None)
        >>> Grade(error="the sandbox did not start")
        Grade({}, facts={}, error='the sandbox did not start')

    Args:
        components: the components of the task's `rewards`; not read where there is an error.
        facts: name -> text, number or bool, each name always of one type: how the verdict came
            about. Environments show them in `info["verdict"]`.
        error: why no verdict was reached (the verifier failed or ran out of time; not: the response
            is nonsense). The episode earns 0 in each component, `info["verifier_error"]` holds the
            error, and learners leave the episode out.
    """

    __slots__ = ("error", "facts")

    def __init__(
        self,
        components: Mapping[str, float] | Iterable[tuple[str, float]] = (),
        *,
        facts: Mapping[str, str | float | int | bool] | None = None,
        error: str | None = None,
    ) -> None:
        super().__init__(components)
        self.facts, self.error = {} if facts is None else facts, error

    def __repr__(self) -> str:
        return f"Grade({super().__repr__()}, facts={self.facts!r}, error={self.error!r})"


class Task(ABC):
    """A distribution over problems and a rule that grades a response.

    A subclass needs `sample` alone; the default grade asks for the reference answer itself. Class
    attributes describe the rest, and `textgym.check_task` says what is wrong with them. A task
    keeps no state: `sample`, `grade` and `reply` are pure functions of their arguments.
    """

    rewards: Mapping[str, float] = {"correct": 1.0}
    """Component -> weight. An episode's reward is the weighted sum of the grade's components."""

    component_ranges: Mapping[str, tuple[float, float]] = {}
    """Component -> its lowest and highest value, where these are not 0 and 1. (-inf, inf): unknown,
    as of a reward function that somebody brings; an illegal token then earns in it what the text so
    far earns, less 1 (no text earns more by ending so than by eos)."""

    multi_objective: bool = False
    """Whether every info tells `vector_reward` and `reward_weights` [K] (float32, MO-Gymnasium's
    names): the components, 0 until the episode ends, and their weights."""

    difficulties: tuple[str, ...] = ()
    """Names of the levels, easiest first; empty: there is one level and `sample` gets no name."""

    default_difficulty: str | None = None
    """The level played unless another is asked for; None: the first."""

    max_response_tokens: int | None = None
    """Budget of tokens that the policy may choose in one episode (eos counts); None: by the longest
    reference answer seen (see ProblemBank), or 32 where there is none."""

    least_response_tokens: int = 1
    """The budget is no smaller than this where `max_response_tokens` is None: reference answers may
    be shorter than what a policy needs to reason, or than another program that is right."""

    stop_strings: tuple[str, ...] = ()
    """A response (or turn) also ends when its text contains one of these."""

    alphabet: str | None = None
    """The only characters that a response worth anything can contain: one with any other earns 0 in
    each component without being graded (so that hopeless rows cost a vector environment nothing).
    None: every response is graded."""

    floor: float | None = None
    """Share of the highest reward that a response may earn without answering the question (nothing,
    the most common answer, a list of numbers, ...), for `check_task`; None: a tenth is fine, more
    than half an error."""

    max_turns: int = 1
    """How many turns the policy may take; more than one makes the task a dialogue (see `reply`)."""

    max_reply_tokens: int = 0
    """Longest text that `reply` may add after a turn, in tokens; a longer one is cut to this."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, *difficulty: str) -> Problem:
        """Draw one problem with `rng` alone. A task with `difficulties` gets the level's name."""

    def list_problems(self, *difficulty: str) -> Sequence[Problem] | None:
        """All problems of a level, of all splits, where they are a finite list: a data set.

        Environments then number those of their split in this order and ask each of them once,
        instead of drawing with `sample`. Always the same list in the same order; no problem twice.
        None: problems are drawn. A task with `difficulties` gets the level's name.
        """
        return None

    def grade(self, problem: Problem, response: str) -> Mapping[str, float]:
        """Judge a response: one number in [0, 1] for each component of `rewards`.

        A `Grade` says more: facts about the verdict, or that none was reached. A response which was
        cut off by the token budget is graded as it stands. Must not raise for any text whatsoever.
        """
        return {name: float(response.strip() == problem.answer) for name in self.rewards}

    def grade_many(
        self, problems: Sequence[Problem], responses: Sequence[str]
    ) -> Sequence[Mapping[str, float]]:
        """Judge each response to the problem of its position, as `grade` would, in that order.

        Environments call this with all episodes that end in one step: override it where grading
        many at once is cheaper. The verdict on one must not depend on the others.
        """
        return [self.grade(*pair) for pair in zip(problems, responses, strict=True)]

    def weights(self, problem: Problem) -> Mapping[str, float] | None:
        """A problem's own weights, where its prompt tells them: not negative, their sum is 1.

        They take the place of `rewards` and of `reward_weights`. None: the problem has none.
        """
        return None

    def constraint(self, problem: Problem) -> str | None:
        """A regular expression that the whole of a valid response matches, if the task has one.

        Environments' `action_masks()` then allow the tokens after which a match can still be
        completed within the token budget, and no others. A response that does not match is graded
        as any other. For tasks of one turn; see `textgym.constraints` for what a pattern may hold.
        """
        return None

    def sample_preference(self, problem: Problem, rng: np.random.Generator) -> Preference | None:
        """Two responses to a problem, compared by what the task really prefers; None: it can't.

        Drawn with `rng` alone. The comparison is noisy where people's would be.
        """
        return None

    def reply(self, problem: Problem, turns: Sequence[str]) -> str | None:
        """What the environment says after the policy's last turn, `turns[-1]`.

        None: nothing more, the episode ends. Called only while turns and budget are left.
        """
        return None

    def reply_many(
        self, problems: Sequence[Problem], turns: Sequence[Sequence[str]]
    ) -> Sequence[str | None]:
        """What `reply` says in each of several dialogues, in that order.

        Vector environments call this with all turns that end in one step: override it where
        answering many at once is cheaper, as when programs are run.
        """
        return [self.reply(*pair) for pair in zip(problems, turns, strict=True)]

    def grade_turns(self, problem: Problem, turns: Sequence[str]) -> Mapping[str, float]:
        """Judge a whole dialogue by the policy's turns; by default the last one is the response."""
        return self.grade(problem, turns[-1])

    def difficulty_index(self, difficulty: str | int | None) -> int:
        """The position of a level given by name or position (None: the default level).

        Raises:
            ValueError: if there is no such level; the message lists those that exist.
        """
        names = self.difficulties
        if difficulty is None:
            difficulty = self.default_difficulty or 0
        if isinstance(difficulty, str):
            if difficulty in names:
                return names.index(difficulty)
        elif (position := as_index(difficulty)) is not None and position < max(len(names), 1):
            return position
        known = f"one of {list(names)} or 0 to {len(names) - 1}" if names else "nothing: it has one"
        raise ValueError(
            f"{type(self).__name__} has no difficulty {difficulty!r}; expected {known}"
        )

    def draw(self, rng: np.random.Generator, difficulty: int = 0) -> Problem:
        """`sample` at a level given by position, checked."""
        problem = self.sample(rng, *self.difficulties[difficulty : difficulty + 1])
        if not isinstance(problem, Problem):
            raise TypeError(
                f"{type(self).__name__}.sample returned {type(problem).__name__}, expected Problem"
            )
        return problem

    def listed(self, difficulty: int = 0) -> Sequence[Problem] | None:
        """`list_problems` at a level given by position, checked."""
        name, problems = (
            type(self).__name__,
            self.list_problems(*self.difficulties[difficulty : difficulty + 1]),
        )
        if problems is None:
            return None
        if isinstance(problems, str) or not isinstance(problems, Sequence):
            raise TypeError(
                f"{name}.list_problems returned {type(problems).__name__}, expected a sequence of "
                "Problems, or None if they are drawn"
            )
        if not problems:
            raise ValueError(f"{name}.list_problems returned no problem, expected at least one")
        for problem in problems:
            if not isinstance(problem, Problem):
                raise TypeError(
                    f"{name}.list_problems returned a {type(problem).__name__}, expected Problems"
                )
        return problems

    @property
    def reward_range(self) -> tuple[float, float]:
        """The lowest and the highest reward of an episode, from the weights."""
        return reward_range(self.rewards, self.component_ranges)


def reward_range(
    rewards: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]
) -> tuple[float, float]:
    """The lowest and the highest weighted sum of components, each in its range or from 0 to 1."""
    ends = [
        sorted(weight * end if weight else 0.0 for end in ranges.get(name, (0.0, 1.0)))
        for name, weight in rewards.items()
    ]
    return sum(low for low, _ in ends), sum(high for _, high in ends)


def as_index(value: Any) -> int | None:
    """A count or position as an int, from any kind of integer; None for what is none or negative.

    True, 3.7 and "3" are no integers: taken for one, they would hide a mistake.
    """
    try:
        index = -1 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        return None
    return index if index >= 0 else None


def _hash63(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
