"""Plays a policy in token environments: `collect` gives a Rollout, `evaluate` a success rate.

Collection is unbiased: exactly N episodes are started and all N are finished. "The first N to
finish" would favour short ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import SyncVectorEnv, VectorEnv
from torch import Tensor

from agents.batch import Rollout
from agents.environments import as_vector_env, check_tokens, curriculum_of
from agents.generation import Generator, SlotDecoder
from agents.models import Policy
from agents.sampling import Sampling
from textgym.bank import ProblemBank
from textgym.vector import TokenVectorEnv

COMPACT_BELOW = 0.75
"""Share of running slots under which the finished ones are dropped from the batch: decoding costs
as much for a finished row as for a running one, dropping costs one copy of the cache."""


class NoVerdictError(RuntimeError):
    """The verifier failed on every episode, so nothing is known of the policy."""


@dataclass(frozen=True, slots=True)
class Episodes:
    """How N episodes ended, for people and metrics; row i is row i of the Rollout.

    responses: texts, as the environment reports them. returns: [N] float64. stop_reasons: see
    textgym.core.STOP_REASONS, or "truncated" where a limit from outside ended the episode.
    components: name -> [N] float64. difficulties: [N] int64, the level's position. errors: why no
    verdict was reached, None where one was; in the Rollout, the mask of these rows is False.
    """

    responses: list[str]
    returns: np.ndarray
    stop_reasons: list[str]
    components: dict[str, np.ndarray]
    difficulties: np.ndarray
    errors: list[str | None]

    @property
    def is_graded(self) -> np.ndarray:
        """[N] bool: whether a verdict was reached. Where not, returns and components are 0."""
        return np.array([error is None for error in self.errors])

    @property
    def success(self) -> np.ndarray:
        """[M] float64: the component `correct` where there is one, else the first component.

        Of the M episodes on which a verdict was reached, in their order.
        """
        values = self.components.get("correct", next(iter(self.components.values()), self.returns))
        is_graded = self.is_graded
        return values if is_graded.all() else values[is_graded]


def collect(
    policy: Policy,
    envs: VectorEnv,
    num_episodes: int,
    *,
    generator: torch.Generator | None,
    seed: int | list[int] | None = None,
    options: dict[str, Any] | None = None,
    sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
    action_masks: bool = False,
    part: tuple[int, int] = (0, 1),
    engine: Callable[[Policy, int, int, Sampling], Generator] | None = None,
    temperature: float | None = None,
) -> tuple[Rollout, Episodes]:
    """Start exactly `num_episodes` episodes and finish all of them.

    Slot i of B plays the episodes i, i + B, i + 2 B, ..., each as soon as the one before is over,
    so which problems are played does not depend on how long the episodes are. Each token of each
    episode has a random number of its own, so which tokens are drawn depends neither on the number
    of slots nor on how the episodes are shared among processes.

    Args:
        policy: chooses the tokens; not changed.
        envs: B token environments whose autoreset is disabled (see `as_vector_env`).
        num_episodes: N. With groups, a multiple of B.
        generator: the source of sampling's randomness (CPU); None: greedy.
        seed: for `envs.reset`.
        options: likewise.
        sampling: how tokens are drawn; the log-probabilities are the sampled distribution's.
        action_masks: draw only tokens which `envs.action_masks()` allows, and record them.
        part: (i, n): these are the i-th N episodes of n N; `generator` is in the same state in each
            of the n processes, and afterwards too.
        engine: makes what generates the tokens (None: `SlotDecoder`).
        temperature: instead of sampling's.

    Raises:
        FloatingPointError: if the policy's log-probabilities or values, or the environment's
            rewards, are not finite.
        ValueError: if there are no episodes to play, or these are no token environments of the
            policy's tokenizer.
    """
    if num_episodes < 1:
        raise ValueError(f"num_episodes is {num_episodes}, expected at least 1")
    check_tokens(policy, envs)
    if temperature is not None:
        sampling = replace(sampling, temperature=temperature)
    sampling.validate()
    length, points = envs.single_observation_space.shape[0], None
    if generator is not None:
        points = torch.rand(num_episodes * part[1], length, generator=generator)
        points = points[num_episodes * part[0] :][:num_episodes].numpy()
    decoder = (engine or SlotDecoder)(policy, envs.num_envs, length, sampling)
    return _Collector(policy, envs, num_episodes, decoder, points, action_masks).run(seed, options)


class _Collector:
    """One run of `collect`. Slots are numbered as in `envs`, rows as in the decoder's batch."""

    def __init__(
        self,
        policy: Policy,
        envs: VectorEnv,
        num_episodes: int,
        decoder: Generator,
        points: np.ndarray | None,
        action_masks: bool,
    ) -> None:
        self.decoder, self.points, self.action_masks = decoder, points, action_masks
        self.envs, self.num_episodes, self.device = envs, num_episodes, policy.device
        self.native = isinstance(envs, TokenVectorEnv)
        length = envs.single_observation_space.shape[0]
        num_slots = envs.num_envs
        self.slots = np.arange(num_slots)  # the slot of each row of the decoder
        self.episode = np.arange(num_slots)  # the episode that each slot plays
        self.fed = np.zeros(num_slots, dtype=np.int64)  # tokens of each slot in the cache
        self.live = self.episode < num_episodes
        self.idle_action = policy.eos
        shape = (num_episodes, length)
        self.tokens = np.full(shape, policy.pad, dtype=np.int64)
        self.mask = np.zeros(shape, dtype=bool)
        self.log_probs, self.values, self.rewards = np.zeros((3, *shape), dtype=np.float32)
        self.totals, self.problems, self.difficulties = np.zeros((3, num_episodes), dtype=np.int64)
        self.terminated = np.zeros(num_episodes, dtype=bool)
        self.bootstrap = np.zeros(num_episodes, dtype=np.float32)
        self.endings: list[tuple[str, str]] = [("", "")] * num_episodes
        self.components: dict[str, np.ndarray] = {}
        self.errors: list[str | None] = [None] * num_episodes

    def run(
        self, seed: int | list[int] | None, options: dict[str, Any] | None
    ) -> tuple[Rollout, Episodes]:
        observations, infos = self.envs.reset(seed=seed, options=options)
        missing = {"length", "problem_id", "difficulty"} - infos.keys()
        if missing:
            raise ValueError(
                f"reset() of {self.envs} gives no {sorted(missing)} in its info: a token "
                "environment does (see textgym.RLEnvironment)"
            )
        self.lengths = infos["length"].astype(np.int64)
        self._begin(np.flatnonzero(self.live), infos)
        while self.live.any():
            self._drop_finished_rows()
            self._feed(observations)
            observations = self._step()
            observations = self._restart(observations)
        return self._result()

    def _begin(self, slots: np.ndarray, infos: dict[str, Any]) -> None:
        """Note what the resets of `slots` said of their new episodes."""
        self.fed[slots] = 0
        episodes = self.episode[slots]
        self.problems[episodes] = infos["problem_id"][slots]
        self.difficulties[episodes] = infos["difficulty"][slots]

    def _drop_finished_rows(self) -> None:
        running = self.live[self.slots]
        if running.mean() < COMPACT_BELOW:
            self.decoder.keep(torch.from_numpy(np.flatnonzero(running)))
            self.slots = self.slots[running]

    def _feed(self, observations: np.ndarray) -> None:
        """Give the decoder every token that it has not seen."""
        slots = self.slots
        ends = self.lengths[slots]
        # A finished row feeds its last token again, at its old place: this changes nothing.
        starts = np.where(self.live[slots], self.fed[slots], ends - 1)
        counts = ends - starts
        single = counts == 1
        for rows in (np.flatnonzero(single), np.flatnonzero(~single)):
            if rows.size:
                width = counts[rows].max()
                columns = ends[rows, None] - width + np.arange(width)
                tokens = observations[slots[rows, None], columns.clip(min=0)]
                self.decoder.feed(
                    None if rows.size == slots.size else torch.from_numpy(rows),
                    *map(torch.from_numpy, (tokens, starts[rows], counts[rows])),
                )
        self.fed[slots] = ends

    def _step(self) -> np.ndarray:
        """Choose and play one token in every running slot, and record it."""
        choice = self.decoder.choose(self._points(), None)
        rows = np.flatnonzero(self.live[self.slots])
        slots = self.slots[rows]
        tokens, log_probs, values = (x.numpy()[rows] for x in choice)
        actions = np.full(self.envs.num_envs, self.idle_action, dtype=np.int64)
        actions[slots] = tokens
        episodes, columns = self.episode[slots], self.lengths[slots]
        observations, rewards, terminations, truncations, infos = self.envs.step(actions)
        self.lengths = np.where(infos["_length"], infos["length"], self.lengths)
        self.mask[episodes, columns] = True
        self.log_probs[episodes, columns] = log_probs
        self.values[episodes, columns] = values
        self.rewards[episodes, columns] = rewards[slots]
        self.over = terminations | truncations
        self.ended = self.live & self.over
        if self.ended.any():
            cut = self.ended & ~terminations
            if cut.any():
                self._look_ahead(observations, np.flatnonzero(cut[self.slots]))
            self._end(np.flatnonzero(self.ended), observations, terminations, infos)
        return observations

    def _points(self) -> Tensor | None:
        """[rows] the random number of each row's next token; any number where it is over."""
        if self.points is None:
            return None
        slots, (last_episode, last_column) = self.slots, np.array(self.points.shape) - 1
        episodes = np.minimum(self.episode[slots], last_episode)
        columns = np.minimum(self.lengths[slots], last_column)
        return torch.from_numpy(self.points[episodes, columns])

    def _look_ahead(self, observations: np.ndarray, rows: np.ndarray) -> None:
        """The value of the state in which an episode was cut off, for the bootstrap."""
        slots = self.slots[rows]
        for row, slot in zip(rows, slots, strict=True):
            start, end = self.fed[slot], self.lengths[slot]
            tokens = torch.from_numpy(observations[slot : slot + 1, start:end])
            bounds = torch.tensor([start]), torch.tensor([end - start])
            self.decoder.feed(torch.tensor([row]), tokens, *bounds)
            self.fed[slot] = end
        values = self.decoder.values().numpy()
        self.bootstrap[self.episode[slots]] = values[rows]

    def _end(
        self,
        slots: np.ndarray,
        observations: np.ndarray,
        terminations: np.ndarray,
        infos: dict[str, Any],
    ) -> None:
        """Write down the finished episodes."""
        episodes = self.episode[slots]
        self.tokens[episodes] = observations[slots]
        self.totals[episodes] = self.lengths[slots]  # with the prompt
        self.terminated[episodes] = terminations[slots]
        for slot, episode in zip(slots.tolist(), episodes.tolist(), strict=True):
            if terminations[slot]:
                self.endings[episode] = infos["stop_reason"][slot], infos["response"][slot]
            else:
                self.endings[episode] = "truncated", ""
        if "verifier_error" in infos:
            for slot in slots[infos["_verifier_error"][slots]].tolist():
                self.errors[self.episode[slot]] = str(infos["verifier_error"][slot])
        for name, column in infos.get("components", {}).items():
            if not name.startswith("_"):
                store = self.components.setdefault(name, np.zeros(self.num_episodes))
                store[episodes] = column[slots]

    def _restart(self, observations: np.ndarray) -> np.ndarray:
        """Give each finished slot its next episode, if it has one left."""
        self.episode[self.ended] += self.envs.num_envs
        self.live &= self.episode < self.num_episodes
        # Gymnasium's own vector environments refuse to step a slot that is over: there, slots that
        # have no episode left are reset too, whenever the idle action has ended one.
        again = self.over & self.live if self.native else self.over
        if again.any():
            observations, infos = self.envs.reset(options={"reset_mask": again.copy()})
            self.lengths = np.where(again, infos["length"], self.lengths)
            self._begin(np.flatnonzero(again & self.live), infos)
        return observations

    def _result(self) -> tuple[Rollout, Episodes]:
        self._check_finite()
        returns = self.rewards.sum(axis=1, dtype=np.float64)
        # What is not known to be right or wrong teaches nothing, and counts in no statistic.
        lost = np.array([error is not None for error in self.errors])
        for array in (self.mask, self.log_probs, self.values, self.rewards, self.bootstrap):
            array[lost] = 0
        rollout = Rollout(
            tokens=self._tensor(self.tokens),
            mask=self._tensor(self.mask),
            log_probs=self._tensor(self.log_probs),
            values=self._tensor(self.values),
            rewards=self._tensor(self.rewards),
            terminated=self._tensor(self.terminated),
            problem=self._tensor(self.problems),
            lengths=self._tensor(self.totals),
            bootstrap=self._tensor(self.bootstrap),
        )
        reasons, responses = zip(*self.endings, strict=True)
        texts, ends = list(responses), list(reasons)
        return rollout, Episodes(
            texts, returns, ends, self.components, self.difficulties, self.errors
        )

    def _check_finite(self) -> None:
        policy = "of the policy are not finite: its weights have become too large or NaN"
        env = "of the environment are not finite: look at its reward function"
        for name, advice in (("log_probs", policy), ("values", policy), ("rewards", env)):
            if not np.isfinite(getattr(self, name)).all():
                raise FloatingPointError(f"{name} {advice}")

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def evaluate(
    policy: Policy,
    env: str | gymnasium.Env | VectorEnv,
    *,
    num_episodes: int = 512,
    split: str = "test",
    greedy: bool = False,
    seed: int = 0,
    **kwargs: Any,
) -> Episodes:
    """Play the first `num_episodes` numbered problems of a split, one episode each.

    The same problems every time, so that a policy before and after is asked the same. Where the
    problems are a finite list, each is played once at most. If the difficulty is adaptive, all
    levels are played in equal shares, and the curriculum does not move.

    Args:
        policy: the policy.
        env: an id or a textgym environment.
        num_episodes: problems to play, or all where a list has fewer.
        split: of an id's problems; "test" is never trained on.
        greedy: choose the most probable token instead of sampling.
        seed: of the sampling.
        **kwargs: for an id, as in `gym.make` (`tokenizer` is the policy's unless given).

    Returns:
        The episodes. Those on which no verdict was reached (`errors`, and a warning) are no part of
        `success`.

    Raises:
        NoVerdictError: if there is no verdict on any of them.
    """
    if isinstance(env, str):
        kwargs = {"tokenizer": policy.tokenizer, "split": split, **kwargs}
    # One episode a problem: groups, which the environment may have for learning, say nothing here.
    kwargs["group_size"] = 1
    envs, options = as_vector_env(env, 1, **kwargs), None
    if isinstance(envs, TokenVectorEnv):
        adaptive = range(envs.mdp.bank.num_levels) if envs.curriculum else None
        levels, numbers = _questions(envs.mdp.bank, adaptive or [envs.difficulty], num_episodes)
        options = {"difficulty": levels, "problem": numbers}
        num_episodes = len(numbers)
        envs = as_vector_env(envs, num_episodes, difficulty=0)
    else:
        envs = as_vector_env(env, num_episodes, **kwargs)
        if isinstance(envs, SyncVectorEnv) and curriculum_of(envs) is not None:
            for i, slot in enumerate(envs.envs):
                slot.unwrapped.set_difficulty(i % slot.unwrapped.mdp.bank.num_levels)
    generator = None if greedy else torch.Generator().manual_seed(seed)
    training = policy.training
    policy.eval()
    try:
        _, episodes = collect(
            policy, envs, num_episodes, generator=generator, seed=seed, options=options
        )
    finally:
        policy.train(training)
    failed = [error for error in episodes.errors if error is not None]
    if failed:
        message = f"no verdict on {len(failed)} of {num_episodes} episodes: {failed[0]}"
        if len(failed) == num_episodes:
            raise NoVerdictError(message)
        warnings.warn(f"{message}; success is that of the others", stacklevel=2)
    return episodes


def _questions(
    bank: ProblemBank, levels: Sequence[int], num_episodes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Levels [n] and numbers [n] of the problems that an evaluation asks, the levels in turn."""
    order = np.arange(num_episodes)
    level, number = np.array(levels)[order % len(levels)], order // len(levels)
    counts = np.array([bank.num_at(i) for i in range(bank.num_levels)])[level]
    is_listed = np.array([problems is not None for problems in bank.lists.chosen])[level]
    asked = ~is_listed | (number < counts)
    if not asked.any():
        raise ValueError(bank.lists.why_empty(levels[0], bank.split))
    return level[asked], number[asked] % counts[asked]
