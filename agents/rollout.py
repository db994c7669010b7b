"""Plays a policy in token environments: `collect` gives a Rollout, `evaluate` a success rate.

Collection is unbiased: exactly N episodes are started and all N are finished. "The first N to
finish" would favour short ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import SyncVectorEnv, VectorEnv

from agents.batch import Rollout
from agents.collector import Collector, Episodes
from agents.environments import as_vector_env, check_tokens, curriculum_of
from agents.generation import Generator, SlotDecoder
from agents.models import Policy
from agents.sampling import Sampling
from agents.sharding import whole_policy
from textgym.bank import ProblemBank
from textgym.vector import TokenVectorEnv


class NoVerdictError(RuntimeError):
    """The verifier failed on every episode, so nothing is known of the policy."""


def collect(
    policy: Policy,
    envs: VectorEnv,
    num_episodes: int,
    *,
    generator: torch.Generator | None,
    seed: int | list[int] | None = None,
    options: dict[str, Any] | None = None,
    sampling: Sampling = Sampling(),
    action_masks: bool = False,
    part: tuple[int, int] = (0, 1),
    engine: Callable[[Policy, int, int, Sampling], Generator] | None = None,
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

    Raises:
        FloatingPointError: if the policy's log-probabilities or values, or the environment's
            rewards, are not finite.
        ValueError: if there are no episodes to play, or these are no token environments of the
            policy's tokenizer.
    """
    if num_episodes < 1:
        raise ValueError(f"num_episodes is {num_episodes}, expected at least 1")
    if not 0 <= part[0] < part[1]:
        raise ValueError(f"part is {part}, expected (i, n) with i from 0 to n - 1")
    check_tokens(policy, envs)
    sampling.validate()
    length, points = envs.single_observation_space.shape[0], None
    if generator is not None:
        points = torch.rand(num_episodes * part[1], length, generator=generator)
        points = points[num_episodes * part[0] :][:num_episodes].numpy()
    with whole_policy(policy) as player:
        decoder = (engine or SlotDecoder)(player, envs.num_envs, length, sampling)
        collector = Collector(player, envs, num_episodes, decoder, points, action_masks)
        return collector.run(seed, options)


def evaluate(
    policy: Policy,
    env: str | gymnasium.Env | VectorEnv,
    *,
    num_episodes: int = 512,
    split: str = "test",
    greedy: bool = False,
    seed: int = 0,
    sampling: Sampling = Sampling(),
    action_masks: bool = False,
    engine: Callable[[Policy, int, int, Sampling], Generator] | None = None,
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
        sampling: how tokens are drawn.
        action_masks: draw only tokens that the environment's action_masks() allows.
        engine: makes what generates the tokens (None: `SlotDecoder`).
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
            policy,
            envs,
            num_episodes,
            generator=generator,
            seed=seed,
            options=options,
            sampling=sampling,
            action_masks=action_masks,
            engine=engine,
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
