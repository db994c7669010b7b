"""Models of the Llama family over a cache of slots: the sums of transformers, less around them.

Weights, norms' epsilons, biases, activations and adapters are read from the model's own modules at
each call. What is done here in place of transformers is: rotary positions, the cache, attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.decoders.hugging_face import read, write

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
        shape = (config.num_hidden_layers, num_slots, heads, capacity, width)
        self.keys = [torch.zeros(shape[1:], dtype=dtype, device=device) for _ in range(shape[0])]
        self.values = [torch.zeros_like(store) for store in self.keys]
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
        hidden = self.trunk.embed_tokens(tokens.flatten()).float()  # [k * t, D]
        rotary = self.rotary[:, positions, None]  # cos and sin, each [k, t, 1, width of a head]
        mask = torch.zeros(seen.shape, dtype=self.keys[0].dtype, device=seen.device)
        mask = mask.masked_fill_(~seen, -torch.inf)[:, None]
        width, rows = seen.shape[2], slots
        if rows is None:
            rows = torch.arange(len(tokens), device=tokens.device)
        for i, layer in enumerate(self.trunk.layers):
            normed = _rms_norm(hidden, layer.input_layernorm).to(self.dtype)
            query, key, value = self._project(layer.self_attn, normed, rotary)
            write(self.keys[i], key, rows, columns)
            write(self.values[i], value, rows, columns)
            keys, values = (read(x[i], slots, width) for x in (self.keys, self.values))
            attended = _attend(query, keys, values, mask).to(self.dtype)
            hidden = _linear(layer.self_attn.o_proj, attended, onto=hidden)
            normed = _rms_norm(hidden, layer.post_attention_layernorm).to(self.dtype)
            gate, up = _linear(layer.mlp.gate_proj, normed), _linear(layer.mlp.up_proj, normed)
            hidden = _linear(layer.mlp.down_proj, layer.mlp.act_fn(gate) * up, onto=hidden)
        last = _rms_norm(hidden.view(*tokens.shape, -1)[:, -1], self.trunk.norm)
        return last, self.model.lm_head(last.to(self.dtype)).float()

    def _project(
        self, attention: Any, normed: Tensor, rotary: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [k, heads, t, width of a head] in the cache's dtype."""
        cos, sin = rotary
        shape = (*cos.shape[:2], -1, attention.head_dim)
        query, key, value = (
            _linear(project, normed).view(shape)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):
            query = _rms_norm(query.float(), attention.q_norm)
            key = _rms_norm(key.float(), attention.k_norm)
        both = torch.cat([query, key], dim=2).float()
        both = torch.addcmul(both * cos, both.roll(attention.head_dim // 2, -1), sin)
        both, value = (x.transpose(1, 2).to(self.keys[0].dtype) for x in (both, value))
        return both[:, : query.shape[2]], both[:, query.shape[2] :], value

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


def _linear(module: nn.Module, x: Tensor, onto: Tensor | None = None) -> Tensor:
    """The module's output for x [n, D], added to `onto` [n, E] if there is one."""
    if type(module) is not nn.Linear:  # an adapter's
        output = module(x)
    elif onto is not None and module.bias is None and onto.dtype == x.dtype:
        return torch.addmm(onto, x, module.weight.t())
    else:
        output = functional.linear(x, module.weight, module.bias)
    return output if onto is None else onto + output


def _attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """[k * t, D] attention of queries [k, Q, t, d] to keys and values [k, H, width, d]."""
    num, heads, length, width = query.shape
    if length == 1:
        # The queries that share a key are rows of one small matrix: no key is read twice.
        query = query.reshape(num, keys.shape[1], -1, width)
        mask = mask.expand(-1, -1, query.shape[2], -1)
        attended = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        return attended.reshape(num, heads * width)
    attended = functional.scaled_dot_product_attention(
        query, keys, values, attn_mask=mask, enable_gqa=keys.shape[1] != heads
    )
    return attended.transpose(1, 2).reshape(num * length, heads * width)
