"""What one must know of a Hugging Face model beyond its interface, and modes to run it in."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model without dropout, for a while."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def checkpointing(model: nn.Module) -> Iterator[bool]:
    """Layers keep no activations if the model's gradient checkpointing is on; tells whether.

    transformers checkpoints in training mode only, in which a model with dropout is not the policy
    that played.
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing
    ]
    if not layers or not torch.is_grad_enabled():
        yield False
        return
    calm = [layer for layer in layers if not layer.training]
    for layer in calm:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield True
    finally:
        for layer in calm:
            del layer.forward


def enable_checkpointing(model: Any) -> None:
    """Turn gradient checkpointing on.

    Raises:
        ValueError: if the architecture has none.
    """
    # transformers 5.24 has given it another name.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
    # Embeddings that always want a gradient: a frozen reference would record a graph for nothing.
    # Only reentrant checkpointing needs them.
    if hasattr(model, "_require_grads_hook"):
        model.disable_input_require_grads()


def cache_argument(model: nn.Module) -> str:
    """What its `forward` calls the keys and values of tokens that have passed."""
    # transformers 5.23 calls it `cache`; those from 5.17 on know the old name alone.
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def attention_span(config: Any) -> float:
    """How many tokens back the model's attention reaches; infinite but for sliding windows."""
    window = getattr(config, "sliding_window", None)
    if not getattr(config, "use_sliding_window", True):
        window = None
    chunk = getattr(config, "attention_chunk_size", None)
    return min(window or math.inf, chunk or math.inf)


@torch.no_grad()
def head_scale(model: Any) -> float | None:
    """S if the model's logits are s · head(its trunk's states), None if they are anything else.

    Found out by trying: `from_hidden` would silently learn another policy if a model did more to
    its logits (Gemma 2 caps them) than the caller knows of.

    Args:
        model: a Hugging Face causal language model, in eval mode.
    """
    trunk, head = model.base_model, model.get_output_embeddings()
    if trunk is model or type(head) is not nn.Linear:
        return None
    # In the place of the head's output, numbers so large that no function of them goes unnoticed.
    loud = torch.linspace(-300.0, 300.0, len(head.weight), device=head.weight.device)
    loud, seen = loud.to(head.weight.dtype), []

    def replace(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        seen.append(inputs[0])
        return loud.expand_as(output).clone()

    tokens = torch.arange(6, device=head.weight.device)[None] % len(head.weight)
    hook = head.register_forward_hook(replace)
    try:
        logits = model(input_ids=tokens, use_cache=False).logits[0, -1].float()
        hidden = trunk(input_ids=tokens, use_cache=False).last_hidden_state
    except Exception:  # an architecture may refuse in any way
        return None
    finally:
        hook.remove()
    scale = float(logits[-1] / loud[-1])
    rounding = 1e-5 if loud.dtype == torch.float32 else 1e-2
    is_scaled = torch.allclose(logits, scale * loud.float(), rtol=rounding, atol=0)
    is_same = len(seen) == 1 and torch.allclose(seen[0][:, -1], hidden[:, -1])
    # A bias would have to be scaled as well: nobody does that.
    return scale if is_same and is_scaled and (head.bias is None or scale == 1.0) else None
