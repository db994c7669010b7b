"""From the hidden states of a text to numbers: poolings, and heads on what they give."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

Pooling = Literal["last", "mean", "max", "cls", "attention"]
"""last: the last real token. mean, max: over all real tokens. cls: the first token (of an encoder).
attention: a mean whose weights are learned. What a response has how often is learned sooner by a
mean than by the last token (`python -m benchmarks components`)."""

HEAD_STD = 0.02
"""Of a new head's weights: the first rewards are near 0, and the first loss near ln 2."""


class Pool(nn.Module):
    """Hidden states [B, L, D] of texts of `lengths` [B] -> features [B, D].

    Padding, which stands on the right, has no influence, whatever it holds.

    Args:
        how: see `Pooling`.
        width: D.

    Raises:
        ValueError: if there is no such pooling.
    """

    def __init__(self, how: Pooling, width: int) -> None:
        super().__init__()
        if how not in get_args(Pooling):
            raise ValueError(f"pooling is {how!r}, expected one of {list(get_args(Pooling))}")
        self.how = how
        if how == "attention":
            # Zero: it begins as the mean.
            self.query = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """[B, D] features; all lengths are at least 1."""
        if self.how == "cls":
            return hidden[:, 0]
        if self.how == "last":
            return hidden[torch.arange(len(lengths), device=hidden.device), lengths - 1]
        padding = torch.arange(hidden.shape[1], device=hidden.device) >= lengths[:, None]  # [B, L]
        if self.how == "max":
            return hidden.masked_fill(padding[..., None], -torch.inf).amax(1)
        real = hidden.masked_fill(padding[..., None], 0.0)
        if self.how == "mean":
            return real.sum(1) / lengths[:, None]
        scores = (real @ self.query / real.shape[-1] ** 0.5).masked_fill(padding, -torch.inf)
        return (scores.softmax(1)[..., None] * real).sum(1)


def new_head(width: int, num_outputs: int, *, seed: int) -> nn.Linear:
    """A linear head [.., D] -> [.., K] without a bias, with small weights, the same for one seed.

    A bias would cancel in every difference of rewards.
    """
    head = nn.utils.skip_init(nn.Linear, width, num_outputs, bias=False)
    nn.init.normal_(head.weight, std=HEAD_STD, generator=torch.Generator().manual_seed(seed))
    return head


class Gate(nn.Module):
    """Weights [B, K] of K components from the prompt's features [B, D]; they sum to 1.

    Wang et al. 2024 (ArmoRM), section 3.2: softmax of a small network. It begins at the given
    weights, whatever the prompt.

    Args:
        width: D.
        weights: K non-negative numbers, not all 0; they are scaled to sum to 1.
        seed: of the hidden layer's weights.
    """

    def __init__(self, width: int, weights: Tensor, *, seed: int) -> None:
        super().__init__()
        self.hidden = new_head(width, width, seed=seed)
        nn.init.normal_(
            self.hidden.weight,
            std=width**-0.5,
            generator=torch.Generator().manual_seed(seed),
        )
        self.output = nn.utils.skip_init(nn.Linear, width, len(weights))
        nn.init.zeros_(self.output.weight)
        with torch.no_grad():
            # A weight of 0 would never move: its gradient is 0 in a softmax.
            self.output.bias.copy_((weights / weights.sum()).clamp(min=1e-4).log())

    def forward(self, features: Tensor) -> Tensor:
        """[B, K] weights."""
        return self.output(self.hidden(features).relu()).softmax(-1)
