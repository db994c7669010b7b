"""What is asked and how a response is graded: Problem, Preference and Task.

Nothing here knows of tokens, environments or learners.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Problem:
    """One question. `answer` is the reference, never shown to the policy.

    Two problems with the same `key` are the same question in other words (the prompt itself where
    no key is given); they always fall into the same split.
    """

    prompt: str
    answer: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str) or not self.prompt:
            raise ValueError(
                f"Problem.prompt is {self.prompt!r}, expected a text of at least one character"
            )

    @property
    def id(self) -> int:
        """A hash of prompt and answer in [0, 2**63): the same in every process."""
        return _hash63(f"{self.prompt}\0{self.answer}")

    @property
    def split(self) -> str:
        """Where this question belongs: "train" (80 %), "validation" or "test" (10 % each)."""
        bucket = _hash63(self.key or self.prompt) % 10
        return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


@dataclass(frozen=True, slots=True)
class Preference:
    """One comparison: `chosen` is preferred to `rejected` (Ouyang et al. 2022, section 3.5)."""

    prompt: str
    chosen: str
    rejected: str


class Task(ABC):
    """A distribution over problems and a rule that grades a response.

    A subclass needs `sample` alone; the default grade asks for the reference answer itself. Class
    attributes describe the rest, and `textgym.check_task` says what is wrong with them. A task
    keeps no state: `sample`, `grade` and `reply` are pure functions of their arguments.
    """

    rewards: Mapping[str, float] = {"correct": 1.0}
    """Component -> weight. An episode's reward is the weighted sum of the grade's components."""

    difficulties: tuple[str, ...] = ()
    """Names of the levels, easiest first; empty: there is one level and `sample` gets no name."""

    default_difficulty: str | None = None
    """The level played unless another is asked for; None: the first."""

    max_response_tokens: int | None = None
    """Budget of tokens that the policy may choose in one episode (eos counts); None: as many as
    twice the longest reference answer seen, or 32 where there is none."""

    stop_strings: tuple[str, ...] = ()
    """A response (or turn) also ends when its text contains one of these."""

    alphabet: str | None = None
    """The only characters that a response worth anything can contain: one with any other earns 0 in
    each component without being graded (so that hopeless rows cost a vector environment nothing).
    None: every response is graded."""

    max_turns: int = 1
    """How many turns the policy may take; more than one makes the task a dialogue (see `reply`)."""

    max_reply_tokens: int = 0
    """Longest text that `reply` may add after a turn, in tokens; a longer one is cut to this."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, *difficulty: str) -> Problem:
        """Draw one problem with `rng` alone. A task with `difficulties` gets the level's name."""

    def grade(self, problem: Problem, response: str) -> Mapping[str, float]:
        """Judge a response: one number in [0, 1] for each component of `rewards`.

        A response which was cut off by the token budget is graded as it stands. Must not raise for
        any text whatsoever.
        """
        return {name: float(response.strip() == problem.answer) for name in self.rewards}

    def reply(self, problem: Problem, turns: Sequence[str]) -> str | None:
        """What the environment says after the policy's last turn, `turns[-1]`.

        None: nothing more, the episode ends. Called only while turns and budget are left.
        """
        return None

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
        elif not isinstance(difficulty, bool) and 0 <= int(difficulty) < max(len(names), 1):
            return int(difficulty)
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

    @property
    def reward_range(self) -> tuple[float, float]:
        """The lowest and the highest reward of an episode, from the weights."""
        weights = list(self.rewards.values())
        return sum(min(w, 0.0) for w in weights), sum(max(w, 0.0) for w in weights)


def _hash63(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
