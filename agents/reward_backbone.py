"""The trunk of a reward model: any Hugging Face language model or encoder, without its LM head.

It turns texts into tokens and tokens into hidden states. No logits over the vocabulary are ever
computed.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agents.adapters import Adapter, add_adapter, has_adapter, merged
from agents.hub import find_model
from agents.models import Policy, source_of
from textgym.tokenizer import CharTokenizer, load_tokenizer

Source = str | os.PathLike[str] | Policy | nn.Module
"""A Hugging Face name or folder, "tiny", a Policy, or a model."""

UNLIMITED = 2**30
"""Tokens that no text has."""


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """B texts as tokens: rows of different lengths, each of at least one token.

    Attributes:
        rows: their tokens.
        starts: how many tokens of each belong to the prompt, at least 1.
        num_cut: how many lost their beginning, being longer than the model takes.
    """

    rows: list[list[int]]
    starts: list[int]
    num_cut: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Sequence[int]) -> Texts:
        return Texts([self.rows[i] for i in rows], [self.starts[i] for i in rows])


class Backbone(nn.Module):
    """A trunk, its tokenizer, and how long a text it reads.

    The text is prompt and response as one, with the tokenizer's own special tokens around it, and
    eos behind it if the tokenizer has one that is not its padding too (else it would count as
    padding to those who find the end by looking for it). Of a text that is too long the end is
    read: the prompt loses its beginning first.

    Args:
        source: what the trunk is taken from. A Policy or a model object is copied: training the
            reward model leaves it as it is.
        tokenizer: of a model object; else None, for the source's own.
        adapter: train these small matrices instead of all weights.
        max_length: tokens of a text that are read; None: as many as the model takes.
        seed: of the adapter.

    Attributes:
        causal: whether no token sees those behind it.
        width: D.

    Raises:
        TypeError: if a model object comes without a tokenizer.
        ValueError: if max_length is less than 2.
    """

    def __init__(
        self,
        source: Source,
        tokenizer: Any = None,
        *,
        adapter: Adapter | None = None,
        max_length: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        trunk, tokenizer = _load(source, tokenizer)
        self.tokenizer = _built_in(tokenizer)
        self.trunk = trunk if adapter is None else add_adapter(trunk, adapter, seed=seed)
        config = trunk.config.get_text_config()
        self.width = int(config.hidden_size)
        limit = min(
            getattr(config, "max_position_embeddings", None) or UNLIMITED,
            getattr(self.tokenizer, "model_max_length", UNLIMITED),
            UNLIMITED if max_length is None else max_length,
        )
        if limit < 2:
            raise ValueError(f"max_length is {max_length}, expected at least 2")
        self.max_length = int(limit)
        eos, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        self.appends_eos = eos is not None and pad is not None and pad != eos
        self.bos: list[int] = []
        self.bos = self._tokens("")[:1]  # what every text begins with, if the tokenizer says so
        self.causal = _is_causal(self.trunk)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.trunk.parameters()).device

    def encode(self, prompts: Sequence[str], responses: Sequence[str]) -> Texts:
        """Texts as tokens, at most `max_length` each.

        Raises:
            ValueError: if there are not as many prompts as responses.
        """
        if len(prompts) != len(responses):
            raise ValueError(
                f"there are {len(prompts)} prompts and {len(responses)} responses, expected as many"
            )
        # An environment's prompts come many times over, each once for every response.
        known = {prompt: self._tokens(prompt) for prompt in set(prompts)}
        rows, starts, num_cut = [], [], 0
        for prompt, response in zip(prompts, responses, strict=True):
            # A text without a token is read as a blank.
            row = self._tokens(prompt + response) or self._tokens(" ")
            start = _num_shared(known[prompt], row)
            if self.appends_eos and row[-1:] != [self.tokenizer.eos_token_id]:
                row = [*row, self.tokenizer.eos_token_id]
            excess = len(row) - self.max_length
            if excess > 0:
                lead = self.bos if row[:1] == self.bos else []
                row = lead + row[len(lead) + excess :]
                start, num_cut = start - excess, num_cut + 1
            rows.append(row)
            starts.append(max(1, min(start, len(row))))
        return Texts(rows, starts, num_cut)

    def _tokens(self, text: str) -> list[int]:
        # What a tokenizer refuses, it need not see: half of a surrogate pair.
        plain = text.encode("utf-8", "replace").decode()
        tokens = list(self.tokenizer.encode(plain, add_special_tokens=True))
        # A chat template writes bos too; a text begins once.
        return tokens[1:] if self.bos and tokens[:2] == 2 * self.bos else tokens

    def batch(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Rows as tokens [B, L] int64, padded on the right, and lengths [B] int64."""
        lengths = torch.tensor([len(row) for row in rows])
        tokens = torch.zeros(len(rows), int(lengths.max()), dtype=torch.int64)
        inside = torch.arange(tokens.shape[1]) < lengths[:, None]
        tokens[inside] = torch.tensor([token for row in rows for token in row])
        return tokens.to(self.device), lengths.to(self.device)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """[B, L, D] hidden states of the last layer; what stands at padding means nothing."""
        if self.causal:
            return _hidden(self.trunk, input_ids=tokens)  # nothing real sees the padding behind it
        real = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        return _hidden(self.trunk, input_ids=tokens, attention_mask=real.long())

    def plain_trunk(self) -> Any:
        """The trunk as a Hugging Face model, with what an adapter learned in its weights."""
        return merged(self.trunk) if has_adapter(self.trunk) else self.trunk


class SharedPrefix:
    """Pairs of texts that begin alike, as one row each: what both begin with is computed once.

        tokens     p p p a a . b b b      p: shared, a: the first's rest, b: the second's
        positions  0 1 2 3 4   3 4 5      no b sees an a

    Args:
        firsts: B texts' tokens.
        seconds: the others' of each pair.
    """

    def __init__(self, firsts: Sequence[list[int]], seconds: Sequence[list[int]]) -> None:
        self.shared = [_num_shared(a, b) for a, b in zip(firsts, seconds, strict=True)]
        self.rows = [a + b[s:] for a, b, s in zip(firsts, seconds, self.shared, strict=True)]
        self.ends = [len(a) for a in firsts]
        # The last token of a text that is wholly shared is the shared part's.
        self.second_ends = [
            len(row) if len(b) > s else s
            for row, b, s in zip(self.rows, seconds, self.shared, strict=True)
        ]
        apart = 2 * len(firsts) * max(map(len, [*firsts, *seconds]))
        self.saving = 1.0 - len(firsts) * max(map(len, self.rows)) / apart

    def last_hidden(self, backbone: Backbone) -> Tensor:
        """[2B, D] hidden states at the last tokens: those of all firsts, then of all seconds."""
        tokens, lengths = backbone.batch(self.rows)
        device, width = tokens.device, tokens.shape[1]
        shared = torch.tensor(self.shared, device=device)[:, None]
        ends = torch.tensor(self.ends, device=device)[:, None]
        column = torch.arange(width, device=device).expand(len(tokens), width)
        is_second = column >= ends
        positions = torch.where(is_second, column - ends + shared, column)
        of_first = (column >= shared) & ~is_second
        seen = column[:, None, :] <= column[:, :, None]  # [B, query, key]
        seen = seen & ~(is_second[:, :, None] & of_first[:, None, :])
        mask = torch.zeros(seen.shape, dtype=next(backbone.parameters()).dtype, device=device)
        mask.masked_fill_(~seen, torch.finfo(mask.dtype).min)
        hidden = _hidden(
            backbone.trunk,
            input_ids=tokens,
            attention_mask=mask[:, None],
            position_ids=positions,
        )
        rows = torch.arange(len(tokens), device=device)
        last = torch.tensor(self.second_ends, device=device) - 1
        return torch.cat([hidden[rows, ends[:, 0] - 1], hidden[rows, last]])


def can_share(backbone: Backbone) -> bool:
    """Whether the trunk reads rows of `SharedPrefix` as it reads the texts apart, by trying it."""
    if not backbone.causal:
        return False
    firsts, seconds = [[1, 2, 3, 2, 1], [2, 1]], [[1, 2, 2], [2, 1, 3, 3]]
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            together = SharedPrefix(firsts, seconds).last_hidden(backbone)
            tokens, lengths = backbone.batch([*firsts, *seconds])
            rows = torch.arange(len(lengths), device=tokens.device)
            apart = backbone(tokens, lengths)[rows, lengths - 1]
        return bool(torch.allclose(together, apart, rtol=1e-3, atol=1e-3 * float(apart.std())))
    except (TypeError, ValueError, RuntimeError):
        return False  # a model that takes no such mask or positions
    finally:
        backbone.train(training)


def save_tokenizer(tokenizer: Any, folder: str | os.PathLike[str]) -> None:
    """Write the tokenizer's files, from which AutoTokenizer makes it."""
    if isinstance(tokenizer, CharTokenizer):
        tokenizer = tokenizer.to_hugging_face()
    tokenizer.save_pretrained(folder)


# ------------------------------------------------------------------ trunks


def _load(source: Source, tokenizer: Any) -> tuple[Any, Any]:
    if isinstance(source, Policy):
        policy = source
        model = merged(policy.model) if has_adapter(policy.model) else policy.model
        return _copied_trunk(model), policy.tokenizer if tokenizer is None else tokenizer
    if isinstance(source, nn.Module):
        if tokenizer is None:
            raise TypeError("tokenizer is missing: a model object does not have one")
        return _copied_trunk(merged(source) if has_adapter(source) else source), tokenizer
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    name = find_model(source_of(source))
    kinds = AutoConfig.from_pretrained(name).architectures or []
    # As what it is: of a bare trunk it would be reported that the head's weights are too many.
    auto = AutoModel
    if any(kind.endswith("ForSequenceClassification") for kind in kinds):
        auto = AutoModelForSequenceClassification
    elif any(kind.endswith(("ForCausalLM", "LMHeadModel")) for kind in kinds):
        auto = AutoModelForCausalLM
    trunk = auto.from_pretrained(name, dtype=torch.float32).base_model
    return trunk, AutoTokenizer.from_pretrained(name) if tokenizer is None else tokenizer


def _copied_trunk(model: Any) -> Any:
    """A copy of the model without its head, every weight of it trainable."""
    trunk = copy.deepcopy(model.base_model).requires_grad_(True)
    return trunk.train(model.training)


def _built_in(tokenizer: Any) -> Any:
    """The built-in tokenizer where it is one in disguise: it is faster."""
    if isinstance(tokenizer, str) or tokenizer.eos_token_id is not None:
        return load_tokenizer(tokenizer)
    return tokenizer  # an encoder's, which has no eos


def _hidden(trunk: nn.Module, **inputs: Tensor) -> Tensor:
    """[B, L, D]; a recurrent or an encoder model takes no `use_cache`, a decoder needs none."""
    if getattr(trunk.config.get_text_config(), "use_cache", False):
        inputs["use_cache"] = False
    return trunk(**inputs).last_hidden_state


@torch.no_grad()
def _is_causal(trunk: nn.Module) -> bool:
    """Whether the first token does not see the second, by trying it."""
    training, device = trunk.training, next(trunk.parameters()).device
    tokens = torch.tensor([[1, 2], [1, 3]], device=device)
    first = _hidden(trunk.eval(), input_ids=tokens)[:, 0]
    trunk.train(training)
    return bool(torch.allclose(first[0], first[1], rtol=1e-4, atol=1e-5))


def _num_shared(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two rows begin with alike."""
    end = min(len(a), len(b))
    if a[:end] == b[:end]:
        return end
    return next(i for i in range(end) if a[i] != b[i])
