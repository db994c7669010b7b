"""What a learner that plays does before it learns: one iteration's episodes, and what they say."""

from __future__ import annotations

import dataclasses
import math
import warnings
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents.batch import Rollout
from agents.config import RolloutConfig
from agents.course import Course
from agents.distributed import gather, num_ranks, rank, total
from agents.environments import as_vector_env, curriculum_of
from agents.losses import kl_estimate
from agents.models import Policy, Reference
from agents.optimization import micro_batches
from agents.rollout import Episodes, collect
from textgym.bank import hash64
from textgym.curriculum import Curriculum

KL_PROBE = 8
"""Of so many episodes the KL to the reference is measured on one, if nothing depends on it."""


@dataclass(frozen=True, slots=True)
class Played:
    """One iteration's episodes.

    rollout: those on which a verdict was reached, without columns of padding. It has no rows only
    if there are none in any process: one that has none of its own keeps a row of which nothing
    counts, to take part in every step. metrics: what all processes' episodes were like. generator:
    the iteration's source of randomness, for what follows.
    """

    rollout: Rollout
    metrics: dict[str, float]
    generator: torch.Generator


def slots(
    env: str | gymnasium.Env | VectorEnv,
    policy: Policy,
    config: RolloutConfig,
    **kwargs: Any,
) -> VectorEnv:
    """This process's slots of whatever environment is given (see `as_vector_env`).

    Args:
        env: an id, an environment or a vector environment.
        policy: whose tokenizer an id gets.
        config: batch_size, num_envs and, if the learner has groups, group_size are read here.
        **kwargs: for an id, as in `gym.make`.

    Raises:
        ValueError: if the batch cannot be shared out evenly over processes, slots and groups.
    """
    if isinstance(env, str):
        kwargs = {"tokenizer": policy.tokenizer, **kwargs}
    group_size = getattr(config, "group_size", None)
    if group_size is not None:
        kwargs["group_size"] = group_size
    num_envs = config.num_envs or config.batch_size
    for name, count in (("batch_size", config.batch_size), ("num_envs", num_envs)):
        if count % (num_ranks() * (group_size or 1)):
            raise ValueError(
                f"{name} is {count}, expected a multiple of {num_ranks()} processes"
                + (f" times group_size, {group_size}" if group_size else "")
            )
    if group_size is not None and config.batch_size % num_envs:
        raise ValueError(
            f"batch_size is {config.batch_size}, expected a multiple of num_envs, {num_envs}, "
            "so that every group is whole"
        )
    return as_vector_env(env, num_envs // num_ranks(), **kwargs)


def play(
    policy: Policy, envs: VectorEnv, config: RolloutConfig, course: Course, *, retry: int = 0
) -> Played:
    """Play this process's share of an iteration's episodes.

    Everything random is a function of (seed, iteration, retry) alone, so that a resumed run needs
    no random state, and several processes play together what one would.

    Args:
        policy: the policy.
        envs: as `slots` gives them.
        config: how many episodes, of groups of group_size if it has one.
        course: whose iteration it is; episodes and tokens are counted there.
        retry: number of the batch, if an iteration plays several.

    Raises:
        FloatingPointError: if the policy's log-probabilities or values are not finite.
        ValueError: if the environment gives the rows of a group different problems.
    """
    seeds, generator = _randomness(config.seed, course.iteration, envs.num_envs, retry)
    group_size = getattr(config, "group_size", 1)
    seeds = [seeds[i - i % group_size] for i in range(len(seeds))]
    curriculum = curriculum_of(envs)
    before = None if curriculum is None else curriculum.state_dict()
    policy.eval()  # dropout would make the ratio differ from 1 before the first update
    rollout, episodes = collect(
        policy,
        envs,
        config.batch_size // num_ranks(),
        generator=generator,
        seed=seeds,
        sampling=config.sampling,
        action_masks=config.action_masks,
        part=(rank(), num_ranks()),
    )
    _check_groups(rollout, group_size)
    graded = rollout.graded()
    num_graded = int(total(len(graded)))
    rollout = (graded if len(graded) or not num_graded else rollout[:1]).trim()
    if not num_graded:
        warnings.warn(
            f"iteration {course.iteration + 1}: no verdict on any of {config.batch_size} "
            f"episodes ({episodes.errors[0]}), so there is nothing to learn from",
            stacklevel=3,
        )
    course.num_episodes += config.batch_size
    course.num_tokens += int(total(rollout.num_tokens))
    metrics = _episode_metrics(rollout, episodes)
    if curriculum is not None:
        if num_ranks() > 1:
            _agree(curriculum, before, episodes)
        metrics["level"] = curriculum.level
    return Played(rollout, metrics, generator)


def penalised(rollout: Rollout, reference_log_probs: Tensor, kl_coef: float) -> Rollout:
    """The rollout with kl_coef * (log pi_old - log pi_ref) subtracted from its rewards.

    k1: in the reward its gradient is right. The others' variance explodes far away. Ouyang et al.
    2022, eq. 2.
    """
    k1 = kl_estimate(rollout.log_probs, reference_log_probs, kind="k1") * rollout.mask
    return dataclasses.replace(rollout, rewards=rollout.rewards - kl_coef * k1)


@torch.no_grad()
def log_probs_of(policy: Policy | Reference, rollout: Rollout, config: RolloutConfig) -> Tensor:
    """What a policy says of episodes that it, or another one, played.

    Args:
        policy: the policy, or a reference.
        rollout: the episodes.
        config: how the tokens were drawn, and how large a micro-batch may be.

    Returns:
        [B, L] log pi of the tokens, 0 where the mask is False.
    """
    log_probs = torch.zeros_like(rollout.log_probs)
    for rows in micro_batches(rollout.lengths, config, groups=rollout.problem):
        part = rollout[rows].trim()
        stats = policy(part.tokens, part.mask, sampling=config.sampling, legal=part.legal)
        log_probs[rows, : part.tokens.shape[1]] = stats.log_probs
    return log_probs


def reference_kl(
    reference: Reference, rollout: Rollout, config: RolloutConfig, *, needed: bool
) -> tuple[Tensor | None, float]:
    """What the frozen initial policy says of the episodes.

    Args:
        reference: the initial policy.
        rollout: at least one episode.
        config: as of `log_probs_of`.
        needed: whether the log-probabilities of all rows are wanted; the KL alone is measured on a
            few.

    Returns:
        log pi_ref [B, L] (None if not needed), and the mean over tokens of
        log pi_old - log pi_ref, which is KL(pi_old || pi_ref) in nats on average.
    """
    part = rollout if needed else rollout[::KL_PROBE]
    log_probs = log_probs_of(reference, part, config)
    kl = (kl_estimate(part.log_probs, log_probs, kind="k1") * part.mask).sum()
    mean = total(kl.item()) / max(total(part.num_tokens), 1)
    return (log_probs if needed else None), mean


def _check_groups(rollout: Rollout, group_size: int) -> None:
    """Learners with groups would see nothing to compare, and learn nothing, without an error."""
    num_problems, most = rollout.problem.unique().numel(), len(rollout) // group_size
    if num_problems > most:
        raise ValueError(
            f"the environment gave {num_problems} problems to {most} groups of {group_size} rows: "
            "make its slots play the same problem where they are reset with the same seed"
        )


def _randomness(
    seed: int, iteration: int, num_envs: int, retry: int
) -> tuple[list[int], torch.Generator]:
    """Seeds of this process's slots, and the source of sampling, which all processes share."""
    stream = hash64(np.array([seed], np.uint64), np.array([1 + retry], np.uint64))
    every = num_envs * num_ranks()
    first = iteration * (every + 1)
    draws = hash64(stream, np.arange(first, first + every + 1).astype(np.uint64))
    *seeds, sampling = (draws >> np.uint64(1)).tolist()
    own = seeds[rank() * num_envs : (rank() + 1) * num_envs]
    return own, torch.Generator().manual_seed(sampling)


def _agree(curriculum: Curriculum, before: dict[str, Any], episodes: Episodes) -> None:
    """Let a curriculum that saw this process's episodes see those of all, in one order."""
    levels = episodes.difficulties[episodes.is_graded].tolist()
    curriculum.load_state_dict(before)
    for played in gather((levels, episodes.success.tolist())):
        curriculum.record(*played)


def _episode_metrics(rollout: Rollout, episodes: Episodes) -> dict[str, float]:
    """Means over the episodes of all processes that have a verdict; NaN if none has."""
    is_graded, components = episodes.is_graded, episodes.components
    several = components if len(components) > 1 else {}
    reasons = [r for r, graded in zip(episodes.stop_reasons, is_graded, strict=True) if graded]
    sums = {
        **{f"component/{name}": values[is_graded].sum() for name, values in several.items()},
        "return_mean": episodes.returns[is_graded].sum(),
        **({"success": episodes.success.sum()} if episodes.has_success else {}),
        "response_length": rollout.num_tokens,
        "stop_eos": sum(reason == "eos" for reason in reasons),
        "stop_length": sum(reason == "length" for reason in reasons),
    }
    own = {name: float(x) for name, x in sums.items()}
    # Gathered, since a process without a verdict knows no components.
    found = gather((own, int(is_graded.sum()), int((~is_graded).sum())))
    count, num_errors = (sum(part[i] for part in found) for i in (1, 2))
    names = dict.fromkeys(name for part, *_ in found for name in part)
    means = {
        name: sum(part.get(name, 0.0) for part, *_ in found) / count if count else math.nan
        for name in names
    }
    return {**means, "verifier_errors": num_errors}
