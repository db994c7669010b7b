"""The token Markov decision process around one Task, and RLEnvironment, its Gymnasium form.

The observation is the tokens so far, an action is one token, the reward comes from grading.
`textgym.vector` is the same process for a batch.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from textgym.bank import ProblemBank, as_seed, hash64
from textgym.task import Grade, Task, as_index, check_attributes, merge_rewards, reward_range
from textgym.tokenizer import Tokenizer, Vocabulary, load_tokenizer

STOP_REASONS = (None, "length", "eos", "stop", "illegal", "task")
"""Why an episode ended: token budget, end token, stop string, a token that is never legal, or the
task had nothing more to say. The position in this tuple is the code that the vector form keeps;
where two hold, the higher one counts."""

LENGTH, EOS, STOP, ILLEGAL, TASK = range(1, 6)


class StepResult(NamedTuple):
    """What `step` returns: Gymnasium's five values, with names."""

    observation: np.ndarray
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


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
        self.rewards = merge_rewards(task, reward_weights)
        self.components = tuple(self.rewards)
        self.weights = tuple(map(float, self.rewards.values()))
        self.reward_range = reward_range(self.rewards)
        self.worthless = Verdict((0.0,) * len(self.components), None, None)
        self.lowest_reward = self.reward_range[0]
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

    def reward(self, grades: Any) -> Any:
        """The weighted sum over the components: a float from floats, an array from columns [k]."""
        total = self.weights[0] * grades[0]
        for i in range(1, len(self.weights)):
            total = total + self.weights[i] * grades[i]
        return total

    def reply(self, row: int, turns: Sequence[str]) -> list[int] | None:
        """The tokens of the task's answer to the last turn, or None if it has none."""
        text = self.task.reply(self.bank.problem(row), turns)
        if text is None:
            return None
        return self.vocabulary.encode(text)[: self.task.max_reply_tokens]

    def stops(self, turn: Sequence[int]) -> bool:
        """Whether the last token of a turn completed a stop string."""
        text = self.vocabulary.decode([int(token) for token in turn[-self.stop_window :]])
        return any(stop in text for stop in self.task.stop_strings)


def _is_fact(value: Any) -> bool:
    """Whether Gymnasium's vector environments can gather values like this one into an array."""
    kind = type(value)
    return kind in (str, float, bool) or (kind is int and -(2**63) <= value < 2**63)


class RLEnvironment(gymnasium.Env):
    """A task as a Gymnasium environment whose actions are tokens.

    Observation: `Box(0, V - 1, (L,), int64)`: prompt, everything since, then pad. Action:
    `Discrete(V)`; special tokens but eos (pad, bos, unk, ...) are never legal: they end the episode
    with the lowest reward. The reward is 0 until the episode ends, then the weighted grade. eos, a
    stop string, the task's own end and the token budget all *terminate*: the budget is part of the
    task and visible in the observation. `truncated` is always False here (it is left to limits from
    outside).

    `reset(seed=..., options={"difficulty": ..., "problem": number})`: the problem is a function of
    (seed, number of episodes since that seed); a difficulty holds until the next one is given.

    Info: after `reset`, `length` (tokens in the observation), `problem` (its number), `problem_id`
    (a hash of its content), `difficulty` (the level's position); after `step`, `length`; at the end
    also `stop_reason`, `response` (text), `components` (name -> value), `verdict` (name -> value,
    facts about the grade, only where there are some), `verifier_error` (text, only where no verdict
    was reached: the components are 0 then, and learners leave the episode out) and, in a dialogue,
    `response_mask` [L] bool: True where the policy chose the token.

    Args:
        task: a Task, or a TokenMDP to share with other environments (it then has the settings).
        tokenizer, reward_weights, split, num_problems, max_prompt_tokens, max_response_tokens: see
            TokenMDP.
        difficulty: name or position of the level to play (None: the task's default).
        details: whether info also tells which problem is played and how it ended; False leaves
            `length`, `verifier_error` and a dialogue's `response_mask`, which is faster in a large
            batch.
        render_mode: None or "ansi" (the text so far).
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 4}

    def __init__(
        self,
        task: Task | TokenMDP,
        *,
        difficulty: str | int | None = None,
        details: bool = True,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        if render_mode not in (None, "ansi"):
            # TypeError: Stable-Baselines3 asks for "rgb_array" and, refused so, for nothing.
            raise TypeError(f"render_mode is {render_mode!r}, expected None or 'ansi'")
        if isinstance(task, TokenMDP) and settings:
            raise TypeError(
                f"got {sorted(settings)}: these are for a vector environment, or for the TokenMDP, "
                "which is given"
            )
        self.mdp = task if isinstance(task, TokenMDP) else TokenMDP(task, **settings)
        self.observation_space, self.action_space = self.mdp.spaces()
        self.details, self.render_mode = details, render_mode
        self._level = self.mdp.task.difficulty_index(difficulty)
        self._illegal = self.mdp.vocabulary.illegal.tolist()
        self._eos = self.mdp.vocabulary.eos
        self._stream: int | None = None
        self._over = True

    @property
    def task(self) -> Task:
        """The task that this environment plays."""
        return self.mdp.task

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer whose ids are the actions."""
        return self.mdp.vocabulary.tokenizer

    @property
    def difficulty(self) -> int:
        """The position of the level that the next episode plays."""
        return self._level

    def set_difficulty(self, difficulty: str | int) -> None:
        """Play this level from the next episode on (also: `reset(options={"difficulty": ...})`)."""
        self._level = self.mdp.task.difficulty_index(difficulty)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode. See the class for `options`."""
        seed = as_seed(seed)
        number = self._read_options(options) if options else None
        super().reset(seed=seed)
        if seed is not None:
            self._stream, self._episode = seed % 2**64, 0
        elif self._stream is None:
            self._stream, self._episode = int(self.np_random.integers(2**63)), 0
        else:
            self._episode += 1
        bank = self.mdp.bank
        if number is None:
            draw = hash64(np.array([self._stream], np.uint64), np.array([self._episode], np.uint64))
            number = int(draw[0] % np.uint64(bank.num_problems))
        self._row = self.mdp.row(self._level, number)
        self._begin()
        info = {"length": self._length}
        if self.details:
            info["problem"], info["difficulty"] = number, self._level
            info["problem_id"] = bank.problem(self._row).id
        return self._tokens.copy(), info

    def _read_options(self, options: dict[str, Any]) -> int | None:
        """Apply `difficulty`; return the number of the problem asked for, if any."""
        unknown = set(options) - {"difficulty", "problem"}
        if unknown:
            raise ValueError(f"unknown options {sorted(unknown)}; known: 'difficulty', 'problem'")
        given, number = options.get("problem"), None
        if given is not None:
            number, num_problems = as_index(given), self.mdp.bank.num_problems
            if number is None or number >= num_problems:
                raise ValueError(f"problem is {given!r}, expected 0 to {num_problems - 1}")
        if options.get("difficulty") is not None:
            self.set_difficulty(options["difficulty"])
        return number

    def _begin(self) -> None:
        bank = self.mdp.bank
        bank.problem(self._row)
        self._tokens = bank.prompts[self._row].astype(np.int64)
        self._prompt_length = self._turn_start = self._length = int(bank.facts[self._row, 0])
        self._left = self.mdp.budget
        self._turns: list[str] = []
        self._replies: list[tuple[int, int]] = []
        self._over = False

    def step(self, action: int) -> StepResult:
        """Append one token.

        Raises:
            gymnasium.error.ResetNeeded: if the episode is over.
            gymnasium.error.InvalidAction: if the action is no token id.
        """
        if self._over:
            raise gymnasium.error.ResetNeeded("the episode is over: call reset() before step()")
        try:
            token = operator.index(action)  # any kind of integer, but not 3.7 or "3"
        except TypeError:
            token = -1
        if not 0 <= token < len(self._illegal):
            raise gymnasium.error.InvalidAction(
                f"action is {action!r}, expected a token id from 0 to {len(self._illegal) - 1}"
            )
        self._tokens[self._length] = token
        self._length += 1
        self._left -= 1
        if self._illegal[token]:
            return self._end(ILLEGAL)
        if token == self._eos:
            return self._end_turn(EOS)
        if self.mdp.stop_window and self.mdp.stops(self._tokens[self._turn_start : self._length]):
            return self._end_turn(STOP)
        if not self._left:
            return self._end(LENGTH)
        return StepResult(self._tokens.copy(), 0.0, False, False, {"length": self._length})

    def _end_turn(self, reason: int) -> StepResult:
        """A turn is complete: go on with the task's reply, or end the episode."""
        if len(self._turns) + 1 == self.mdp.task.max_turns or not self._left:
            return self._end(reason)
        self._turns.append(self._turn_text())
        reply = self.mdp.reply(self._row, self._turns)
        if reply is None:
            self._turns.pop()
            return self._end(TASK)
        start = self._length
        self._length += len(reply)
        self._tokens[start : self._length] = reply
        self._replies.append((start, self._length))
        self._turn_start = self._length
        return StepResult(self._tokens.copy(), 0.0, False, False, {"length": self._length})

    def _turn_text(self) -> str:
        return self.mdp.vocabulary.decode(self._tokens[self._turn_start : self._length].tolist())

    def _end(self, reason: int) -> StepResult:
        self._over = True
        mdp = self.mdp
        if reason == ILLEGAL:
            verdict, reward = mdp.worthless, mdp.lowest_reward
        else:
            verdict = mdp.grade(self._row, [*self._turns, self._turn_text()])
            reward = mdp.reward(verdict.values)
        info: dict[str, Any] = {"length": self._length}
        if verdict.error is not None:
            info["verifier_error"] = verdict.error
        if self.details:
            response = self._tokens[self._prompt_length : self._length].tolist()
            info["stop_reason"] = STOP_REASONS[reason]
            info["response"] = mdp.vocabulary.decode(response)
            info["components"] = dict(zip(mdp.components, verdict.values, strict=True))
            if verdict.facts:
                info["verdict"] = dict(verdict.facts)
        if mdp.task.max_turns > 1:
            info["response_mask"] = self._response_mask()
        return StepResult(self._tokens.copy(), float(reward), True, False, info)

    def _response_mask(self) -> np.ndarray:
        mask = np.zeros(self.mdp.observation_length, dtype=bool)
        mask[self._prompt_length : self._length] = True
        for start, end in self._replies:
            mask[start:end] = False
        return mask

    def action_masks(self) -> np.ndarray:
        """[V] bool: the tokens that are legal now (sb3-contrib's name). A fresh array."""
        return ~self.mdp.vocabulary.illegal

    def render(self) -> str | None:
        """The text so far, special tokens shown, if render_mode is "ansi"."""
        if self.render_mode is None:
            return None
        if not hasattr(self, "_tokens"):
            return ""
        return self.tokenizer.decode(self._tokens[: self._length].tolist())
