"""Proximal policy optimization for token environments, to be read from top to bottom.

Schulman et al. 2017, with a KL penalty to the initial policy as in Ziegler et al. 2019 and Ouyang
et al. 2022. One iteration: play `batch_size` episodes; subtract kl_coef * log(pi / pi_ref) from the
rewards (or add it to the loss); estimate advantages; take `num_epochs` passes of `num_minibatches`
steps on the clipped surrogate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from agents.batch import Rollout
from agents.buffer import Minibatch, PPOBuffer
from agents.config import RolloutConfig, check_ranges, validated
from agents.course import Course
from agents.distributed import least, total
from agents.losses import (
    MAX_LOG_RATIO,
    clipped_surrogate_loss,
    entropy_loss,
    kl_loss,
    value_loss,
)
from agents.models import Policy, as_policy
from agents.optimization import adamw, micro_batches, update
from agents.play import log_probs_of, penalised, play, reference_kl, slots
from textgym.tokenizer import Tokenizer

KL_GAIN, KL_COEF_FLOOR = 0.1, 1e-4
"""Of the controller that steers kl_coef: the paper's gain, and where it can begin to grow."""


@dataclass
class PPOConfig(RolloutConfig):
    """What PPOTrainer reads.

    The defaults suit the embedded tiny policy; a model of a billion parameters wants a
    learning_rate of 1e-6 to 1e-5 and a kl_coef of 0.01 to 0.1.
    """

    num_epochs: int = 1
    """Passes over an iteration's episodes."""
    num_minibatches: int = 4
    """Optimizer steps per pass."""
    clip_param: float = 0.2
    """Epsilon of the clipped ratio (Schulman et al. 2017, eq. 7)."""
    value_clip_param: float | None = 0.2
    """Epsilon of the clipped value error (None: not clipped)."""
    value: Literal["head", "separate"] = "head"
    """The value function: a linear head on the policy's last layer, whose gradient stops there, or
    a network of its own that begins as a copy of the model (a Policy that has one keeps it)."""
    value_learning_rate: float = 1e-3
    """The value head's AdamW rate: it reads features of length 1, and is to follow the returns
    however slowly a large policy moves (5e-3 made the tiny one learn more slowly)."""
    value_coef: float = 0.5
    """Weight of the value loss."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    kl_coef: float = 0.0
    """Weight of the KL penalty to the initial policy, per token."""
    kl: Literal["reward", "k2", "k3"] = "reward"
    """Where it goes: log(pi / pi_ref) into the reward, or an estimate of the KL, k2 or k3, into the
    loss (see agents.losses.kl_estimate)."""
    kl_target: float | None = None
    """KL in nats per token to which kl_coef is steered (Ziegler et al. 2019, 2.2); None: fixed."""
    target_kl: float | None = None
    """End an iteration's learning once approx_kl exceeds 1.5 times this; None: never."""
    gamma: float = 1.0
    """Discount per token."""
    gae_lambda: float = 1.0
    """Lambda of generalised advantage estimation (Schulman et al. 2016)."""
    level: Literal["token", "sequence"] = "token"
    """What an action is: each token, or the whole response, whose advantage is its return minus the
    value of the prompt (gamma and gae_lambda are not read then)."""
    value_iterations: int = 0
    """Iterations at the start in which the value function alone learns."""
    whiten_rewards: bool = False
    """Scale an iteration's rewards, penalty included, to standard deviation 1."""
    whiten_advantages: bool = True
    """Shift and scale an iteration's advantages to mean 0 and standard deviation 1."""
    max_importance_weight: float | None = None
    """Weigh each token by the learner's probability over the one that it was sampled with, up to
    this, where the two differ as with bfloat16 (truncated importance sampling, Espeholt et al.
    2018); costs a forward pass (None: they are taken to be the same)."""

    def validate(self) -> None:
        """Check each field's range.

        Raises:
            ValueError: naming the field, what it is and what was expected.
        """
        super().validate()
        limits = ("value_clip_param", "kl_target", "target_kl", "max_importance_weight")
        check_ranges(
            self,
            integers={"num_epochs": 1, "num_minibatches": 1, "value_iterations": 0},
            positive=("clip_param", "value_learning_rate", *limits),
            non_negative=("value_coef", "entropy_coef", "kl_coef"),
            unit=("gamma", "gae_lambda"),
            choices={
                "value": ("head", "separate"),
                "kl": ("reward", "k2", "k3"),
                "level": ("token", "sequence"),
            },
            booleans=("whiten_rewards", "whiten_advantages"),
            optional=limits,
        )
        if self.num_minibatches > self.batch_size:
            raise ValueError(
                f"num_minibatches is {self.num_minibatches}, expected at most batch_size, "
                f"{self.batch_size}"
            )


class PPOTrainer:
    """Trains a policy in an environment.

    Example:
        >>> policy = load_policy("tiny")
        >>> PPOTrainer(PPOConfig(num_iterations=100), policy).train("TextMath-v0")  # doctest: +SKIP

    Args:
        config: the algorithm's constants.
        model: a Policy, or a causal language model, which gets a value head. Changed in place.
        tokenizer: the model's; needed if `model` is no Policy.
        folder: where metrics, checkpoints and the learning curve go; None: nowhere.
        show: whether to show progress.
    """

    def __init__(
        self,
        config: PPOConfig,
        model: Policy | nn.Module,
        tokenizer: Tokenizer | None = None,
        *,
        folder: str | Path | None = None,
        show: bool = True,
    ) -> None:
        self.config, self.policy = validated(config, PPOConfig), as_policy(model, tokenizer)
        if config.value == "separate" and self.policy.value_model is None:
            self.policy.separate_values()
        self.reference = self.policy.reference()
        self.optimizer = adamw(
            self.policy, config.learning_rate, value_learning_rate=config.value_learning_rate
        )
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

    @property
    def kl_coef(self) -> float:
        """The KL penalty's present weight: the config's, unless it is steered to kl_target."""
        if self.config.kl_target is None:
            return self.config.kl_coef
        return self.course.state.get("kl_coef", self.config.kl_coef)

    def _iterate(self, envs: VectorEnv) -> dict[str, float]:
        played = play(self.policy, envs, self.config, self.course)
        if not len(played.rollout):
            return played.metrics
        buffer, metrics = self._prepare(played.rollout)
        metrics |= {**self._learn(buffer, played.generator), "kl_coef": self.kl_coef}
        self._adapt_kl_coef(metrics["kl"])
        return {**played.metrics, **metrics}

    def _prepare(self, rollout: Rollout) -> tuple[PPOBuffer, dict[str, float]]:
        """All that stays the same while an iteration's episodes are learned from."""
        config = self.config
        if self.policy.value_model is not None:  # which was not asked while they were played
            rollout = self.policy.revalue(rollout, max_tokens=config.max_tokens)
        rollout, weights, metrics = self._correct(rollout)
        needed = self.kl_coef > 0 or config.kl_target is not None
        reference, kl = reference_kl(self.reference, rollout, config, needed=needed)
        if needed and config.kl == "reward":
            rollout = penalised(rollout, reference, self.kl_coef)
        buffer = PPOBuffer(pad_token=self.policy.pad)
        buffer.store(rollout, reference)
        buffer.finish(
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            level=config.level,
            whiten_rewards=config.whiten_rewards,
            whiten_advantages=config.whiten_advantages,
            weights=weights,
        )
        return buffer, {"kl": kl, **metrics}

    def _correct(self, rollout: Rollout) -> tuple[Rollout, Tensor | None, dict[str, float]]:
        """The rollout with the learner's own log-probabilities, and each token's weight [B, L].

        Without max_importance_weight, the rollout as it is and no weights. With it the surrogate's
        ratio is exactly 1 before the first update, and E[min(pi_old / pi_sampler, C) ...] corrects
        for the sampler. Yao et al. 2025, "Your efficient RL framework secretly brings you
        off-policy RL training"; Espeholt et al. 2018, rho of eq. 1.
        """
        limit = self.config.max_importance_weight
        if limit is None:
            return rollout, None, {}
        log_probs = log_probs_of(self.policy, rollout, self.config)
        log_ratios = (log_probs - rollout.log_probs).clamp(max=MAX_LOG_RATIO)
        weights = log_ratios.exp().clamp(max=limit) * rollout.mask
        mean = total(weights.sum().item()) / max(total(rollout.num_tokens), 1)
        rollout = dataclasses.replace(rollout, log_probs=log_probs)
        return rollout, weights, {"importance_weight": mean}

    def _adapt_kl_coef(self, kl: float) -> None:
        """Ziegler et al. 2019, sec. 2.2: a proportional controller on the logarithm of kl_coef."""
        if self.config.kl_target is not None:
            error = min(max(kl / self.config.kl_target - 1.0, -0.2), 0.2)
            kl_coef = max(self.kl_coef, KL_COEF_FLOOR) * (1.0 + KL_GAIN * error)
            self.course.state["kl_coef"] = kl_coef

    def _learn(self, buffer: PPOBuffer, generator: torch.Generator) -> dict[str, float]:
        """All epochs over the buffer; metrics are means over the optimizer steps."""
        steps: list[dict[str, float]] = []
        for minibatch in self._minibatches(buffer, generator):
            steps.append(self._update(minibatch))
            limit = self.config.target_kl
            if limit is not None and steps[-1]["approx_kl"] > 1.5 * limit:
                break
        metrics = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
        return {**metrics, "explained_variance": buffer.explained_variance()}

    def _minibatches(self, buffer: PPOBuffer, generator: torch.Generator) -> Iterator[Minibatch]:
        # Few episodes may have a verdict; all processes take equally many steps.
        num_minibatches = least(min(self.config.num_minibatches, len(buffer)))
        for _ in range(self.config.num_epochs):
            yield from buffer.minibatches(num_minibatches, generator)

    def _update(self, minibatch: Minibatch) -> dict[str, float]:
        """One optimizer step on a minibatch, in micro-batches that share one token count."""
        rollout = minibatch.rollout
        count = max(total(rollout.num_tokens), 1)  # nothing to learn costs 0, not 0 / 0
        parts = micro_batches(rollout.lengths, self.config, groups=rollout.problem)
        losses = (self.loss(minibatch.select(rows), count=count) for rows in parts)
        return update(self.policy, self.optimizer, losses, max_grad_norm=self.config.max_grad_norm)

    def loss(self, minibatch: Minibatch, *, count: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Policy + value_coef * value - entropy_coef * entropy: sums over tokens / count."""
        config, (rollout, advantages, returns, reference) = self.config, minibatch
        mask = rollout.mask
        stats = self.policy(rollout.tokens, mask, sampling=config.sampling, legal=rollout.legal)
        policy_loss, metrics = clipped_surrogate_loss(
            stats.log_probs,
            rollout.log_probs,
            advantages,
            mask,
            clip_param=config.clip_param,
            count=count,
        )
        clipping = (
            {}
            if config.value_clip_param is None
            else {"old_values": rollout.values, "clip_param": config.value_clip_param}
        )
        regression, value_metrics = value_loss(stats.values, returns, mask, **clipping, count=count)
        disorder, entropy_metrics = entropy_loss(stats.entropies, mask, count=count)
        metrics |= {**value_metrics, **entropy_metrics}
        loss = config.value_coef * regression
        if self.course.iteration < config.value_iterations:
            return loss, metrics
        loss = loss + policy_loss
        if config.entropy_coef:  # else it is only looked at: no backward pass over [tokens, V]
            loss = loss + config.entropy_coef * disorder
        if config.kl != "reward" and self.kl_coef:
            distance, _ = kl_loss(stats.log_probs, reference, mask, kind=config.kl, count=count)
            loss = loss + self.kl_coef * distance
        return loss, metrics
