"""One loss and its gradient: tokens per second and peak memory, the plain way and ours.

4 prompts of 64 tokens with 8 responses of 64 tokens each, a Llama of hidden size 256 and 4 layers.
"plain" takes the model's logits [B, L, V] and a log-softmax over all of them; "rows" is a Policy
that computes every row by itself; "policy" is a Policy as it is, which shares the prompts. Each has
processes of its own, in turn; time is CPU seconds of the best step, memory the process's peak over
what it held before the first step, which includes gradients. "plain" gives no entropies, the others
do, without a gradient.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from torch import Tensor

from agents.models import Policy
from textgym.tokenizer import CharTokenizer

PROMPTS, GROUP, PROMPT, RESPONSE = 4, 8, 64, 64
KINDS = ("plain", "rows", "policy")


def main(arguments: list[str] | None = None) -> None:
    """Print one JSON line per vocabulary and kind."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks memory", description=__doc__)
    parser.add_argument("--vocab", type=int, nargs="+", default=(4096, 32000))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", choices=KINDS, help="measure one, in this process")
    options = parser.parse_args(arguments)
    if options.kind is not None:
        print(json.dumps(measure(options.kind, options.vocab[0])))
        return
    for vocab in options.vocab:
        rows: dict[str, dict[str, float]] = {}
        for _ in range(options.rounds):
            for kind in KINDS:
                row = _in_process(kind, vocab)
                best = rows.setdefault(kind, row)
                best["seconds"] = min(best["seconds"], row["seconds"])
        for kind, row in rows.items():
            ratios = {
                "speed": rows["plain"]["seconds"] / row["seconds"],
                "memory": row["megabytes"] / rows["plain"]["megabytes"],
            }
            tokens = PROMPTS * GROUP * RESPONSE / row["seconds"]
            print(json.dumps({"vocab": vocab, "kind": kind, **row, "tokens": tokens, **ratios}))


def _in_process(kind: str, vocab: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks", "memory", "--kind", kind, "--vocab", str(vocab)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(kind: str, vocab: int) -> dict[str, float]:
    """CPU seconds of the best of four steps, and megabytes at the peak of them."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=8,
    )
    policy = Policy(LlamaForCausalLM(config), CharTokenizer())
    if kind == "rows":
        policy.longest_shared = 0
    prompts = torch.randint(4, vocab, (PROMPTS, PROMPT)).repeat_interleave(GROUP, 0)
    responses = torch.randint(4, 100, (PROMPTS * GROUP, RESPONSE))  # what the tokenizer has
    tokens = torch.cat([prompts, responses], 1)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[:, PROMPT:] = True
    before, best = _peak(), float("inf")
    for _ in range(4):
        policy.zero_grad(set_to_none=True)
        start = time.process_time()
        loss = -(_plain(policy, tokens) if kind == "plain" else policy(tokens, mask).log_probs)
        loss[mask].mean().backward()
        best = min(best, time.process_time() - start)
    return {"seconds": best, "megabytes": _peak() - before}


def _plain(policy: Policy, tokens: Tensor) -> Tensor:
    """[B, L] log-probabilities from all logits."""
    logits = policy.model(input_ids=tokens, use_cache=False).logits[:, :-1].float()
    log_probs = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
    return torch.nn.functional.pad(log_probs, (1, 0))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
