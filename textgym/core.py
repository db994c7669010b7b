"""RLEnvironment: the token MDP around one Task in its Gymnasium form, one episode at a time.

The observation is the tokens so far, an action is one token, the reward comes from grading.
`textgym.vector` is the same process for a batch.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from textgym.arguments import as_seed, check_flags
from textgym.bank import hash64
from textgym.curriculum import Curriculum
from textgym.masks import MaskCursor
from textgym.mdp import (
    EOS,
    ILLEGAL,
    LENGTH,
    STOP,
    STOP_REASONS,
    TASK,
    TokenMDP,
    level_draws,
)
from textgym.preferences.drawing import draw_preferences
from textgym.task import Preference, Task, as_index
from textgym.tokenizer import Tokenizer


class StepResult(NamedTuple):
    """What `step` returns: Gymnasium's five values, with names."""

    observation: np.ndarray
    reward: float | np.ndarray
    terminated: bool
    truncated: bool
    info: dict[str, Any]


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
    `response_mask` [L] bool: True where the policy chose the token. A multi-objective task's info
    has `vector_reward` and `reward_weights` [K] float32, always.

    Args:
        task: a Task, or a TokenMDP to share with other environments (it then has the settings).
        tokenizer, reward_weights, split, num_problems, max_prompt_tokens, max_response_tokens: see
            TokenMDP.
        difficulty: name or position of the level to play (None: the task's default); "adaptive",
            or a `textgym.curriculum.Curriculum`: the level that the curriculum says, which this
            environment's episodes move.
        details: whether info also tells which problem is played and how it ended; False leaves
            `length`, `verifier_error` and a dialogue's `response_mask`, which is faster in a large
            batch.
        vector_reward: whether the reward is the vector [K] float32 of the components, unweighted,
            in the order of `mdp.components` and in `reward_space` (MO-Gymnasium's convention),
            instead of their weighted sum.
        render_mode: None or "ansi" (the text so far).
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 4}

    def __init__(
        self,
        task: Task | TokenMDP,
        *,
        difficulty: str | int | Curriculum | None = None,
        details: bool = True,
        vector_reward: bool = False,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        if render_mode not in (None, "ansi"):
            # TypeError: Stable-Baselines3 asks for "rgb_array" and, refused so, for nothing.
            raise TypeError(f"render_mode is {render_mode!r}, expected None or 'ansi'")
        check_flags(details=details, vector_reward=vector_reward)
        if isinstance(task, TokenMDP) and settings:
            raise TypeError(
                f"got {sorted(settings)}: these are for a vector environment, or for the TokenMDP, "
                "which is given"
            )
        self.mdp = task if isinstance(task, TokenMDP) else TokenMDP(task, **settings)
        self.observation_space, self.action_space = self.mdp.spaces()
        self.details, self.render_mode = details, render_mode
        self.vector_reward = vector_reward
        # TorchRL reads the rewards' shape off it, so it is there only for vectors.
        self.reward_space = self.mdp.scoring.reward_space if vector_reward else None
        self._asked, self.curriculum = self.mdp.level_of(difficulty)
        self._illegal = self.mdp.vocabulary.illegal.tolist()
        self._eos = self.mdp.vocabulary.eos
        self._stream: int | None = None
        self._over = True
        self._cursor: MaskCursor | None = None  # made where masks are asked for

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cursor": None}  # a copy reads its response anew

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
        """The position of the level that the next episode plays (an adaptive one: most likely)."""
        return self._asked if self.curriculum is None else self.curriculum.level

    @property
    def reward_weights(self) -> np.ndarray:
        """[K] float64: what the components weigh in this episode, in `mdp.components`' order."""
        return self._weights.copy()

    def set_difficulty(self, difficulty: str | int | Curriculum) -> None:
        """Play this level from the next episode on (also: `reset(options={"difficulty": ...})`).

        "adaptive": the level that `curriculum` says; that of the environment if it has one already,
        else a new one, which begins at the easiest level.
        """
        self._asked, self.curriculum = self.mdp.level_of(difficulty, self.curriculum)

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
        bank, level = self.mdp.bank, self._asked
        stream, episode = (np.array([x], np.uint64) for x in (self._stream, self._episode))
        if number is None:
            number = int(hash64(stream, episode)[0] % np.uint64(bank.num_problems))
        if self.curriculum is not None:
            level = int(self.curriculum.levels(level_draws(stream, episode))[0])
        self._row = self.mdp.row(level, number)
        self._begin()
        info = {"length": self._length}
        if self.details:
            info["problem"], info["difficulty"] = number, level
            info["problem_id"] = bank.problem(self._row).id
        self._tell_rewards(info, np.zeros(len(self.mdp.components)))
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
        problem = bank.problem(self._row)
        self._tokens = bank.prompts[self._row].astype(np.int64)
        self._prompt_length = self._turn_start = self._length = int(bank.facts[self._row, 0])
        self._left = self.mdp.budget
        self._weights = self.mdp.scoring.weights(problem)
        self._cursor = None
        self._turns: list[str] = []
        self._replies: list[tuple[int, int]] = []
        self._over = False

    def step(self, action: int) -> StepResult:
        """Append one token.

        Raises:
            gymnasium.error.ResetNeeded: if the episode is over.
            gymnasium.error.InvalidAction: if the action is no token id.
        """
        return self.say((action,))

    def say(self, tokens: Iterable[int]) -> StepResult:
        """Append several tokens, as a step for each would, and return what the last of them does.

        Those behind the end of the turn are dropped: a turn's reply comes before they would.

        Raises:
            gymnasium.error.ResetNeeded: if the episode is over.
            gymnasium.error.InvalidAction: if one is no token id; those before it are in the text.
        """
        if self._over:
            raise gymnasium.error.ResetNeeded("the episode is over: call reset() before step()")
        for action in tokens:
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
            if self.mdp.stop_window:
                if self.mdp.stops(self._tokens[self._turn_start : self._length]):
                    return self._end_turn(STOP)
            if not self._left:
                return self._end(LENGTH)
        return self._go_on()

    def _go_on(self) -> StepResult:
        info: dict[str, Any] = {"length": self._length}
        reward: float | np.ndarray = 0.0
        if self.vector_reward or self.mdp.task.multi_objective:
            nothing = np.zeros(len(self.mdp.components))
            self._tell_rewards(info, nothing)
            reward = nothing.astype(np.float32) if self.vector_reward else 0.0
        return StepResult(self._tokens.copy(), reward, False, False, info)

    def _tell_rewards(self, info: dict[str, Any], values: np.ndarray) -> None:
        """What a multi-objective task's info always has, from components [K]."""
        if self.mdp.task.multi_objective:
            info["vector_reward"] = values.astype(np.float32)
            info["reward_weights"] = self._weights.astype(np.float32)

    def _end_turn(self, reason: int) -> StepResult:
        """A turn is complete: go on with the task's reply, or end the episode."""
        if len(self._turns) + 1 == self.mdp.task.max_turns or not self._left:
            return self._end(reason)
        self._turns.append(self._turn_text())
        reply = self.mdp.reply_many([self._row], [self._turns])[0]
        if reply is None:
            self._turns.pop()
            return self._end(TASK)
        start = self._length
        self._length += len(reply)
        self._tokens[start : self._length] = reply
        self._replies.append((start, self._length))
        self._turn_start = self._length
        return self._go_on()

    def _turn_text(self) -> str:
        return self.mdp.vocabulary.decode(self._tokens[self._turn_start : self._length].tolist())

    def _end(self, reason: int) -> StepResult:
        self._over = True
        mdp, scoring = self.mdp, self.mdp.scoring
        if reason == ILLEGAL and scoring.is_bounded:
            verdict = mdp.worthless
        else:
            verdict = mdp.grade(self._row, [*self._turns, self._turn_text()])
        values = np.array(verdict.values)
        if reason == ILLEGAL:
            values = scoring.after_illegal(values, self._weights)
        if self.curriculum is not None and verdict.error is None:
            level = self._row // mdp.bank.num_problems
            self.curriculum.record([level], mdp.success(np.array([verdict.values])))
        info: dict[str, Any] = {"length": self._length}
        self._tell_rewards(info, values)
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
        reward = float(scoring.total(values.tolist(), self._weights.tolist()))
        if self.vector_reward:
            reward = values.astype(np.float32)
        return StepResult(self._tokens.copy(), reward, True, False, info)

    def _response_mask(self) -> np.ndarray:
        mask = np.zeros(self.mdp.observation_length, dtype=bool)
        mask[self._prompt_length : self._length] = True
        for start, end in self._replies:
            mask[start:end] = False
        return mask

    def action_masks(self) -> np.ndarray:
        """[V] bool: the tokens that are legal now (sb3-contrib's name). A fresh array.

        Where the task constrains the response: those after which a valid one can still be completed
        within the budget. Where none can, all that are legal: never is every token forbidden.
        """
        legal = ~self.mdp.vocabulary.illegal
        if not self.mdp.has_constraints or self._over:
            return legal
        if self._cursor is None:
            self._cursor = self.mdp.mask_cursor(self._row)
        if self._cursor is None:
            return legal
        response = self._tokens[self._prompt_length : self._length]
        mask = self._cursor.mask(response, self._left)
        return legal if mask is None else mask

    def preferences(self, n: int, seed: int = 0) -> list[Preference]:
        """Draw `n` comparisons of responses to this split's problems, for DPO and reward models.

        By `Task.sample_preference`, at the level played (an adaptive one: that it is at now). Of a
        task without it: the reference answer, and another problem's, which earns less.
        Problem and comparison are a function of (seed, position), so more of them begin alike.

        Raises:
            ValueError: if `n` is no positive integer, or the task has nothing to compare: it is a
                dialogue, or has no reference answers.
            gymnasium.error.Error: if the seed is no integer of at least 0.
        """
        return list(draw_preferences(self.mdp, self.difficulty, n, as_seed(seed) or 0))

    def render(self) -> str | None:
        """The text so far, special tokens shown, if render_mode is "ansi"."""
        if self.render_mode is None:
            return None
        if not hasattr(self, "_tokens"):
            return ""
        return self.tokenizer.decode(self._tokens[: self._length].tolist())
