"""PPOBuffer: the rollouts of one PPO iteration, their advantages, and minibatches of both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from agents.advantages import gae, one_step, whiten
from agents.batch import Rollout
from agents.distributed import summed, total


class Minibatch(NamedTuple):
    """Rows of a finished buffer, without columns which are padding in all of them.

    Attributes:
        rollout: the rows, [B, L].
        advantages: [B, L] float32, 0 where rollout.mask is False.
        returns: [B, L] float32, the value function's targets, 0 where rollout.mask is False.
        reference: [B, L] float32, log pi_ref of the tokens; 0 where nobody stored it.
    """

    rollout: Rollout
    advantages: Tensor
    returns: Tensor
    reference: Tensor

    def select(self, rows: slice | Tensor) -> Minibatch:
        """The given rows as a minibatch of their own, trimmed to the longest of them."""
        rollout = self.rollout[rows].trim()
        width = rollout.tokens.shape[1]
        return Minibatch(rollout, *(x[rows, :width] for x in self[1:]))


class PPOBuffer:
    """Collects rollouts, computes their advantages together, hands them out in minibatches.

    Example::

        buffer = PPOBuffer()
        buffer.store(rollout)
        buffer.finish(gamma=1.0, gae_lambda=0.95)
        for minibatch in buffer.minibatches(4, generator):
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
        self._references: list[Tensor] = []
        self._finished: Minibatch | None = None

    def __len__(self) -> int:
        """The number of episodes stored."""
        return sum(len(rollout) for rollout in self._rollouts)

    def store(self, rollout: Rollout, reference: Tensor | None = None) -> None:
        """Add episodes; what an earlier `finish` computed no longer holds and is dropped.

        Args:
            rollout: the episodes.
            reference: [B, L], log pi_ref of their tokens, if a loss is to read it.
        """
        self._rollouts.append(rollout)
        none = torch.zeros_like(rollout.rewards)
        self._references.append(none if reference is None else reference)
        self._finished = None

    def clear(self) -> None:
        """Forget everything: PPO is on-policy and the next iteration collects anew."""
        self._rollouts.clear()
        self._references.clear()
        self._finished = None

    def finish(
        self,
        *,
        gamma: float,
        gae_lambda: float,
        level: Literal["token", "sequence"] = "token",
        whiten_rewards: bool = False,
        whiten_advantages: bool = True,
        weights: Tensor | None = None,
    ) -> None:
        """Compute advantages and returns for everything stored.

        Statistics for whitening are those of all tokens stored, of all processes: not those of a
        minibatch, whose chance composition would then matter.

        Args:
            gamma: discount per token.
            gae_lambda: λ of `agents.advantages.gae`.
            level: "token": each token is an action; "sequence": the whole response is one (see
                `agents.advantages.one_step`), and gamma and gae_lambda are not read.
            whiten_rewards: scale the rewards to standard deviation 1, without a shift.
            whiten_advantages: scale the advantages to mean 0 and standard deviation 1.
            weights: [B, L] importance weights of the tokens stored, by which the advantages are
                multiplied last of all.

        Raises:
            RuntimeError: if nothing is stored.
        """
        if not len(self):
            raise RuntimeError("the buffer is empty: store() a rollout before finish()")
        rollout = Rollout.concatenate(self._rollouts, self._pad_token)
        width, mask, rewards = rollout.tokens.shape[1], rollout.mask, rollout.rewards
        if whiten_rewards:
            rewards = whiten(rewards, mask, shift_mean=False, add=summed)
        given = {"mask": mask, "bootstrap": rollout.bootstrap}
        if level == "sequence":
            advantages, returns = one_step(rewards, rollout.values, **given)
        else:
            given |= {"gamma": gamma, "gae_lambda": gae_lambda}
            advantages, returns = gae(rewards, rollout.values, **given)
        if whiten_advantages:
            advantages = whiten(advantages, mask, add=summed)
        if weights is not None:
            advantages = advantages * weights
        parts = [functional.pad(x, (0, width - x.shape[1])) for x in self._references]
        self._finished = Minibatch(rollout, advantages, returns, torch.cat(parts))

    def explained_variance(self) -> float:
        """1 - Var[G - v] / Var[G] over all tokens: 1 is perfect, 0 what a constant explains."""
        if self._finished is None:
            raise RuntimeError("the buffer is not finished: call finish() before")
        rollout, _, returns, _ = self._finished
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
