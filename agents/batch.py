"""Batches of tokens: what every tensor means, told once and checked where data enters.

One alignment rule holds here and in everything that reads these classes: **index i of every [B, L]
tensor speaks about token i.** `log_probs[b, i]` is the log-probability of `tokens[b, i]` given the
tokens before it, `values[b, i]` the value of the state in which it was chosen, `rewards[b, i]` the
reward that followed it. The shift by one between logits and tokens happens in models.py only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from typing import Self

Rule = tuple[str, Tensor, str]  # a field, where it breaks the rule, what was expected there


def _spec(shape: str, dtype: torch.dtype) -> dict[str, Any]:
    """A field's contract, for `_Batch`: its dimensions ("B", "BL", "BLW") and its dtype."""
    return {"shape": shape, "dtype": dtype}


class _Batch:
    """What both batches share: rows, devices and checks. The first field is [B, L] tokens."""

    __slots__ = ()

    def __len__(self) -> int:
        """B, the number of rows."""
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, rows: slice | Tensor) -> Self:
        """The selected rows, in the order of `rows`.

        Args:
            rows: a slice, an int64 tensor of row numbers or a bool tensor [B].

        Raises:
            TypeError: if `rows` is anything else. A single row is `batch[3:4]`: a batch of one.
        """
        if not isinstance(rows, slice) and not (isinstance(rows, Tensor) and rows.ndim == 1):
            raise TypeError(f"rows is {rows!r}, expected a slice or a 1-d index tensor")
        return self._derive(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return self._derive(lambda tensor: tensor.to(device))

    def _derive(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Apply `change` to every field."""
        derived = object.__new__(type(self))
        # Past __post_init__ on purpose: rows of a checked batch need no second check, and reading
        # its verdict would make the host wait for the device at every micro-batch.
        for item in fields(self):
            object.__setattr__(derived, item.name, change(getattr(self, item.name)))
        return derived

    def _check_fields(self) -> None:
        """Compare each field with its contract; ValueError names the field and both sides."""
        leader = fields(self)[0].name
        tokens = getattr(self, leader)
        sizes = dict(zip("BL", getattr(tokens, "shape", ()), strict=False))
        for item in fields(self):
            tensor = getattr(self, item.name)
            if not isinstance(tensor, Tensor):
                raise ValueError(f"{item.name} is a {type(tensor).__name__}, expected a Tensor")
            if tensor.ndim == 3:
                sizes["W"] = tensor.shape[2]  # any width
            expected = [sizes.get(dimension, dimension) for dimension in item.metadata["shape"]]
            pairs = {
                "shape": (list(tensor.shape), expected),
                "dtype": (tensor.dtype, item.metadata["dtype"]),
                "device": (tensor.device, tokens.device),
            }
            for what, (got, want) in pairs.items():
                if got != want:
                    raise ValueError(f"{item.name} has {what} {got}, expected {want}")

    def _check_rules(self, rules: Sequence[Rule]) -> None:
        """Raise ValueError for the first broken rule, naming its first broken position."""
        # One transfer for all rules together: on an accelerator each would be a synchronisation.
        broken = torch.stack([where.any() for _, where, _ in rules]).tolist()
        for (name, where, expected), is_broken in zip(rules, broken, strict=True):
            if is_broken:
                position = where.nonzero()[0].tolist()
                got = getattr(self, name)[tuple(position)].item()
                raise ValueError(f"{name}{position} is {got}, expected {expected}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rollout(_Batch):
    """B recorded episodes as the policy played them, padded on the right to L tokens.

    Example of one row, a dialogue of two turns whose second turn ends the episode (p: prompt,
    e: environment text, a: the policy's tokens, .: padding)::

        tokens   p  p  a1 a2 e  e  a3 a4 .  .
        mask     0  0  1  1  0  0  1  1  0  0      lengths = 8, terminated = True
        rewards  0  0  0  0  0  0  0  1  0  0

    Attributes:
        tokens: [B, L] int64. Prompt, responses and environment text, then padding.
        mask: [B, L] bool. True where the policy chose the token; False elsewhere, so at token 0,
            and throughout an episode on which no verdict was reached: its reward is unknown.
        log_probs: [B, L] float32. log π(token i | tokens < i), in nats, of the policy that
            collected the batch; 0 where mask is False.
        values: [B, L] float32. v(s) of the state in which token i was chosen.
        rewards: [B, L] float32. R_{t+1}, the reward that followed token i; 0 where mask is False.
        terminated: [B] bool. False: the episode was cut off from outside, its future is unknown.
        problem: [B] int64. Rows that share a number answer the same problem and form a group.
        lengths: [B] int64. Real tokens in the row, 1 to L; padding starts there.
        bootstrap: [B] float32. v(s) of the state after the last token, an estimate of the unseen
            future of a row that did not terminate; 0 where terminated. Left out, zeros.
        legal: [B, L, W] uint8. The tokens that the environment allowed where the policy chose token
            i, eight to a byte (np.packbits) over the vocabulary. W is 0 where it chose from all:
            the default.

    Raises:
        ValueError: if a field's shape, dtype, device or content breaks the rules above.
    """

    tokens: Tensor = field(metadata=_spec("BL", torch.int64))
    mask: Tensor = field(metadata=_spec("BL", torch.bool))
    log_probs: Tensor = field(metadata=_spec("BL", torch.float32))
    values: Tensor = field(metadata=_spec("BL", torch.float32))
    rewards: Tensor = field(metadata=_spec("BL", torch.float32))
    terminated: Tensor = field(metadata=_spec("B", torch.bool))
    problem: Tensor = field(metadata=_spec("B", torch.int64))
    lengths: Tensor = field(metadata=_spec("B", torch.int64))
    bootstrap: Tensor = field(default=None, metadata=_spec("B", torch.float32))  # type: ignore[assignment]
    legal: Tensor = field(default=None, metadata=_spec("BLW", torch.uint8))  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if isinstance(self.tokens, Tensor):
            if self.bootstrap is None:
                zeros = self.tokens.new_zeros(self.tokens.shape[:1], dtype=torch.float32)
                object.__setattr__(self, "bootstrap", zeros)
            if self.legal is None:
                none = self.tokens.new_zeros(*self.tokens.shape, 0, dtype=torch.uint8)
                object.__setattr__(self, "legal", none)
        self._check_fields()
        self._check_rules(self._rules())

    def _rules(self) -> list[Rule]:
        """What the contents must satisfy, in the order in which the checks are reported."""
        width = self.tokens.shape[1]
        column = torch.arange(width, device=self.tokens.device)
        given = ~self.mask
        real_valued = ("log_probs", "values", "rewards", "bootstrap")
        return [
            ("lengths", (self.lengths < 1) | (self.lengths > width), f"1 to {width}"),
            ("mask", self.mask & (column == 0), "False: the first token cannot be chosen"),
            ("mask", self.mask & (column >= self.lengths[:, None]), "False at padding"),
            ("log_probs", given & (self.log_probs != 0), "0 where mask is False"),
            ("rewards", given & (self.rewards != 0), "0 where mask is False"),
            ("bootstrap", self.terminated & (self.bootstrap != 0), "0 where terminated is True"),
            *((name, ~getattr(self, name).isfinite(), "a finite number") for name in real_valued),
        ]

    @property
    def returns(self) -> Tensor:
        """[B] float32, the undiscounted sum of each episode's rewards."""
        return self.rewards.sum(dim=1)

    @property
    def num_tokens(self) -> int:
        """How many tokens the policy chose: the `count` of a loss over the whole batch."""
        return int(self.mask.sum())

    def graded(self) -> Rollout:
        """The rows in which something counts: episodes without a verdict are left out.

        What takes one number per row (a group's baseline, a number of rows) wants them gone; what
        reads the mask does not see them anyway.
        """
        counts = self.mask.any(dim=1)
        return self if bool(counts.all()) else self[counts]

    def trim(self) -> Rollout:
        """Drop the columns that are padding in every row."""
        width = max(self.lengths.tolist(), default=0)
        return self._derive(lambda tensor: tensor[:, :width] if tensor.ndim > 1 else tensor)

    @classmethod
    def concatenate(cls, rollouts: Iterable[Rollout], pad_token: int) -> Rollout:
        """All rows of all rollouts in order, padded to the longest.

        Args:
            rollouts: at least one. `problem` is kept as it is: to the result, equal numbers from
                two rollouts are one group.
            pad_token: fills the new columns of `tokens`; everything else is filled with 0.

        Raises:
            ValueError: if there are no rollouts.
        """
        rollouts = list(rollouts)
        if not rollouts:
            raise ValueError("rollouts is empty, expected at least one Rollout")
        width = max(rollout.tokens.shape[1] for rollout in rollouts)

        def join(name: str) -> Tensor:
            parts = [getattr(rollout, name) for rollout in rollouts]
            if parts[0].ndim > 1:
                fill = pad_token if name == "tokens" else 0
                behind = (0, 0) * (parts[0].ndim - 2)  # pad counts dimensions from the last
                parts = [
                    functional.pad(x, (*behind, 0, width - x.shape[1]), value=fill) for x in parts
                ]
            return torch.cat(parts)

        return cls(**{item.name: join(item.name) for item in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreferenceBatch(_Batch):
    """B pairs of responses to one prompt each, of which the first was preferred.

    Attributes:
        chosen_tokens: [B, L] int64. Prompt, preferred response, then padding.
        rejected_tokens: [B, L] int64. The same prompt, dispreferred response, then padding.
        chosen_mask: [B, L] bool. True at the preferred response's tokens, at least one per row.
        rejected_mask: [B, L] bool. True at the dispreferred response's tokens, likewise.

    Raises:
        ValueError: if a field's shape, dtype, device or content breaks the rules above.
    """

    chosen_tokens: Tensor = field(metadata=_spec("BL", torch.int64))
    rejected_tokens: Tensor = field(metadata=_spec("BL", torch.int64))
    chosen_mask: Tensor = field(metadata=_spec("BL", torch.bool))
    rejected_mask: Tensor = field(metadata=_spec("BL", torch.bool))

    def __post_init__(self) -> None:
        self._check_fields()
        rules: list[Rule] = []
        for name in ("chosen_mask", "rejected_mask"):
            mask = getattr(self, name)
            first = torch.arange(mask.shape[1], device=mask.device) == 0
            rules.append((name, mask & first, "False: the first token cannot be chosen"))
            # Marked at column 0, which is known to be False here: a position inside the mask.
            empty = ~mask.any(dim=1, keepdim=True) & first
            rules.append((name, empty, "True at some token of the row"))
        self._check_rules(rules)
