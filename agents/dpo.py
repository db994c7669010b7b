"""Direct preference optimization and its family, to be read from top to bottom.

Rafailov et al. 2023. Given pairs of responses, a policy learns to prefer the chosen one: its log
ratio to the policy that it began as is the reward of a model of the preferences. No reward model,
no sampling. `train_online` instead samples two responses to each prompt and has the environment, or
a preference function, say which is better (Guo et al. 2024, "Direct language model alignment from
online AI feedback").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from agents.config import RolloutConfig, check_ranges, validated
from agents.course import Course
from agents.distributed import num_ranks, rank, sum_, total
from agents.losses import Metrics
from agents.metrics import METRICS
from agents.models import Policy, Reference, as_policy
from agents.online_pairs import pairs_of
from agents.optimization import adamw, micro_batches, update
from agents.play import play, reference_kl, slots
from agents.preference_data import (
    PreferenceSource,
    pairs_of_lists,
    read_preferences,
    tokenise_preferences,
)
from agents.preference_losses import (
    PairLogps,
    dpo_loss,
    hinge_loss,
    ipo_loss,
    length_normalised_dpo_loss,
    orpo_loss,
    robust_dpo_loss,
    simpo_loss,
)
from agents.text_data import TextData, TooLong, chat_render, context_of
from textgym.preferences import PreferenceFunction
from textgym.task import Preference
from textgym.tokenizer import Tokenizer

PairLoss = Callable[..., tuple[Tensor, Metrics]]
"""(pairs, *, count) -> (loss, metrics); see preference_losses."""

LossName = Literal["sigmoid", "robust", "ipo", "hinge", "sigmoid_norm", "simpo", "orpo"]

NEEDS_NO_REFERENCE = ("simpo", "orpo")
SMOOTHED = ("sigmoid", "robust", "sigmoid_norm")

ROUNDS_ONLINE = 50
"""Iterations of `train_online`, where the config does not say."""


@dataclass
class DPOConfig(RolloutConfig):
    """What DPOTrainer reads.

    The defaults suit the embedded tiny policy; a model of a billion parameters wants a
    learning_rate of 5e-7 to 5e-6. num_envs, sampling and action_masks are of `train_online`.
    """

    optional: ClassVar[tuple[str, ...]] = ("max_tokens", "num_iterations")
    group_size: ClassVar[int] = 2  # responses to a prompt that are played online

    learning_rate: float = 1e-3
    """Peak of AdamW's rate: linear rise, then linear fall to a tenth."""
    num_iterations: int | None = None
    """Optimizer steps on given pairs, or online rounds of playing and learning (None: num_epochs
    passes over the pairs, online 50 rounds)."""
    batch_size: int = 64
    """Pairs per optimizer step, at most; online: episodes per iteration, half as many pairs."""
    num_epochs: int = 1
    """Passes over the pairs, not read where num_iterations is given; online: over an iteration's
    pairs, one optimizer step each."""
    beta: float = 0.1
    """Weight of staying close to the reference (Rafailov et al. 2023, eq. 3); orpo: lambda."""
    loss: LossName = "sigmoid"
    """Which of the losses in agents.preference_losses: DPO (sigmoid), robust DPO, IPO, SLiC's
    hinge, length-normalised DPO, SimPO or ORPO."""
    label_smoothing: float = 0.0
    """Share of labels taken to be wrong: cDPO with sigmoid and sigmoid_norm, or robust."""
    margin: float = 0.5
    """Gamma of SimPO, by which the chosen reward shall be higher."""
    precompute_reference: bool = True
    """Compute the reference's log-probabilities of given pairs once, before the first step; else in
    each step, with the adapter off or by a frozen copy."""
    validation_share: float = 0.0
    """Share of given pairs, whole prompts, on which accuracy and margin are measured instead."""
    evaluate_every: int = 10
    """Iterations between two measurements on the pairs held out."""

    def validate(self) -> None:
        """Check each field's range.

        Raises:
            ValueError: naming the field, what it is and what was expected.
        """
        super().validate()
        check_ranges(
            self,
            integers={"num_epochs": 1, "evaluate_every": 1},
            positive=("beta",),
            non_negative=("margin",),
            unit=("validation_share", "label_smoothing"),
        )
        if self.loss not in LossName.__args__:
            raise ValueError(f"loss is {self.loss!r}, expected one of {list(LossName.__args__)}")
        if self.label_smoothing >= 0.5 or (self.label_smoothing and self.loss not in SMOOTHED):
            raise ValueError(
                f"label_smoothing is {self.label_smoothing} with loss {self.loss!r}, expected less "
                f"than 0.5, and 0 unless the loss is one of {list(SMOOTHED)}"
            )
        if self.validation_share == 1:
            raise ValueError("validation_share is 1, expected less: nothing is left to train on")

    def loss_function(self) -> PairLoss:
        """The loss with its constants."""
        smoothing = {"label_smoothing": self.label_smoothing}
        return {
            "sigmoid": partial(dpo_loss, beta=self.beta, **smoothing),
            "robust": partial(robust_dpo_loss, beta=self.beta, **smoothing),
            "ipo": partial(ipo_loss, beta=self.beta),
            "hinge": partial(hinge_loss, beta=self.beta),
            "sigmoid_norm": partial(length_normalised_dpo_loss, beta=self.beta, **smoothing),
            "simpo": partial(simpo_loss, beta=self.beta, margin=self.margin),
            "orpo": partial(orpo_loss, beta=self.beta),
        }[self.loss]


class DPOTrainer:
    """Trains a policy on preferences.

    Example:
        >>> trainer = DPOTrainer(DPOConfig(beta=0.1), load_policy("tiny"))  # doctest: +SKIP
        >>> trainer.train_on_preferences(prompts, chosen, rejected)  # doctest: +SKIP

    Args:
        config: the algorithm's constants.
        model: a Policy, or a causal language model. Changed in place; as it is now, it is the
            reference.
        tokenizer: the model's; needed if `model` is no Policy.
        loss: a function (pairs, *, count) -> (loss, metrics) in place of the config's; see
            preference_losses. Of its metrics, those that `metrics.METRICS` lacks become loss/NAME.
        folder: where metrics, checkpoints and the learning curve go; None: nowhere.
        show: whether to show progress.

    Attributes:
        data: the pairs that it is trained on, as tokens; `data.report` tells what was left out.
    """

    def __init__(
        self,
        config: DPOConfig,
        model: Policy | nn.Module,
        tokenizer: Tokenizer | None = None,
        *,
        loss: PairLoss | None = None,
        folder: str | Path | None = None,
        show: bool = True,
    ) -> None:
        self.config, self.policy = validated(config, DPOConfig), as_policy(model, tokenizer)
        self.loss = config.loss_function() if loss is None else _named(loss)
        self.needs_reference = loss is not None or config.loss not in NEEDS_NO_REFERENCE
        self.reference: Reference | None = None
        if self.needs_reference and not config.precompute_reference:
            self.reference = self.policy.reference()
        self.optimizer = adamw(self.policy, config.learning_rate)
        lasting = config.lasting(ROUNDS_ONLINE)
        self.course = Course(lasting, self.policy, self.optimizer, folder=folder, show=show)
        self.data: TextData | None = None

    def train_on_preferences(
        self,
        prompts: Sequence[str],
        chosen: Sequence[str],
        rejected: Sequence[str],
        *,
        max_length: int | None = None,
        too_long: TooLong = "drop",
    ) -> nn.Module:
        """Train on three lists of texts; returns the trained model (without the value head).

        Args:
            prompts: N texts, each with
            chosen: the response that was preferred, and
            rejected: the one that was not.
            max_length: most tokens of prompt and response (None: the model's context).
            too_long: what becomes of longer pairs; see `text_data.tokenise`, also for the pairs
                from which nothing can be learned.

        Raises:
            TypeError, ValueError: for lists that are no data; as `train` does.
            FileExistsError, FloatingPointError, KeyboardInterrupt: see `Course`.
        """
        pairs = pairs_of_lists(prompts, chosen, rejected)
        return self._train(pairs, max_length, too_long)

    def train(
        self,
        data: PreferenceSource,
        *,
        num_pairs: int = 2048,
        max_length: int | None = None,
        too_long: TooLong = "drop",
        **kwargs: Any,
    ) -> nn.Module:
        """The same on pairs from anywhere: records, a file, an environment or its id.

        A file's prompts of messages are written by the tokenizer's chat template, if it has one.

        Args:
            data: see `preference_data.PreferenceSource`.
            num_pairs: how many to draw from an environment.
            max_length: as above.
            too_long: likewise.
            **kwargs: for an id as in `gym.make`; for a file as in `textgym.load_preferences`.
        """
        kwargs = {"render": chat_render(self.policy.tokenizer), **kwargs}
        pairs = read_preferences(data, num_pairs=num_pairs, seed=self.config.seed, **kwargs)
        return self._train(pairs, max_length, too_long)

    def train_online(
        self,
        env: str | gymnasium.Env | VectorEnv,
        *,
        preference: PreferenceFunction | None = None,
        **kwargs: Any,
    ) -> nn.Module:
        """Learn from pairs of the policy's own responses.

        Args:
            env: an id, an environment or a vector environment: where responses are sampled, two to
                each prompt. The one with the higher return is chosen; ties teach nothing.
            preference: a preference function that labels the pairs instead; see
                `textgym.preferences`. The label is drawn with its probability.
            **kwargs: for an id, as in `gym.make`.
        """
        if self.needs_reference and self.reference is None:
            self.reference = self.policy.reference()
        envs = slots(env, self.policy, self.config, **kwargs)
        self.course.follow(envs)
        self.course.run(lambda: self.step_online(envs, preference))
        return self.policy.model

    def load_checkpoint(self) -> None:
        """Go on where the run folder's checkpoint stands (see `Course.load_checkpoint`)."""
        reference = self.reference
        if self.needs_reference and reference is None:
            reference = self.policy.reference()  # before the policy takes on what it has learned
        self.course.load_checkpoint()
        if "reference_logps" not in self.course.state:
            self.reference = reference

    # --------------------------------------------------------------- given pairs

    def _train(
        self, pairs: Sequence[Preference], max_length: int | None, too_long: TooLong
    ) -> nn.Module:
        config = self.config
        self.data = tokenise_preferences(
            pairs,
            self.policy.tokenizer,
            max_length=context_of(self.policy.model) if max_length is None else max_length,
            too_long=too_long,
        )
        rows, held_out = self.data.hold_out(config.validation_share, config.seed)
        steps = -(-len(rows) // config.batch_size)  # per epoch
        self.course.config = config.lasting(config.num_epochs * steps)
        if self.needs_reference and self.reference is None:
            first_epoch = [self._batch(rows, steps, number) for number in range(steps)]
            self._prepare_reference([*first_epoch, held_out])
        self.course.run(
            lambda: self.step(self._batch(rows, steps, self.course.iteration), held_out)
        )
        return self.policy.model

    def _batch(self, rows: list[int], steps: int, iteration: int) -> list[int]:
        """The pairs of an iteration: a function of (seed, iteration), every pair once an epoch."""
        epoch, number = divmod(iteration, steps)
        rng = np.random.Generator(np.random.PCG64([self.config.seed, epoch]))
        return np.array_split(rng.permutation(rows), steps)[number].tolist()

    def step(self, rows: Sequence[int], held_out: Sequence[int] = ()) -> dict[str, float]:
        """One optimizer step on these pairs of `data`; returns its metrics.

        Args:
            rows: their numbers.
            held_out: pairs on which accuracy and margin are measured, now and then.
        """
        return self.course.step(lambda: self._learn(rows, held_out))

    def _learn(self, rows: Sequence[int], held_out: Sequence[int]) -> dict[str, float]:
        # In eval mode: dropout would be taken for a difference between policy and reference.
        self.policy.eval()
        config, course = self.config, self.course
        losses = (
            self.loss(self._pair_logps(part), count=len(rows)) for part in self._micro_batches(rows)
        )
        metrics = update(self.policy, self.optimizer, losses, max_grad_norm=config.max_grad_norm)
        course.num_episodes += len(rows)
        course.num_tokens += self.data.num_tokens(rows)
        is_last = course.iteration + 1 == course.config.num_iterations
        if held_out and (is_last or (course.iteration + 1) % config.evaluate_every == 0):
            metrics |= self._validate(held_out)
        return metrics

    @torch.no_grad()
    def _validate(self, held_out: Sequence[int]) -> dict[str, float]:
        """Accuracy and margin of the implicit reward on pairs that are not trained on."""
        totals = torch.zeros(2, dtype=torch.float64)
        for part in self._micro_batches(held_out):
            # The config's loss: one of the user's own may have other metrics.
            measure = self.config.loss_function()
            _, metrics = measure(self._pair_logps(part), count=len(held_out))
            names = ("preference_accuracy", "reward_margin")
            totals += torch.stack([metrics[name].double().cpu() for name in names])
        sum_([totals])
        accuracy, margin = totals.tolist()
        return {"validation_accuracy": accuracy, "validation_margin": margin}

    def _micro_batches(self, rows: Sequence[int]) -> Iterator[list[int]]:
        """This process's share of the pairs, in parts that fit in memory."""
        own = list(rows[rank() :: num_ranks()])
        # A pair is two rows of the model's batch, which max_tokens is about.
        for part in micro_batches(2 * self.data.lengths(own), self.config):
            yield [own[i] for i in part.tolist()]

    def _pair_logps(self, rows: list[int]) -> PairLogps:
        tokens, mask = (x.to(self.policy.device) for x in self.data.batch(rows))
        reference = None
        if self.reference is not None:
            with torch.no_grad():
                reference = _logps(self.reference, tokens, mask).view(-1, 2)
        elif self.needs_reference:
            reference = self.course.state["reference_logps"][rows].to(tokens.device)
        return _pairs(_logps(self.policy, tokens, mask), mask, reference)

    @torch.no_grad()
    def _prepare_reference(self, batches: Sequence[Sequence[int]]) -> None:
        """The reference's log π of all pairs: of the policy as it is before the first step.

        In the very micro-batches of the first epoch, so that the policy's margins are exactly 0
        there and not only up to the order of floating-point sums.
        """
        state, digest = self.course.state, self.data.digest()
        if state.get("data", None if self.course.iteration else digest) != digest:
            raise ValueError("these are not the pairs that the run began with: its own go on")
        if "reference_logps" not in state:
            self.policy.eval()
            logps = torch.zeros((len(self.data), 2))
            for rows in batches:
                for part in self._micro_batches(rows):
                    tokens, mask = (x.to(self.policy.device) for x in self.data.batch(part))
                    logps[part] = _logps(self.policy, tokens, mask).view(-1, 2).cpu()
            sum_([logps])
            state |= {"reference_logps": logps, "data": digest}  # kept with checkpoints

    # -------------------------------------------------------------------- online

    def step_online(
        self, envs: VectorEnv, preference: PreferenceFunction | None = None
    ) -> dict[str, float]:
        """Play two responses to each prompt, have them compared, learn; returns the metrics."""
        return self.course.step(lambda: self._iterate(envs, preference))

    def _iterate(self, envs: VectorEnv, preference: PreferenceFunction | None) -> dict[str, float]:
        config = self.config
        played = play(self.policy, envs, config, self.course)
        chosen, rejected = pairs_of(
            played.rollout, self.policy.tokenizer, preference, played.generator
        )
        metrics = {**played.metrics, "pairs": total(len(chosen))}
        if not metrics["pairs"]:  # of all processes: they learn together or not at all
            return metrics
        # [chosen 0, rejected 0, chosen 1, ...]: a pair's prompt is computed once.
        rollout = played.rollout[torch.stack([chosen, rejected], dim=1).flatten()]
        reference = None
        if self.reference is not None:
            log_probs, metrics["kl"] = reference_kl(self.reference, rollout, config, needed=True)
            reference = (log_probs * rollout.mask).sum(1).view(-1, 2)
        count = metrics["pairs"]

        def losses() -> Iterator[tuple[Tensor, Metrics]]:
            lengths = rollout.lengths.view(-1, 2).amax(1)
            for part in micro_batches(2 * lengths, config):
                rows = torch.stack([2 * part, 2 * part + 1], dim=1).flatten()
                micro = rollout[rows].trim()
                how = {"sampling": config.sampling, "legal": micro.legal}
                logps = _logps(self.policy, micro.tokens, micro.mask, **how)
                yield self.loss(
                    _pairs(logps, micro.mask, None if reference is None else reference[part]),
                    count=count,
                )

        for _ in range(config.num_epochs):
            learned = update(
                self.policy, self.optimizer, losses(), max_grad_norm=config.max_grad_norm
            )
        return {**metrics, **learned}


def _named(loss: PairLoss) -> PairLoss:
    """A loss of the user's own, whose metrics are called loss/NAME but where METRICS has NAME."""

    def call(pairs: PairLogps, *, count: int) -> tuple[Tensor, Metrics]:
        result = loss(pairs, count=count)
        match result:
            case (value, dict(metrics)):
                return value, {n if n in METRICS else f"loss/{n}": x for n, x in metrics.items()}
        return result  # `update` tells what is wrong with it

    return call


def _logps(policy: Policy | Reference, tokens: Tensor, mask: Tensor, **how: Any) -> Tensor:
    """[B] log π of each row's masked tokens."""
    return policy(tokens, mask, **how).log_probs.sum(1)  # 0 where mask is False


def _pairs(logps: Tensor, mask: Tensor, reference: Tensor | None) -> PairLogps:
    """From rows [chosen 0, rejected 0, chosen 1, ...] and the reference's [n, 2]."""
    lengths = mask.sum(1)
    chosen, rejected = (None, None) if reference is None else reference.unbind(1)
    return PairLogps(logps[0::2], logps[1::2], lengths[0::2], lengths[1::2], chosen, rejected)
