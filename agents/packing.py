"""Batches without waste: prompts that rows share are computed once, micro-batches fill a budget.

Neither changes a result, up to rounding; only what is computed and held.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.cache_utils import DynamicCache

from agents.hugging_face import cache_argument

WORTH_SHARING = 0.9
"""Share of the tokens computed under which common prompts pay: they cost a second, shorter pass."""


def states(trunk: nn.Module, tokens: Tensor, mask: Tensor, *, share: bool) -> Tensor:
    """[n, D] states of the last layer in which the n tokens under the mask were chosen.

    Args:
        trunk: a causal language model without its head.
        tokens: [B, L] int64, padded on the right.
        mask: [B, L] bool, column 0 False, at least one True.
        share: whether prompts that are the same in several rows may be computed once, which the
            trunk must be able to do (see `can_share`).
    """
    rows = mask.any(1)
    if not bool(rows.all()):
        tokens, mask = tokens[rows], mask[rows]
    columns = torch.arange(mask.shape[1], device=mask.device)
    starts = mask.int().argmax(1)  # of the first response: the prompt's length
    ends = (columns * mask).amax(1)  # of the last one: nobody asks what follows
    if share:
        prompts = torch.where(columns < starts[:, None], tokens, -1)[:, : int(starts.max())]
        prompts, group = prompts.unique(dim=0, return_inverse=True)
        width = int((ends - starts).max())
        cost = prompts.numel() + len(tokens) * width
        if width and cost < WORTH_SHARING * len(tokens) * int(ends.max()):
            return _states_after_prompts(trunk, tokens, mask, prompts, group, width)
    tokens = tokens[:, : int(ends.max())]
    # No attention mask: attention is causal, so nothing that counts can see the padding.
    hidden = trunk(input_ids=tokens, use_cache=False).last_hidden_state
    # The state at token i - 1 chooses token i.
    return _take(hidden, mask[:, 1 : tokens.shape[1] + 1])


def _states_after_prompts(
    trunk: nn.Module, tokens: Tensor, mask: Tensor, prompts: Tensor, group: Tensor, width: int
) -> Tensor:
    """The same, with distinct prompts [N, P] (padded with -1) passed once, row b's is group[b].

    The prompts' keys and values are then the past of every row that begins with them, and the
    `width` tokens that follow the prompts pass together.
    """
    lengths = (prompts >= 0).sum(1)
    cache = DynamicCache()
    settings = {cache_argument(trunk): cache, "use_cache": True}
    first = trunk(input_ids=prompts.clamp(min=0), **settings).last_hidden_state
    for layer in cache.layers:
        layer.keys = layer.keys.index_select(0, group)
        layer.values = layer.values.index_select(0, group)

    starts = lengths[group]
    offsets = torch.arange(width, device=tokens.device)
    positions = starts[:, None] + offsets
    inside = positions.clamp(max=tokens.shape[1] - 1)
    past = torch.arange(prompts.shape[1], device=tokens.device) < starts[:, None, None]
    own = offsets <= offsets[:, None]
    seen = torch.cat([past.expand(-1, width, -1), own.expand(len(tokens), -1, -1)], 2)
    dtype = first.dtype
    attention = torch.zeros(seen.shape, dtype=dtype, device=tokens.device)
    attention.masked_fill_(~seen, torch.finfo(dtype).min)
    rest = trunk(
        input_ids=tokens.gather(1, inside),
        attention_mask=attention[:, None],
        position_ids=inside,
        **settings,
    ).last_hidden_state

    # Column 0: the prompt's last state, which chooses the first token.
    last = first.flatten(0, 1).index_select(0, group * prompts.shape[1] + starts - 1)
    hidden = torch.cat([last[:, None], rest], 1)
    columns = starts[:, None] + torch.arange(width + 1, device=tokens.device)
    chosen = functional.pad(mask, (0, width + 1)).gather(1, columns)
    return _take(hidden, chosen)


def _take(hidden: Tensor, chosen: Tensor) -> Tensor:
    """[n, D] the states [B, T, D] where chosen [B, T]."""
    # Not hidden[chosen], whose gradient a CPU adds up one number at a time.
    return hidden.flatten(0, 1).index_select(0, chosen.flatten().nonzero()[:, 0])


@torch.no_grad()
def can_share(trunk: nn.Module) -> bool:
    """Whether the trunk gives the same states with shared prompts, found out by trying.

    It does if attention is all that connects tokens, and takes any mask. A sliding window, if it
    has one, must hold the whole batch: `states` is not asked to share otherwise.
    """
    device = next(trunk.parameters()).device
    tokens = torch.arange(24, device=device).reshape(3, 8) * 5 % trunk.config.vocab_size
    tokens[1, :4] = tokens[0, :4]
    tokens[2, :2] = tokens[0, :2]
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[:2, 4:] = mask[2, 2:6] = True
    starts = mask.int().argmax(1)
    columns = torch.arange(8, device=device)
    prompts = torch.where(columns < starts[:, None], tokens, -1)[:, :4]
    prompts, group = prompts.unique(dim=0, return_inverse=True)
    try:
        want = states(trunk, tokens, mask, share=False).float()
        got = _states_after_prompts(trunk, tokens, mask, prompts, group, 4).float()
    except Exception:  # an architecture may refuse in any way
        return False
    return bool(torch.allclose(got, want, rtol=0, atol=2e-3 * float(want.abs().max())))


def split(
    lengths: Tensor,
    *,
    max_rows: int | None = None,
    max_tokens: int | None = None,
    groups: Tensor | None = None,
) -> list[Tensor]:
    """Cut a minibatch into micro-batches that fit in memory, with rows of similar length together.

    Each row appears once. If every loss is given the minibatch's token count (see losses.py), the
    split changes neither loss nor gradient, only how much padding is computed and held.

    Args:
        lengths: [B] int64, tokens per row.
        max_rows: rows per micro-batch.
        max_tokens: rows times the longest of them, padding included, per micro-batch. A row which
            exceeds it by itself makes a micro-batch of one.
        groups: [B] int64; rows that share a number share a prompt, and stay together if they fit
            in a micro-batch, so that the prompt is computed once.

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
    tokens = lengths.tolist()

    def capacity(width: int) -> int:
        """Rows of this many tokens that a micro-batch holds."""
        rows = len(tokens) if max_rows is None else max_rows
        return rows if max_tokens is None else min(rows, max(1, max_tokens // width))

    parts: list[list[int]] = []
    width = 0  # of the last part
    for group in _groups_by_length(lengths, groups):
        wider = max(width, tokens[group[0]])
        if parts and len(parts[-1]) + len(group) <= capacity(wider):
            parts[-1] += group
            width = wider
            continue
        while group:
            width = tokens[group[0]]
            parts.append(group[: capacity(width)])
            group = group[capacity(width) :]
    return [torch.tensor(part, device=lengths.device) for part in parts]


def _groups_by_length(lengths: Tensor, groups: Tensor | None) -> list[list[int]]:
    """The rows of each group (None: each row is one), longest rows and groups first."""
    by_length = lengths.argsort(descending=True, stable=True).tolist()
    if groups is None:
        return [[row] for row in by_length]
    numbers, found = groups.tolist(), {}
    for row in by_length:
        found.setdefault(numbers[row], []).append(row)
    return list(found.values())
