"""Reward models: what a response to a prompt is worth, as learned from preferences or scores."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from agents.adapters import Adapter
from agents.reward_backbone import (
    Backbone,
    SharedPrefix,
    Source,
    Texts,
    can_share,
    save_tokenizer,
)
from agents.reward_heads import Gate, Pool, Pooling, new_head
from textgym.rewards import batched

HEADS_FILE = "heads.safetensors"
Model = TypeVar("Model", bound="RewardModel")

WORTH_SHARING = 0.1
"""Share of a batch's tokens, padding included, from which on a common prefix is computed once."""


class PairScores(NamedTuple):
    """Scores [B] of the preferred and of the other responses, and how many tokens were computed."""

    chosen: Tensor
    rejected: Tensor
    num_tokens: int


class RewardModel(nn.Module):
    """A language model or encoder whose output is one number: the reward of a response.

    Ouyang et al. 2022, section 3.5. A score has no unit and no zero: only differences between
    responses to one prompt mean something, as log-odds of being preferred.

    Example:
        >>> model = RewardModel("tiny")
        >>> model.score(["2+3="], ["5"]).shape
        torch.Size([1])

    Args:
        source: what the trunk is taken from: a Hugging Face name or folder, "tiny", a Policy, or a
            model object (copied). See `Backbone`.
        tokenizer: of a model object.
        pooling: from tokens to one vector; "cls" is for encoders.
        adapter: train a small addition instead of all weights.
        max_length: tokens of a text that are read, its end; None: as many as the model takes.
        seed: of the new head's weights.

    Raises:
        ValueError: if the pooling is unknown, or "cls" for a causal model.
    """

    def __init__(
        self,
        source: Source = "tiny",
        tokenizer: Any = None,
        *,
        pooling: Pooling = "last",
        adapter: Adapter | None = None,
        max_length: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(
            source, tokenizer, adapter=adapter, max_length=max_length, seed=seed
        )
        if pooling == "cls" and self.backbone.causal:
            raise ValueError(
                "pooling is 'cls', but the first token of a causal model sees no other: use 'last'"
            )
        width, device = self.backbone.width, self.backbone.device
        self.pool = Pool(pooling, width).to(device)
        self.head = new_head(width, self.num_outputs, seed=seed).to(device)
        self._shares: bool | None = None

    @property
    def num_outputs(self) -> int:
        """Outputs of the head."""
        return 1

    @property
    def tokenizer(self) -> Any:
        """What texts are read by."""
        return self.backbone.tokenizer

    # ------------------------------------------------------------ scores

    def forward(self, tokens: Tensor, lengths: Tensor, starts: Tensor | None = None) -> Tensor:
        """Scores [B] of tokens [B, L], padded on the right, of `lengths` [B] real ones each.

        Args:
            tokens: int64.
            lengths: int64, at least 1.
            starts: [B] tokens of the prompts, for models whose weights depend on them.
        """
        hidden = self.backbone(tokens, lengths)
        return self.total(self.pool(hidden, lengths), self.prompt_features(hidden, starts))

    def prompt_features(self, hidden: Tensor, starts: Tensor | None) -> Tensor | None:
        """[B, D] of the prompts, if the scores depend on them."""
        return None

    def total(self, features: Tensor, prompt: Tensor | None) -> Tensor:
        """Scores [B] from pooled features [B, D] and, if needed, those of the prompts."""
        return self.head(features).squeeze(-1).float()

    def forward_texts(self, texts: Texts) -> Tensor:
        """Scores [B] of texts, as `forward`."""
        tokens, lengths = self.backbone.batch(texts.rows)
        return self(tokens, lengths, torch.tensor(texts.starts, device=tokens.device))

    def forward_pairs(self, chosen: Texts, rejected: Texts) -> PairScores:
        """Scores of pairs of texts. What both of a pair begin with is computed once if it pays."""
        rows = [*chosen.rows, *rejected.rows]
        num_tokens = sum(map(len, rows))
        if self._can_share():
            shared = SharedPrefix(chosen.rows, rejected.rows)
            if shared.saving >= WORTH_SHARING:
                scores = self.total(shared.last_hidden(self.backbone), None)
                return PairScores(*scores.chunk(2), num_tokens)
        scores = self.forward_texts(Texts(rows, [*chosen.starts, *rejected.starts]))
        return PairScores(*scores.chunk(2), num_tokens)

    def _can_share(self) -> bool:
        if self._shares is None:
            self._shares = self.pool.how == "last" and can_share(self.backbone)
        return self._shares

    def encode_pairs(
        self, prompts: Sequence[str], chosen: Sequence[str], rejected: Sequence[str]
    ) -> tuple[Texts, Texts]:
        """Pairs as what `forward_pairs` takes."""
        return self.backbone.encode(prompts, chosen), self.backbone.encode(prompts, rejected)

    def score(
        self, prompts: Sequence[str], responses: Sequence[str], *, batch_size: int = 64
    ) -> Tensor:
        """Scores [B] float32 of responses, without gradients or dropout."""
        texts = self.backbone.encode(prompts, responses)
        return self._in_batches(self.forward_texts, texts, batch_size)

    @torch.no_grad()
    def _in_batches(
        self, function: Callable[[Texts], Tensor], texts: Texts, batch_size: int
    ) -> Tensor:
        """What the function says of all rows, asked about those of like length together."""
        training = self.training
        self.eval()
        order = sorted(range(len(texts)), key=lambda i: len(texts.rows[i]))
        groups = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        found = [function(texts[group]).float().cpu() for group in groups]
        self.train(training)
        if not found:
            return torch.zeros(0)
        joined = torch.cat(found)
        result = torch.empty_like(joined)
        result[torch.tensor(order)] = joined
        return result

    def margins(
        self,
        prompts: Sequence[str],
        chosen: Sequence[str],
        rejected: Sequence[str],
        *,
        batch_size: int = 64,
    ) -> Tensor:
        """Log-odds [B] float32 that the first response is preferred: r(chosen) - r(rejected)."""
        scores = self.score([*prompts, *prompts], [*chosen, *rejected], batch_size=batch_size)
        return scores[: len(prompts)] - scores[len(prompts) :]

    def as_reward_fn(self, tokenizer: Any = None) -> LearnedReward:
        """The model as a reward function for every environment and for `load_reward`.

        Args:
            tokenizer: what it reads texts by, if not by its own. An environment's may be another:
                the two exchange texts.
        """
        if tokenizer is not None and tokenizer != self.tokenizer:
            if len(tokenizer) != len(self.tokenizer):
                raise ValueError(
                    f"the tokenizer has {len(tokenizer)} tokens and the model's own "
                    f"{len(self.tokenizer)}: leave it out, the model reads texts by its own"
                )
        return LearnedReward(self.score)

    # ------------------------------------------------------------ files

    def settings(self) -> dict[str, Any]:
        """What of the model is not in its weights."""
        return {
            "kind": type(self).__name__,
            "pooling": self.pool.how,
            "append_eos": self.backbone.appends_eos,
            "max_length": self.backbone.max_length,
        }

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write safetensors, config.json and the tokenizer; `load` reads them.

        Where it can be, the folder is a sequence classifier of Hugging Face's, which
        `reward_fn="reward_model:FOLDER"` and AutoModelForSequenceClassification load: with pooling
        "last" of a causal model. An adapter is merged into the weights.
        """
        from safetensors.torch import save_file

        trunk = self.backbone.plain_trunk()
        settings = self.settings()
        classifier = _classifier(trunk, self.head) if settings["kind"] == "RewardModel" else None
        if self.pool.how != "last" or not self.backbone.causal:
            classifier = None
        trunk.config.reward_model = {**settings, "is_classifier": classifier is not None}
        (classifier or trunk).save_pretrained(folder)
        save_tokenizer(self.tokenizer, folder)
        heads = {
            name: weight.detach().cpu().contiguous()
            for name, weight in self.state_dict().items()
            if not name.startswith("backbone.")
        }
        save_file(heads, Path(folder) / HEADS_FILE)

    @classmethod
    def load(cls: type[Model], folder: str | os.PathLike[str]) -> Model:
        """The model that `save` wrote to a folder, or that a run wrote to its `model/`.

        Raises:
            FileNotFoundError: if there is none.
            TypeError: if it is another kind of reward model.
        """
        from safetensors.torch import load_file
        from transformers import AutoConfig

        path = Path(folder)
        path = path / "model" if (path / "model" / HEADS_FILE).is_file() else path
        if not (path / HEADS_FILE).is_file():
            raise FileNotFoundError(
                f"there is no reward model in {folder}: {HEADS_FILE} is missing"
            )
        settings = dict(AutoConfig.from_pretrained(path).reward_model)
        kinds = {kind.__name__: kind for kind in _kinds()}
        kind = kinds[settings.pop("kind")]
        if not issubclass(kind, cls):
            raise TypeError(f"{folder} holds a {kind.__name__}, expected a {cls.__name__}")
        for name in ("append_eos", "is_classifier"):
            settings.pop(name)
        model = kind(str(path), **settings)
        model.load_state_dict(load_file(path / HEADS_FILE), strict=False)
        return model.eval()


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
        latest: dict[str, Any] = {"texts": None}

        def component(position: int) -> Callable[[list[str], list[str]], Tensor]:
            def scores(prompts: list[str], generated: list[str]) -> Tensor:
                if latest["texts"] != (prompts, generated):  # else another component's question
                    latest["values"] = self.components(prompts, generated)
                    latest["texts"] = (prompts, generated)
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


class LearnedReward:
    """A reward function that asks a model: batched, and never copied with an environment.

    Args:
        scores: (prompts, responses) -> [B] numbers.
    """

    is_batched = True

    def __init__(self, scores: Callable[[list[str], list[str]], Tensor]) -> None:
        self.scores = scores

    def __deepcopy__(self, memo: dict[int, Any]) -> LearnedReward:
        return self  # environments are copied once a slot, and a model is large

    @batched
    def __call__(
        self, prompts: Sequence[str], generated: Sequence[str], full_texts: Sequence[str]
    ) -> list[float]:
        """A score for each response."""
        return self.scores(list(prompts), list(generated)).tolist()


def _both(first: str, second: str) -> str:
    """How two responses are shown to a PairwiseRewardModel, behind the prompt."""
    return f"\nA: {first}\nB: {second}\nBetter: "


def _kinds() -> tuple[type[RewardModel], ...]:
    return RewardModel, MultiObjectiveRewardModel, PairwiseRewardModel


def _classifier(trunk: Any, head: nn.Linear) -> Any:
    """The trunk and the head as Hugging Face's sequence classifier; None where it has no such."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    kind = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(trunk.config), None)
    if kind is None:
        return None
    trunk.config.num_labels = 1
    with torch.device("meta"):  # its own weights are never made
        classifier = kind(trunk.config)
    if not isinstance(getattr(classifier, "score", None), nn.Linear):
        return None
    setattr(classifier, classifier.base_model_prefix, trunk)
    classifier.score = head
    return classifier
