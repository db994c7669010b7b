"""Trains reward models: on pairs by Bradley and Terry's model, or on scores by regression."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.calibration import PairQuality, pair_quality
from agents.config import TrainingConfig, check_ranges, validated
from agents.course import Course
from agents.distributed import num_ranks, rank, total
from agents.losses import Metrics
from agents.optimization import adamw, micro_batches, update
from agents.preference_data import PreferenceSource, read_preferences
from agents.reward_backbone import Texts
from agents.reward_losses import bradley_terry_loss, reward_regression_loss
from agents.reward_model import RewardModel
from agents.reward_variants import MultiObjectiveRewardModel, PairwiseRewardModel
from agents.text_data import DataReport, chat_render, check_columns
from textgym.task import Preference

Losses = Callable[[Tensor], Iterator[tuple[Tensor, Metrics]]]
"""Rows [n] of an optimizer step -> (loss, metrics) of each of its micro-batches."""


@dataclass
class RewardModelConfig(TrainingConfig):
    """What RewardModelTrainer reads."""

    learning_rate: float = 1e-3
    """Peak of AdamW's rate: linear rise, then linear fall to a tenth."""
    num_iterations: int = 150
    """Optimizer steps; the data are gone through as often as needed, each time in a new order."""
    batch_size: int = 32
    """Pairs (responses, where scores are given) per step, of all processes together."""
    weight_decay: float = 0.0
    """AdamW's: by this times the learning rate weights shrink in a step."""
    label_smoothing: float = 0.0
    """Share of labels taken to be wrong, below a half."""
    tie_threshold: float = 0.5
    """Half the width of the band of ties, in log-odds (Rao & Kupper 1967); read where ties are."""
    centering_coef: float = 0.01
    """Weight of E[(r_chosen + r_rejected)²], which keeps scores around 0 (Eisenstein 2023)."""
    num_pairs: int = 4096
    """Pairs to draw from an environment."""
    evaluate_every: int = 25
    """Iterations between two looks at the held-out pairs, if there are any."""

    def validate(self) -> None:
        """Check each field's range.

        Raises:
            ValueError: naming the field, what it is and what was expected.
        """
        super().validate()
        check_ranges(
            self,
            integers={"num_pairs": 1, "evaluate_every": 1},
            non_negative=("weight_decay", "tie_threshold", "centering_coef"),
            unit=("label_smoothing",),
        )
        if self.label_smoothing >= 0.5:
            raise ValueError(
                f"label_smoothing is {self.label_smoothing}, expected less than 0.5: from there on "
                "the labels say nothing, or the opposite"
            )


class RewardModelTrainer:
    """Fits a reward model.

    Example:
        >>> trainer = RewardModelTrainer(RewardModelConfig(num_iterations=1), show=False)
        >>> model = trainer.train_on_preferences(["2+3="], ["5"], ["6"])

    Args:
        config: the training's constants.
        model: a reward model of any kind; None: a new RewardModel of the embedded policy.
        folder: where metrics, checkpoints and the learning curve go; None: nowhere.
        show: whether to show progress.

    Attributes:
        model: what is trained.
        course: counters and checkpoints.
        report: what became of the rows of data.
    """

    def __init__(
        self,
        config: RewardModelConfig,
        model: RewardModel | None = None,
        *,
        folder: str | Path | None = None,
        show: bool = True,
    ) -> None:
        self.config = validated(config, RewardModelConfig)
        self.model = RewardModel("tiny", seed=config.seed) if model is None else model
        self.optimizer = adamw(self.model, config.learning_rate, weight_decay=config.weight_decay)
        self.course = Course(config, self.model, self.optimizer, folder=folder, show=show)
        self.report = DataReport()

    # ------------------------------------------------------------ preferences

    def train(
        self,
        data: PreferenceSource,
        *,
        validation: Sequence[Preference] | None = None,
        **kwargs: Any,
    ) -> RewardModel:
        """Train on Preferences, a file of pairs, or those of an environment (`num_pairs` of them).

        A file's prompts of messages are written by the tokenizer's chat template, if it has one.

        Args:
            data: see `read_preferences`.
            validation: pairs that are looked at on the way.
            **kwargs: of an environment's id as in `gym.make`; of a file as in `load_preferences`.

        Raises:
            As `read_preferences` and `train_on_preferences` do.
        """
        config = self.config
        kwargs = {"render": chat_render(self.model.tokenizer), **kwargs}
        pairs = read_preferences(data, num_pairs=config.num_pairs, seed=config.seed, **kwargs)
        columns = zip(*((pair.prompt, pair.chosen, pair.rejected) for pair in pairs), strict=True)
        return self.train_on_preferences(*map(list, columns), validation=validation)

    def train_on_preferences(
        self,
        prompts: Sequence[str],
        chosen: Sequence[str],
        rejected: Sequence[str],
        *,
        margins: Sequence[float] | None = None,
        ties: Sequence[bool] | None = None,
        validation: Sequence[Preference] | None = None,
    ) -> RewardModel:
        """Train on pairs of responses; returns the model.

        Pairs whose texts are the same, or become so by being cut to what the model reads, say
        nothing; they are left out, with a warning.

        Args:
            prompts: N texts.
            chosen: the preferred responses.
            rejected: the others.
            margins: by how many log-odds each chosen response is to be ahead, at least 0.
            ties: which pairs are ties.
            validation: pairs that are looked at on the way.

        Raises:
            TypeError, ValueError: for columns of different lengths, of other things than texts, or
                without any pair that differs; for numbers out of their range.
            FloatingPointError: if the loss is not finite.
        """
        check_columns(prompts=prompts, chosen=chosen, rejected=rejected)
        firsts, seconds = self.model.encode_pairs(prompts, chosen, rejected)
        kept = [i for i in range(len(prompts)) if firsts.rows[i] != seconds.rows[i]]
        self._tell(DataReport(rows=len(prompts), kept=len(kept)), firsts, seconds)
        extra = {
            "margins": _column("margins", margins, len(prompts), low=0.0),
            "ties": _column("ties", ties, len(prompts), low=0.0),
        }
        if extra["ties"] is not None:
            extra["ties"] = extra["ties"] > 0
        extra = {name: x[kept] if x is not None else None for name, x in extra.items()}
        lengths = self._lengths(firsts[kept], seconds[kept])
        config, device = self.config, self.model.backbone.device

        def losses(rows: Tensor) -> Iterator[tuple[Tensor, Metrics]]:
            mine = rows[rank() :: num_ranks()]
            for part in filter(len, micro_batches(lengths[mine], config)):
                numbers = mine[part]
                places = [kept[i] for i in numbers.tolist()]
                scores = self.model.forward_pairs(firsts[places], seconds[places])
                self.course.num_tokens += scores.num_tokens
                yield bradley_terry_loss(
                    scores.chosen,
                    scores.rejected,
                    **{n: x if x is None else x[numbers].to(device) for n, x in extra.items()},
                    tie_threshold=0.0 if extra["ties"] is None else config.tie_threshold,
                    label_smoothing=config.label_smoothing,
                    centering_coef=config.centering_coef,
                    count=len(rows),
                )

        return self._run(len(kept), losses, validation)

    def _lengths(self, firsts: Texts, seconds: Texts) -> Tensor:
        """[N] of each pair, padding included: both are as long as the longer one."""
        return torch.tensor(
            [2 * max(len(a), len(b)) for a, b in zip(firsts.rows, seconds.rows, strict=True)]
        )

    def _tell(self, report: DataReport, firsts: Texts, seconds: Texts) -> None:
        report.identical = report.rows - report.kept
        report.cut = max(firsts.num_cut, seconds.num_cut)
        self.report = report
        if not report.kept:
            raise ValueError(
                f"{report}: expected at least one pair of responses that differ within "
                f"max_length={self.model.backbone.max_length} tokens"
            )
        if report.identical or report.cut:
            warnings.warn(str(report), stacklevel=3)

    # ------------------------------------------------------------ scores

    def train_on_scores(
        self, prompts: Sequence[str], responses: Sequence[str], scores: Any
    ) -> RewardModel:
        """Train by regression on given scores; returns the model.

        Args:
            prompts: N texts.
            responses: N texts.
            scores: [N] numbers or, for a MultiObjectiveRewardModel, [N, K] in the order of its
                objectives; NaN where nobody rated a response by an objective.

        Raises:
            TypeError, ValueError: for columns of different lengths or of other things than texts,
                scores of another shape, infinite ones, or a row without any.
            FloatingPointError: if the loss is not finite.
        """
        if isinstance(self.model, PairwiseRewardModel):
            raise TypeError("a PairwiseRewardModel has no scores: use train_on_preferences")
        check_columns(prompts=prompts, responses=responses)
        many = isinstance(self.model, MultiObjectiveRewardModel)
        targets = torch.as_tensor(np.asarray(scores, dtype=np.float32))
        expected = [len(prompts), self.model.num_outputs] if many else [len(prompts)]
        if list(targets.shape) != expected:
            raise ValueError(f"scores has shape {list(targets.shape)}, expected {expected}")
        known = ~targets.isnan()
        bad = targets.isinf() | (~known.any(1, keepdim=True) if many else ~known)
        if bad.any():
            place = bad.nonzero()[0].tolist()
            raise ValueError(f"scores{place} is {targets[tuple(place)]}, expected a finite number")
        texts = self.model.backbone.encode(prompts, responses)
        self.report = DataReport(rows=len(texts), kept=len(texts), cut=texts.num_cut)
        lengths = torch.tensor([len(row) for row in texts.rows])
        config, device = self.config, self.model.backbone.device

        def losses(rows: Tensor) -> Iterator[tuple[Tensor, Metrics]]:
            mine, count = rows[rank() :: num_ranks()], known[rows].sum().to(device)
            for part in filter(len, micro_batches(lengths[mine], config)):
                numbers = mine[part]
                chosen = texts[numbers.tolist()]
                predict = self.model.forward_components if many else self.model.forward_texts
                self.course.num_tokens += sum(map(len, chosen.rows))
                yield reward_regression_loss(
                    predict(chosen), targets[numbers].to(device), count=count
                )

        return self._run(len(texts), losses, None)

    # ------------------------------------------------------------ the course

    def load_checkpoint(self) -> None:
        """Go on where the run folder's checkpoint stands (see `Course.load_checkpoint`).

        `train...` on the same data then comes to the same result as without the interruption.
        """
        self.course.load_checkpoint()

    def _run(
        self, num_rows: int, losses: Losses, validation: Sequence[Preference] | None
    ) -> RewardModel:
        training = self.model.training
        self.model.train()
        try:
            self.course.run(lambda: self._step(num_rows, losses, validation))
        finally:
            self.model.train(training)
        return self.model

    def _step(
        self, num_rows: int, losses: Losses, validation: Sequence[Preference] | None
    ) -> dict[str, float]:
        """One iteration: the next rows, one optimizer step, and now and then a look."""
        config, iteration = self.config, self.course.iteration

        def learn() -> dict[str, float]:
            before = self.course.num_tokens
            rows = rows_of(num_rows, config.batch_size * iteration, config.batch_size, config.seed)
            metrics = update(
                self.model, self.optimizer, losses(rows), max_grad_norm=config.max_grad_norm
            )
            self.course.num_episodes += len(rows)
            # `losses` counted this process's own.
            self.course.num_tokens = before + int(total(self.course.num_tokens - before))
            return metrics

        metrics = self.course.step(learn)
        is_due = (iteration + 1) % config.evaluate_every == 0
        if validation and (is_due or iteration + 1 == config.num_iterations):
            quality = self.evaluate(validation)
            metrics["validation_accuracy"] = quality.accuracy
            metrics["validation_calibration_error"] = quality.calibration_error
        return metrics

    def evaluate(self, pairs: Sequence[Preference]) -> PairQuality:
        """Accuracy and calibration of the model on labelled pairs."""
        margins = self.model.margins(
            [pair.prompt for pair in pairs],
            [pair.chosen for pair in pairs],
            [pair.rejected for pair in pairs],
        )
        return pair_quality(margins.tolist())


def rows_of(num_rows: int, start: int, count: int, seed: int) -> Tensor:
    """Row numbers [count] int64: a stretch of the data gone through again and again.

    Every pass has all rows once, in an order that depends on seed and pass alone: a resumed run
    finds its place by counting.
    """
    found: list[np.ndarray] = []
    while count > 0:
        number, place = divmod(start, num_rows)
        order = np.random.default_rng([seed, number]).permutation(num_rows)
        found.append(order[place : place + count])
        start, count = start + len(found[-1]), count - len(found[-1])
    return torch.from_numpy(np.concatenate(found))


def _column(name: str, values: Sequence[float] | None, num: int, *, low: float) -> Tensor | None:
    """[N] float32 numbers that belong to rows, checked."""
    if values is None:
        return None
    column = torch.as_tensor(np.asarray(values, dtype=np.float32))
    if list(column.shape) != [num]:
        raise ValueError(f"{name} has shape {list(column.shape)}, expected {[num]}")
    bad = ~(column.isfinite() & (column >= low))
    if bad.any():
        place = int(bad.nonzero()[0])
        raise ValueError(f"{name}[{place}] is {column[place]}, expected at least {low}")
    return column
