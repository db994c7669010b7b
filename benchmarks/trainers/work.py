"""What both sides of a comparison are given: a model, a tokenizer, data, and a clock.

Imported by ours and by the peers' interpreters: nothing of textgym here.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PROMPT, RESPONSE = 64, 64
"""Tokens of every prompt and of every response: equal, so that padding favours nobody."""

GROUP = 8
"""Responses to one prompt, where a learner compares them."""

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")


@dataclass(frozen=True)
class Work:
    """One measurement: a learner, and how much of it. `folder` holds model and tokenizer.

    rows: sequences per optimizer step; a pair of preferences is two. steps: that are timed, after
    one that is not. beta: weight of the KL to the initial policy. epochs: passes of PPO.
    separate_values: give our PPO a value network of its own, as TRL's has.
    """

    learner: str
    folder: str
    vocabulary: int
    rows: int = 32
    steps: int = 3
    beta: float = 0.0
    epochs: int = 4
    separate_values: bool = False
    learning_rate: float = 1e-5

    @classmethod
    def given(cls) -> Work:
        """From the command line, where it stands as JSON."""
        return cls(**json.loads(sys.argv[1]))

    def prompts(self, count: int) -> list[str]:
        """`count` texts of PROMPT tokens."""
        return self._texts(1, count, PROMPT)

    def pairs(self) -> dict[str, list[str]]:
        """prompt, chosen, rejected for all steps. Responses have RESPONSE tokens with their eos.

        They begin with the space that joins them to the prompt.
        """
        count = (self.steps + 1) * self.rows // 2
        chosen, rejected = (self._texts(seed, count, RESPONSE - 1) for seed in (2, 3))
        joined = ([" " + text for text in texts] for texts in (chosen, rejected))
        return dict(
            zip(("prompt", "chosen", "rejected"), (self.prompts(count), *joined), strict=True)
        )

    def _texts(self, seed: int, count: int, length: int) -> list[str]:
        draw, words = random.Random(seed), range(self.vocabulary - len(SPECIAL))
        return [" ".join(f"w{i}" for i in draw.choices(words, k=length)) for _ in range(count)]


def reward(response: str) -> float:
    """Sevens in a text, per token: costs nothing, and differs from response to response."""
    return response.count("7") / RESPONSE


class Clock:
    """CPU seconds, tokens and memory of this process.

    Begin it after the imports: memory is counted from there. `mark` after each step; the first
    step, which fills caches and makes the optimizer's state, is not timed.
    """

    def __init__(self) -> None:
        self.marks: list[tuple[float, float, int]] = []
        self.generating, self.tokens = 0.0, 0
        self._memory = _peak()

    def mark(self) -> None:
        """A step is over."""
        self.marks.append((time.process_time(), self.generating, self.tokens))

    def generation(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, whose time counts as generation."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                self.generating += time.process_time() - start

        return timed

    def report(self, **facts: Any) -> None:
        """Print the figures, as the last line of this process."""
        (start, *_), *_, (end, *_) = self.marks
        generating, tokens = (self.marks[-1][i] - self.marks[0][i] for i in (1, 2))
        figures = {
            "tokens": tokens,
            "cpu_seconds": end - start,
            "learning_cpu_seconds": end - start - generating,
            "peak_mb": _peak() - self._memory,
        }
        print(json.dumps({**figures, **facts}), flush=True)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_folder(folder: str, vocabulary: int, *, hidden: int = 256, layers: int = 4) -> None:
    """Save an untrained Llama, the same every time, and a tokenizer of one token per word."""
    import torch
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = [*SPECIAL, *(f"w{i}" for i in range(vocabulary - len(SPECIAL)))]
    table = {word: i for i, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
