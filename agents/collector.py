"""How `collect` plays: an engine gets what is new in the observations, episodes are recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.vector import SyncVectorEnv, VectorEnv
from torch import Tensor

from agents.batch import Rollout
from agents.generation import Generator
from agents.models import Policy
from textgym.vector import TokenVectorEnv

COMPACT_BELOW = 0.85
"""Share of running slots under which the finished ones are dropped from the batch: decoding costs
as much for a finished row as for a running one, dropping costs one copy of the cache."""


@dataclass(frozen=True, slots=True)
class Episodes:
    """How N episodes ended, for people and metrics; row i is row i of the Rollout.

    responses: texts, as the environment reports them. returns: [N] float64. stop_reasons: see
    textgym.core.STOP_REASONS, or "truncated" where a limit from outside ended the episode.
    components: name -> [N] float64. difficulties: [N] int64, the level's position. errors: why no
    verdict was reached, None where one was; in the Rollout, the mask of these rows is False.
    has_success: whether `success` is a share, from 0 to 1, as far as the task's ranges tell. If not
    it means nothing, and metrics and tables leave it out.
    """

    responses: list[str]
    returns: np.ndarray
    stop_reasons: list[str]
    components: dict[str, np.ndarray]
    difficulties: np.ndarray
    errors: list[str | None]
    has_success: bool = True

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

    @property
    def mean_success(self) -> float | None:
        """Of the episodes with a verdict; None where success is no share."""
        return float(self.success.mean()) if self.has_success else None

    @property
    def mean_return(self) -> float:
        """Of the episodes with a verdict."""
        return float(self.returns[self.is_graded].mean())


class Collector:
    """One run of `agents.rollout.collect`.

    Slots are numbered as in `envs`, rows as in the decoder's batch. points: [N, L] float32, the
    random number for each token of each episode, or None: greedy.
    """

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
        num_tokens = len(policy.tokenizer)
        self.choosable = ~policy.illegal[:num_tokens].cpu().numpy()
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
        num_bytes = -(-num_tokens // 8) if action_masks else 0
        self.legal = np.zeros((*shape, num_bytes), dtype=np.uint8)
        self.totals, self.problems, self.difficulties = np.zeros((3, num_episodes), dtype=np.int64)
        self.terminated = np.zeros(num_episodes, dtype=bool)
        self.bootstrap = np.zeros(num_episodes, dtype=np.float32)
        self.endings: list[tuple[str, str]] = [("", "")] * num_episodes
        self.components: dict[str, np.ndarray] = {}
        self.errors: list[str | None] = [None] * num_episodes

    def run(
        self, seed: int | list[int] | None, options: dict[str, Any] | None
    ) -> tuple[Rollout, Episodes]:
        """Play all episodes; arguments are those of `envs.reset`."""
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
        longer, everyone = np.flatnonzero(ends - starts > 1), np.arange(slots.size)
        if longer.size < slots.size:
            # A prompt among single tokens goes first, but for its last token, which goes with the
            # others' in one batch of all slots: a part of the slots would have to be gathered.
            self._append(observations, longer, starts, ends - 1)
            starts = ends - 1
        self._append(observations, everyone, starts, ends)
        self.fed[slots] = ends

    def _append(
        self, observations: np.ndarray, rows: np.ndarray, starts: np.ndarray, ends: np.ndarray
    ) -> None:
        """Feed each row of the decoder its slot's tokens from starts to ends (each [all rows])."""
        if rows.size:
            starts, ends, slots = starts[rows], ends[rows], self.slots[rows]
            width = (ends - starts).max()
            columns = ends[:, None] - width + np.arange(width)
            tokens = observations[slots[:, None], columns.clip(min=0)]
            numbers = None if rows.size == self.slots.size else torch.from_numpy(rows)
            self.decoder.feed(numbers, *map(torch.from_numpy, (tokens, starts, ends - starts)))

    def _step(self) -> np.ndarray:
        """Choose and play one token in every running slot, and record it."""
        rows = np.flatnonzero(self.live[self.slots])
        slots = self.slots[rows]
        legal = self._legal(slots) if self.action_masks else None
        choice = self.decoder.choose(self._points(), legal)
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

    def _legal(self, slots: np.ndarray) -> Tensor:
        """[rows, V] bool: what each row may choose; recorded for `slots`, which are running."""
        masks = _action_masks(self.envs)
        stuck = slots[~(masks[slots] & self.choosable).any(axis=1)]
        if stuck.size:
            raise ValueError(
                f"action_masks() of slot {stuck[0]} allows no token that can be chosen; expected "
                "at least eos"
            )
        packed = np.packbits(masks[slots], axis=1)
        self.legal[self.episode[slots], self.lengths[slots]] = packed
        return torch.from_numpy(masks[self.slots])

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
            legal=self._tensor(self.legal),
        )
        reasons, responses = zip(*self.endings, strict=True)
        texts, ends = list(responses), list(reasons)
        return rollout, Episodes(
            texts,
            returns,
            ends,
            self.components,
            self.difficulties,
            self.errors,
            _has_success(self.envs),
        )

    def _check_finite(self) -> None:
        policy = "of the policy are not finite: its weights have become too large or NaN"
        env = "of the environment are not finite: look at its reward function"
        for name, advice in (("log_probs", policy), ("values", policy), ("rewards", env)):
            if not np.isfinite(getattr(self, name)).all():
                raise FloatingPointError(f"{name} {advice}")

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def _has_success(envs: VectorEnv) -> bool:
    """See `Episodes`; environments that are not textgym's own tell no ranges."""
    if not isinstance(envs, TokenVectorEnv):
        return True
    names = envs.mdp.components
    name = "correct" if "correct" in names else names[0]
    low, high = envs.mdp.task.component_ranges.get(name, (0.0, 1.0))
    return low >= 0 and high <= 1


def _action_masks(envs: VectorEnv) -> np.ndarray:
    """[N, V] bool: the tokens that are legal now in each slot."""
    if hasattr(envs, "action_masks"):
        return envs.action_masks()
    if isinstance(envs, SyncVectorEnv) and envs.envs[0].has_wrapper_attr("action_masks"):
        return np.stack(envs.call("action_masks"))
    raise ValueError(f"action_masks is True and {envs} has no action_masks()")
