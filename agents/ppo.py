"""Proximal policy optimization for token environments, to be read from top to bottom.

Schulman et al. 2017, with a KL penalty to the initial policy as in Ziegler et al. 2019 and Ouyang
et al. 2022. One iteration: play `batch_size` episodes; subtract kl_coef * log(pi / pi_ref) from the
rewards; estimate advantages; take `num_epochs` passes of `num_minibatches` steps on the clipped
surrogate.
"""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from agents.batch import Rollout
from agents.buffer import Minibatch, PPOBuffer, split
from agents.checkpoint import FILE_NAME, load_checkpoint, save_checkpoint
from agents.config import check_ranges
from agents.environments import as_vector_env, curriculum_of
from agents.interrupt import held_back_interrupts
from agents.losses import clipped_surrogate_loss, entropy_loss, kl_estimate, value_loss
from agents.metrics import METRICS_FILE, MetricsLogger, plot_learning_curve
from agents.models import Policy
from agents.rollout import Episodes, collect
from textgym.bank import hash64
from textgym.curriculum import Curriculum
from textgym.tokenizer import Tokenizer

KL_PROBE = 64
"""Episodes per iteration on which the KL to the reference is measured if nothing depends on it."""

KL_GAIN, KL_COEF_FLOOR = 0.1, 1e-4
"""Of the controller that steers kl_coef: the paper's gain, and where it can begin to grow."""

STATE = (
    *("iteration", "kl_coef", "num_episodes", "num_tokens", "seconds", "cpu_seconds"),
    "curriculum_state",
)
"""What a checkpoint holds of a trainer besides weights and optimizer."""


@dataclass
class PPOConfig:
    """What PPOTrainer reads.

    The defaults suit the embedded tiny policy; a model of a billion parameters wants a
    learning_rate of 1e-6 to 1e-5 and a kl_coef of 0.01 to 0.1.
    """

    learning_rate: float = 5e-4
    """Peak of AdamW's rate: linear rise, then linear fall to a tenth."""
    num_iterations: int = 300
    """Rounds of playing and learning."""
    batch_size: int = 256
    """Episodes per iteration; with many distinct prompts advantages say more."""
    num_envs: int | None = None
    """Slots in which they are played (None: one per episode, the fastest)."""
    num_epochs: int = 1
    """Passes over an iteration's episodes."""
    num_minibatches: int = 4
    """Optimizer steps per pass."""
    gradient_accumulation_steps: int = 1
    """Micro-batches per optimizer step; changes memory, not results."""
    clip_param: float = 0.2
    """Epsilon of the clipped ratio (Schulman et al. 2017, eq. 7)."""
    value_clip_param: float | None = 0.2
    """Epsilon of the clipped value error (None: not clipped)."""
    value_coef: float = 0.5
    """Weight of the value loss."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    kl_coef: float = 0.0
    """Weight of the penalty log(pi / pi_ref) per token, as part of the reward."""
    kl_target: float | None = None
    """KL in nats per token to which kl_coef is steered (Ziegler et al. 2019, 2.2); None: fixed."""
    target_kl: float | None = None
    """End an iteration's learning once approx_kl exceeds 1.5 times this; None: never."""
    gamma: float = 1.0
    """Discount per token."""
    gae_lambda: float = 1.0
    """Lambda of generalised advantage estimation (Schulman et al. 2016)."""
    max_grad_norm: float = 1.0
    """The gradient's norm is cut to this."""
    warmup_iterations: int = 5
    """Iterations over which the rate rises."""
    temperature: float = 1.0
    """Of the sampling, and of the policy that is learned."""
    checkpoint_every: int = 25
    """Iterations between two checkpoints (0: only at the end)."""
    seed: int = 0
    """Of problems, sampling and minibatches."""

    def validate(self) -> None:
        """Check each field's range.

        Raises:
            ValueError: naming the field, what it is and what was expected.
        """
        counts = ("num_iterations", "batch_size", "num_epochs", "num_minibatches", "num_envs")
        integers = dict.fromkeys((*counts, "gradient_accumulation_steps"), 1)
        integers |= dict.fromkeys(("warmup_iterations", "checkpoint_every", "seed"), 0)
        limits = ("clip_param", "value_clip_param", "kl_target", "target_kl", "max_grad_norm")
        check_ranges(
            self,
            integers=integers,
            positive=("learning_rate", "temperature", *limits),
            non_negative=("value_coef", "entropy_coef", "kl_coef"),
            unit=("gamma", "gae_lambda"),
            optional=("num_envs", "value_clip_param", "kl_target", "target_kl"),
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
        config.validate()
        if not isinstance(model, Policy):
            if tokenizer is None:
                raise TypeError("PPOTrainer needs the model's tokenizer")
            model = Policy(model, tokenizer)
        self.config, self.policy = config, model
        self.folder = None if folder is None else Path(folder)
        self.show = show
        self.reference = model.frozen_copy()
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=0.0, fused=True
        )
        self.iteration = 0  # iterations done
        self.owns_folder = False  # what lies in the folder is this trainer's own
        self.kl_coef = config.kl_coef
        self.curriculum: Curriculum | None = None  # of the environment, if it is adaptive
        self.curriculum_state: dict[str, Any] | None = None  # what it goes on from
        self.num_episodes = self.num_tokens = 0
        self.seconds = self.cpu_seconds = 0.0  # spent in those iterations

    def train(self, env: str | gymnasium.Env | VectorEnv, **kwargs: Any) -> nn.Module:
        """Run the iterations that are left; returns the trained model (without the value head).

        Args:
            env: an id, an environment or a vector environment (see `rollout.as_vector_env`).
            **kwargs: for an id, as in `gym.make`.

        Raises:
            FileExistsError: if the folder holds another run.
            FloatingPointError: if a loss or the gradient is not finite; names it and the step. The
                last checkpoint is kept.
            KeyboardInterrupt: on Ctrl-C, after the iteration under way and a checkpoint.
        """
        config = self.config
        if isinstance(env, str):
            kwargs = {"tokenizer": self.policy.tokenizer, **kwargs}
        envs = as_vector_env(env, config.num_envs or config.batch_size, **kwargs)
        self._take_curriculum(envs)
        self._claim_folder()
        with self._logger() as log, held_back_interrupts() as interrupted:
            while self.iteration < config.num_iterations:
                metrics = self.step(envs)
                log(self.iteration, metrics)
                if interrupted():
                    self.save_checkpoint()
                    raise KeyboardInterrupt
                every, is_last = config.checkpoint_every, self.iteration == config.num_iterations
                if is_last or (every and self.iteration % every == 0):
                    self.save_checkpoint()
        if self.folder is not None:
            plot_learning_curve(self.folder)
        return self.policy.model

    def _take_curriculum(self, envs: VectorEnv) -> None:
        """An adaptive environment goes on where this trainer's checkpoint stands."""
        self.curriculum = curriculum_of(envs)
        if self.curriculum is not None and self.curriculum_state is not None:
            self.curriculum.load_state_dict(self.curriculum_state)
        self.curriculum_state = None

    # -------------------------------------------------------------- one iteration

    def step(self, envs: VectorEnv) -> dict[str, float]:
        """Play, then learn: one iteration; returns its metrics (see `metrics.METRICS`)."""
        config, start, cpu_start = self.config, time.perf_counter(), time.process_time()
        seeds, generator = self._randomness(envs.num_envs)
        self.policy.eval()  # dropout would make the ratio differ from 1 before the first update
        try:
            rollout, episodes = collect(
                self.policy,
                envs,
                config.batch_size,
                generator=generator,
                seed=seeds,
                temperature=config.temperature,
            )
        except FloatingPointError as error:
            raise FloatingPointError(f"iteration {self.iteration + 1}: {error}") from None
        rollout = rollout.graded().trim()
        used_kl_coef, kl, learned = self.kl_coef, math.nan, {}
        if len(rollout):
            penalised, kl = self._penalise(rollout)
            buffer = PPOBuffer(pad_token=self.policy.pad)
            buffer.store(penalised)
            buffer.finish(gamma=config.gamma, gae_lambda=config.gae_lambda)
            self._adapt_kl_coef(kl)
            learned = self._learn(buffer, generator)
        else:
            warnings.warn(
                f"iteration {self.iteration + 1}: no verdict on any of {config.batch_size} "
                f"episodes ({episodes.errors[0]}), so there is nothing to learn from",
                stacklevel=2,
            )
        curriculum = curriculum_of(envs)
        self.iteration += 1
        self.num_episodes += config.batch_size
        self.num_tokens += rollout.num_tokens
        seconds = time.perf_counter() - start
        self.seconds += seconds
        self.cpu_seconds += time.process_time() - cpu_start
        return {
            "episodes": self.num_episodes,
            "tokens": self.num_tokens,
            **_episode_metrics(rollout, episodes),
            **({} if curriculum is None else {"level": curriculum.level}),
            "kl": kl,
            **learned,
            "kl_coef": used_kl_coef,
            "seconds": seconds,
            "tokens_per_second": rollout.num_tokens / seconds,
        }

    def _randomness(self, num_envs: int) -> tuple[list[int], torch.Generator]:
        """Seeds of the slots' problems, and the source of sampling.

        Functions of (seed, iteration) alone, so that a resumed run needs no random state.
        """
        stream = hash64(np.array([self.config.seed], np.uint64), np.array([1], np.uint64))
        first = self.iteration * (num_envs + 1)
        draws = hash64(stream, np.arange(first, first + num_envs + 1).astype(np.uint64))
        *seeds, sampling = (draws >> np.uint64(1)).tolist()
        return seeds, torch.Generator().manual_seed(sampling)

    @torch.no_grad()
    def _penalise(self, rollout: Rollout) -> tuple[Rollout, float]:
        """The rollout with the KL penalty in its rewards, and the KL to the reference."""
        needed = self.kl_coef > 0 or self.config.kl_target is not None
        part = rollout if needed else rollout[:KL_PROBE]
        reference = self.reference(
            part.tokens, part.mask, temperature=self.config.temperature
        ).log_probs
        # k1: in the reward its gradient is right. The others' variance explodes with the distance.
        k1 = kl_estimate(part.log_probs, reference, kind="k1") * part.mask
        kl = k1.sum().item() / part.num_tokens
        if not needed:
            return rollout, kl
        return dataclasses.replace(rollout, rewards=rollout.rewards - self.kl_coef * k1), kl

    def _adapt_kl_coef(self, kl: float) -> None:
        """Ziegler et al. 2019, sec. 2.2: a proportional controller on the logarithm of kl_coef."""
        if self.config.kl_target is not None:
            error = min(max(kl / self.config.kl_target - 1.0, -0.2), 0.2)
            self.kl_coef = max(self.kl_coef, KL_COEF_FLOOR) * (1.0 + KL_GAIN * error)

    def _learn(self, buffer: PPOBuffer, generator: torch.Generator) -> dict[str, float]:
        """All epochs over the buffer; metrics are means over the optimizer steps."""
        self._set_learning_rate()
        steps: list[dict[str, float]] = []
        for minibatch in self._minibatches(buffer, generator):
            steps.append(self._update(minibatch))
            limit = self.config.target_kl
            if limit is not None and steps[-1]["approx_kl"] > 1.5 * limit:
                break
        metrics = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
        metrics["explained_variance"] = buffer.explained_variance()
        metrics["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        return metrics

    def _minibatches(self, buffer: PPOBuffer, generator: torch.Generator) -> Iterator[Minibatch]:
        num_minibatches = min(self.config.num_minibatches, len(buffer))  # few may have a verdict
        for _ in range(self.config.num_epochs):
            yield from buffer.minibatches(num_minibatches, generator)

    def _set_learning_rate(self) -> None:
        config = self.config
        rise = (self.iteration + 1) / (config.warmup_iterations + 1)
        fall = 1.0 - 0.9 * self.iteration / config.num_iterations
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * min(rise, 1.0) * fall

    def _update(self, minibatch: Minibatch) -> dict[str, float]:
        """One optimizer step on a minibatch, in micro-batches that share one token count."""
        self.optimizer.zero_grad(set_to_none=True)
        num_rows = len(minibatch.rollout)
        rows = -(-num_rows // self.config.gradient_accumulation_steps)
        totals: dict[str, Tensor] = {}
        parts = split(minibatch.rollout.lengths, max_rows=rows) if rows < num_rows else [None]
        for part in parts:
            micro = minibatch if part is None else minibatch.select(part)
            loss, metrics = self.loss(micro, count=minibatch.rollout.num_tokens)
            loss.backward()
            for name, value in metrics.items():
                totals[name] = totals.get(name, 0.0) + value
        totals["grad_norm"] = torch.nn.utils.clip_grad_norm_(
            self.policy.parameters(), self.config.max_grad_norm
        )
        numbers = {name: float(value) for name, value in totals.items()}
        self._check_finite(numbers)
        self.optimizer.step()
        return numbers

    def loss(self, minibatch: Minibatch, *, count: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Policy + value_coef * value - entropy_coef * entropy: sums over tokens / count."""
        config, (rollout, advantages, returns) = self.config, minibatch
        mask = rollout.mask
        stats = self.policy(rollout.tokens, mask, temperature=config.temperature)
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
        total = policy_loss + config.value_coef * regression
        if config.entropy_coef:  # else it is only looked at: no backward pass over [tokens, V]
            total = total + config.entropy_coef * disorder
        return total, {**metrics, **value_metrics, **entropy_metrics}

    def _check_finite(self, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"iteration {self.iteration + 1}: {name} is {value}; this step was not taken: "
                    "resume from the last checkpoint with a lower learning_rate"
                )

    # -------------------------------------------------------------- run folder

    def _claim_folder(self) -> None:
        """Refuse another run's folder, and make a new one resumable from the very start."""
        if self.folder is None or self.owns_folder:
            return
        if any((self.folder / name).exists() for name in (METRICS_FILE, FILE_NAME)):
            raise FileExistsError(
                f"{self.folder} holds a run: choose another folder, or go on with it by "
                "load_checkpoint()"
            )
        self.save_checkpoint()
        self.owns_folder = True

    @contextmanager
    def _logger(self) -> Iterator[Callable[[int, dict[str, float]], None]]:
        if self.folder is None:
            yield lambda iteration, metrics: None
            return
        with MetricsLogger(
            self.folder,
            num_iterations=self.config.num_iterations,
            start=self.iteration,
            show=self.show,
        ) as logger:
            yield logger.log

    def save_checkpoint(self) -> None:
        """Write everything that an exact resume needs to the run folder, if there is one."""
        if self.folder is not None:
            state = {name: getattr(self, name) for name in STATE}
            if self.curriculum is not None:
                state["curriculum_state"] = self.curriculum.state_dict()
            save_checkpoint(self.folder, model=self.policy, optimizer=self.optimizer, state=state)

    def load_checkpoint(self) -> None:
        """Go on where the run folder's checkpoint stands.

        The reference stays the one that this trainer was made with, so make it with the policy that
        the run began with.
        """
        if self.folder is None:
            raise ValueError("folder is None, expected the run folder that the checkpoint lies in")
        state = load_checkpoint(self.folder, model=self.policy, optimizer=self.optimizer)
        for name, value in state.items():
            setattr(self, name, value)
        self.owns_folder = True
        if self.config.kl_target is None:
            # A fixed coefficient is the config's, which may be another one for the rest of the run.
            self.kl_coef = self.config.kl_coef


def _episode_metrics(rollout: Rollout, episodes: Episodes) -> dict[str, float]:
    """Means over the episodes that have a verdict; NaN if none has."""
    is_graded, components = episodes.is_graded, episodes.components
    several = components if len(components) > 1 else {}
    reasons = [r for r, graded in zip(episodes.stop_reasons, is_graded, strict=True) if graded]

    def mean(values: np.ndarray) -> float:
        return float(values.mean()) if values.size else math.nan

    return {
        **{f"component/{name}": mean(values[is_graded]) for name, values in several.items()},
        "return_mean": mean(episodes.returns[is_graded]),
        "success": mean(episodes.success),
        "response_length": rollout.num_tokens / len(rollout) if reasons else math.nan,
        "stop_eos": mean(np.array([reason == "eos" for reason in reasons])),
        "stop_length": mean(np.array([reason == "length" for reason in reasons])),
        "verifier_errors": int((~is_graded).sum()),
    }
