"""PPOBuffer: the rollouts of one PPO iteration, their advantages, and minibatches of both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from agents.advantages import gae, whiten
from agents.batch import Rollout
from agents.distributed import summed, total


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
                tokens stored, of all processes (not per minibatch, whose chance composition would
                then matter).

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
            advantages = whiten(advantages, rollout.mask, add=summed)
        self._finished = Minibatch(rollout, advantages, returns)

    def explained_variance(self) -> float:
        """1 - Var[G - v] / Var[G] over all tokens: 1 is perfect, 0 what a constant explains."""
        if self._finished is None:
            raise RuntimeError("the buffer is not finished: call finish() before")
        rollout, _, returns = self._finished
        pairs = torch.stack([returns - rollout.values, returns])[:, rollout.mask].double()
        count = total(pairs.shape[1])
        deviations = pairs - summed(pairs.sum(1))[:, None] / count
        errors, targets = summed(deviations.square().sum(1)).tolist()
        return 1.0 - errors / max(targets, 1e-12 * count)

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
