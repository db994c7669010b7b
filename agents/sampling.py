"""From logits to tokens: the distribution that is sampled, its log-probabilities, and the draw.

Sampling and learning share `log_probs`, so that a learner's ratio speaks of the distribution that
tokens were really drawn from. Randomness is an argument: a uniform number per token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FIRST_LOOK = 1024
"""Tokens among which top-p is looked for first: a trained model's nucleus nearly always fits, and
finding the 1,024 largest of 32,000 takes a tenth of the time of sorting them."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. The filters apply in this order, each to what the last one left."""

    temperature: float = 1.0
    """Divides the logits."""
    top_k: int = 0
    """So many most probable tokens are kept (0: all). Fan et al. 2018."""
    top_p: float = 1.0
    """The fewest most probable tokens are kept whose probabilities reach this sum. Holtzman et al.
    2020."""
    min_p: float = 0.0
    """Tokens less probable than this share of the most probable one are dropped. Nguyen et al.
    2024."""

    def validate(self) -> None:
        """Check each field's range.

        Raises:
            ValueError: naming the field, what it is and what was expected.
        """
        rules = {
            "temperature": (lambda x: 0 < x < math.inf, "a positive number"),
            "top_k": (lambda x: isinstance(x, int) and x >= 0, "an integer of at least 0"),
            "top_p": (lambda x: 0 < x <= 1, "a number over 0 and at most 1"),
            "min_p": (lambda x: 0 <= x <= 1, "a number from 0 to 1"),
        }
        for name, (is_right, expected) in rules.items():
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not is_right(value):
                raise ValueError(f"{name} is {value!r}, expected {expected}")

    @property
    def has_filters(self) -> bool:
        """Whether some legal token may have probability 0."""
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0


def log_probs(
    logits: Tensor, illegal: Tensor, sampling: Sampling, *, chosen: Tensor | None = None
) -> Tensor:
    """[n, V] float32 log-probabilities of the distribution that tokens are drawn from.

    Args:
        logits: [n, V], of any floating dtype. Gradients flow through them.
        illegal: [V] or [n, V] bool: tokens of probability 0, whatever the model says of them.
        sampling: temperature and filters. Tokens as probable as the last one kept are kept too, so
            that the set is a function of the distribution.
        chosen: [n] int64 tokens that were drawn earlier, for learning. They are kept whatever the
            filters say: as the policy moves, the ratio of new to old probability stays finite.
    """
    logits = logits.float()
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    logits = logits.masked_fill(illegal, -torch.inf)
    if sampling.has_filters:
        dropped = logits < _lowest_kept(logits.detach(), sampling)[:, None]
        if chosen is not None:
            dropped.scatter_(1, chosen[:, None], False)
        logits = logits.masked_fill(dropped, -torch.inf)
    return logits.log_softmax(-1)


def draw(log_probs: Tensor, points: Tensor) -> Tensor:
    """[n] tokens by the inverse of their distribution function at points [n] from [0, 1).

    A token is a function of its row and point alone.
    """
    cumulative = log_probs.exp().cumsum(-1)
    # Rounding leaves the last sum beside 1; scaled by it, a point is always less than it.
    targets = points[:, None] * cumulative[:, -1:]
    # The first sum greater than the target: a token of probability 0 adds nothing to the sum.
    tokens = torch.searchsorted(cumulative, targets, right=True)
    tokens = tokens.clamp(max=log_probs.shape[1] - 1)  # V where the row is NaN: no error here
    impossible = log_probs.gather(1, tokens) == -torch.inf
    # A parallel scan (on a GPU) rounds each sum by itself, so that such a token may be hit.
    if bool(impossible.any()):
        tokens = torch.where(impossible, log_probs.argmax(-1, keepdim=True), tokens)
    return tokens[:, 0]


def _lowest_kept(logits: Tensor, sampling: Sampling) -> Tensor:
    """[n] the lowest logit of each row [n, V] that passes the filters."""
    highest, size = logits.amax(-1), logits.shape[1]
    lowest = highest + math.log(sampling.min_p) if sampling.min_p else highest - torch.inf
    if 0 < sampling.top_k < size:
        kth = logits.topk(sampling.top_k, sorted=False).values.amin(-1)
        lowest = torch.maximum(lowest, kth)
        logits = logits.masked_fill(logits < kth[:, None], -torch.inf)
    if sampling.top_p < 1:
        lowest = torch.maximum(lowest, _nucleus(logits, sampling.top_p))
    return lowest


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """[n] the lowest logit among the fewest largest whose probabilities sum to top_p."""
    lowest, total = logits.new_empty(len(logits)), logits.logsumexp(-1, keepdim=True)
    rows, size = torch.arange(len(logits), device=logits.device), logits.shape[1]
    count = min(FIRST_LOOK, size)
    while True:
        values = logits[rows].topk(count).values
        sums = (values - total[rows]).exp().cumsum(-1)
        last = (sums < top_p).sum(-1, keepdim=True).clamp(max=count - 1)
        lowest[rows] = values.gather(1, last)[:, 0]
        if count == size:
            return lowest
        rows = rows[sums[:, -1] < top_p]
        if not len(rows):
            return lowest
        count = min(8 * count, size)
