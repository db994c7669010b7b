"""Checkpoints that resume to the last bit: one safetensors file, replaced in one step, no pickle.

A checkpoint holds the model's weights, the optimizer's state and whatever else the trainer hands
over: counters, coefficients, states. Tensors are the file's tensors; all the rest is JSON in its
header. It is for going on with a run; to use or share the policy,
`save_pretrained` is the better format.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from agents.distributed import is_sharded, shared_out_like, whole

FILE_NAME = "checkpoint.safetensors"
FORMAT = "textgym checkpoint 1"


def save_checkpoint(
    folder: str | Path | None,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
) -> None:
    """Write the folder's checkpoint, replacing the one before it only once this one is whole.

    Of several processes all call it, and one gives a folder: what they hold in parts is put
    together there, a tensor at a time.

    Args:
        folder: Where `checkpoint.safetensors` lies; made if missing. None: another process writes.
        model: Its parameters and persistent buffers are saved; tied weights are saved once. Frozen
            parameters are not saved: they are what the model was made with.
        optimizer: An optimizer of this model's parameters.
        state: Everything else, nested as you like: dicts with string keys, lists, tuples,
            tensors, numbers, strings, booleans, None.

    Raises:
        ValueError: If the state holds anything else, or the optimizer a foreign parameter.
    """
    weights = {}
    for name, x in _trained_weights(model).items():
        full = whole(x)
        if folder is not None:
            weights[name] = full.cpu() if is_sharded(x) else full
    moments = _optimizer_state(optimizer)
    if folder is None:
        return
    tensors = _Tensors()
    header = {
        "model": _encode(weights, "model", tensors),
        "optimizer": _encode(moments, "optimizer", tensors),
        "optimizer_parameters": _optimizer_parameters(model, optimizer),
        "state": _encode(state, "state", tensors),
    }
    path = Path(folder) / FILE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    metadata = {"format": FORMAT, "header": json.dumps(header)}
    save_file(tensors.by_path, unfinished, metadata=metadata)
    _flush_to_disk(unfinished)
    # One rename of one file: at every moment the old checkpoint or the new one is there, whole.
    os.replace(unfinished, path)
    _flush_to_disk(path.parent)


def load_checkpoint(
    folder: str | Path, *, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore the model and the optimizer in place and return the saved `state`.

    Everything is checked before anything is changed. Tensors of the state come back on the CPU.

    Raises:
        FileNotFoundError: If the folder has no checkpoint.
        ValueError: If the checkpoint is damaged, or of another format, model or optimizer.
    """
    path = Path(folder) / FILE_NAME
    if not path.exists():
        raise FileNotFoundError(f"no {FILE_NAME} in {Path(folder)}")
    try:
        header, tensors = _read(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    weights = _decode(header["model"], tensors)
    present = _trained_weights(model)
    _check_same_weights(weights, present)
    _check_same_parameters(header["optimizer_parameters"], _optimizer_parameters(model, optimizer))

    weights = {name: shared_out_like(x, present[name]) for name, x in weights.items()}
    model.load_state_dict(weights, strict=False)  # all but the frozen ones, as just checked
    saved = _decode(header["optimizer"], tensors)
    slots = {int(index): slot for index, slot in saved["state"].items()}
    optimizer.load_state_dict({"state": slots, "param_groups": saved["param_groups"]})
    return _decode(header["state"], tensors)


class _Tensors:
    """Tensors to write, by path. One that has two names, as tied weights do, is written once."""

    def __init__(self) -> None:
        self.by_path: dict[str, Tensor] = {}
        self._first: dict[tuple[Any, ...], tuple[str, Tensor]] = {}

    def add(self, path: str, tensor: Tensor) -> str:
        """Take a tensor in; returns the path under which it is written."""
        view = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        # Empty tensors all lie at address 0 and share nothing.
        if tensor.numel() and view in self._first:
            return self._first[view][0]
        if path in self.by_path:
            raise ValueError(f"two tensors of the checkpoint would be called {path}")
        self.by_path[path] = tensor.detach().cpu().contiguous()
        # The tensor itself is kept as well, so that its address is not given to another one.
        self._first[view] = (path, tensor)
        return path


def _encode(value: Any, path: str, tensors: _Tensors) -> Any:
    """`value` as JSON, with its tensors moved to `tensors`."""
    if isinstance(value, Tensor):
        return {"tensor": tensors.add(path, value)}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{path} has the key {key!r}; a checkpoint's keys are strings")
        return {"dict": {key: _encode(v, f"{path}.{key}", tensors) for key, v in value.items()}}
    if isinstance(value, tuple | list):
        items = [_encode(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{path} is a {type(value).__name__}, which a checkpoint cannot hold")


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_encode`."""
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(_decode(item, tensors) for item in content)
    return {key: _decode(item, tensors) for key, item in content.items()}


def _trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's state_dict without frozen parameters: the base of an adapter, for one."""
    parameters = model.named_parameters(remove_duplicate=False)
    frozen = {name for name, parameter in parameters if not parameter.requires_grad}
    return {name: x for name, x in model.state_dict().items() if name not in frozen}


def _optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state_dict with its parameter indices as strings, which JSON wants."""
    saved = optimizer.state_dict()
    slots = {str(index): slot for index, slot in saved["state"].items()}
    return {"state": slots, "param_groups": saved["param_groups"]}


def _optimizer_parameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    """Names of the parameters of each group, in the optimizer's order."""
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = [group["params"] for group in optimizer.param_groups]
    for parameter in (parameter for group in groups for parameter in group):
        if id(parameter) not in name_of:
            shape = list(parameter.shape)
            raise ValueError(f"the optimizer has a parameter of shape {shape} that the model lacks")
    return [[name_of[id(parameter)] for parameter in group] for group in groups]


def _check_same_weights(saved: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> None:
    for name in sorted(saved.keys() | present.keys()):
        if name not in present:
            raise ValueError(f"the checkpoint has {name}, which the model lacks")
        if name not in saved:
            raise ValueError(f"the model has {name}, which the checkpoint lacks")
        got, want = (f"{list(w[name].shape)} {w[name].dtype}" for w in (saved, present))
        if got != want:
            raise ValueError(f"{name} is {got} in the checkpoint, {want} in the model")


def _check_same_parameters(saved: list[list[str]], present: list[list[str]]) -> None:
    # The order counts too: the optimizer's state knows its parameters by position alone.
    for index, groups in enumerate(zip_longest(saved, present, fillvalue=[])):
        for got, want in zip_longest(*groups):
            if got != want:
                raise ValueError(
                    f"group {index} of the optimizer has {want} where the checkpoint has {got}"
                )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{path} is a {metadata.get('format')!r}, not a {FORMAT!r}")
        # Copies: the file's own tensors are views of a mapping of the file, which the optimizer
        # would keep open, deleted or not, for as long as it lives.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    return json.loads(metadata["header"]), tensors


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
