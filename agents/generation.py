"""Decoding with a KV cache whose rows are slots: fed only new tokens, refilled when episodes end.

Column i of a slot's cache holds token i of its episode. Slots advance independently: one may be fed
a new prompt, another a single token, a third a tool's answer, each at its own position.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from agents.models import Policy
from agents.sampling import Sampling, draw, log_probs

# transformers 5.23 calls it `cache`; those from 5.17 on know the old name alone.
warnings.filterwarnings("ignore", "`past_key_values` is deprecated", FutureWarning)


class Choice(NamedTuple):
    """What a policy chose in k states: tokens [k], their log-probabilities [k], the values [k].

    On the CPU: int64, float32, float32.
    """

    tokens: Tensor
    log_probs: Tensor
    values: Tensor


class Generator(Protocol):
    """What `agents.rollout.collect` needs of an engine that generates.

    An engine is made by `engine(policy, num_slots, capacity, sampling)`: the policy as it is then,
    the number of episodes under way, the most tokens of an episode, and how to draw. It holds one
    episode in each slot, 0 to num_slots - 1. All tensors, given and returned, are on the CPU.

    `SlotDecoder` is the engine in this process. One over a server keeps each slot's tokens as a
    list, asks for one token of each in `choose`, and may answer `values` with zeros.
    """

    def feed(self, slots: Tensor | None, tokens: Tensor, starts: Tensor, counts: Tensor) -> None:
        """Append tokens to the episodes in `slots`; nothing is chosen yet.

        The tokens are a prompt, the token chosen last, or what the environment said. A start of 0
        begins a new episode, whatever the slot held. A start before the slot's end repeats tokens
        which it has (the last one, in slots whose episode is over) and changes nothing.

        Args:
            slots: [k] int64 slot numbers, each once, or None for all in order.
            tokens: [k, t] int64; row r's own tokens are its *last* `counts[r]`. What is before
                them is padding, of any content.
            starts: [k] int64, the position in its episode of each row's first own token.
            counts: [k] int64 from 1 to t.
        """

    def choose(self, points: Tensor | None, legal: Tensor | None = None) -> Choice:
        """Choose the next token of every slot, without feeding it.

        Args:
            points: [slots] float32 from [0, 1): the randomness of each choice, which is to be a
                function of the slot's tokens, its point and its legal tokens alone. None: the most
                probable token is chosen.
            legal: [slots, V] bool, the tokens that may be chosen (V: the tokenizer's); None: all
                that the policy allows.

        Returns:
            For each slot, the token; its log-probability under the distribution that it was drawn
            from (temperature, filters and legal tokens included); v(s) of the slot's state.
        """

    def values(self) -> Tensor:
        """[slots] float32 v(s) of the states in which the slots stand."""

    def keep(self, slots: Tensor) -> None:
        """Forget all slots but these [k] int64; they are renumbered 0 to k - 1, in this order."""
class SlotCache(Cache):
    """Keys and values of `num_slots` slots, `capacity` columns each, for any transformers model.

    `aim(slots, columns, width)` tells where the next forward writes, and how many columns it sees.
    """

    def __init__(self, num_layers: int, num_slots: int, capacity: int) -> None:
        self.slots: Tensor | None = None  # None: all of them, in order
        self.columns: Tensor = torch.empty(0)
        self.width = 0
        super().__init__(layers=[_SlotLayer(self, num_slots, capacity) for _ in range(num_layers)])

    def aim(self, slots: Tensor | None, columns: Tensor, width: int) -> None:
        """The next forward writes tokens [k, t] at `columns` [k, t] of `slots` [k]."""
        self.slots, self.columns, self.width = slots, columns, width

    def keep(self, slots: Tensor) -> None:
        """Drop all slots but these, in this order."""
        for layer in self.layers:
            layer.num_slots = len(slots)
            if layer.is_initialized:
                layer.keys = layer.keys.index_select(0, slots)
                layer.values = layer.values.index_select(0, slots)


class _SlotLayer(CacheLayerMixin):
    """One layer's keys and values, [slots, columns, heads, width of a head]."""

    def __init__(self, cache: SlotCache, num_slots: int, capacity: int) -> None:
        super().__init__()
        self.cache, self.num_slots, self.capacity = cache, num_slots, capacity

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        shape = (self.num_slots, self.capacity)
        self.keys = key_states.new_zeros(*shape, key_states.shape[1], key_states.shape[3])
        self.values = value_states.new_zeros(*shape, value_states.shape[1], value_states.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write [k, heads, t, d] at the cache's aim; return what those slots hold."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        cache, slots = self.cache, self.cache.slots
        rows = torch.arange(len(self.keys), device=key_states.device) if slots is None else slots
        self.keys[rows[:, None], cache.columns] = key_states.transpose(1, 2)
        self.values[rows[:, None], cache.columns] = value_states.transpose(1, 2)
        keys, values = self.keys[:, : cache.width], self.values[:, : cache.width]
        if slots is not None:
            keys, values = keys[slots], values[slots]
        return keys.transpose(1, 2), values.transpose(1, 2)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.width, 0

    def get_seq_length(self) -> int:
        return self.cache.width

    def get_max_length(self) -> int:
        return self.capacity


class SlotDecoder:
    """The engine in this process: a transformers model with a cache of slots (see `Generator`).

    Args:
        policy: the policy; its weights are used as they are at each call.
        num_slots: how many episodes can be under way.
        capacity: the longest episode, in tokens.
        sampling: how tokens are drawn.

    Raises:
        ValueError: if the model is recurrent, or does not attend to `capacity` tokens.
    """

    def __init__(
        self,
        policy: Policy,
        num_slots: int,
        capacity: int,
        sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
    ) -> None:
        config = policy.model.config.get_text_config()
        if getattr(policy.model, "_is_stateful", False):  # transformers' mark of Mamba and the like
            raise ValueError(
                f"{type(policy.model).__name__} has recurrent layers: generation here keeps keys "
                "and values, and nothing else"
            )
        positions = getattr(config, "max_position_embeddings", None)
        if positions and positions < capacity:
            raise ValueError(
                f"the model has {positions} positions and an episode may have {capacity} tokens"
            )
        window = getattr(config, "sliding_window", None)
        if window and getattr(config, "use_sliding_window", True) and window < capacity:
            raise ValueError(
                f"the model attends to the last {window} tokens only and an episode may have "
                f"{capacity}: generation here needs full attention"
            )
        self.policy, self.sampling, self.capacity = policy, sampling, capacity
        # One spare column takes the padding of shorter rows.
        self.cache = SlotCache(config.num_hidden_layers, num_slots, capacity + 1)
        self.hidden = torch.zeros(num_slots, config.hidden_size, device=policy.device)
        self.logits = torch.zeros(num_slots, len(policy.illegal), device=policy.device)

    @torch.no_grad()
    def feed(self, slots: Tensor | None, tokens: Tensor, starts: Tensor, counts: Tensor) -> None:
        """Append tokens to slots, which then stand ready for `choose`."""
        length = tokens.shape[1]
        places = torch.arange(length) - (length - counts)[:, None]
        positions = starts[:, None] + places.clamp(min=0)
        columns = torch.where(places < 0, self.capacity, positions)
        width = int((starts + counts).max())
        device = self.policy.device
        slots = None if slots is None else slots.to(device)
        tokens, positions, columns = (x.to(device) for x in (tokens, positions, columns))
        self.cache.aim(slots, columns, width)
        seen = torch.arange(width, device=device) <= positions[:, :, None]  # [k, t, width]
        dtype = self.policy.model.dtype
        mask = torch.zeros(seen.shape, dtype=dtype, device=device)
        mask.masked_fill_(~seen, torch.finfo(dtype).min)
        output = self.policy.model(
            input_ids=tokens,
            attention_mask=mask[:, None],
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            output_hidden_states=True,
            logits_to_keep=1,
        )
        rows = slice(None) if slots is None else slots
        self.logits[rows] = output.logits[:, -1].float()
        self.hidden[rows] = output.hidden_states[-1][:, -1].float()

    @torch.no_grad()
    def choose(self, points: Tensor | None, legal: Tensor | None = None) -> Choice:
        """Choose the next token of every slot."""
        illegal = self.policy.illegal
        if legal is not None:
            given = illegal.expand(len(legal), -1).clone()
            given[:, : legal.shape[1]] |= ~legal.to(given.device)
            illegal = given
        found = log_probs(self.logits, illegal, self.sampling)
        tokens = found.argmax(-1) if points is None else draw(found, points.to(found.device))
        picked = found.gather(1, tokens[:, None])[:, 0]
        # Packed, so that the host waits for the device once.
        packed = torch.stack([x.double() for x in (tokens, picked, self.values())]).cpu()
        return Choice(packed[0].long(), packed[1].float(), packed[2].float())

    @torch.no_grad()
    def values(self) -> Tensor:
        """[slots] v(s) of the states in which the slots stand."""
        return self.policy.value(self.hidden).float().cpu()

    def keep(self, slots: Tensor) -> None:
        """Forget all slots but these [k]; they are renumbered 0 to k - 1."""
        slots = slots.to(self.policy.device)
        self.cache.keep(slots)
        self.hidden, self.logits = self.hidden[slots], self.logits[slots]
