"""Several reward models of one kind of response: their mean, and where they disagree."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from agents.reward_model import LearnedReward, RewardModel


class RewardEnsemble:
    """Reward models that differ in seed or data, and whose disagreement is uncertainty.

    Coste et al. 2023, "Reward Model Ensembles Help Mitigate Overoptimization".

    Example:
        >>> models = [RewardModel("tiny", seed=seed) for seed in range(3)]
        >>> ensemble = RewardEnsemble(models, ["2+3=", "1+1="], ["5", "3"])
        >>> mean, std = ensemble.mean_and_std(["2+3="], ["5"])

    Args:
        models: at least two.
        prompts: of responses on which every model's scores are shifted to the mean 0. A score has
            no zero of its own, so without it the models would disagree about nothing that means
            anything.
        responses: to these prompts; those that the models were trained on will do.

    Raises:
        ValueError: if there are fewer than two models, or no responses.
    """

    def __init__(
        self, models: Sequence[RewardModel], prompts: Sequence[str], responses: Sequence[str]
    ) -> None:
        if len(models) < 2:
            raise ValueError(f"there are {len(models)} models, expected at least two")
        if not prompts:
            raise ValueError("prompts is empty, expected responses to compare the models on")
        self.models = list(models)
        self.shifts = torch.stack([m.score(prompts, responses).mean() for m in models])

    def scores(self, prompts: Sequence[str], responses: Sequence[str]) -> Tensor:
        """Shifted scores [M, B] of each model."""
        found = torch.stack([model.score(prompts, responses) for model in self.models])
        return found - self.shifts[:, None]

    def mean_and_std(
        self, prompts: Sequence[str], responses: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Mean [B] over models, and standard deviation [B] (of a sample: M - 1)."""
        scores = self.scores(prompts, responses)
        return scores.mean(0), scores.std(0)

    def as_reward_fn(self, *, caution: float = 1.0) -> LearnedReward:
        """The mean less `caution` standard deviations: what the models doubt pays less."""

        def conservative(prompts: list[str], responses: list[str]) -> Tensor:
            mean, std = self.mean_and_std(prompts, responses)
            return mean - caution * std

        return LearnedReward(conservative)
