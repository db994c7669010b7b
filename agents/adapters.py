"""Adapters by peft: a few small matrices train, the model that they change stays as it is.

A model with an adapter is peft's PeftModel, made here or by the caller. Its reference policy is the
same model with the adapter switched off, so that there is no second copy.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from agents.config import check_ranges


@dataclass(frozen=True)
class Adapter:
    """LoRA: a change of rank r, W + alpha / r · B A, of each targeted layer. Hu et al. 2022."""

    rank: int = 16
    """r, the rank of the change."""
    alpha: float = 32.0
    """Its scale: the change is multiplied by alpha / rank."""
    dropout: float = 0.0
    """Probability with which an input of A is dropped in training mode."""
    dora: bool = False
    """Also learn the norm of each output's weights (DoRA, Liu et al. 2024)."""
    target: str | tuple[str, ...] = "all-linear"
    """Names of the layers to change, or "all-linear": all but the one that gives the logits."""

    def validate(self) -> None:
        """Check each field's range.

        Raises:
            ValueError: naming the field, what it is and what was expected.
        """
        check_ranges(self, integers={"rank": 1}, positive=("alpha",), unit=("dropout",))


def add_adapter(model: nn.Module, adapter: Adapter, *, seed: int = 0) -> nn.Module:
    """The model as a PeftModel with a fresh adapter, which changes nothing until it has learned.

    Args:
        model: a Hugging Face causal language model; its layers are changed in place, its weights
            are frozen.
        adapter: what to add.
        seed: of the matrices A.

    Raises:
        TypeError: if the adapter is none.
        ValueError: if a field is out of its range, or the model has no layer of a target's name.
    """
    from peft import LoraConfig, get_peft_model

    if not isinstance(adapter, Adapter):
        raise TypeError(f"adapter is {adapter!r}, expected an Adapter, such as Adapter(rank=16)")
    adapter.validate()
    target = adapter.target if isinstance(adapter.target, str) else list(adapter.target)
    config = LoraConfig(
        # peft asks a causal one for what only language models with a head have.
        task_type="CAUSAL_LM" if hasattr(model, "prepare_inputs_for_generation") else None,
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        use_dora=adapter.dora,
        target_modules=target,
    )
    devices = [p.device for p in model.parameters() if p.device.type == "cuda"][:1]
    with torch.random.fork_rng(devices=devices):  # the caller's randomness is not ours to spend
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def has_adapter(model: nn.Module) -> bool:
    """Whether the model is peft's."""
    return hasattr(model, "disable_adapter") and hasattr(model, "get_base_model")


def is_fresh(model: nn.Module) -> bool:
    """Whether a PeftModel is still the model without its adapter, since its matrices B are 0."""
    changes = [x for name, x in model.named_parameters() if "lora_" in name and "_B." in name]
    return not any(bool(x.any()) for x in changes)


def check_adapter(model: Any) -> None:
    """Raise ValueError for an adapter that is no part of the model's layers.

    Prompt tuning and its kin prepend states to the input, which only the PeftModel's own forward
    knows of.
    """
    configs = model.peft_config.values() if has_adapter(model) else ()
    for config in configs:
        if config.is_prompt_learning:
            raise ValueError(
                f"the model has an adapter of type {config.peft_type.value}, expected one that "
                "changes layers, as LoRA does"
            )


def without_adapter(model: Any) -> Any:
    """The Hugging Face model itself; its layers include the adapter, if there is one."""
    return model.get_base_model() if has_adapter(model) else model


def merged(model: Any) -> Any:
    """A copy of a PeftModel as a plain model, with what the adapter learned in its weights.

    The copy is worth its memory: adding to the weights in place and subtracting again would leave
    them changed by rounding, and with them the reference.
    """
    return copy.deepcopy(model).merge_and_unload()


def merged_layers(trunk: nn.Module) -> nn.Module:
    """The same of a model whose layers have adapters, but which is no PeftModel itself."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    trunk = copy.deepcopy(trunk)
    for name, layer in list(trunk.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            trunk.set_submodule(name, layer.get_base_layer())
    return trunk


def loaded_trunk(model: Any, file: Path, adapter: Adapter | None) -> nn.Module:
    """A model's trunk with weights from a file, and with a fresh adapter of its own, if any.

    Args:
        model: a Hugging Face causal language model without an adapter; it is not changed.
        file: what safetensors' `save_model` wrote.
        adapter: what to add.
    """
    from safetensors.torch import load_model

    trunk = copy.deepcopy(model.base_model)
    load_model(trunk, str(file))
    return trunk if adapter is None else without_adapter(add_adapter(trunk, adapter))
