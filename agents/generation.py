"""Decoding with a KV cache whose rows are slots: fed only new tokens, refilled when episodes end.

Column i of a slot's cache holds token i of its episode. Slots advance independently: one may be fed
a new prompt, another a single token, a third a tool's answer, each at its own position.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from agents.decoders.hugging_face import HuggingFaceNetwork
from agents.decoders.llama import LlamaNetwork, is_llama
from agents.models import Policy
from agents.sampling import Sampling, draw, log_probs

FORWARD_TOKENS = 8192
"""Tokens of one forward, padding included: longer prompts are fed in parts, so that memory does not
grow with their length."""


COLUMNS = 16
"""A cache grows by so many columns, and all that it has are read, seen or not: from one slot's to
the next's without a gap, memory is read in less than half of the time."""


class Choice(NamedTuple):
    """What a policy chose in k states: tokens [k], their log-probabilities [k], the values [k].

    On the CPU: int64, float32, float32.
    """

    tokens: Tensor
    log_probs: Tensor
    values: Tensor


class Generator(Protocol):
    """What `agents.rollout.collect` needs of an engine that generates.

    An engine is made by `engine(policy, num_slots, capacity, sampling)`: the policy as it is then,
    the number of episodes under way, the most tokens of an episode, and how to draw. It holds one
    episode in each slot, 0 to num_slots - 1. All tensors, given and returned, are on the CPU.

    `SlotDecoder` is the engine in this process. One over a server keeps each slot's tokens as a
    list, asks for one token of each in `choose`, and may answer `values` with zeros.
    """

    def feed(self, slots: Tensor | None, tokens: Tensor, starts: Tensor, counts: Tensor) -> None:
        """Append tokens to the episodes in `slots`; nothing is chosen yet.

        The tokens are a prompt (or its first part, then its last token), the token chosen last, or
        what the environment said. A start of 0 begins a new episode, whatever the slot held. Any
        other start before the slot's end repeats tokens that it has (the last one, in slots whose
        episode is over) and changes nothing.

        Args:
            slots: [k] int64 slot numbers, each once, or None for all in order.
            tokens: [k, t] int64; row r's own tokens are its *last* `counts[r]`. What is before
                them is padding, of any content.
            starts: [k] int64, the position in its episode of each row's first own token.
            counts: [k] int64 from 1 to t.
        """

    def choose(self, points: Tensor | None, legal: Tensor | None = None) -> Choice:
        """Choose the next token of every slot, without feeding it.

        Args:
            points: [slots] float32 from [0, 1): the randomness of each choice, which is to be a
                function of the slot's tokens, its point and its legal tokens alone. None: the most
                probable token is chosen.
            legal: [slots, V] bool, the tokens that may be chosen (V: the tokenizer's); None: all
                that the policy allows.

        Returns:
            For each slot, the token; its log-probability under the distribution that it was drawn
            from (temperature, filters and legal tokens included); v(s) of the slot's state.
        """

    def values(self) -> Tensor:
        """[slots] float32 v(s) of the states in which the slots stand."""

    def keep(self, slots: Tensor) -> None:
        """Forget all slots but these [k] int64; they are renumbered 0 to k - 1, in this order."""


class Network(Protocol):
    """What a `SlotDecoder` needs of a model over a cache of slots; see `agents.decoders`.

    Column c of a slot's cache is its token at position c, or padding that nothing attends to.
    """

    def __call__(
        self,
        slots: Tensor | None,
        tokens: Tensor,
        positions: Tensor,
        columns: Tensor,
        seen: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Run tokens and keep their keys and values.

        Args:
            slots: [k] int64, each once, or None for all in order.
            tokens: [k, t] int64.
            positions: [k, t] int64, for the model's position embedding.
            columns: [k, t] int64, where the keys and values go.
            seen: [k, t, width] bool: the columns that each token attends to.

        Returns:
            Hidden states [k, D] and logits [k, V], float32, of the last token of each row.
        """

    def copy(self, sources: Tensor, targets: Tensor, width: int) -> None:
        """Give slots `targets` [k] the first `width` columns of slots `sources` [k]."""

    def keep(self, slots: Tensor) -> None:
        """Forget all slots but these [k]; they are renumbered 0 to k - 1."""


def _without_gradients(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of `SlotDecoder` that runs in its mode."""

    @functools.wraps(method)
    def run(self: SlotDecoder, *args: Any, **kwargs: Any) -> Any:
        with self.mode():
            return method(self, *args, **kwargs)

    return run


class SlotDecoder:
    """The engine in this process: a transformers model with a cache of slots (see `Generator`).

    Args:
        policy: the policy; its weights are used as they are at each call (those of a policy that
            computes in bfloat16: as they are now).
        num_slots: how many episodes can be under way.
        capacity: the longest episode, in tokens.
        sampling: how tokens are drawn.
        network: makes what runs the model (None: the fastest that `agents.decoders` has for it).

    Raises:
        ValueError: if the model is recurrent, or does not attend to `capacity` tokens.
    """

    def __init__(
        self,
        policy: Policy,
        num_slots: int,
        capacity: int,
        sampling: Sampling = Sampling(),
        *,
        network: Callable[[nn.Module, int, int], Network] | None = None,
    ) -> None:
        _check_reach(policy.model.config.get_text_config(), capacity)
        self.policy, self.sampling, self.columns = policy, sampling, 0
        model = _in_precision(policy)
        known = LlamaNetwork if is_llama(model) else HuggingFaceNetwork
        self.network = (network or known)(model, num_slots, capacity)
        # Less is noted of each tensor in this mode, but modules that keep tensors, as FSDP's do,
        # could not learn from them afterwards.
        is_own = isinstance(self.network, LlamaNetwork)
        self.mode = torch.inference_mode if is_own else torch.no_grad
        self.hidden = torch.zeros(num_slots, policy.value_head.in_features, device=policy.device)
        self.logits = torch.zeros(num_slots, len(policy.illegal), device=policy.device)

    @_without_gradients
    def feed(self, slots: Tensor | None, tokens: Tensor, starts: Tensor, counts: Tensor) -> None:
        """Append tokens to slots, which then stand ready for `choose`.

        Prompts that are equal are run once, and their keys and values copied.
        """
        if len(tokens) == 1 or tokens.shape[1] == 1 or bool(starts.any()):
            self._run_in_parts(slots, tokens, starts, counts)
            return
        first, leader = _first_of_equals(torch.cat([counts[:, None], tokens], dim=1))
        slots = torch.arange(len(tokens)) if slots is None else slots
        self._run_in_parts(slots[first], tokens[first], starts[first], counts[first])
        is_copy = torch.ones(len(tokens), dtype=torch.bool)
        is_copy[first] = False
        if bool(is_copy.any()):
            pairs = torch.stack([slots[leader][is_copy], slots[is_copy]]).to(self.policy.device)
            self.network.copy(*pairs, int(counts.max()))
            for store in (self.hidden, self.logits):
                store[pairs[1]] = store[pairs[0]]

    def _run_in_parts(
        self, slots: Tensor | None, tokens: Tensor, starts: Tensor, counts: Tensor
    ) -> None:
        """`_run`, at most FORWARD_TOKENS at a time."""
        num_rows, length = tokens.shape
        if num_rows * length <= FORWARD_TOKENS:
            self._run(slots, tokens, starts, counts)
            return
        slots = torch.arange(num_rows) if slots is None else slots
        width = min(length, FORWARD_TOKENS // 8)
        for rows in torch.arange(num_rows).split(FORWARD_TOKENS // width):
            # The last part is whole: every row's last token is in it.
            for end in range(length - (length - 1) // width * width, length + 1, width):
                begin = max(end - width, 0)
                here = (counts[rows] - (length - end)).clamp(0, end - begin)
                before = (counts[rows] - (length - begin)).clamp(min=0)
                self._run(slots[rows], tokens[rows, begin:end], starts[rows] + before, here)

    def _run(self, slots: Tensor | None, tokens: Tensor, starts: Tensor, counts: Tensor) -> None:
        """Run the last `counts` [k] (0 to t) of tokens [k, t] at the positions from `starts` on."""
        length, device = tokens.shape[1], self.policy.device
        width = (int((starts + counts).max()) // COLUMNS + 1) * COLUMNS
        # The last column, which no slot has reached, takes the padding of shorter rows.
        self.columns = max(self.columns, width)
        positions = columns = starts[:, None]
        if length > 1:
            places = torch.arange(length) - (length - counts)[:, None]
            positions = positions + places.clamp(min=0)
            columns = torch.where(places < 0, self.columns - 1, positions)
        tokens, positions, columns = torch.stack([tokens, positions, columns]).to(device)
        slots = None if slots is None else slots.to(device)
        seen = torch.arange(width, device=device) <= positions[:, :, None]
        hidden, logits = self.network(slots, tokens, positions, columns, seen)
        if slots is None:
            self.hidden, self.logits = hidden, logits
        else:
            self.hidden[slots], self.logits[slots] = hidden, logits

    @_without_gradients
    def choose(self, points: Tensor | None, legal: Tensor | None = None) -> Choice:
        """Choose the next token of every slot."""
        illegal = self.policy.illegal
        if legal is not None:
            allowed = torch.zeros(len(legal), len(illegal), dtype=torch.bool)
            allowed[:, : legal.shape[1]] = legal
            illegal = illegal | ~allowed.to(illegal.device)
        found = log_probs(self.logits, illegal, self.sampling)
        tokens = found.argmax(-1) if points is None else draw(found, points.to(found.device))
        picked = found.gather(1, tokens[:, None])[:, 0]
        # Packed, so that the host waits for the device once.
        packed = torch.stack([x.double() for x in (tokens, picked, self._values())]).cpu()
        return Choice(packed[0].long(), packed[1].float(), packed[2].float())

    def _values(self) -> Tensor:
        return self.policy.value(self.hidden).float()

    @_without_gradients
    def values(self) -> Tensor:
        """[slots] v(s) of the states in which the slots stand."""
        return self._values().cpu()

    @_without_gradients
    def keep(self, slots: Tensor) -> None:
        """Forget all slots but these [k]; they are renumbered 0 to k - 1."""
        slots = slots.to(self.policy.device)
        self.network.keep(slots)
        self.hidden, self.logits = self.hidden[slots], self.logits[slots]


def _in_precision(policy: Policy) -> nn.Module:
    """The policy's model, or a copy of it in the precision that the policy computes in.

    Under autocast, weights would be cast anew for each token.
    """
    dtype = policy.autocast_dtype
    if dtype is None:
        return policy.model
    cast = {
        id(parameter): nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
        for parameter in policy.model.parameters()
    }
    return copy.deepcopy(policy.model, cast)


def _check_reach(config: Any, capacity: int) -> None:
    """Raise ValueError unless the model attends to all tokens of an episode of `capacity`."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions and positions < capacity:
        raise ValueError(
            f"the model has {positions} positions and an episode may have {capacity} tokens"
        )
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True) and window < capacity:
        raise ValueError(
            f"the model attends to the last {window} tokens only and an episode may have "
            f"{capacity}: generation here needs full attention"
        )


def _first_of_equals(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The first of each set of equal rows [m], in order; for each row its first, [k]."""
    seen: dict[bytes, int] = {}
    leader = [seen.setdefault(row.tobytes(), i) for i, row in enumerate(rows.numpy())]
    return torch.tensor(list(seen.values())), torch.tensor(leader)
