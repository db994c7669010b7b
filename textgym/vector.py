"""The token MDP for a batch of slots in NumPy: what `gym.make_vec` gives for every textgym id.

Step by step equal to Gymnasium's SyncVectorEnv over RLEnvironment, and far faster: a step is a
dozen array operations. Text is graded only when an episode ends, and not even then if its tokens
are the reference answer's or can earn nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from textgym.arguments import as_mask, as_mode, as_problems, as_seeds, check_flags
from textgym.bank import hash64
from textgym.curriculum import Curriculum
from textgym.endings import Endings
from textgym.masks import MaskCursor
from textgym.mdp import BY_CURRICULUM, EOS, ILLEGAL, TokenMDP, level_draws
from textgym.task import Task, as_index
from textgym.turns import Turns

DRAWS_AHEAD = 128
"""Episodes whose problems are drawn at once for a slot, a power of two: hashing takes a dozen array
operations."""


class TokenVectorEnv(VectorEnv):
    """`num_envs` token environments stepped together (gymnasium.vector.VectorEnv).

    actions [N] int64 -> observations [N, L] int64, rewards [N] float64, terminations [N] bool,
    truncations [N] bool (never True), infos with RLEnvironment's keys and their `_key` masks. All
    arrays are fresh in every step.

    Seeds are Gymnasium's: `reset(seed=s)` gives slot i the seed s + i, a list gives each its own;
    the problem is a hash of (slot's seed, slot's episode). `options` also takes `reset_mask` [N]
    bool, and `problem` and `difficulty` may be integer arrays [N].

    An adaptive difficulty is one `curriculum` for all slots (of Gymnasium's SyncVectorEnv each slot
    has its own, so there the two differ). The slots of a group play the level that was chosen for
    the first of them to begin an episode.

    Args:
        task: a Task, or a TokenMDP to share (which then holds the settings).
        num_envs: N, the number of slots.
        autoreset_mode: NEXT_STEP, SAME_STEP or DISABLED (enum or its value). When DISABLED, a
            finished slot stays as it is, earns 0 and ignores its actions until it is reset.
        group_size: so many consecutive slots play the same problems (a group's slots have the
            seed of its first).
        difficulty, details, vector_reward: see RLEnvironment; vector rewards are [N, K] float32.
        **settings: see TokenMDP.

    Raises:
        ValueError: if num_envs or group_size is below one or group_size does not divide num_envs.
    """

    def __init__(
        self,
        task: Task | TokenMDP,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        group_size: int = 1,
        difficulty: str | int | Curriculum | None = None,
        details: bool = True,
        vector_reward: bool = False,
        **settings: Any,
    ) -> None:
        if not as_index(num_envs) or not as_index(group_size) or num_envs % group_size:
            raise ValueError(
                f"num_envs={num_envs!r} and group_size={group_size!r}: expected integers of at "
                "least 1, and num_envs a multiple of group_size"
            )
        check_flags(details=details, vector_reward=vector_reward)
        if isinstance(task, TokenMDP) and settings:
            raise TypeError(
                f"got {sorted(settings)}: these are for a single environment, or for the TokenMDP, "
                "which is given"
            )
        self.mdp = mdp = task if isinstance(task, TokenMDP) else TokenMDP(task, **settings)
        self.num_envs, self.group_size = num_envs, group_size
        self.autoreset_mode, self.details = as_mode(autoreset_mode), details
        self.vector_reward = vector_reward
        self.reward_space = mdp.scoring.reward_space if vector_reward else None
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        self.single_observation_space, self.single_action_space = mdp.spaces()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        level, self.curriculum = mdp.level_of(difficulty)
        self._levels = np.full(num_envs, level, dtype=np.int64)  # or BY_CURRICULUM
        self._allocate()

    def _allocate(self) -> None:
        num, mdp, vocabulary = self.num_envs, self.mdp, self.mdp.vocabulary
        self._tokens = np.full((num, mdp.observation_length), vocabulary.pad, dtype=np.int64)
        self._flat = self._tokens.reshape(-1)
        self._base = np.arange(num) * mdp.observation_length  # where each slot's row begins in flat
        self._cursor = self._base.copy()  # where each slot's next token goes in flat
        self._limit = self._base.copy()  # the cursor at which the slot's budget is spent
        self._rows = np.zeros(num, dtype=np.int64)  # the problem's row in the bank
        self._everyone = np.ones(num, dtype=bool)
        self._idle = np.arange(num)  # slots whose episodes are over
        self._streams = np.zeros(num, dtype=np.uint64)
        self._seeded = np.zeros(num, dtype=bool)
        self._started = False  # whether every slot has been reset at least once
        self._episodes = np.zeros(num, dtype=np.int64)
        self._draws = np.zeros((num, DRAWS_AHEAD), dtype=np.int64)
        # With a curriculum, of each group: episode -> its level, until all slots are beyond it.
        self._group_levels: list[dict[int, int]] = [{} for _ in range(num // self.group_size)]
        # What a token alone says of the end of an episode; the budget's code is lower than these.
        self._ending = np.where(vocabulary.illegal, ILLEGAL, 0).astype(np.uint8)
        self._ending[vocabulary.eos] = EOS
        self._turns: Turns | None = None
        if mdp.task.max_turns > 1 or mdp.task.stop_strings:
            self._turns = Turns(mdp, self._flat, self._cursor, self._limit)
        self._endings = Endings(
            mdp, self._flat, self._cursor, self._limit, self._turns, self.details
        )
        # Slot -> where its episode's response stands, once a mask has been asked for.
        self._mask_cursors: dict[int, MaskCursor | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_mask_cursors": {}}  # a copy reads its responses anew

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        # A copy of a view is a view of nothing, and a bank from a pickle has to make its rows anew.
        self._flat = self._endings.flat = self._tokens.reshape(-1)
        if self._turns is not None:
            self._turns.flat = self._flat
        self.mdp.bank.ensure(self._rows)

    # ------------------------------------------------------------------ reset

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode in every slot, or in those of `options["reset_mask"]`."""
        options = dict(options or {})
        mask = as_mask(options.pop("reset_mask", None), self.num_envs)
        levels, numbers, curriculum = self._read_options(options)
        seeds = as_seeds(seed, self.num_envs)
        if seeds and np.ndim(seed) == 0:
            super().reset(seed=seeds[0])
        slots = mask.nonzero()[0]
        self._episodes[slots] += 1
        self._seed(slots, seeds)
        if levels is not None:
            self._levels[slots] = levels[slots]
            self.curriculum = curriculum if (self._levels < 0).any() else None
        infos: dict[str, Any] = {}
        self._start(slots, infos, None if numbers is None else numbers[slots])
        infos["length"] = np.where(mask, self._cursor - self._base, 0)
        infos["_length"] = mask.copy()
        self._tell_rewards(infos, slots)
        self._idle = self._idle[~mask[self._idle]]
        return self._observations(), infos

    def _seed(self, slots: np.ndarray, seeds: list[int | None] | None) -> None:
        """Give seeds to the slots that get one, and to those that never had one."""
        if seeds is None and self._seeded.all():
            return
        seeds = seeds or [None] * self.num_envs
        given = np.array([value is not None for value in seeds])
        if not self._seeded.any():
            # For all slots at once: those of a group that start later have the seed of its first.
            self._streams[:] = self.np_random.integers(2**63, size=self.num_envs, dtype=np.uint64)
        streams = self._streams.copy()
        streams[given] = [value % 2**64 for value in seeds if value is not None]
        leaders = slots - slots % self.group_size
        fresh = given[leaders] | ~self._seeded[slots]
        self._streams[slots[fresh]] = streams[leaders[fresh]]
        self._episodes[slots[fresh]] = 0
        if self.curriculum is not None:
            for group in np.unique(slots[fresh] // self.group_size).tolist():
                self._group_levels[group] = {}
        self._seeded[slots] = True
        self._started = bool(self._seeded.all())

    def _read_options(
        self, options: dict[str, Any]
    ) -> tuple[np.ndarray | None, np.ndarray | None, Curriculum | None]:
        """Levels [N] (None: as before), problems' numbers [N] (None: drawn), the curriculum."""
        unknown = set(options) - {"difficulty", "problem"}
        if unknown:
            raise ValueError(
                f"unknown options {sorted(unknown)}; known: 'difficulty', 'problem', 'reset_mask'"
            )
        mdp, given, curriculum = self.mdp, options.get("difficulty"), self.curriculum
        levels = None
        if isinstance(given, np.ndarray) and given.shape == (self.num_envs,):
            levels = np.array([mdp.task.difficulty_index(level) for level in given.tolist()])
        elif given is not None:
            level, meant = mdp.level_of(given, curriculum)
            levels, curriculum = np.full(self.num_envs, level), meant or curriculum
        numbers = options.get("problem")
        if numbers is not None:
            numbers = as_problems(numbers, self.num_envs, mdp.bank.num_problems)
        return levels, numbers, curriculum

    @property
    def difficulty(self) -> int:
        """The position of the level that slot 0's next episode plays (adaptive: most likely)."""
        level = int(self._levels[0])
        return level if level != BY_CURRICULUM else self.curriculum.level

    def set_difficulty(self, difficulty: str | int | Curriculum) -> None:
        """Play this level from each slot's next episode on; see RLEnvironment."""
        level, self.curriculum = self.mdp.level_of(difficulty, self.curriculum)
        self._levels[:] = level

    def _adapted(self, slots: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """`levels` [k] with what the curriculum says where it is asked, the same in a group."""
        draws = level_draws(self._streams[slots], self._episodes[slots].astype(np.uint64))
        levels = np.where(levels == BY_CURRICULUM, self.curriculum.levels(draws), levels)
        if self.group_size > 1:
            for i, slot in enumerate(slots.tolist()):
                group, episode = slot // self.group_size, int(self._episodes[slot])
                known = self._group_levels[group]
                if episode not in known:
                    first = group * self.group_size
                    oldest = self._episodes[first : first + self.group_size].min()
                    known = {e: level for e, level in known.items() if e >= oldest}
                    self._group_levels[group] = {**known, episode: int(levels[i])}
                levels[i] = self._group_levels[group][episode]
        return levels

    def _draw(self, slots: np.ndarray) -> np.ndarray:
        """The numbers [k] of the problems that the slots' current episodes play."""
        places = self._episodes.take(slots) & (DRAWS_AHEAD - 1)
        stale = slots[places == 0]
        if stale.size:
            ahead = np.arange(DRAWS_AHEAD) + self._episodes[stale][:, None]
            draws = hash64(self._streams[stale][:, None], ahead.astype(np.uint64))
            self._draws[stale] = draws % np.uint64(self.mdp.bank.num_problems)
        return self._draws.take(slots * DRAWS_AHEAD + places)

    def _start(
        self, slots: np.ndarray, infos: dict[str, Any], numbers: np.ndarray | None = None
    ) -> None:
        """Begin the slots' [k] current episodes; write the keys of a reset into `infos`."""
        bank = self.mdp.bank
        drawn = self._draw(slots)
        levels = self._levels.take(slots)
        if self.curriculum is not None:
            levels = self._adapted(slots, levels)
        rows = levels * bank.num_problems
        rows += drawn if numbers is None else numbers
        bank.ensure(rows)
        facts = bank.facts.take(rows, axis=0)
        start = self._base.take(slots) + facts[:, 0]
        self._tokens[slots] = bank.prompts.take(rows, axis=0)
        self._cursor[slots] = start
        self._limit[slots] = start + self.mdp.budget
        self._rows[slots] = rows
        if self._turns is not None:
            self._turns.start(slots)
        for slot in slots.tolist() if self._mask_cursors else ():
            self._mask_cursors.pop(slot, None)
        if self.details:
            mask = np.zeros(self.num_envs, dtype=bool)
            mask[slots] = True
            columns = np.zeros((self.num_envs, 4), dtype=np.int64)
            columns[slots] = facts
            for i, name in enumerate(("problem", "problem_id", "difficulty"), start=1):
                infos[name], infos[f"_{name}"] = columns[:, i], mask

    # ------------------------------------------------------------------- step

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Append one token to every slot that is in an episode.

        Raises:
            gymnasium.error.ResetNeeded: if a slot has never been reset.
            gymnasium.error.InvalidAction: if `actions` is no [N] array of token ids.
        """
        if not self._started:
            raise gymnasium.error.ResetNeeded(
                "some slots have no episode: call reset() before step()"
            )
        return self._end_turns(self._append(actions))

    def _append(self, actions: np.ndarray) -> np.ndarray:
        """Write the actions behind what the slots have; the last token [N] of each."""
        actions = self._checked(actions)
        idle = self._idle
        if idle.size:
            # A finished slot writes its own last token again, which changes nothing.
            last = self._cursor.take(idle) - 1
            self._cursor[idle] = last
            actions[idle] = self._flat.take(last)
        self._flat[self._cursor] = actions
        self._cursor += 1
        return actions

    def _end_turns(
        self, tokens: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Go on behind `tokens` [N], the last of each slot."""
        idle = self._idle
        reasons = self._ending.take(tokens)
        np.maximum(reasons, (self._cursor == self._limit).view(np.uint8), out=reasons)
        if idle.size:
            reasons[idle] = 0
        if self._turns is not None:
            reasons = self._turns.end(reasons, idle, self._rows)
        return self._finish(reasons)

    def _checked(self, actions: np.ndarray) -> np.ndarray:
        given = np.asarray(actions)
        if given.shape != (self.num_envs,) or given.dtype.kind not in "iu":
            raise gymnasium.error.InvalidAction(
                f"actions have shape {given.shape} and dtype {given.dtype}, expected integers of "
                f"shape ({self.num_envs},)"
            )
        actions = given.astype(np.int64)
        # As unsigned numbers, negative ids are huge: one look finds both kinds of bad id.
        if np.maximum.reduce(actions.view(np.uint64)) >= self.mdp.vocabulary.size:
            raise gymnasium.error.InvalidAction(
                f"actions reach from {given.min()} to {given.max()}, expected token ids from 0 to "
                f"{self.mdp.vocabulary.size - 1}"
            )
        return actions

    def _finish(
        self, reasons: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Grade the slots that ended for `reasons` [N] (0: they go on); reset as the mode says."""
        num, done = self.num_envs, reasons.astype(bool)
        slots = done.nonzero()[0]
        rewards = np.zeros(num, dtype=np.float64)
        if self.vector_reward:
            rewards = np.zeros((num, len(self.mdp.components)), dtype=np.float32)
        infos: dict[str, Any] = {}
        mode, idle = self.autoreset_mode, self._idle
        if slots.size:
            if mode is AutoresetMode.SAME_STEP:
                lengths = (self._cursor - self._base) * done
                final: dict[str, Any] = {"length": lengths, "_length": done.copy()}
                rewards[slots] = self._pay(slots, reasons, final)
                infos["final_obs"] = self._final_observations(slots)
                infos["final_info"] = final
                infos["_final_obs"] = infos["_final_info"] = final["_length"]
                self._episodes[slots] += 1
                self._start(slots, infos)
            else:
                rewards[slots] = self._pay(slots, reasons, infos)
        if mode is AutoresetMode.NEXT_STEP:
            if idle.size:
                self._episodes[idle] += 1
                self._start(idle, infos)
            self._idle = slots
        elif mode is AutoresetMode.DISABLED and slots.size:
            self._idle = np.concatenate([idle, slots])
        infos["length"] = self._cursor - self._base
        infos["_length"] = self._everyone.copy()
        told = done & (mode is not AutoresetMode.SAME_STEP)
        self._tell_rewards(infos, (~told).nonzero()[0])
        return self._observations(), rewards, done, np.zeros(num, dtype=bool), infos

    def _observations(self) -> Any:
        """What every slot shows now, as a batch of the observation space."""
        return self._tokens.copy()

    def _final_observations(self, slots: np.ndarray) -> np.ndarray:
        final = np.empty(self.num_envs, dtype=object)  # None everywhere
        rows = self._tokens.take(slots, axis=0)
        final[slots] = np.fromiter(rows, dtype=object, count=len(slots))
        return final

    # ---------------------------------------------------------------- rewards

    def _pay(self, slots: np.ndarray, reasons: np.ndarray, infos: dict[str, Any]) -> np.ndarray:
        """Rewards [k] (or [k, K]) of finished slots; writes the keys of an ending into `infos`."""
        mdp, scoring, rows = self.mdp, self.mdp.scoring, self._rows.take(slots)
        values, graded = self._endings.grade(slots, rows, reasons, infos)
        if self.curriculum is not None:
            counts = graded & (self._levels.take(slots) == BY_CURRICULUM)
            played, successes = rows[counts] // mdp.bank.num_problems, mdp.success(values[counts])
            self.curriculum.record(played.tolist(), successes.tolist())
        illegal = reasons.take(slots) == ILLEGAL
        if scoring.lowest is not None and not (self.vector_reward or mdp.task.multi_objective):
            rewards = scoring.total(values.T, tuple(scoring.rewards.values()))
            if scoring.lowest:
                rewards[illegal] = scoring.lowest
            return rewards
        weights = self._weights(slots)
        values[illegal] = scoring.after_illegal(values[illegal], weights[illegal])
        self._tell_rewards(infos, slots, values)
        return values if self.vector_reward else scoring.total(values.T, weights.T)

    def _weights(self, slots: np.ndarray) -> np.ndarray:
        """[k, K] float64: what the components weigh in the problems that the slots play."""
        problems = map(self.mdp.bank.problem, self._rows.take(slots).tolist())
        return self.mdp.scoring.weights_many(list(problems))

    def _tell_rewards(
        self, infos: dict[str, Any], slots: np.ndarray, values: np.ndarray | None = None
    ) -> None:
        """What a multi-objective task's info always has, of `slots` [k]: components [k, K] or 0."""
        if not self.mdp.task.multi_objective:
            return
        num_components = len(self.mdp.components)
        for name, found in (("vector_reward", values), ("reward_weights", self._weights(slots))):
            if name not in infos:
                infos[name] = np.zeros((self.num_envs, num_components), dtype=np.float32)
                infos[f"_{name}"] = np.zeros(self.num_envs, dtype=bool)
            if found is not None:
                infos[name][slots] = found
            infos[f"_{name}"][slots] = True

    def action_masks(self) -> np.ndarray:
        """[N, V] bool: the tokens that are legal now; see RLEnvironment. A fresh array."""
        masks = np.tile(~self.mdp.vocabulary.illegal, (self.num_envs, 1))
        if not self.mdp.has_constraints:
            return masks
        playing = np.ones(self.num_envs, dtype=bool)
        playing[self._idle] = False
        for slot in playing.nonzero()[0].tolist():
            mask = self._constrained(slot)
            if mask is not None:
                masks[slot] = mask
        return masks

    def _constrained(self, slot: int) -> np.ndarray | None:
        """[V] bool: what the task's constraint allows in a slot that is in an episode, or None."""
        if slot not in self._mask_cursors:
            self._mask_cursors[slot] = self.mdp.mask_cursor(int(self._rows[slot]))
        cursor = self._mask_cursors[slot]
        end, limit = int(self._cursor[slot]), int(self._limit[slot])
        response = self._flat[limit - self.mdp.budget : end]
        return None if cursor is None else cursor.mask(response, limit - end)
