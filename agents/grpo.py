"""Group-relative policy optimization and its corrections, to be read from top to bottom.

Shao et al. 2024. One iteration: play `group_size` responses to each problem; a response's advantage
is its return relative to its group's, so no value function is needed; take `num_epochs` passes of
`num_minibatches` steps on PPO's clipped surrogate, plus a KL penalty in the loss. The field that
makes each correction stands in the config: Dr. GRPO (scale, normalization), DAPO (clip_param_high,
normalization, overlong_margin, num_resamples), GSPO (ratio), CISPO (loss).

Without a value function nothing is bootstrapped: an episode that was cut off from outside counts
with the rewards it had.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from agents.advantages import group_relative, groups_differ, overlong_penalty
from agents.batch import Rollout
from agents.config import RolloutConfig, check_ranges, validated
from agents.course import Course
from agents.distributed import num_ranks, summed, total
from agents.losses import (
    cispo_loss,
    clipped_surrogate_loss,
    entropy_loss,
    kl_loss,
    token_weights,
)
from agents.models import Policy, as_policy
from agents.optimization import adamw, micro_batches, update
from agents.play import play, reference_kl, slots
from textgym.tokenizer import Tokenizer


@dataclass
class GRPOConfig(RolloutConfig):
    """What GRPOTrainer reads.

    The defaults suit the embedded tiny policy; a model of a billion parameters wants a
    learning_rate of 1e-6 to 1e-5.
    """

    learning_rate: float = 1e-3
    """Peak of AdamW's rate: linear rise, then linear fall to a tenth."""
    num_iterations: int = 400
    """Rounds of playing and learning."""
    group_size: int = 4
    """Responses to each problem; batch_size counts responses."""
    num_epochs: int = 1
    """Passes over an iteration's episodes."""
    num_minibatches: int = 2
    """Optimizer steps per pass; a group stays together."""
    scale: Literal["group", "batch", "none"] = "group"
    """What advantages are divided by: the standard deviation of the group's returns, that of the
    batch's, or nothing (Dr. GRPO, Liu et al. 2025)."""
    normalization: Literal["token", "sequence", "constant"] = "token"
    """What the loss is a mean over: tokens (DAPO, Yu et al. 2025), means of responses (as in Shao
    et al. 2024), or responses, each a sum divided by the token budget (Dr. GRPO)."""
    loss: Literal["clip", "cispo"] = "clip"
    """The clipped surrogate, or the log-probability with a clipped weight (MiniMax 2025)."""
    ratio: Literal["token", "sequence"] = "token"
    """Of what r = pi / pi_old is, each token or the whole response (GSPO, Zheng et al. 2025, which
    wants clip_param near 4e-4 and normalization sequence)."""
    clip_param: float = 0.2
    """Epsilon of the clipped ratio (Schulman et al. 2017, eq. 7)."""
    clip_param_high: float | None = None
    """Epsilon of its upper end, 0.28 in DAPO (None: clip_param)."""
    kl_coef: float = 0.0
    """Weight of the KL to the initial policy in the loss."""
    kl: Literal["k2", "k3"] = "k3"
    """How it is estimated (see agents.losses.kl_estimate)."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    overlong_margin: int = 0
    """Over the last so many tokens of the budget a response loses up to 1 (DAPO; 0: nothing)."""
    num_resamples: int | None = None
    """Leave out groups whose returns are all equal, and play at most so many more batches in an
    iteration to fill the gaps (DAPO's dynamic sampling; None: they stay)."""

    def validate(self) -> None:
        """Check each field's range.

        Raises:
            ValueError: naming the field, what it is and what was expected.
        """
        super().validate()
        check_ranges(
            self,
            integers={
                **{"group_size": 2, "num_epochs": 1, "num_minibatches": 1},
                **{"overlong_margin": 0, "num_resamples": 0},
            },
            positive=("clip_param", "clip_param_high"),
            non_negative=("kl_coef", "entropy_coef"),
            choices={
                "scale": ("group", "batch", "none"),
                "normalization": ("token", "sequence", "constant"),
                "loss": ("clip", "cispo"),
                "ratio": ("token", "sequence"),
                "kl": ("k2", "k3"),
            },
            optional=("clip_param_high", "num_resamples"),
        )
        if self.batch_size % self.group_size:
            raise ValueError(
                f"batch_size is {self.batch_size}, expected a multiple of group_size, "
                f"{self.group_size}"
            )
        if self.num_minibatches > self.batch_size // self.group_size:
            raise ValueError(
                f"num_minibatches is {self.num_minibatches}, expected at most the number of "
                f"groups, {self.batch_size // self.group_size}"
            )


class Minibatch(NamedTuple):
    """Rows of an iteration.

    rollout: [B, L]. advantages: [B, 1], of every token of the row. reference: [B, L], log pi_ref;
    None without a KL penalty. weights: [B, 1], what a token counts for (see `token_weights`).
    """

    rollout: Rollout
    advantages: Tensor
    reference: Tensor | None
    weights: Tensor

    def select(self, rows: Tensor) -> Minibatch:
        """The given rows, trimmed to the longest of them."""
        rollout = self.rollout[rows].trim()
        width = rollout.tokens.shape[1]
        reference = None if self.reference is None else self.reference[rows, :width]
        return Minibatch(rollout, self.advantages[rows], reference, self.weights[rows])


class GRPOTrainer:
    """Trains a policy in an environment.

    Example:
        >>> policy = load_policy("tiny")
        >>> GRPOTrainer(GRPOConfig(num_iterations=100), policy).train("TextMath-v0")
        ... # doctest: +SKIP

    Args:
        config: the algorithm's constants.
        model: a Policy, or a causal language model. Changed in place.
        tokenizer: the model's; needed if `model` is no Policy.
        folder: where metrics, checkpoints and the learning curve go; None: nowhere.
        show: whether to show progress.
    """

    def __init__(
        self,
        config: GRPOConfig,
        model: Policy | nn.Module,
        tokenizer: Tokenizer | None = None,
        *,
        folder: str | Path | None = None,
        show: bool = True,
    ) -> None:
        self.config, self.policy = validated(config, GRPOConfig), as_policy(model, tokenizer)
        self.reference = self.policy.reference()
        self.optimizer = adamw(self.policy, config.learning_rate)
        self.course = Course(config, self.policy, self.optimizer, folder=folder, show=show)

    def train(self, env: str | gymnasium.Env | VectorEnv, **kwargs: Any) -> nn.Module:
        """Run the iterations that are left; returns the trained model (without the value head).

        Args:
            env: an id, an environment or a vector environment (see `environments.as_vector_env`).
            **kwargs: for an id, as in `gym.make`.

        Raises:
            FileExistsError: if the folder holds another run.
            FloatingPointError: if a loss or the gradient is not finite; names it and the step. The
                last checkpoint is kept.
            KeyboardInterrupt: on Ctrl-C, after the iteration under way and a checkpoint.
            ValueError: if the environment cannot play groups, or not so many.
        """
        envs = slots(env, self.policy, self.config, **kwargs)
        self.course.follow(envs)
        self.course.run(lambda: self.step(envs))
        return self.policy.model

    def step(self, envs: VectorEnv) -> dict[str, float]:
        """Play, then learn: one iteration; returns its metrics (see `metrics.METRICS`)."""
        return self.course.step(lambda: self._iterate(envs))

    def load_checkpoint(self) -> None:
        """Go on where the run folder's checkpoint stands (see `Course.load_checkpoint`)."""
        self.course.load_checkpoint()

    def _iterate(self, envs: VectorEnv) -> dict[str, float]:
        config, budget = self.config, _token_budget(envs)
        rollout, metrics, generator = self._play(envs, budget)
        if not total(len(rollout)):
            return metrics
        advantages = group_relative(
            rollout.returns, rollout.problem, scale=config.scale, add=summed
        )[:, None]
        reference, kl = reference_kl(self.reference, rollout, config, needed=config.kl_coef > 0)
        batch = Minibatch(rollout, advantages, reference, torch.ones_like(advantages))
        learned = self._learn(batch, budget, generator)
        return {**metrics, "kl": kl, **learned, "kl_coef": config.kl_coef}

    def _play(
        self, envs: VectorEnv, budget: int
    ) -> tuple[Rollout, dict[str, float], torch.Generator]:
        """The episodes to learn from, metrics, of the first batch if there are several, and chance.

        Of several processes one may have no episodes.
        """
        config, parts, metrics = self.config, [], {}
        num_played = num_equal = num_errors = 0.0
        for retry in range(1 + (config.num_resamples or 0)):
            played = play(self.policy, envs, config, self.course, retry=retry)
            rollout = self._shape(played.rollout.graded(), budget)
            differs = groups_differ(rollout.returns, rollout.problem)
            num_played += total(len(rollout))
            num_equal += total(int((~differs).sum()))
            num_errors += played.metrics["verifier_errors"]
            metrics = metrics or played.metrics
            parts.append(rollout if config.num_resamples is None else rollout[differs])
            if total(sum(map(len, parts))) >= config.batch_size:
                break
        metrics = {**metrics, "verifier_errors": num_errors}
        metrics["equal_groups"] = num_equal / max(num_played, 1.0)
        rollout = Rollout.concatenate(parts, self.policy.pad)
        return rollout[: config.batch_size // num_ranks()].trim(), metrics, played.generator

    def _shape(self, rollout: Rollout, budget: int) -> Rollout:
        """The rollout with the punishment of overlong responses in its last rewards."""
        margin = self.config.overlong_margin
        if not margin:
            return rollout
        sizes = rollout.mask.sum(1)
        penalties = overlong_penalty(sizes, budget=budget, margin=margin)
        is_last = rollout.mask & (rollout.mask.cumsum(1) == sizes[:, None])
        return dataclasses.replace(rollout, rewards=rollout.rewards + penalties[:, None] * is_last)

    def _learn(self, batch: Minibatch, budget: int, generator: torch.Generator) -> dict[str, float]:
        """All epochs over an iteration's episodes; metrics are means over the optimizer steps."""
        steps = []
        for minibatch in self._minibatches(batch, generator):
            mask = minibatch.rollout.mask
            if count := total(int(mask.sum())):
                weights = token_weights(mask, self.config.normalization, budget=budget, add=summed)
                steps.append(self._update(minibatch._replace(weights=weights), count))
        return {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}

    def _minibatches(self, batch: Minibatch, generator: torch.Generator) -> Iterator[Minibatch]:
        """Equally many in all processes; some may be empty."""
        group = _groups(batch.rollout.problem, self.config.group_size)
        num_groups = int(group.max()) + 1 if len(group) else 0
        for _ in range(self.config.num_epochs):
            order = torch.randperm(num_groups, generator=generator).to(group.device)
            for part in order.tensor_split(self.config.num_minibatches):
                yield batch.select(torch.isin(group, part).nonzero()[:, 0])

    def _update(self, minibatch: Minibatch, count: float) -> dict[str, float]:
        """One optimizer step on a minibatch, in micro-batches that share one token count."""
        rollout = minibatch.rollout
        parts = micro_batches(rollout.lengths, self.config, groups=rollout.problem)
        losses = (self.loss(minibatch.select(rows), count=count) for rows in parts)
        return update(self.policy, self.optimizer, losses, max_grad_norm=self.config.max_grad_norm)

    def loss(self, minibatch: Minibatch, *, count: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Policy + kl_coef * KL - entropy_coef * entropy: weighted sums over tokens / count."""
        config, (rollout, advantages, reference, weights) = self.config, minibatch
        mask, shared = rollout.mask, {"weights": weights, "count": count}
        stats = self.policy(rollout.tokens, mask, sampling=config.sampling, legal=rollout.legal)
        given = (stats.log_probs, rollout.log_probs, advantages.expand_as(mask), mask)
        high = config.clip_param if config.clip_param_high is None else config.clip_param_high
        clipping = {"clip_param_high": high, "ratio": config.ratio}
        if config.loss == "cispo":
            loss, metrics = cispo_loss(*given, **clipping, **shared)
        else:
            clipping["clip_param"] = config.clip_param
            loss, metrics = clipped_surrogate_loss(*given, **clipping, **shared)
        disorder, entropy_metrics = entropy_loss(stats.entropies, mask, **shared)
        if config.entropy_coef:  # else it is only looked at: no backward pass over [tokens, V]
            loss = loss + config.entropy_coef * disorder
        if config.kl_coef:
            distance, _ = kl_loss(stats.log_probs, reference, mask, kind=config.kl, **shared)
            loss = loss + config.kl_coef * distance
        return loss, {**metrics, **entropy_metrics}


def _token_budget(envs: VectorEnv) -> int:
    """The most tokens that a response may have; of a foreign environment, that an episode may."""
    first = getattr(envs, "envs", [envs])[0].unwrapped
    return first.mdp.budget if hasattr(first, "mdp") else envs.single_observation_space.shape[0]


def _groups(problem: Tensor, size: int) -> Tensor:
    """[B] number of each row's group, of `size` rows at most that answer one problem.

    A problem that was played by several groups must not put them all in one minibatch, or a step
    would know few problems.
    """
    _, number, counts = problem.unique(return_inverse=True, return_counts=True)
    order = number.argsort(stable=True)
    place = torch.empty_like(number)  # of each row among those of its problem
    place[order] = torch.arange(len(number), device=number.device) - (
        (counts.cumsum(0) - counts).repeat_interleave(counts)
    )
    return (number * len(number) + place // size).unique(return_inverse=True)[1]
