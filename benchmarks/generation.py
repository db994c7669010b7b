"""Generation, beside `model.generate`: useful tokens per second of CPU time, on one thread.

Untrained models of three sizes play episodes in groups of 8 to a prompt of 64 tokens. Responses
have long-tailed lengths (exponential, of a quarter of the longest on average), the same for all:

    generate     `model.generate` over batches of whole prompts, left-padded by nothing, stopped as
                 soon as every row of a batch has its length, in the fastest of several batch sizes
    any          `agents.collect`, the environment stepping at every token, with the network that
                 takes any transformers model
    llama        the same with the network for the Llama family

Then all responses have one length ("equal"), so that only the steps themselves are compared, and
"naive" is a forward over the whole observation at each step, as of a policy without a cache.
A figure is the median of its rounds, which take turns; a ratio is that of two figures.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
import transformers
from gymnasium.vector import AutoresetMode
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from agents import collect
from agents.decoders.hugging_face import HuggingFaceNetwork
from agents.decoders.llama import LlamaNetwork
from agents.generation import SlotDecoder
from agents.models import Policy
from textgym import CharTokenizer, Problem, Task, TokenMDP, TokenVectorEnv

PROMPT_TOKENS = 64
GROUP = 8
LETTERS = list("abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True)
class Size:
    """A model, how many episodes it plays and how long the longest is."""

    hidden: int
    layers: int
    vocab: int
    episodes: int
    longest: int

    def model(self, dtype: torch.dtype) -> nn.Module:
        """An untrained Llama, the same each time."""
        config = LlamaConfig(
            vocab_size=self.vocab,
            hidden_size=self.hidden,
            intermediate_size=3 * self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=max(self.hidden // 64, 4),
            num_key_value_heads=max(self.hidden // 128, 2),
            max_position_embeddings=1024,
            pad_token_id=0,
            eos_token_id=None,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return LlamaForCausalLM(config).eval().to(dtype)


SIZES = {
    "a": Size(128, 2, 100, episodes=256, longest=128),
    "b": Size(256, 4, 4096, episodes=128, longest=128),
    "c": Size(512, 8, 32_000, episodes=64, longest=64),
}


class Letters(Task):
    """A prompt of random letters."""

    def sample(self, rng: np.random.Generator) -> Problem:
        """PROMPT_TOKENS letters; there is no right answer."""
        return Problem(prompt="".join(rng.choice(LETTERS, size=PROMPT_TOKENS)))


class Timed(TokenVectorEnv):
    """Ends each slot's episode at the length that is given, whatever the policy chooses."""

    def __init__(self, lengths: np.ndarray) -> None:
        mdp = TokenMDP(
            Letters(),
            tokenizer=CharTokenizer(),
            max_prompt_tokens=PROMPT_TOKENS,
            max_response_tokens=int(lengths.max()),
        )
        group = GROUP if len(lengths) % GROUP == 0 else 1
        disabled = AutoresetMode.DISABLED
        super().__init__(mdp, len(lengths), group_size=group, autoreset_mode=disabled)
        self.lengths = lengths

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Start the episodes over."""
        self.steps = 0
        return super().reset(**options)

    def step(self, actions: np.ndarray) -> Any:
        """Put eos in place of each response's last token."""
        self.steps += 1
        eos = self.mdp.vocabulary.eos
        return super().step(np.where(self.lengths == self.steps, eos, actions))


def long_tailed(num: int, longest: int) -> np.ndarray:
    """[num] lengths of responses, at least one of them the longest."""
    lengths = np.random.default_rng(0).exponential(longest / 4, size=num)
    lengths[0] = longest
    return np.clip(np.ceil(lengths), 1, longest).astype(np.int64)


class Length(transformers.StoppingCriteria):
    """Stops each row of `generate` at its length."""

    def __init__(self, ends: Tensor) -> None:
        self.ends = ends

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """[B] bool: which rows are done."""
        return input_ids.shape[1] >= self.ends


@torch.no_grad()
def generate(model: nn.Module, prompts: Tensor, lengths: np.ndarray, batch: int) -> None:
    """What a trainer does with transformers: batch after batch, each as long as its longest row."""
    for start in range(0, len(prompts), batch):
        rows = prompts[start : start + batch]
        ends = torch.from_numpy(lengths[start : start + batch]) + rows.shape[1]
        model.generate(
            input_ids=rows,
            attention_mask=torch.ones_like(rows),
            max_new_tokens=int(ends.max()) - rows.shape[1],
            do_sample=True,
            top_k=0,
            pad_token_id=0,
            stopping_criteria=transformers.StoppingCriteriaList([Length(ends)]),
        )


def play(policy: Policy, envs: Timed, network: Any) -> None:
    """All episodes at once, the environment stepping at every token."""
    engine = partial(SlotDecoder, network=network)
    generator = torch.Generator().manual_seed(0)
    rollout, _ = collect(policy, envs, envs.num_envs, generator=generator, seed=0, engine=engine)
    played = rollout.mask.sum(1).numpy()
    assert (played == envs.lengths).all()


@torch.no_grad()
def naive(policy: Policy, envs: Timed) -> None:
    """A forward over the whole observation at each step."""
    generator = torch.Generator().manual_seed(0)
    observations, infos = envs.reset(seed=0)
    for _ in range(envs.lengths.max()):
        tokens = torch.from_numpy(observations[:, : infos["length"].max()])
        logits = policy.model(tokens, use_cache=False, logits_to_keep=1).logits[:, -1]
        probs = logits.float().masked_fill(policy.illegal, -torch.inf).softmax(-1)
        actions = torch.multinomial(probs, 1, generator=generator)[:, 0]
        observations, _, _, _, infos = envs.step(actions.numpy())


def in_turn(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each call; a round makes all of them, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if turn:
                seconds[name].append(time.process_time() - start)
    return {name: median(found) for name, found in seconds.items()}


def compare(
    size: Size, lengths: np.ndarray, dtype: torch.dtype, rounds: int, with_naive: bool = False
) -> dict[str, Any]:
    """Useful tokens a second of each way, and how many times the reference's they are."""
    policy = Policy(size.model(torch.float32), CharTokenizer(), dtype=dtype)
    policy.illegal[policy.eos] = True  # lengths are the environment's to say
    envs = Timed(lengths)
    calls: dict[str, Callable[[], None]] = {
        "any": partial(play, policy, envs, HuggingFaceNetwork),
        "llama": partial(play, policy, envs, LlamaNetwork),
    }
    if with_naive:
        calls["naive"] = partial(naive, policy, envs)
    else:
        prompts = torch.from_numpy(envs.reset(seed=0)[0][:, :PROMPT_TOKENS])
        for batch in {64, len(lengths)}:
            name = f"generate, batches of {batch}"
            calls[name] = partial(generate, size.model(dtype), prompts, lengths, batch)
    seconds = in_turn(calls, rounds)
    reference = min(x for name, x in seconds.items() if name not in ("any", "llama"))
    return {
        "tokens": int(lengths.sum()),
        "tokens_per_second": {name: round(lengths.sum() / x) for name, x in seconds.items()},
        "times": {name: round(reference / seconds[name], 2) for name in ("any", "llama")},
    }


def measure(names: list[str], rounds: int) -> Iterator[dict[str, Any]]:
    """All figures, one after the other."""
    for name in names:
        size = SIZES[name]
        for dtype in (torch.float32, torch.bfloat16):
            common = {"model": name, "dtype": str(dtype).removeprefix("torch.")}
            tail = long_tailed(size.episodes, size.longest)
            yield {**common, "lengths": "long-tailed", **compare(size, tail, dtype, rounds)}
            equal = np.full(64, min(size.longest, 64))
            yield {**common, "lengths": "equal", **compare(size, equal, dtype, rounds)}
        for longest in (64, 256) if name == "a" else ():
            equal = np.full(16, longest)
            figures = compare(size, equal, torch.float32, min(rounds, 2), with_naive=True)
            yield {"model": name, "dtype": "float32", "lengths": longest, **figures}


def main(arguments: list[str] | None = None) -> None:
    """Print one JSON line per model, dtype and kind of lengths."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks generation", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    for figure in measure(options.models, options.rounds):
        print(json.dumps({"benchmark": "generation", **figure, **versions}), flush=True)
