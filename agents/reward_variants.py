"""Reward models of several objectives, and those that read both responses of a pair at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from agents.reward_backbone import Source, Texts
from agents.reward_heads import Gate
from agents.reward_model import LearnedReward, PairScores, RewardModel
from textgym.rewards import batched


class MultiObjectiveRewardModel(RewardModel):
    """Several rewards of a response by one trunk, and their weighted sum.

    Example:
        >>> model = MultiObjectiveRewardModel("tiny", objectives={"helpful": 0.7, "short": 0.3})
        >>> model.components(["Hi"], ["Hello."]).shape
        torch.Size([1, 2])

    Args:
        source: as in `RewardModel`.
        tokenizer: likewise.
        objectives: name -> weight of each component.
        gating: whether the weights are learned and depend on the prompt (Wang et al. 2024, ArmoRM);
            they begin at the given ones, scaled to sum to 1. Needs a causal model.
        **settings: as in `RewardModel`.

    Raises:
        ValueError: if there are no objectives, or weights to gate by are negative or all 0.
    """

    def __init__(
        self,
        source: Source = "tiny",
        tokenizer: Any = None,
        *,
        objectives: Mapping[str, float],
        gating: bool = False,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        if not objectives:
            raise ValueError("objectives is empty, expected at least one name and its weight")
        self.objectives = {name: float(weight) for name, weight in objectives.items()}
        super().__init__(source, tokenizer, seed=seed, **settings)
        weights = torch.tensor(list(self.objectives.values()), device=self.backbone.device)
        self.register_buffer("weights", weights, persistent=False)
        self.gate = None
        if gating:
            if not self.backbone.causal:
                raise ValueError("gating is True, but an encoder's prompt sees the response")
            if (weights < 0).any() or not weights.sum() > 0:
                raise ValueError(f"objectives is {objectives}, expected weights of at least 0")
            self.gate = Gate(self.backbone.width, weights.cpu(), seed=seed).to(weights.device)

    @property
    def num_outputs(self) -> int:
        """K, the number of objectives."""
        return len(self.objectives)

    def prompt_features(self, hidden: Tensor, starts: Tensor | None) -> Tensor | None:
        """Hidden states [B, D] at the prompts' last tokens, if the weights depend on them."""
        if self.gate is None:
            return None
        if starts is None:
            raise ValueError(
                "starts is None, but the weights depend on the prompt: give its length"
            )
        # The gate must not teach the trunk: ArmoRM trains it on frozen rewards.
        return hidden[torch.arange(len(starts), device=hidden.device), starts - 1].detach()

    def total(self, features: Tensor, prompt: Tensor | None) -> Tensor:
        """The weighted sum [B] of the components."""
        weights = self.weights if self.gate is None or prompt is None else self.gate(prompt)
        return (self.head(features).float() * weights).sum(-1)

    def _can_share(self) -> bool:
        return self.gate is None and super()._can_share()

    def forward_components(self, texts: Texts) -> Tensor:
        """Components [B, K] of texts, before any weights."""
        tokens, lengths = self.backbone.batch(texts.rows)
        return self.head(self.pool(self.backbone(tokens, lengths), lengths)).float()

    def components(
        self, prompts: Sequence[str], responses: Sequence[str], *, batch_size: int = 64
    ) -> Tensor:
        """Components [B, K] float32, in the order of `objectives`, without gradients."""
        texts = self.backbone.encode(prompts, responses)
        return self._in_batches(self.forward_components, texts, batch_size)

    def as_reward_components(self) -> dict[str, LearnedReward]:
        """Name -> reward function: the `reward_components` of a MultiObjectiveRewardEnv."""
        latest: dict[str, Any] = {"asked": None}

        def component(position: int) -> Callable[[list[str], list[str]], Tensor]:
            def scores(prompts: list[str], generated: list[str]) -> Tensor:
                # Else another component's question; but training in between changes the answer.
                asked = (prompts, generated, sum(x._version for x in self.parameters()))
                if latest["asked"] != asked:
                    latest.update(values=self.components(prompts, generated), asked=asked)
                return latest["values"][:, position]

            return scores

        return {name: LearnedReward(component(i)) for i, name in enumerate(self.objectives)}

    def settings(self) -> dict[str, Any]:
        """What of the model is not in its weights."""
        extra = {"objectives": self.objectives, "gating": self.gate is not None}
        return {**super().settings(), **extra}


class PairwiseRewardModel(RewardModel):
    """Reads both responses at once and says which is better: no score for one alone.

    Jiang et al. 2023 (LLM-Blender, PairRM). Both orders are read and averaged, in one canonical
    order of the pair, so that P(a > b) = 1 - P(b > a) exactly and a response ties with itself.

    Args: as in `RewardModel`.
    """

    def encode_pairs(
        self, prompts: Sequence[str], chosen: Sequence[str], rejected: Sequence[str]
    ) -> tuple[Texts, Texts]:
        """Both orders of each pair, as one text each: [chosen, rejected] and [rejected, chosen]."""
        pairs = list(zip(prompts, chosen, rejected, strict=True))
        return (
            self.backbone.encode(prompts, [_both(a, b) for _, a, b in pairs]),
            self.backbone.encode(prompts, [_both(b, a) for _, a, b in pairs]),
        )

    def forward_pairs(self, chosen: Texts, rejected: Texts) -> PairScores:
        """Log-odds of the preference, half of them as the one's score and half as the other's."""
        forwards, backwards, num_tokens = super().forward_pairs(chosen, rejected)
        half = 0.25 * (forwards - backwards)
        return PairScores(half, -half, num_tokens)

    def margins(
        self,
        prompts: Sequence[str],
        chosen: Sequence[str],
        rejected: Sequence[str],
        *,
        batch_size: int = 64,
    ) -> Tensor:
        """Log-odds [B] float32 that the first is preferred; with the two exchanged, their minus."""
        # One order for a pair and its mirror image: sums of floats depend on a row's place.
        signs = torch.tensor(
            [1.0 if a > b else -1.0 for a, b in zip(chosen, rejected, strict=True)]
        )
        firsts = [max(pair) for pair in zip(chosen, rejected, strict=True)]
        seconds = [min(pair) for pair in zip(chosen, rejected, strict=True)]
        forwards, backwards = self.encode_pairs(prompts, firsts, seconds)
        rows = Texts([*forwards.rows, *backwards.rows], [*forwards.starts, *backwards.starts])
        found = self._in_batches(self.forward_texts, rows, batch_size)
        same = torch.tensor([a == b for a, b in zip(firsts, seconds, strict=True)])
        gaps = 0.5 * (found[: len(prompts)] - found[len(prompts) :])
        return (signs * gaps).masked_fill(same, 0.0)

    def probability(
        self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]
    ) -> Tensor:
        """P(first > second) [B]."""
        return self.margins(prompts, firsts, seconds).sigmoid()

    def as_preference(self) -> Callable[..., list[float]]:
        """A preference function, as `TextPreference-v0` takes it: `preference=...`."""

        @batched
        def preference(prompt: Sequence[str], a: Sequence[str], b: Sequence[str]) -> list[float]:
            return self.probability(list(prompt), list(a), list(b)).tolist()

        return preference

    def score(
        self, prompts: Sequence[str], responses: Sequence[str], *, batch_size: int = 64
    ) -> Tensor:
        """There is none.

        Raises:
            TypeError: always, with what to do instead.
        """
        raise TypeError(
            "a PairwiseRewardModel compares two responses and scores none: use margins, or "
            "as_preference()"
        )


def _both(first: str, second: str) -> str:
    """How two responses are shown to a PairwiseRewardModel, behind the prompt."""
    return f"\nA: {first}\nB: {second}\nBetter: "
