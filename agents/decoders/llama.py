"""Models of the Llama family over a cache of slots: the sums of transformers, less around them.

Weights, norms' epsilons, activations and adapters are read from the model's own modules. What is
done here in place of transformers is: projections of one input, rotary positions, the cache,
attention.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.decoders.hugging_face import read, widened

FAMILY = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")

JOINED_BELOW = 2**20
"""Weights up to which the matrices of one input are joined into a copy: a call of small ones takes
longer than its sums; of large ones a copy would only take memory."""


def is_llama(model: nn.Module) -> bool:
    """Whether `LlamaNetwork` computes what the model does: known classes, no unusual options.

    LoRA and DoRA adapters are run like the modules that they replace. Other adapters, scaled rotary
    positions, replaced norms and models that are spread over devices are left to transformers.
    """
    if any(adapter.peft_type != "LORA" for adapter in getattr(model, "peft_config", {}).values()):
        return False
    model = _base(model)
    # Classes by their names: subclasses, FSDP's too, may do something else.
    is_known = type(model).__name__ in FAMILY and type(model).__module__.startswith("transformers.")
    if not is_known or hasattr(model, "hf_device_map"):  # layers that are moved when they are run
        return False
    rope = getattr(model.config, "rope_parameters", None) or {}
    norms = [m for name, m in model.named_modules() if name.endswith("norm")]
    return rope.get("rope_type") == "default" and all(
        type(norm).__name__.endswith("RMSNorm") and hasattr(norm, "variance_epsilon")
        for norm in norms
    )


def _base(model: nn.Module) -> Any:
    """The model inside peft's wrapper, with the adapters' modules in it."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


class _Layer(NamedTuple):
    """A layer, as its input is run through it."""

    qkv: Callable[[Tensor], Tensor]
    gate_up: Callable[[Tensor], Tensor]
    head_norm: Tensor | None  # [Q + H, width of a head]: weights of the norms of queries and keys
    module: Any


class LlamaNetwork:
    """A model of which `is_llama` holds; see `agents.generation.Network`.

    Weights are those that the model has when several tokens are run, as of a prompt. The residual
    stream and the norms are float32, whatever the weights are.
    """

    def __init__(self, model: nn.Module, num_slots: int, capacity: int) -> None:
        self.model = _base(model)
        self.trunk = self.model.model
        config, weight = self.model.config, next(self.model.parameters())
        heads, width = config.num_key_value_heads, self.trunk.layers[0].self_attn.head_dim
        self.dtype, device = weight.dtype, weight.device
        # On a CPU attention in bfloat16 takes up to three times as long as in float32.
        dtype = torch.float32 if device.type == "cpu" else self.dtype
        shape = (config.num_hidden_layers, num_slots, heads, 0, width)
        self.keys = [torch.zeros(shape[1:], dtype=dtype, device=device) for _ in range(shape[0])]
        self.values = [torch.zeros_like(store) for store in self.keys]
        self.num_queries, self.num_keys, self.head_width = config.num_attention_heads, heads, width
        places = torch.arange(capacity, device=device)[None]
        cos, sin = self.trunk.rotary_emb(torch.empty(0, device=device), places)
        # x rotated by half its width, times this, is rotate_half(x) * sin.
        sin = torch.cat([-sin[0, :, : width // 2], sin[0, :, width // 2 :]], dim=-1)
        self.rotary = torch.stack([cos[0], sin])  # [2, capacity, width]
        self.layers: list[_Layer] = []

    def _read_weights(self) -> None:
        self.layers = []
        for layer in self.trunk.layers:
            attention, head_norm = layer.self_attn, None
            if hasattr(attention, "q_norm"):
                query = attention.q_norm.weight.expand(self.num_queries, -1)
                key = attention.k_norm.weight.expand(self.num_keys, -1)
                head_norm = torch.cat([query, key]).float()
            qkv = _joined(attention.q_proj, attention.k_proj, attention.v_proj)
            gate_up = _joined(layer.mlp.gate_proj, layer.mlp.up_proj)
            self.layers.append(_Layer(qkv, gate_up, head_norm, layer))

    def __call__(
        self,
        slots: Tensor | None,
        tokens: Tensor,
        positions: Tensor,
        columns: Tensor,
        seen: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Run tokens [k, t]; give the last ones' hidden states [k, D] and logits [k, V]."""
        if tokens.shape[1] > 1 or not self.layers:
            self._read_weights()
        width = seen.shape[2]
        hidden = self.trunk.embed_tokens(tokens.flatten()).float()  # [k * t, D]
        cos, sin = self.rotary[:, positions, None]  # each [k, t, 1, width of a head]
        mask = torch.where(seen, 0.0, -torch.inf).to(self.keys[0].dtype)[
            :, None
        ]  # [k, 1, t, width]
        rows = torch.arange(len(tokens), device=tokens.device) if slots is None else slots
        heads = torch.arange(self.num_keys, device=tokens.device)
        # Where each key goes if a store is a list of keys, [k * t * H].
        first = (rows[:, None] * self.num_keys + heads) * max(width, self.keys[0].shape[2])
        places = (first[:, None] + columns[:, :, None]).flatten()
        for i, (qkv, gate_up, head_norm, layer) in enumerate(self.layers):
            normed = _rms_norm(hidden, layer.input_layernorm).to(self.dtype)
            query, *states = self._rotated(qkv(normed), cos, sin, head_norm, layer.self_attn)
            self.keys[i], self.values[i] = (
                widened(self.keys[i], width),
                widened(self.values[i], width),
            )
            for store, new in zip((self.keys[i], self.values[i]), states, strict=True):
                store.view(-1, self.head_width).index_copy_(0, places, new)
            keys, values = (read(x[i], slots, width) for x in (self.keys, self.values))
            attended = _attend(query, keys, values, mask).to(self.dtype)
            hidden = _linear(layer.self_attn.o_proj, attended, onto=hidden)
            normed = _rms_norm(hidden, layer.post_attention_layernorm).to(self.dtype)
            gate, up = gate_up(normed).chunk(2, dim=-1)
            hidden = _linear(layer.mlp.down_proj, layer.mlp.act_fn(gate) * up, onto=hidden)
        last = _rms_norm(hidden.view(*tokens.shape, -1)[:, -1], self.trunk.norm)
        return last, self.model.lm_head(last.to(self.dtype)).float()

    def _rotated(
        self, qkv: Tensor, cos: Tensor, sin: Tensor, head_norm: Tensor | None, attention: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [k, t, Q, width of a head]; keys and values [k * t * H, width of a head]."""
        qkv = qkv.view(*cos.shape[:2], -1, self.head_width).float()
        num_rotated = self.num_queries + self.num_keys
        both, value = qkv[:, :, :num_rotated], qkv[:, :, num_rotated:]
        if head_norm is not None:
            both = functional.rms_norm(
                both, both.shape[-1:], None, attention.q_norm.variance_epsilon
            )
            both = both * head_norm
        both = torch.addcmul(both * cos, both.roll(self.head_width // 2, -1), sin)
        both, value = both.to(self.keys[0].dtype), value.to(self.keys[0].dtype)
        key = both[:, :, self.num_queries :]
        return both[:, :, : self.num_queries], *(
            x.reshape(-1, self.head_width) for x in (key, value)
        )

    def copy(self, sources: Tensor, targets: Tensor, width: int) -> None:
        """Give slots `targets` [k] the first `width` columns of slots `sources` [k]."""
        for store in (*self.keys, *self.values):
            store[targets, :, :width] = store[sources, :, :width]

    def keep(self, slots: Tensor) -> None:
        """Drop all slots but these, in this order."""
        self.keys = [store.index_select(0, slots) for store in self.keys]
        self.values = [store.index_select(0, slots) for store in self.values]


def _joined(*modules: nn.Module) -> Callable[[Tensor], Tensor]:
    """What gives the outputs of modules of one input, side by side."""
    is_plain = all(type(module) is nn.Linear for module in modules)
    if not is_plain or sum(module.weight.numel() for module in modules) > JOINED_BELOW:
        return lambda x: torch.cat([module(x) for module in modules], dim=-1)
    weight, bias = torch.cat([module.weight for module in modules]), None
    if modules[0].bias is not None:
        bias = torch.cat([module.bias for module in modules])
    return partial(functional.linear, weight=weight, bias=bias)


def _rms_norm(x: Tensor, norm: Any) -> Tensor:
    """RMSNorm of float32 x [..., D]. Zhang and Sennrich 2019."""
    return functional.rms_norm(x, x.shape[-1:], norm.weight.float(), norm.variance_epsilon)


def _linear(module: nn.Module, x: Tensor, onto: Tensor) -> Tensor:
    """The module's output for x [n, D], added to `onto` [n, E]."""
    if type(module) is nn.Linear and module.bias is None and onto.dtype == x.dtype:
        return torch.addmm(onto, x, module.weight.t())
    return onto + module(x)


def _attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """[k * t, D] attention of queries [k, t, Q, d] to keys and values [k, H, width, d]."""
    num, length, num_queries, width = query.shape
    num_keys = keys.shape[1]
    if length > 1:
        attended = functional.scaled_dot_product_attention(
            query.transpose(1, 2), keys, values, attn_mask=mask, enable_gqa=num_keys != num_queries
        )
        return attended.transpose(1, 2).reshape(num * length, -1)
    # The queries that share a key are rows of one small matrix: no key is read twice.
    query = query.reshape(num, num_keys, -1, width)
    if query.device.type != "cpu":
        mask = mask.expand(-1, -1, query.shape[2], -1)
        attended = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        return attended.reshape(num, -1)
    # On a CPU plain products take half the time.
    query, keys, values = (x.flatten(0, 1) for x in (query, keys, values))
    mask = mask.expand(-1, num_keys, -1, -1).flatten(0, 1)
    scores = torch.baddbmm(mask, query, keys.transpose(1, 2), alpha=width**-0.5)
    return torch.bmm(scores.softmax(-1), values).view(num, -1)
