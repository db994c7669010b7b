"""Several processes that train one policy, each on its share; alone, everything here does nothing.

`accelerate launch -m agents ppo ...` starts the processes. Losses are sums over tokens divided by
the count of all processes together, so that the sum of their gradients is the whole batch's.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def rank() -> int:
    """This process's number; the one that writes the run folder is 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def num_ranks() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def total(count: float, device: torch.device | str = "cpu") -> float:
    """The sum of a number over all processes."""
    if num_ranks() == 1:
        return count
    summed = torch.tensor(count, dtype=torch.float64, device=device)
    distributed.all_reduce(summed)
    return summed.item()


def sum_(tensors: list[Tensor]) -> None:
    """Add up tensors over all processes, in place."""
    if num_ranks() > 1:
        for tensor in tensors:
            distributed.all_reduce(tensor)
