"""Supervised fine-tuning on a task's reference answers: the warm-up before reinforcement learning.

Maximises log pi(reference answer, eos | prompt) and stops at a stated sampled success, because a
fixed number of steps does not give a fixed starting point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents.config import check_ranges
from agents.losses import policy_gradient_loss
from agents.models import Policy
from agents.rollout import as_vector_env, check_tokens, evaluate
from textgym.bank import ProblemBank
from textgym.vector import TokenVectorEnv


@dataclass
class SFTConfig:
    """What SFTTrainer reads."""

    learning_rate: float = 2e-3
    """Peak of AdamW's rate: linear warm-up, then a cosine to a tenth over `max_steps`."""
    batch_size: int = 128
    """Reference answers per step."""
    max_steps: int = 4000
    """Steps after which it stops in any case."""
    warmup_steps: int = 50
    """Steps over which the rate rises."""
    target_success: float | None = None
    """Stop once this sampled success on the validation split is reached (of a data set that has
    none: on the training split); None: never."""
    evaluate_every: int = 50
    """Steps between two looks at it."""
    evaluate_episodes: int = 256
    """Validation problems per look."""
    max_grad_norm: float = 1.0
    """The gradient's norm is cut to this."""
    seed: int = 0
    """Of the batches and the evaluation's sampling."""

    def validate(self) -> None:
        """Check each field's range.

        Raises:
            ValueError: naming the field, what it is and what was expected.
        """
        counts = dict.fromkeys(("batch_size", "evaluate_every", "evaluate_episodes"), 1)
        check_ranges(
            self,
            integers=counts | dict.fromkeys(("max_steps", "warmup_steps", "seed"), 0),
            positive=("learning_rate", "max_grad_norm"),
            unit=("target_success",),
            optional=("target_success",),
        )


class SFTTrainer:
    """Fits a policy to reference answers."""

    def __init__(self, config: SFTConfig, policy: Policy) -> None:
        config.validate()
        self.config, self.policy = config, policy
        self.optimizer = torch.optim.AdamW(
            policy.model.parameters(), lr=config.learning_rate, weight_decay=0.01, fused=True
        )

    def train(
        self,
        env: str | gymnasium.Env | VectorEnv,
        *,
        difficulties: Sequence[int] | None = None,
        report: Callable[[dict[str, float]], None] | None = None,
    ) -> float:
        """Train on the environment's problems; returns the last sampled validation success.

        Args:
            env: an id or a textgym environment.
            difficulties: positions of the levels to draw from, one draw each as often as it stands
                here (None: the environment's own level). Success is measured at the env's own.
            report: called at each evaluation with step, loss and success.

        Raises:
            ValueError: if the task has no reference answers or the tokenizers differ.
            FloatingPointError: if the loss is not finite; names the step.
        """
        config, policy = self.config, self.policy
        settings = {"tokenizer": policy.tokenizer} if isinstance(env, str) else {}
        envs = as_vector_env(env, 1, group_size=1, **settings)
        if not isinstance(envs, TokenVectorEnv):
            raise ValueError("supervised training needs a textgym environment: it knows references")
        check_tokens(policy, envs)
        bank, levels = envs.mdp.bank, np.array(difficulties or [envs.difficulty])
        validation, training = self._validation(envs), policy.training
        rng, success, losses = np.random.default_rng([config.seed, 0x5F7]), 0.0, []
        policy.train()
        for step in range(config.max_steps + 1):
            if step % config.evaluate_every == 0:
                ended = evaluate(
                    policy, validation, num_episodes=config.evaluate_episodes, seed=config.seed
                )
                success = float(ended.success.mean())
                if report is not None:
                    loss = float(np.mean(losses)) if losses else math.nan
                    report({"step": step, "loss": loss, "success": success})
                losses = []
                if config.target_success is not None and success >= config.target_success:
                    break
            if step < config.max_steps:
                numbers = rng.integers(bank.num_problems, size=config.batch_size)
                rows = rng.choice(levels, size=config.batch_size) * bank.num_problems + numbers
                losses.append(self._update(*reference_batch(bank, rows), step))
        policy.train(training)
        return success

    def _update(self, tokens: Tensor, mask: Tensor, step: int) -> float:
        """One step of AdamW on -mean log pi of the masked tokens [B, L]."""
        config = self.config
        rise = min(1.0, (step + 1) / max(config.warmup_steps, 1))
        fall = 0.55 + 0.45 * math.cos(math.pi * step / max(config.max_steps, 1))
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * rise * fall
        tokens, mask = tokens.to(self.policy.device), mask.to(self.policy.device)
        stats = self.policy(tokens, mask)
        # The likelihood's gradient is the policy gradient with every advantage 1.
        loss, _ = policy_gradient_loss(stats.log_probs, torch.ones_like(stats.log_probs), mask)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {step}: lower the learning rate"
            )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.model.parameters(), config.max_grad_norm)
        self.optimizer.step()
        return loss.item()

    def _validation(self, envs: TokenVectorEnv) -> TokenVectorEnv:
        """The same task on its validation split."""
        bank = envs.mdp.bank
        split = "validation" if bank.lists.has("validation") else "train"
        return TokenVectorEnv(
            envs.mdp.task,
            difficulty=envs.difficulty,
            tokenizer=self.policy.tokenizer,
            split="all" if bank.split == "all" else split,
            max_response_tokens=bank.max_response_tokens,
            max_prompt_tokens=bank.max_prompt_tokens,
        )


def reference_batch(bank: ProblemBank, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Prompts with their reference answers and eos: tokens [B, L] and the answers' mask [B, L].

    Raises:
        ValueError: if a problem has no reference answer.
    """
    bank.ensure(rows)
    references = bank.references[rows]
    if (references[:, 0] < 0).any():
        raise ValueError(
            f"{type(bank.task).__name__} gives no reference answer for some problems, so there is "
            "nothing to imitate: start from a policy that can already do the task a little"
        )
    tokens, starts = bank.prompts[rows].astype(np.int64), bank.facts[rows, 0]
    is_eos = references == bank.vocabulary.eos
    lengths = np.where(is_eos.any(1), is_eos.argmax(1) + 1, references.shape[1])
    columns = np.arange(tokens.shape[1]) - starts[:, None]
    mask = (columns >= 0) & (columns < lengths[:, None])
    inside = np.arange(references.shape[1]) < lengths[:, None]
    tokens[mask] = references[inside]
    longest = int((starts + lengths).max())
    return torch.from_numpy(tokens[:, :longest].copy()), torch.from_numpy(mask[:, :longest].copy())
