"""A policy whose layers several processes share out: it need not fit on one GPU to be trained.

PyTorch's FSDP2 (ZeRO stage 3, Rajbhandari et al. 2020) holds a part of each layer's matrices, of
their gradients and optimizer state in each process, and puts a layer together while it is run.
Whatever is outside the layers (embeddings, head, value head) stays whole everywhere. To play, the
processes put the whole model together once, in the precision that it computes in, and let go of it
again: tokens are then drawn without meeting at each of them.

A pass through the model is a meeting here: all processes make equally many, in the same order (see
`distributed.in_step`). Who has no rows left passes a token for nothing, and its loss, a sum, is 0.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from agents.adapters import without_adapter
from agents.distributed import by_first, gather, keep_step, num_ranks, rank, whole
from agents.hugging_face import checkpointing
from agents.models import Policy, TokenStats


class ShardedPolicy(Policy):
    """A policy of which each process holds a part.

    Its modules are the given policy's own, which is of no use any more. `whole_policy` lends one
    that plays like any other; `save`, a meeting as well, writes what `Policy.save` would.

    Args:
        policy: the same in all processes. It may lie on the CPU: layer by layer it goes to
        device: where it is to be trained; None: where it is.

    Raises:
        ValueError: if there is one process only, the processes' weights differ, or the model's
            layers cannot be told.
    """

    def __init__(self, policy: Policy, device: torch.device | str | None = None) -> None:
        _check_same(policy)
        dtype = policy.autocast_dtype
        super().__init__(policy.model, policy.tokenizer, dtype=dtype or torch.float32)
        self.value_head, self.value_model = policy.value_head, policy.value_model
        self.head_scale, self.training = policy.head_scale, policy.training
        keep_step()
        device = self.device if device is None else torch.device(device)
        layers = [layer for trunk in self._trunks() for layer in _layers(trunk)]
        # Vectors are small, and stay in float32, as under autocast alone.
        inside = {id(p) for layer in layers for p in layer.parameters() if p.ndim > 1}
        outside = {id(p): p for p in self.parameters() if id(p) not in inside}
        for parameter in outside.values():
            parameter.data = parameter.data.to(device)
        for module in (policy, *self.modules()):
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else buffer.to(device)
        # A policy without weights of its own in its layers, which can be filled in.
        stand_ins = {
            id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad)
            for p in self.parameters()
            if id(p) in inside
        }
        frame = copy.deepcopy(policy, {**outside, **stand_ins})
        self._frame = [frame]  # in a list: it is no module of this one
        for trunk in self._trunks():
            _shard(trunk, device, dtype, set(outside.values()))

    def _try_out(self) -> None:
        """Not again. Prompts are not shared: whether that pays is not alike in all processes."""

    def _trunks(self) -> list[nn.Module]:
        """The model's and, if it is one, the value network's."""
        own = without_adapter(self.model).base_model
        return [own] if self.value_model is None else [own, self.value_model]

    @contextmanager
    def filled(
        self, dtype: torch.dtype, device: torch.device | str, *, keep: bool = True, part: str = ""
    ) -> Iterator[Policy]:
        """A policy with the weights as they are now, for a while: a meeting.

        Args:
            dtype: of the layers' weights.
            device: where they are put.
            keep: whether this process wants them; else its policy has none.
            part: the module that is wanted, such as "model"; "": all.
        """
        frame, filled = self._frame[0], []
        for module, twin in zip(self.modules(), frame.modules(), strict=True):
            twin.training = module.training
        empty = dict(frame.named_parameters())
        for name, parameter in self.named_parameters():
            if empty[name].device.type != "meta" or not name.startswith(part):
                continue
            full = whole(parameter.detach().to(dtype))
            if keep:
                filled.append(name)
                _put(frame, name, nn.Parameter(full.to(device), parameter.requires_grad))
        try:
            yield frame
        finally:
            for name in filled:
                _put(frame, name, empty[name])

    # ------------------------------------------------------------------ what Policy does

    def forward(self, tokens: Tensor, mask: Tensor, **how: Any) -> TokenStats:
        """See `Policy.forward`; without a token under the mask too, it takes part in the pass."""
        if bool(mask.any()):
            return super().forward(tokens, mask, **how)
        zeros = self._nothing(tokens) + self._pass_nothing(self._trunks()[0])
        is_separate = self.value_model is not None
        values = self.values(tokens, mask) if is_separate else self._nothing(tokens)
        return TokenStats(zeros, zeros, values)

    def values(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """See `Policy.values`; likewise."""
        if self.value_model is None or bool(mask.any()):
            return super().values(tokens, mask)
        return self._nothing(tokens) + self._pass_nothing(self.value_model)

    def _pass_nothing(self, trunk: nn.Module) -> Tensor:
        """0, by a pass of one token through the trunk, whose gradient passes through it as well."""
        tokens = torch.full((1, 1), self.eos, device=self.device)
        with self.autocast(), checkpointing(trunk):
            hidden = trunk(input_ids=tokens, use_cache=False).last_hidden_state
        return 0.0 * hidden.float().mean()

    def separate_values(self) -> None:
        """Refused: the value network is to be shared out with the model.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "value is 'separate', and the policy is sharded already: load it with value='separate'"
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """See `Policy.save`: a meeting, in which the first process writes the folder."""
        # From main memory: a GPU may not hold all weights in this precision.
        with self.filled(torch.float32, "cpu", keep=rank() == 0) as policy:
            by_first(lambda: policy.save(folder))

    def frozen_copy(self) -> Policy:
        """See `Policy.frozen_copy`: a meeting; sharded like this one."""
        with self.filled(torch.float32, "cpu") as policy:
            copied = policy.frozen_copy()
        return ShardedPolicy(copied, self.device).eval()


@contextmanager
def whole_policy(policy: Policy) -> Iterator[Policy]:
    """A policy that needs no other process to play: a meeting if the given one is sharded.

    What it does not need for that, a value network, is left out.
    """
    if not isinstance(policy, ShardedPolicy):
        yield policy
        return
    dtype = policy.autocast_dtype or torch.float32
    with policy.filled(dtype, policy.device, part="model") as frame:
        yield frame


def _check_same(policy: Policy) -> None:
    if num_ranks() == 1:
        raise ValueError("one process cannot share out a policy: start several, by torchrun")
    sums = [float(p.detach().sum(dtype=torch.float64)) for p in policy.parameters()]
    for number, found in enumerate(gather(sums)):
        if found != sums:
            raise ValueError(f"process {number} has other weights: load the same policy in all")


def _layers(trunk: Any) -> nn.ModuleList:
    """The trunk's layers, one after the other."""
    count = trunk.config.get_text_config().num_hidden_layers
    for module in trunk.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ValueError(
        f"{type(trunk).__name__} has no list of {count} layers among its modules, so it cannot be "
        "sharded"
    )


def _shard(
    trunk: nn.Module, device: torch.device, dtype: torch.dtype | None, outside: set[nn.Parameter]
) -> None:
    """Leave to this process its part of the weights of the trunk's layers but for those outside."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    settings = {
        "ignored_params": outside,
        "mesh": init_device_mesh(device.type, (num_ranks(),)),
        "reshard_after_forward": True,
        # The layers' weights are cast before they travel; what flows between layers is not, as
        # under autocast alone.
        "mp_policy": MixedPrecisionPolicy(
            param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
        ),
    }
    for layer in _layers(trunk):
        fully_shard(layer, **settings)
        # Losses are divided by the count of all processes, so their gradients are added up.
        layer.set_gradient_divide_factor(1.0)
        layer.set_force_sum_reduction_for_comms(True)
    # The root, which fetches layers ahead and knows when a backward pass is over. Its class stays:
    # transformers looks up by the class's name which states the trunk can give.
    kind = type(trunk)
    fully_shard(trunk, **settings)
    trunk.__class__ = kind


def _put(model: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Replace a parameter of the model by another one."""
    path, _, last = name.rpartition(".")
    setattr(model.get_submodule(path), last, parameter)
