"""Models of the Llama family over a cache of slots: the sums of transformers, less around them.

Weights, norms' epsilons, biases, activations and adapters are read from the model's own modules at
each call. What is done here in place of transformers is: rotary positions, the cache, attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.decoders.hugging_face import read, widened

FAMILY = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")


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


class LlamaNetwork:
    """A model of which `is_llama` holds; see `agents.generation.Network`.

    The residual stream and the norms are float32, whatever the weights are.
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
        self.num_heads, self.head_width = heads, width
        places = torch.arange(capacity, device=device)[None]
        cos, sin = self.trunk.rotary_emb(torch.empty(0, device=device), places)
        # x rotated by half its width, times this, is rotate_half(x) * sin.
        sin = torch.cat([-sin[0, :, : width // 2], sin[0, :, width // 2 :]], dim=-1)
        self.rotary = torch.stack([cos[0], sin])  # [2, capacity, width]

    def __call__(
        self,
        slots: Tensor | None,
        tokens: Tensor,
        positions: Tensor,
        columns: Tensor,
        seen: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Run tokens [k, t]; give the last ones' hidden states [k, D] and logits [k, V]."""
        width = seen.shape[2]
        hidden = self.trunk.embed_tokens(tokens.flatten()).float()  # [k * t, D]
        cos, sin = self.rotary[:, positions, None]  # each [k, t, 1, width of a head]
        mask = torch.where(seen[:, None], 0.0, -torch.inf).to(self.keys[0].dtype)
        rows = torch.arange(len(tokens), device=tokens.device) if slots is None else slots
        heads = torch.arange(self.num_heads, device=tokens.device)
        # [k * t * H]: where each key goes, a store being a list of keys.
        first = (rows[:, None] * self.num_heads + heads) * max(width, self.keys[0].shape[2])
        places = (first[:, None] + columns[:, :, None]).flatten()
        for i, layer in enumerate(self.trunk.layers):
            normed = _rms_norm(hidden, layer.input_layernorm).to(self.dtype)
            query, *states = self._project(layer.self_attn, normed, cos, sin)
            for stores, new in zip((self.keys, self.values), states, strict=True):
                stores[i] = widened(stores[i], width)
                stores[i].view(-1, self.head_width).index_copy_(0, places, new)
            keys, values = (read(x[i], slots, width) for x in (self.keys, self.values))
            attended = _attend(query, keys, values, mask).to(self.dtype)
            hidden = _linear(layer.self_attn.o_proj, attended, onto=hidden)
            normed = _rms_norm(hidden, layer.post_attention_layernorm).to(self.dtype)
            inner = layer.mlp.act_fn(layer.mlp.gate_proj(normed)).mul_(layer.mlp.up_proj(normed))
            hidden = _linear(layer.mlp.down_proj, inner, onto=hidden)
        last = _rms_norm(hidden.view(*tokens.shape, -1)[:, -1], self.trunk.norm)
        return last, self.model.lm_head(last.to(self.dtype)).float()

    def _project(
        self, attention: Any, normed: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [k, t, Q, width of a head]; keys and values [k * t * H, width of a head]."""
        shape, dtype = (*cos.shape[:2], -1, self.head_width), self.keys[0].dtype
        query = attention.q_proj(normed).view(shape)
        key, value = attention.k_proj(normed).view(shape), attention.v_proj(normed)
        if hasattr(attention, "q_norm"):
            query = _rms_norm(query.float(), attention.q_norm)
            key = _rms_norm(key.float(), attention.k_norm)
        both = torch.cat([query, key], dim=2).float()
        both = torch.addcmul(both * cos, both.roll(self.head_width // 2, -1), sin).to(dtype)
        key = both[:, :, query.shape[2] :].reshape(-1, self.head_width)
        return both[:, :, : query.shape[2]], key, value.view(-1, self.head_width).to(dtype)

    def copy(self, sources: Tensor, targets: Tensor, width: int) -> None:
        """Give slots `targets` [k] the first `width` columns of slots `sources` [k]."""
        for store in (*self.keys, *self.values):
            store[targets, :, :width] = store[sources, :, :width]

    def keep(self, slots: Tensor) -> None:
        """Drop all slots but these, in this order."""
        self.keys = [store.index_select(0, slots) for store in self.keys]
        self.values = [store.index_select(0, slots) for store in self.values]


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
    # On a CPU plain products take half of the time of that function.
    query, keys, values = (x.flatten(0, 1) for x in (query, keys, values))
    mask = mask.expand(-1, num_keys, -1, -1).flatten(0, 1)
    scores = torch.baddbmm(mask, query, keys.transpose(1, 2), alpha=width**-0.5)
    return torch.bmm(scores.softmax(-1), values).view(num, -1)
