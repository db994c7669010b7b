"""Log-probabilities and entropies of chosen tokens, from hidden states, in little memory.

A model's logits of n tokens are an [n, V] tensor, the largest of all in training: in float32 a
gigabyte for 2,000 tokens at a vocabulary of 128,000, and a softmax with its gradient holds three of
them. Here they exist for a few tokens at a time: made, normalised in float32, and made again when
the gradient passes, unless there are so few that they may be kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from agents.sampling import Sampling, log_probs

CHUNK_ON_CPU, CHUNK = 2**22, 2**26
"""Logits that exist at a time: few enough to be no burden, enough to keep the device busy."""
KEPT_ON_CPU, KEPT = 2**26, 2**28
"""Log-probabilities that may wait for the gradient, 4 bytes each: a fifth to a third less time."""
FEWEST_ROWS = 256
"""Of a chunk: the gradient of the head's weights is read and written once per chunk."""


@dataclass(frozen=True)
class Choices:
    """What was chosen in n states, and from what.

    tokens: [n] int64. illegal: [V] bool, the tokens of probability 0 in every state. sampling: how
    the tokens were drawn. legal: [n, W] uint8, those that the environment allowed (see
    `batch.Rollout`); W = 0: all.
    """

    tokens: Tensor
    illegal: Tensor
    sampling: Sampling = field(default_factory=Sampling)
    legal: Tensor | None = None

    def part(self, rows: slice) -> Choices:
        """Some of the states."""
        legal = None if self.legal is None else self.legal[rows]
        return Choices(self.tokens[rows], self.illegal, self.sampling, legal)

    def log_probs(self, logits: Tensor) -> Tensor:
        """[n, V] log-probabilities in float32 of the distributions, from logits [n, V]."""
        illegal = self.illegal
        if self.legal is not None and self.legal.shape[1]:
            shifts = torch.arange(7, -1, -1, device=logits.device)
            bits = self.legal[:, :, None] >> shifts & 1  # np.packbits: the highest bit is the first
            illegal = illegal | (bits.flatten(1)[:, : len(illegal)] == 0)
        return log_probs(logits, illegal, self.sampling, chosen=self.tokens)

    def chunks(self) -> list[slice]:
        """Parts whose logits may exist at a time."""
        logits = CHUNK_ON_CPU if self.tokens.device.type == "cpu" else CHUNK
        step = max(FEWEST_ROWS, logits // len(self.illegal))
        return [slice(i, i + step) for i in range(0, len(self.tokens), step)]

    @property
    def may_be_kept(self) -> bool:
        """Whether all log-probabilities may exist at a time."""
        most = KEPT_ON_CPU if self.tokens.device.type == "cpu" else KEPT
        return len(self.tokens) * len(self.illegal) <= most


def from_hidden(hidden: Tensor, head: nn.Linear, choices: Choices) -> tuple[Tensor, Tensor]:
    """Log-probabilities [n] of the tokens and entropies [n] in nats, both float32.

    Args:
        hidden: [n, D], the last layer's states in which the tokens were chosen.
        head: gives the logits [n, V]. Under autocast in its precision.
        choices: the tokens, and how they were chosen.
    """
    return _FromHidden.apply(hidden, head.weight, head.bias, choices)


def from_logits(logits: Tensor, choices: Choices) -> tuple[Tensor, Tensor]:
    """The same of a model's own logits [n, V], which are held, but not their softmax."""
    parts = []
    for rows in choices.chunks():
        part = choices.part(rows)
        parts.append(checkpoint(_pick, logits[rows], part, use_reentrant=False))
    picked, entropies = zip(*parts, strict=True)
    return torch.cat(picked), torch.cat(entropies)


def _pick(logits: Tensor, choices: Choices) -> tuple[Tensor, Tensor]:
    every = choices.log_probs(logits)
    picked = every.gather(1, choices.tokens[:, None])[:, 0]
    # p log p is 0 where p is 0: -inf times 0 would be NaN.
    finite = every.masked_fill(every == -torch.inf, 0.0)
    return picked, -(every.exp() * finite).sum(1)


class _FromHidden(torch.autograd.Function):
    """Its backward makes the logits again, a chunk at a time, unless they may be kept."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, choices: Choices
    ) -> tuple[Tensor, Tensor]:
        kind = hidden.device.type
        is_cast = torch.is_autocast_enabled(kind)
        ctx.dtype = torch.get_autocast_dtype(kind) if is_cast else weight.dtype
        ctx.choices = choices
        # A gradient which nobody asks for comes as None, not as zeros: it then costs nothing.
        ctx.set_materialize_grads(False)
        picked, entropies = (hidden.new_empty(len(hidden), dtype=torch.float32) for _ in range(2))
        inputs, matrix, offset = _cast(ctx.dtype, hidden, weight, bias)
        keep, kept = choices.may_be_kept and any(ctx.needs_input_grad), []
        for rows in choices.chunks():
            part = choices.part(rows)
            every = part.log_probs(functional.linear(inputs[rows], matrix, offset))
            picked[rows] = every.gather(1, part.tokens[:, None])[:, 0]
            probs = every.exp()
            # p log p is 0 where p is 0: -inf times 0 would be NaN.
            entropies[rows] = -(probs.mul_(every.clamp_(min=-1e30))).sum(1)
            kept += [every] if keep else []
        ctx.save_for_backward(hidden, weight, bias, entropies, *kept)
        return picked, entropies

    @staticmethod
    def backward(
        ctx: Any, picked_grad: Tensor | None, entropy_grad: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, entropies, *kept = ctx.saved_tensors
        inputs, matrix, offset = _cast(ctx.dtype, hidden, weight, bias)
        wants = ctx.needs_input_grad
        hidden_grad = torch.empty_like(hidden) if wants[0] else None
        weight_grad = torch.zeros_like(weight) if wants[1] else None
        bias_grad = torch.zeros_like(bias) if bias is not None and wants[2] else None
        for i, rows in enumerate(ctx.choices.chunks()):
            part = ctx.choices.part(rows)
            if kept:
                every = kept[i]
            else:
                every = part.log_probs(functional.linear(inputs[rows], matrix, offset))
            grad = _logits_grad(
                every,
                part,
                None if picked_grad is None else picked_grad[rows, None],
                None if entropy_grad is None else entropy_grad[rows, None],
                entropies[rows, None],
            ).to(ctx.dtype)
            if hidden_grad is not None:
                hidden_grad[rows] = (grad @ matrix).to(hidden.dtype)
            if weight_grad is not None:
                if weight_grad.dtype == grad.dtype:
                    weight_grad.addmm_(grad.T, inputs[rows])
                else:
                    weight_grad += grad.T @ inputs[rows]
            if bias_grad is not None:
                bias_grad += grad.sum(0)
        return hidden_grad, weight_grad, bias_grad, None


def _logits_grad(
    every: Tensor,
    choices: Choices,
    picked_grad: Tensor | None,
    entropy_grad: Tensor | None,
    entropies: Tensor,
) -> Tensor:
    """[n, V] gradient of the logits, from log-probabilities [n, V] and [n, 1] others.

    d log p_a / d z_j = ([j = a] - p_j) / T and d H / d z_j = -p_j (log p_j + H) / T.
    """
    probs = every.exp()
    scale = torch.zeros_like(entropies) if picked_grad is None else -picked_grad
    if entropy_grad is not None:
        scale = scale - entropy_grad * (every.clamp(min=-1e30) + entropies)
    grad = probs.mul_(scale)
    if picked_grad is not None:
        grad.scatter_add_(1, choices.tokens[:, None], picked_grad)
    return grad if choices.sampling.temperature == 1 else grad.div_(choices.sampling.temperature)


def _cast(dtype: torch.dtype, *tensors: Tensor | None) -> list[Any]:
    return [None if tensor is None else tensor.to(dtype) for tensor in tensors]
