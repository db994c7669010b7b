"""REINFORCE with a baseline from the batch, to be read from top to bottom.

Williams 1992; Sutton & Barto 2018, section 13.4. One iteration: play `batch_size` episodes;
subtract kl_coef * log(pi / pi_ref) from the rewards; take a single step on the log-probability of
each token, weighed by the return that followed it minus the mean of the other episodes' returns.
With a kl_coef and whiten_advantages this is REINFORCE++ (Hu 2025) without its clipping.

Without a value function nothing is bootstrapped: an episode that was cut off from outside counts
with the rewards it had.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from agents.advantages import batch_relative, discounted_returns, whiten
from agents.batch import Rollout
from agents.config import RolloutConfig, check_ranges, validated
from agents.course import Course
from agents.distributed import summed, total
from agents.losses import entropy_loss, policy_gradient_loss
from agents.models import Policy, as_policy
from agents.optimization import adamw, micro_batches, update
from agents.play import penalised, play, reference_kl, slots
from textgym.tokenizer import Tokenizer


@dataclass
class REINFORCEConfig(RolloutConfig):
    """What REINFORCETrainer reads.

    The defaults suit the embedded tiny policy; a model of a billion parameters wants a
    learning_rate of 1e-6 to 1e-5 and a kl_coef of 0.01 to 0.1.
    """

    learning_rate: float = 1e-3
    """Peak of AdamW's rate: linear rise, then linear fall to a tenth."""
    num_iterations: int = 600
    """Rounds of playing and learning, one optimizer step each."""
    batch_size: int = 128
    """Episodes per iteration, of all processes together."""
    kl_coef: float = 0.0
    """Weight of the penalty log(pi / pi_ref) per token, as part of the reward."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    gamma: float = 1.0
    """Discount per token."""
    whiten_advantages: bool = False
    """Scale an iteration's advantages to standard deviation 1."""

    def validate(self) -> None:
        """Check each field's range.

        Raises:
            ValueError: naming the field, what it is and what was expected.
        """
        super().validate()
        check_ranges(
            self,
            integers={},
            non_negative=("kl_coef", "entropy_coef"),
            unit=("gamma",),
            booleans=("whiten_advantages",),
        )


class REINFORCETrainer:
    """Trains a policy in an environment.

    Example:
        >>> policy = load_policy("tiny")
        >>> REINFORCETrainer(REINFORCEConfig(num_iterations=100), policy).train("TextMath-v0")
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
        config: REINFORCEConfig,
        model: Policy | nn.Module,
        tokenizer: Tokenizer | None = None,
        *,
        folder: str | Path | None = None,
        show: bool = True,
    ) -> None:
        self.config, self.policy = validated(config, REINFORCEConfig), as_policy(model, tokenizer)
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
        rollout = played.rollout
        if not len(rollout):
            return played.metrics
        advantages, kl = self._advantages(rollout)
        count = max(total(rollout.num_tokens), 1)
        parts = micro_batches(rollout.lengths, config, groups=rollout.problem)
        losses = (self.loss(rollout[rows], advantages[rows], count=count) for rows in parts)
        learned = update(self.policy, self.optimizer, losses, max_grad_norm=config.max_grad_norm)
        return {**played.metrics, "kl": kl, **learned}

    def _advantages(self, rollout: Rollout) -> tuple[Tensor, float]:
        """Advantages [B, L] and the KL to the reference."""
        config, mask = self.config, rollout.mask
        log_probs, kl = reference_kl(self.reference, rollout, config, needed=config.kl_coef > 0)
        if log_probs is not None:
            rollout = penalised(rollout, log_probs, config.kl_coef)
        nothing = torch.zeros_like(rollout.bootstrap)
        returns = discounted_returns(rollout.rewards, mask, gamma=config.gamma, bootstrap=nothing)
        advantages = batch_relative(returns, mask, add=summed)
        if config.whiten_advantages:
            advantages = whiten(advantages, mask, add=summed)
        return advantages, kl

    def loss(
        self, rollout: Rollout, advantages: Tensor, *, count: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Policy - entropy_coef * entropy: sums over tokens / count.

        Divided by the tokens of the batch, not by its episodes: a factor of the whole step, which
        changes nothing in the gradient's direction.
        """
        config, rollout = self.config, rollout.trim()
        mask, advantages = rollout.mask, advantages[:, : rollout.tokens.shape[1]]
        stats = self.policy(rollout.tokens, mask, sampling=config.sampling, legal=rollout.legal)
        loss, metrics = policy_gradient_loss(stats.log_probs, advantages, mask, count=count)
        disorder, entropy_metrics = entropy_loss(stats.entropies, mask, count=count)
        if config.entropy_coef:  # else it is only looked at: no backward pass over [tokens, V]
            loss = loss + config.entropy_coef * disorder
        return loss, {**metrics, **entropy_metrics}
