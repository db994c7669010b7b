"""Advantage actor-critic for token environments, to be read from top to bottom.

Mnih et al. 2016, in its synchronous form: one iteration plays `batch_size` episodes, estimates
advantages against the value function and takes a single step on policy gradient, value regression
and entropy bonus together. The episodes are used once, so there is no ratio and nothing to clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from agents.batch import Rollout
from agents.buffer import Minibatch, PPOBuffer
from agents.config import RolloutConfig, check_ranges, validated
from agents.course import Course
from agents.distributed import total
from agents.losses import entropy_loss, policy_gradient_loss, value_loss
from agents.models import Policy, as_policy
from agents.optimization import adamw, micro_batches, update
from agents.play import penalised, play, reference_kl, slots
from textgym.tokenizer import Tokenizer


@dataclass
class A2CConfig(RolloutConfig):
    """What A2CTrainer reads.

    The defaults suit the embedded tiny policy; a model of a billion parameters wants a
    learning_rate of 1e-6 to 1e-5 and a kl_coef of 0.01 to 0.1.
    """

    learning_rate: float = 1e-3
    """Peak of AdamW's rate: linear rise, then linear fall to a tenth."""
    num_iterations: int = 600
    """Rounds of playing and learning, one optimizer step each."""
    batch_size: int = 128
    """Episodes per iteration, of all processes together."""
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
    """Weight of the penalty log(pi / pi_ref) per token, as part of the reward."""
    gamma: float = 1.0
    """Discount per token."""
    gae_lambda: float = 1.0
    """Lambda of generalised advantage estimation (Schulman et al. 2016); 1 is Mnih's n-step return
    to the end of the episode, 0 the one-step error."""
    whiten_advantages: bool = True
    """Shift and scale an iteration's advantages to mean 0 and standard deviation 1."""

    def validate(self) -> None:
        """Check each field's range.

        Raises:
            ValueError: naming the field, what it is and what was expected.
        """
        super().validate()
        check_ranges(
            self,
            integers={},
            positive=("value_learning_rate",),
            non_negative=("value_coef", "entropy_coef", "kl_coef"),
            unit=("gamma", "gae_lambda"),
            choices={"value": ("head", "separate")},
            booleans=("whiten_advantages",),
        )


class A2CTrainer:
    """Trains a policy in an environment.

    Example:
        >>> policy = load_policy("tiny")
        >>> A2CTrainer(A2CConfig(num_iterations=100), policy).train("TextMath-v0")  # doctest: +SKIP

    Args:
        config: the algorithm's constants.
        model: a Policy, or a causal language model, which gets a value head. Changed in place.
        tokenizer: the model's; needed if `model` is no Policy.
        folder: where metrics, checkpoints and the learning curve go; None: nowhere.
        show: whether to show progress.
    """

    def __init__(
        self,
        config: A2CConfig,
        model: Policy | nn.Module,
        tokenizer: Tokenizer | None = None,
        *,
        folder: str | Path | None = None,
        show: bool = True,
    ) -> None:
        self.config, self.policy = validated(config, A2CConfig), as_policy(model, tokenizer)
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

    def _iterate(self, envs: VectorEnv) -> dict[str, float]:
        played, config = play(self.policy, envs, self.config, self.course), self.config
        if not len(played.rollout):
            return played.metrics
        rollout, kl = self._prepare(played.rollout)
        buffer = PPOBuffer(pad_token=self.policy.pad)
        buffer.store(rollout)
        buffer.finish(
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            whiten_advantages=config.whiten_advantages,
        )
        [batch] = buffer.minibatches(1, played.generator)
        count = max(total(rollout.num_tokens), 1)
        parts = micro_batches(batch.rollout.lengths, config, groups=batch.rollout.problem)
        losses = (self.loss(batch.select(rows), count=count) for rows in parts)
        learned = update(self.policy, self.optimizer, losses, max_grad_norm=config.max_grad_norm)
        explained = {"explained_variance": buffer.explained_variance()}
        return {**played.metrics, "kl": kl, **learned, **explained}

    def _prepare(self, rollout: Rollout) -> tuple[Rollout, float]:
        """The rollout with its values and the KL penalty, and the KL to the reference."""
        config = self.config
        if self.policy.value_model is not None:  # which was not asked while they were played
            rollout = self.policy.revalue(rollout, max_tokens=config.max_tokens)
        needed = config.kl_coef > 0
        log_probs, kl = reference_kl(self.reference, rollout, config, needed=needed)
        if log_probs is not None:
            rollout = penalised(rollout, log_probs, config.kl_coef)
        return rollout, kl

    def loss(self, batch: Minibatch, *, count: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Policy + value_coef * value - entropy_coef * entropy: sums over tokens / count."""
        config, rollout, mask = self.config, batch.rollout, batch.rollout.mask
        stats = self.policy(rollout.tokens, mask, sampling=config.sampling, legal=rollout.legal)
        loss, metrics = policy_gradient_loss(stats.log_probs, batch.advantages, mask, count=count)
        regression, value_metrics = value_loss(stats.values, batch.returns, mask, count=count)
        disorder, entropy_metrics = entropy_loss(stats.entropies, mask, count=count)
        loss = loss + config.value_coef * regression
        if config.entropy_coef:  # else it is only looked at: no backward pass over [tokens, V]
            loss = loss + config.entropy_coef * disorder
        return loss, {**metrics, **value_metrics, **entropy_metrics}
