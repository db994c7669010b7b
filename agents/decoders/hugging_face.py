"""Any transformers model over a cache of slots, through the cache interface of transformers."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.cache_utils import Cache, CacheLayerMixin

# transformers 5.23 calls it `cache`; those from 5.17 on know the old name alone.
warnings.filterwarnings("ignore", "`past_key_values` is deprecated", FutureWarning)


class HuggingFaceNetwork:
    """A causal language model of transformers; see `agents.generation.Network`.

    Raises:
        ValueError: if the model is recurrent: there is more to keep than keys and values.
    """

    def __init__(self, model: nn.Module, num_slots: int, capacity: int) -> None:
        if getattr(model, "_is_stateful", False):  # transformers' mark of Mamba and the like
            raise ValueError(
                f"{type(model).__name__} has recurrent layers: generation here keeps keys and "
                "values, and nothing else"
            )
        self.model = model
        num_layers = model.config.get_text_config().num_hidden_layers
        self.cache = _SlotCache(num_layers, num_slots)

    def __call__(
        self,
        slots: Tensor | None,
        tokens: Tensor,
        positions: Tensor,
        columns: Tensor,
        seen: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Run tokens [k, t]; give the last ones' hidden states [k, D] and logits [k, V]."""
        self.cache.slots, self.cache.columns, self.cache.width = slots, columns, seen.shape[2]
        mask = torch.zeros(seen.shape, dtype=self.model.dtype, device=seen.device)
        mask.masked_fill_(~seen, torch.finfo(mask.dtype).min)
        output = self.model(
            input_ids=tokens,
            attention_mask=mask[:, None],
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            output_hidden_states=True,
            logits_to_keep=1,
        )
        return output.hidden_states[-1][:, -1].float(), output.logits[:, -1].float()

    def copy(self, sources: Tensor, targets: Tensor, width: int) -> None:
        """Give slots `targets` [k] the first `width` columns of slots `sources` [k]."""
        for layer in self.cache.layers:
            for store in (layer.keys, layer.values):
                store[targets, :, :width] = store[sources, :, :width]

    def keep(self, slots: Tensor) -> None:
        """Drop all slots but these, in this order."""
        for layer in self.cache.layers:
            layer.num_slots = len(slots)
            if layer.is_initialized:
                layer.keys = layer.keys.index_select(0, slots)
                layer.values = layer.values.index_select(0, slots)


class _SlotCache(Cache):
    """Tells its layers where the next forward writes, and how many columns it sees."""

    def __init__(self, num_layers: int, num_slots: int) -> None:
        self.slots: Tensor | None = None  # None: all of them, in order
        self.columns: Tensor = torch.empty(0)
        self.width = 0
        super().__init__(layers=[_SlotLayer(self, num_slots) for _ in range(num_layers)])


class _SlotLayer(CacheLayerMixin):
    """One layer's keys and values, [slots, heads, columns, width of a head]."""

    def __init__(self, cache: _SlotCache, num_slots: int) -> None:
        super().__init__()
        self.cache, self.num_slots = cache, num_slots

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (
            x.new_zeros(self.num_slots, x.shape[1], 0, x.shape[3])
            for x in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write [k, heads, t, d] at the cache's aim; return what those slots hold."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        cache = self.cache
        rows = cache.slots
        if rows is None:
            rows = torch.arange(len(self.keys), device=self.keys.device)
        self.keys, self.values = (widened(x, cache.width) for x in (self.keys, self.values))
        for store, states in ((self.keys, key_states), (self.values, value_states)):
            write(store, states, rows, cache.columns)
        return read(self.keys, cache.slots, cache.width), read(
            self.values, cache.slots, cache.width
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.width, 0

    def get_seq_length(self) -> int:
        return self.cache.width

    def get_max_length(self) -> int:
        return -1  # it grows


def widened(store: Tensor, width: int) -> Tensor:
    """The store [slots, heads, columns, d], with at least `width` columns."""
    missing = width - store.shape[2]
    return functional.pad(store, (0, 0, 0, missing)) if missing > 0 else store


def write(store: Tensor, states: Tensor, slots: Tensor, columns: Tensor) -> None:
    """Put states [k, heads, t, d] at `columns` [k, t] of slots [k] of the store."""
    store[slots[:, None], :, columns] = states.transpose(1, 2)


def read(store: Tensor, slots: Tensor | None, width: int) -> Tensor:
    """[k, heads, width, d]: what slots [k] (None: all) hold in their first columns."""
    return store[:, :, :width] if slots is None else store[:, :, :width].index_select(0, slots)
