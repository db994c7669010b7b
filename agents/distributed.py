"""Several processes that train one policy, each on its share; alone, everything here does nothing.

`accelerate launch -m agents ppo ...` or torchrun starts them. Losses are sums divided by the count
of all processes together, so the sum of the gradients is the whole batch's, however many rows and
micro-batches each process has. This is why gradients are added up here, after the last backward
pass, and not by DistributedDataParallel, which wants equally many passes everywhere and averages.

Every function but `rank`, `num_ranks` and those that speak of one process is a meeting: all
processes call it, in the same order. What all of them decide upon (to stop, to skip) must therefore
be a number that it returned.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")

BUCKET = 2**24
"""Elements that travel together: many small tensors one by one cost a round trip each."""

PATIENCE = timedelta(hours=2)
"""How long the others wait for one that warms up, evaluates or plays the longest episode. One that
died is noticed at once, by the launcher."""

_alone: ContextVar[bool] = ContextVar("_alone", default=False)
_keeps_step: ContextVar[bool] = ContextVar("_keeps_step", default=False)


def start() -> None:
    """Join the processes that a launcher started, if one did; each gets the GPU of its number.

    Raises:
        RuntimeError: if `accelerate launch --cpu` was to start several and started one.
    """
    environ = os.environ
    if int(environ.get("WORLD_SIZE", 1)) == 1:
        # So that nobody takes one process for many: without MPI, its --cpu starts no others.
        if "MASTER_ADDR" in environ and environ.get("ACCELERATE_USE_CPU", "").lower() == "true":
            raise RuntimeError(
                "accelerate launch --cpu started one process, whatever --num_processes says: use "
                "accelerate launch --multi_gpu --num_processes N, which needs no GPU"
            )
        return
    if distributed.is_initialized():
        return
    backend = "gloo"
    if torch.cuda.is_available():
        # Numbers and decisions travel between CPUs, so that no GPU is waited for.
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    distributed.init_process_group(backend, timeout=PATIENCE)


def stop() -> None:
    """Leave the processes that `start` joined."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def rank() -> int:
    """This process's number; the one that writes the run folder is 0."""
    return distributed.get_rank() if _is_together() else 0


def num_ranks() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _is_together() else 1


def _is_together() -> bool:
    return distributed.is_initialized() and not _alone.get()


def gather(value: T) -> list[T]:
    """Every process's small plain value, in the order of their numbers."""
    if num_ranks() == 1:
        return [value]
    values: list[Any] = [None] * num_ranks()
    distributed.all_gather_object(values, value)
    return values


def total(count: float) -> float:
    """The sum of a number over all processes."""
    if num_ranks() == 1:
        return count
    return float(summed(torch.tensor(count, dtype=torch.float64)))


def least(count: int) -> int:
    """The smallest of all processes' numbers."""
    return min(gather(count))


def any_(flag: bool) -> bool:
    """Whether it is True in some process."""
    return any(gather(flag))


def by_first(make: Callable[[], T]) -> T:
    """What process 0 makes (a small plain value), in all of them; the others wait for it."""
    if num_ranks() == 1:
        return make()
    made: list[Any] = [None]
    if rank() == 0:
        token = _alone.set(True)  # what it calls must not wait for the others, who wait for it
        try:
            made = [make()]
        finally:
            _alone.reset(token)
    distributed.broadcast_object_list(made)
    return made[0]


def summed(x: Tensor) -> Tensor:
    """The sum of a tensor over all processes."""
    if num_ranks() == 1:
        return x
    added = x.to(_meeting_device(x), copy=True)
    distributed.all_reduce(added)
    return added.to(x.device)


def sum_(tensors: list[Tensor]) -> None:
    """Add up tensors over all processes, in place: lists of equal shapes, dtypes and devices."""
    _in_buckets(tensors, distributed.all_reduce)


def spread(tensors: list[Tensor], source: int) -> None:
    """Make tensors in all processes, in place, what they are in process `source`."""
    _in_buckets(tensors, lambda x: distributed.broadcast(x, source))


def is_sharded(x: Tensor) -> bool:
    """Whether each process holds a part of the tensor (a DTensor; see `agents.sharding`)."""
    return hasattr(x, "to_local")  # DTensor takes a second to import


def own_part(x: Tensor) -> Tensor:
    """This process's part, which shares its memory, of a sharded tensor; any other as it is."""
    return x.to_local() if is_sharded(x) else x


def whole(x: Tensor) -> Tensor:
    """All of a sharded tensor, put together; any other as it is."""
    return x.full_tensor() if is_sharded(x) else x


def shared_out_like(x: Tensor, model: Tensor) -> Tensor:
    """A whole tensor sharded as `model` is, if that is; each process takes its part of its own."""
    if not is_sharded(model):
        return x
    from torch.distributed.tensor import distribute_tensor

    x = x.to(model.device)
    return distribute_tensor(x, model.device_mesh, model.placements, src_data_rank=None)


def keep_step() -> None:
    """From now on all processes pass their models equally often: one of these is sharded."""
    _keeps_step.set(True)


def in_step(parts: list[Tensor]) -> list[Tensor]:
    """Row numbers of each pass through a model; of none in those that only others need.

    These are at the end, and there only after `keep_step`.
    """
    if not _keeps_step.get():
        return parts
    missing = max(gather(len(parts))) - len(parts)
    return parts + [torch.zeros(0, dtype=torch.int64)] * missing


def _in_buckets(tensors: list[Tensor], meet: Callable[[Tensor], Any]) -> None:
    """Do in place with tensors what `meet` does with one."""
    if num_ranks() == 1:
        return
    for bucket in _buckets([x.detach() for x in tensors]):
        device = _meeting_device(bucket[0])
        if len(bucket) == 1 and bucket[0].is_contiguous() and bucket[0].device == device:
            meet(bucket[0])  # not copied: it may be large
            continue
        joined = torch.cat([x.flatten() for x in bucket]).to(device)
        meet(joined)
        for x, part in zip(bucket, joined.split([x.numel() for x in bucket]), strict=True):
            x.copy_(part.view_as(x))


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in order, in lists of one dtype and device and of about BUCKET elements."""
    bucket: list[Tensor] = []
    for x in tensors:
        first = bucket[0] if bucket else x
        is_full = sum(y.numel() for y in bucket) + x.numel() > BUCKET
        if bucket and (is_full or (x.dtype, x.device) != (first.dtype, first.device)):
            yield bucket
            bucket = []
        bucket.append(x)
    if bucket:
        yield bucket


def _meeting_device(x: Tensor) -> torch.device:
    """Where a tensor can be added up: NCCL alone, as others may start it, has no CPU tensors."""
    if x.device.type == "cpu" and distributed.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return x.device
