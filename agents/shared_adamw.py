"""AdamW whose state several processes share out among them, so that larger models fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from agents.distributed import (
    gather,
    is_sharded,
    num_ranks,
    own_part,
    rank,
    shared_out_like,
    spread,
    whole,
)


class SharedAdamW(torch.optim.AdamW):
    """AdamW, each process holding the two moments of its share of the parameters.

    A process updates its share and tells the others the new values, so that the result is AdamW's
    to the last bit. In float32 a parameter takes 8 + 8 / n bytes in each of n processes (weight,
    gradient, moments) instead of 16. Stage 1 of Rajbhandari et al. 2020, "ZeRO: memory
    optimizations toward training trillion parameter models". Of a sharded parameter, which takes
    16 / n, each process updates its own part.

    `step` and `state_dict` are meetings: all processes call them.

    Args:
        parameters: as for AdamW.
        **settings: likewise.
    """

    def __init__(self, parameters: list[Any], **settings: Any) -> None:
        super().__init__(parameters, **settings)
        self._parameters = [x for group in self.param_groups for x in group["params"]]
        sizes, loads = [x.numel() for x in self._parameters], [0] * num_ranks()
        self.owners: list[int | None] = [None] * len(sizes)  # None: all, of a part each
        # The largest first, each to who has least.
        for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
            if not is_sharded(self._parameters[index]):
                self.owners[index] = loads.index(min(loads))
                loads[self.owners[index]] += sizes[index]

    def _init_group(self, group: dict[str, Any], *lists: list[Tensor]) -> bool:
        """As AdamW's, which fills the lists; one call cannot update whole and sharded tensors."""
        has_complex = super()._init_group(group, *lists)
        for tensors in lists:
            tensors[:] = map(own_part, tensors)
        return has_complex

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update the parameters that have a gradient."""
        loss = None if closure is None else closure()
        for parameter, owner in zip(self._parameters, self.owners, strict=True):
            if owner not in (None, rank()):
                parameter.grad = None  # AdamW leaves it alone then, and makes no moments for it
        super().step()
        for source in range(num_ranks()):
            pairs = zip(self._parameters, self.owners, strict=True)
            spread([parameter for parameter, owner in pairs if owner == source], source)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """In process 0 what AdamW's would be, with tensors on the CPU; elsewhere its own share."""
        saved = super().state_dict()
        kinds = {
            index: {name: (x.shape, x.dtype, x.device.type) for name, x in slot.items()}
            for index, slot in saved["state"].items()
        }
        everyone = {index: kind for part in gather(kinds) for index, kind in part.items()}
        state = {}
        for index, kind in sorted(everyone.items()):
            slot = saved["state"].get(index)
            if slot is None:
                slot = {name: torch.empty(s, dtype=t, device=d) for name, (s, t, d) in kind.items()}
            owner, state[index] = self.owners[index], {}
            for name, x in slot.items():  # one by one: only one is held besides one's own
                if owner is not None:
                    spread([x], owner)
                full = whole(x)
                if rank() == 0:
                    state[index][name] = full.cpu()
        return {**saved, "state": state} if rank() == 0 else saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take one's share of what AdamW's or this class's `state_dict` gave."""
        own = {
            i: {
                name: shared_out_like(x, self._parameters[i]) if x.ndim else x
                for name, x in slot.items()
            }
            for i, slot in state_dict["state"].items()
            if self.owners[i] in (None, rank())
        }
        super().load_state_dict({**state_dict, "state": own})
