"""Action masks of TextStructured-v0: what they cost, beside llguidance where it is installed.

A random policy plays episodes of each level under the masks, with the built-in tokenizer and with
two of 50,257 tokens that are trained on Python's own library: byte-level BPE, and a sentencepiece
kind. All times are CPU time of this one thread, and only these calls are timed:

    texts    once a tokenizer: the bytes of its tokens, and the tree of them
    compile  once a pattern: the machine, and the shortest completion of each of its states
    mask     at every step: "cold" is the first time that a state is asked about, "warm" every
             other; "step" is the mean over all steps, first times included, and
             "step_with_compile" has compilation in it too, shared out among the steps played
    advance  at every step: the state after the token

llguidance's are `LLMatcher(...)` once a pattern, `deep_copy` once a response ("copy", which counts
as part of compilation), `fill_next_token_bitmask` (cold: in the first response to a pattern) and
`consume_token`, under its own masks: they keep no budget, and where the pattern leaves no choice of
characters, they allow one way to write them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import platform
import re
import sysconfig
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textgym.constraints import TokenAutomaton, compiled
from textgym.constraints.token_texts import Key, texts_of
from textgym.tasks import TextStructured
from textgym.tokenizer import CharTokenizer, Tokenizer, Vocabulary

TEXT_BYTES = 10_000_000
"""Of Python's library, to train a tokenizer on."""

MAX_TOKENS = TextStructured.max_response_tokens


def main(arguments: list[str] | None = None) -> None:
    """Print one JSON line per tokenizer, level and library."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks masks", description=__doc__)
    parser.add_argument("--episodes", type=int, default=1000, help="of each level")
    parser.add_argument("--size", type=int, default=50_257, help="tokens of a large vocabulary")
    options = parser.parse_args(arguments)
    machine = {"python": platform.python_version(), "numpy": np.__version__}
    for name, train in TOKENIZERS.items():
        tokenizer = train(options.size)
        for figure in measure(tokenizer, options.episodes):
            common = {"benchmark": "masks", "tokenizer": name, "V": len(tokenizer), **machine}
            print(json.dumps({**common, **figure}), flush=True)


def library_texts() -> Iterator[str]:
    """Files of Python's own library, every third, until there is enough."""
    root, total = Path(sysconfig.get_paths()["stdlib"]), 0
    files = [f for f in sorted(root.rglob("*.py")) if "-packages" not in str(f.relative_to(root))]
    for file in files[::3]:
        text = file.read_text(encoding="utf-8", errors="replace")
        yield text
        total += len(text)
        if total > TEXT_BYTES:
            return


def byte_level(size: int) -> Tokenizer:
    """GPT-2's kind of tokenizer."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator(
        library_texts(),
        vocab_size=size,
        min_frequency=1,
        show_progress=False,
        special_tokens=["<|end|>"],
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, eos_token="<|end|>")


def sentencepiece(size: int) -> Tokenizer:
    """Llama 2's kind of tokenizer: spaces as low lines, unknown characters as bytes."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Backend(models.BPE(byte_fallback=True, unk_token="<unk>"))
    steps = [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()]
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    joined = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*joined, decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=1,
        show_progress=False,
        special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))],
    )
    backend.train_from_iterator(library_texts(), trainer)
    # Bytes are no special tokens, although the trainer has to be told so.
    stored = json.loads(backend.to_str())
    stored["added_tokens"] = stored["added_tokens"][: len(special)]
    return PreTrainedTokenizerFast(
        tokenizer_object=Backend.from_str(json.dumps(stored)),
        **dict(zip(("unk_token", "bos_token", "eos_token"), special, strict=True)),
    )


TOKENIZERS: dict[str, Callable[[int], Tokenizer]] = {
    "char": lambda size: CharTokenizer(),
    "byte-level BPE": byte_level,
    "sentencepiece": sentencepiece,
}


def measure(tokenizer: Tokenizer, episodes: int) -> Iterator[dict[str, Any]]:
    """The figures of one tokenizer: ours and, where it is installed, llguidance's."""
    vocabulary, task = Vocabulary(tokenizer), TextStructured()
    start = time.thread_time()
    texts_of(Key.of(vocabulary))
    texts_seconds = time.thread_time() - start
    for level in task.difficulties:
        rng = np.random.default_rng(0)
        problems = [task.sample(rng, level) for _ in range(episodes)]
        patterns = [task.constraint(problem) for problem in problems]
        ours = {"library": "textgym", "level": level, "texts_seconds": round(texts_seconds, 3)}
        yield {**ours, **_ours(patterns, vocabulary)}
        if importlib.util.find_spec("llguidance") and not isinstance(tokenizer, CharTokenizer):
            theirs = {"library": "llguidance", "version": importlib.metadata.version("llguidance")}
            yield {**theirs, "level": level, **_llguidance(patterns, tokenizer)}


def _ours(patterns: Sequence[str], vocabulary: Vocabulary) -> dict[str, Any]:
    automata: dict[str, TokenAutomaton] = {}
    seen: set[tuple[str, int]] = set()
    times = Times()
    rng, num_valid = np.random.default_rng(1), 0
    compiled.cache_clear()
    for pattern in patterns:
        if pattern not in automata:
            automata[pattern] = times.of("compile", TokenAutomaton, pattern, vocabulary)
        automaton, response = automata[pattern], []
        state, token = automaton.start, None
        while token != vocabulary.eos:
            kind = "warm" if (pattern, state) in seen else "cold"
            seen.add((pattern, state))
            mask = times.of(kind, automaton.mask, state, MAX_TOKENS - len(response))
            token = int(rng.choice(np.flatnonzero(mask)))
            if token != vocabulary.eos:
                response.append(token)
                state = times.of("advance", automaton.advance, state, [token])
        num_valid += re.fullmatch(pattern, vocabulary.decode(response)) is not None
    return {
        "episodes": len(patterns),
        "valid": num_valid,
        "patterns": len(automata),
        **times.figures(),
    }


def _llguidance(patterns: Sequence[str], tokenizer: Tokenizer) -> dict[str, Any]:
    import llguidance
    import llguidance.hf
    import llguidance.numpy

    times, made = Times(), time.thread_time()
    tokens = llguidance.hf.from_tokenizer(tokenizer)
    texts_seconds = time.thread_time() - made
    bits = llguidance.numpy.allocate_token_bitmask(1, tokens.vocab_size)
    rng, num_valid = np.random.default_rng(1), 0
    first: dict[str, Any] = {}

    def compiled_matcher(pattern: str) -> Any:
        return llguidance.LLMatcher(tokens, llguidance.LLMatcher.grammar_from_regex(pattern))

    for pattern in patterns:
        kind = "warm" if pattern in first else "cold"
        if pattern not in first:
            first[pattern] = times.of("compile", compiled_matcher, pattern)
        matcher, response = times.of("copy", first[pattern].deep_copy), []
        while len(response) < MAX_TOKENS:
            times.of(kind, llguidance.numpy.fill_next_token_bitmask, matcher, bits)
            mask = np.unpackbits(bits.view(np.uint8), bitorder="little")
            token = int(rng.choice(np.flatnonzero(mask)))
            if token == tokenizer.eos_token_id:
                break
            response.append(token)
            times.of("advance", matcher.consume_token, token)
        text = tokenizer.decode(response, skip_special_tokens=True)
        num_valid += re.fullmatch(pattern, text) is not None
    return {
        "texts_seconds": round(texts_seconds, 3),
        "episodes": len(patterns),
        "valid": num_valid,
        "patterns": len(first),
        **times.figures(),
    }


class Times:
    """CPU seconds of calls, by kind."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def of(self, kind: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """The value of a call, whose time counts as one of a kind."""
        start = time.thread_time()
        value = call(*arguments)
        self._seconds[kind].append(time.thread_time() - start)
        return value

    def figures(self) -> dict[str, Any]:
        """Mean and 99th percentile of each kind, and what a step costs by all of them."""
        seconds = {kind: np.array(found) for kind, found in self._seconds.items()}
        masks = np.concatenate([seconds["cold"], seconds["warm"]])
        compiling = seconds["compile"]
        begun = compiling.sum() + seconds.get("copy", np.zeros(1)).sum()
        found: dict[str, Any] = {
            "steps": len(masks),
            "step_us": round(1e6 * masks.mean(), 1),
            "step_with_compile_us": round(1e6 * (masks.sum() + begun) / len(masks), 1),
            "compile_ms": {"mean": _milli(compiling.mean()), "max": _milli(compiling.max())},
        }
        for kind in ("cold", "warm", "advance"):
            micro = 1e6 * seconds[kind]
            found[f"{kind}_us"] = {
                "count": len(micro),
                "mean": round(micro.mean(), 1),
                "p99": round(float(np.percentile(micro, 99)), 1),
            }
        return found


def _milli(seconds: float) -> float:
    return round(1e3 * float(seconds), 2)
