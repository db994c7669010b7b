"""Reward functions that are models: sequence classifiers and reward models of Hugging Face's kind.

transformers is loaded when the first of them is made.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

from textgym.rewards.protocol import batched
from textgym.task import as_index

ReadBy = Literal["generated", "full_text"]

UNLIMITED = 2**30
"""Tokens that no text has."""


class SequenceModel:
    """A model that maps a text to C numbers, by name or folder, and what it is asked about.

    Pickled by name: the copy loads the model when it is first asked. The numbers for a text do not
    depend on the texts beside it but for the last bits of float arithmetic.

    Args:
        model: a folder, or a name on the Hugging Face hub, that AutoModelForSequenceClassification
            and AutoTokenizer load.
        text: what the model reads, "generated" or "full_text". (An empty one is read as a blank:
            not all models take no token at all.)
        device: where the model runs, as in "cuda".
        batch_size: how many texts it reads at once.
        max_tokens: how much of a text it reads: the end of it. None: as much as it can.

    Raises:
        ValueError: if there is no such model, or a setting is none of those above.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        text: ReadBy,
        device: str = "cpu",
        batch_size: int = 32,
        max_tokens: int | None = None,
    ) -> None:
        if not isinstance(model, str | os.PathLike) or not str(model):
            raise ValueError(f"model is {model!r}, expected a folder or a Hugging Face name")
        if text not in ("generated", "full_text"):
            raise ValueError(f"text is {text!r}, expected 'generated' or 'full_text'")
        for name, value in (("batch_size", batch_size), ("max_tokens", max_tokens)):
            if not as_index(value) and (value is not None or name == "batch_size"):
                raise ValueError(f"{name} is {value!r}, expected an integer of at least 1")
        self.name, self.text, self.device = os.fspath(model), text, device
        self.batch_size, self.max_tokens = batch_size, max_tokens
        self._loaded: tuple[Any, Any] | None = None
        self._load()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_loaded": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def _load(self) -> tuple[Any, Any]:
        """The tokenizer and the model."""
        if self._loaded is not None:
            return self._loaded
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.name, truncation_side="left")
            model = AutoModelForSequenceClassification.from_pretrained(self.name)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"model is {self.name!r}, expected a folder or a Hugging Face name of a sequence "
                f"classifier with its tokenizer: {reason}"
            ) from None
        # What agents.RewardModel.save tells of a model that was trained there.
        told = getattr(model.config, "reward_model", None) or {}
        if not told.get("is_classifier", True):
            raise ValueError(
                f"model is {self.name!r}, a {told['kind']} with pooling {told['pooling']!r}, which "
                "is no sequence classifier: give the function agents.RewardModel.load(FOLDER)"
                ".as_reward_fn()"
            )
        self._end = tokenizer.eos_token if told.get("append_eos") else ""
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id  # where a decoder finds its last token
        if self.max_tokens is None:
            # A tokenizer that knows no limit says 10**30.
            limit = getattr(model.config, "max_position_embeddings", UNLIMITED)
            limit = min(limit, told.get("max_length", UNLIMITED))
            self.max_tokens = int(min(limit, tokenizer.model_max_length, UNLIMITED))
        self._loaded = tokenizer, model.requires_grad_(False).eval().to(self.device)
        return self._loaded

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self._load()[1].config

    def logits(self, generated: Sequence[str], full_texts: Sequence[str]) -> Any:
        """A tensor [C] for each response, on the model's device."""
        tokenizer, model = self._load()
        texts = [
            # What a tokenizer refuses, it need not see: half of a surrogate pair.
            text.encode("utf-8", "replace").decode() or " "
            for text in (generated if self.text == "generated" else full_texts)
        ]
        found: list[Any] = [None] * len(texts)
        # Texts of like length side by side: short ones are not padded to the longest of all.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            tokens = tokenizer(
                [texts[i] + self._end for i in chosen],
                padding=True,
                truncation=True,
                max_length=self.max_tokens,
                return_tensors="pt",
            )
            rows = model(**tokens.to(self.device)).logits.float()
            for i, row in zip(chosen, rows, strict=True):
                found[i] = row
        return found


class Classifier(SequenceModel):
    """The probability that a sequence classifier gives to one of its labels, from 0 to 1.

    The softmax over the labels, or, of a model whose labels do not exclude each other
    (`problem_type` is "multi_label_classification") or which has one alone, the label's sigmoid.

    Args:
        model: a folder or a name on the Hugging Face hub.
        label: the label's name, as the model calls it, or its position.
        text: what the model reads, "generated" or "full_text".
        **settings: `device`, `batch_size` and `max_tokens`; see `SequenceModel`.

    Raises:
        ValueError: if there is no such model or label; the message lists the labels.
    """

    range = (0.0, 1.0)

    def __init__(
        self,
        model: str | os.PathLike[str],
        label: str | int,
        *,
        text: ReadBy = "generated",
        **settings: Any,
    ) -> None:
        super().__init__(model, text=text, **settings)
        labels = {str(name): int(i) for i, name in self.config.id2label.items()}
        position = labels.get(label) if isinstance(label, str) else as_index(label)
        if position is None or position >= len(labels):
            known = sorted(labels, key=labels.get)
            raise ValueError(f"label is {label!r}, expected one of {known} or its position")
        self.label = position

    @batched
    def __call__(
        self, prompts: Sequence[str], generated: Sequence[str], full_texts: Sequence[str]
    ) -> list[float]:
        """The label's probability in [0, 1] for each response."""
        rows, config = self.logits(generated, full_texts), self.config
        if config.num_labels == 1 or config.problem_type == "multi_label_classification":
            return [float(row.sigmoid()[self.label]) for row in rows]
        return [float(row.softmax(-1)[self.label]) for row in rows]


class RewardModel(SequenceModel):
    """What a reward model says of prompt and response: any number.

    A reward model is a sequence classifier with one label, whose logit is the reward (Ouyang et al.
    2022, section 3.5).

    Args:
        model: a folder or a name on the Hugging Face hub.
        text: what the model reads, "full_text" or "generated".
        **settings: `device`, `batch_size` and `max_tokens`; see `SequenceModel`.

    Raises:
        ValueError: if there is no such model, or it has more labels than one.
    """

    def __init__(
        self, model: str | os.PathLike[str], *, text: ReadBy = "full_text", **settings: Any
    ) -> None:
        super().__init__(model, text=text, **settings)
        if self.config.num_labels != 1:
            raise ValueError(
                f"model is {self.name!r}, which has {self.config.num_labels} labels, expected one; "
                "Classifier(model, label) is the probability of one of several"
            )

    @batched
    def __call__(
        self, prompts: Sequence[str], generated: Sequence[str], full_texts: Sequence[str]
    ) -> list[float]:
        """The model's logit for each response."""
        return [float(row[0]) for row in self.logits(generated, full_texts)]
