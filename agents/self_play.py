"""A policy as its own opponent: a frozen copy that answers as the other side of a game."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from agents.generation import SlotDecoder
from agents.models import Policy
from agents.sampling import Sampling


def as_opponent(
    policy: Policy, *, temperature: float = 1.0, seed: int = 0, max_tokens: int = 8
) -> Callable[[Sequence[Sequence[str]]], list[str]]:
    """The policy as it is now, as a game's `opponent`.

    Example:
        >>> envs = gym.make_vec("TextNim-v0", 256, opponent=as_opponent(policy))  # doctest: +SKIP

    Args:
        policy: copied, so that it may go on learning.
        temperature: of the sampling; 0: the most probable token is chosen.
        seed: of the sampling. What is said to a transcript is a function of both: the same in every
            batch, as a task's replies have to be. Give each copy another.
        max_tokens: the most tokens of an answer, eos included.

    Returns:
        A function from a batch of transcripts, each of what the player was told and said in turn,
        to what it says next.

    Raises:
        ValueError: if a number is out of its range.
    """
    if not temperature >= 0 or max_tokens < 1:
        raise ValueError(
            f"temperature is {temperature} and max_tokens {max_tokens}, expected at least 0 and 1"
        )
    return _Frozen(policy.frozen_copy(), temperature, seed, max_tokens)


class _Frozen:
    """Reads transcripts as the observations of an environment: each thing said ends with eos."""

    def __init__(self, policy: Policy, temperature: float, seed: int, max_tokens: int) -> None:
        self.policy, self.temperature = policy, temperature
        self.seed, self.max_tokens = seed, max_tokens

    def __deepcopy__(self, memo: dict[int, Any]) -> _Frozen:
        return self  # nothing in it changes, and environments' specifications are copied often

    def __call__(self, transcripts: Sequence[Sequence[str]]) -> list[str]:
        policy, count = self.policy, len(transcripts)
        rows = [self._tokens(transcript) for transcript in transcripts]
        lengths = torch.tensor([len(row) for row in rows])
        longest = max(map(len, rows))
        padded = [[policy.pad] * (longest - len(row)) + row for row in rows]
        points = None
        if self.temperature:
            points = torch.from_numpy(np.stack([self._points(said) for said in transcripts]))
        sampling = Sampling(temperature=self.temperature or 1.0)
        decoder = SlotDecoder(policy, count, longest + self.max_tokens, sampling)
        decoder.feed(None, torch.tensor(padded), torch.zeros_like(lengths), lengths)
        said = torch.full((count, self.max_tokens), policy.eos)
        is_over = torch.zeros(count, dtype=torch.bool)
        for i in range(self.max_tokens):
            chosen = decoder.choose(None if points is None else points[:, i]).tokens
            said[:, i] = torch.where(is_over, policy.eos, chosen)
            is_over |= chosen == policy.eos
            if is_over.all() or i + 1 == self.max_tokens:
                break
            decoder.feed(None, said[:, i : i + 1], lengths + i, torch.ones_like(lengths))
        return [self._text(row) for row in said.tolist()]

    def _tokens(self, transcript: Sequence[str]) -> list[int]:
        tokens: list[int] = []
        for i, text in enumerate(transcript):
            tokens += self.policy.tokenizer.encode(text, add_special_tokens=False)
            if i % 2:
                tokens.append(self.policy.eos)
        return tokens

    def _text(self, tokens: list[int]) -> str:
        end = tokens.index(self.policy.eos) if self.policy.eos in tokens else len(tokens)
        return self.policy.tokenizer.decode(tokens[:end], skip_special_tokens=True)

    def _points(self, transcript: Sequence[str]) -> np.ndarray:
        """[max_tokens] uniform numbers, by a hash of seed and transcript."""
        text = "\0".join([str(self.seed), *transcript])
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
        return rng.random(self.max_tokens, dtype=np.float32)
