"""Reward models: what a response to a prompt is worth, as learned from preferences or scores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
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
from agents.reward_heads import Pool, Pooling, new_head
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
    def load(
        cls: type[Model],
        folder: str | os.PathLike[str],
        *,
        adapter: Adapter | None = None,
        seed: int = 0,
    ) -> Model:
        """The model that `save` wrote to a folder, or that a run wrote to its `model/`.

        Args:
            folder: see above.
            adapter: to train further: a fresh one, instead of all weights.
            seed: of the adapter.

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
        model = kind(str(path), adapter=adapter, seed=seed, **settings)
        model.load_state_dict(load_file(path / HEADS_FILE), strict=False)
        return model.eval()


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


def _kinds() -> tuple[type[RewardModel], ...]:
    from agents.reward_variants import MultiObjectiveRewardModel, PairwiseRewardModel

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
