"""PPOBuffer: the rollouts of one PPO iteration, their advantages, and minibatches of both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from agents.advantages import gae, whiten
from agents.batch import Rollout


class Minibatch(NamedTuple):
    """Rows of a finished buffer, without columns which are padding in all of them.

    Attributes:
        rollout: the rows, [B, L].
        advantages: [B, L] float32, 0 where rollout.mask is False.
        returns: [B, L] float32, the value function's targets, 0 where rollout.mask is False.
    """

    rollout: Rollout
    advantages: Tensor
    returns: Tensor

    def select(self, rows: slice | Tensor) -> Minibatch:
        """The given rows as a minibatch of their own, trimmed to the longest of them."""
        rollout = self.rollout[rows].trim()
        width = rollout.tokens.shape[1]
        return Minibatch(rollout, self.advantages[rows, :width], self.returns[rows, :width])


class PPOBuffer:
    """Collects rollouts, computes their advantages together, hands them out in minibatches.

    Example::

        buffer = PPOBuffer()
        buffer.store(rollout)
        buffer.finish(gamma=1.0, gae_lambda=0.95)
        for rollout, advantages, returns in buffer.minibatches(4, generator):
            ...
        buffer.clear()
    """

    def __init__(self, *, pad_token: int = 0) -> None:
        """Start empty.

        Args:
            pad_token: fills rows up to the longest. Any id of the vocabulary will do, since every
                mask is False there and causal attention never looks to the right.
        """
        self._pad_token = pad_token
        self._rollouts: list[Rollout] = []
        self._finished: Minibatch | None = None

    def __len__(self) -> int:
        """The number of episodes stored."""
        return sum(len(rollout) for rollout in self._rollouts)

    def store(self, rollout: Rollout) -> None:
        """Add episodes; what an earlier `finish` computed no longer holds and is dropped."""
        self._rollouts.append(rollout)
        self._finished = None

    def clear(self) -> None:
        """Forget everything: PPO is on-policy and the next iteration collects anew."""
        self._rollouts.clear()
        self._finished = None

    def finish(self, *, gamma: float, gae_lambda: float, whiten_advantages: bool = True) -> None:
        """Compute advantages and returns for everything stored.

        Args:
            gamma: discount per token.
            gae_lambda: λ of `agents.advantages.gae`.
            whiten_advantages: scale the advantages to mean 0 and standard deviation 1 over all
                tokens stored (not per minibatch, whose chance composition would then matter).

        Raises:
            RuntimeError: if nothing is stored.
        """
        if not len(self):
            raise RuntimeError("the buffer is empty: store() a rollout before finish()")
        rollout = Rollout.concatenate(self._rollouts, self._pad_token)
        advantages, returns = gae(
            rollout.rewards,
            rollout.values,
            rollout.mask,
            gamma=gamma,
            gae_lambda=gae_lambda,
            bootstrap=rollout.bootstrap,
        )
        if whiten_advantages:
            advantages = whiten(advantages, rollout.mask)
        self._finished = Minibatch(rollout, advantages, returns)

    def explained_variance(self) -> float:
        """1 - Var[G - v] / Var[G] over all tokens: 1 is perfect, 0 what a constant explains."""
        if self._finished is None:
            raise RuntimeError("the buffer is not finished: call finish() before")
        rollout, _, returns = self._finished
        targets, errors = returns[rollout.mask], (returns - rollout.values)[rollout.mask]
        return float(1.0 - errors.var(correction=0) / targets.var(correction=0).clamp(min=1e-12))

    def minibatches(self, num_minibatches: int, generator: torch.Generator) -> Iterator[Minibatch]:
        """One epoch: every row exactly once, shuffled, in minibatches of equal size (± 1 row).

        Args:
            num_minibatches: from 1 to the number of rows.
            generator: a CPU generator, the only source of randomness.

        Returns:
            An iterator over minibatches, each trimmed to its longest row.

        Raises:
            RuntimeError: if `finish` was not called since the last `store`.
            ValueError: if num_minibatches is out of range.
        """
        finished = self._finished
        if finished is None:
            raise RuntimeError("the buffer is not finished: call finish() before minibatches()")
        num_rows = len(finished.rollout)
        if not 1 <= num_minibatches <= num_rows:
            raise ValueError(f"num_minibatches is {num_minibatches}, expected 1 to {num_rows} rows")
        order = torch.randperm(num_rows, generator=generator)
        # Indices are drawn on the CPU, so that a seed gives the same order on every device.
        parts = order.to(finished.advantages.device).tensor_split(num_minibatches)
        return (finished.select(rows) for rows in parts)


def split(
    lengths: Tensor, *, max_rows: int | None = None, max_tokens: int | None = None
) -> list[Tensor]:
    """Cut a minibatch into micro-batches that fit in memory, with rows of similar length together.

    Each row appears once. If every loss is given the minibatch's token count (see losses.py), the
    split changes neither loss nor gradient, only how much padding is computed and held.

    Args:
        lengths: [B] int64, tokens per row.
        max_rows: rows per micro-batch.
        max_tokens: rows times the longest of them, padding included, per micro-batch. A row which
            exceeds it by itself makes a micro-batch of one.

    Returns:
        Row numbers per micro-batch, int64 tensors on the device of lengths, longest rows first (if
        memory does not suffice, the first micro-batch tells).

    Raises:
        ValueError: if neither limit is given, or a limit is less than 1.
    """
    limits = [limit for limit in (max_rows, max_tokens) if limit is not None]
    if not limits or min(limits) < 1:
        raise ValueError(
            f"max_rows is {max_rows} and max_tokens is {max_tokens}, expected one or both >= 1"
        )
    by_length = lengths.argsort(descending=True, stable=True)
    groups, start = [], 0
    sorted_lengths = lengths[by_length].tolist()
    while start < len(sorted_lengths):
        rows = len(sorted_lengths) if max_rows is None else max_rows
        if max_tokens is not None:
            # Sorted, so the first row is the longest and sets the width of its micro-batch.
            rows = min(rows, max(1, max_tokens // sorted_lengths[start]))
        groups.append(by_length[start : start + rows])
        start += rows
    return groups
