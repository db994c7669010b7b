"""Token masks against llguidance's and outlines-core's, which come about in other ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.textgym.constraints import vocabularies
from textgym.constraints import NEVER, TokenAutomaton
from textgym.constraints.token_texts import Key, texts_of
from textgym.tasks import TextStructured
from textgym.tokenizer import Vocabulary

llguidance = pytest.importorskip("llguidance")
outlines_core = pytest.importorskip("outlines_core")

TASK = TextStructured()


def constraints(*levels: str) -> list[str]:
    """Patterns of a few problems."""
    draws = [(np.random.default_rng(seed), level) for level in levels for seed in range(2)]
    return list(dict.fromkeys(TASK.constraint(TASK.sample(rng, level)) for rng, level in draws))


# None of these texts begins with another.
PREFIX_FREE = [
    *("(?:foo|bar baz){3}", "[é-ü ]{4}", r"[^\x00-\x1f]{8}", "(?:a|b)*c"),
    *constraints("pattern", "record", "nested"),
]
OTHERS = ["(?:foo|bar baz){1,5}", "[é-ü ]{1,6}", "(?:a|b)*abb", "[a-zà-ÿ]{3,8}", r"-?\d{1,3}"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A byte-level one of 4,000 tokens."""
    pieces = vocabularies.word_pieces(3_744)
    every_byte = [bytes([byte]) for byte in range(256)]
    return vocabularies.byte_level([*every_byte, *(piece.encode() for piece in pieces)])


def walks(automaton: TokenAutomaton, count: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Beginnings of random responses, and the tokens that may follow if there is no budget."""
    rng, eos = np.random.default_rng(0), automaton.vocabulary.eos
    for _ in range(count):
        response: list[int] = []
        while True:
            mask = automaton.mask(automaton.advance(automaton.start, response), NEVER)
            yield response, mask
            token = int(rng.choice(np.flatnonzero(mask)))
            if token == eos or len(response) == 60:
                break
            response.append(token)


@pytest.fixture(scope="module")
def llguidance_masks(tokenizer: Any) -> Callable[[str, list[int]], np.ndarray]:
    from llguidance import hf, numpy

    tokens = hf.from_tokenizer(tokenizer)
    bits = numpy.allocate_token_bitmask(1, tokens.vocab_size)

    def masks(pattern: str, response: list[int]) -> np.ndarray:
        grammar = llguidance.LLMatcher.grammar_from_regex(pattern)
        matcher = llguidance.LLMatcher(tokens, grammar)
        assert not matcher.is_error(), matcher.get_error()
        assert matcher.try_consume_tokens(response) == len(response)
        numpy.fill_next_token_bitmask(matcher, bits)
        return np.unpackbits(bits.view(np.uint8), bitorder="little").astype(bool)

    return masks


@pytest.mark.parametrize("pattern", [*PREFIX_FREE, *OTHERS, *constraints("expression")])
def test_llguidance_allows_the_same(
    pattern: str, tokenizer: Any, llguidance_masks: Callable[[str, list[int]], np.ndarray]
) -> None:
    vocabulary = Vocabulary(tokenizer)
    texts = texts_of(Key.of(vocabulary)).inside
    num_equal = 0
    for response, ours in walks(TokenAutomaton(pattern, vocabulary), 6):
        theirs = llguidance_masks(pattern, response)[: vocabulary.size]
        beginnings = {(texts[token] or b"")[:1] for token in np.flatnonzero(ours)}
        if len(beginnings) > 1:
            assert (ours == theirs).all(), response
            num_equal += 1
        else:  # where a byte is forced, llguidance allows one token to write what follows
            assert theirs.any() and not (theirs & ~ours).any(), response
    assert num_equal >= 6


@pytest.mark.parametrize("pattern", PREFIX_FREE)
def test_outlines_core_allows_the_same(pattern: str, tokenizer: Any) -> None:
    # Of a text that goes on behind a match, outlines-core 0.2 forgets some: its machine prefers the
    # first alternative, as in a search, so that a|ab is a.
    vocabulary = Vocabulary(tokenizer)
    ids: dict[bytes, list[int]] = {}
    for token, text in enumerate(texts_of(Key.of(vocabulary)).inside):
        if text is not None:
            ids.setdefault(text, []).append(token)
    index = outlines_core.Index(pattern, outlines_core.Vocabulary(vocabulary.eos, ids))
    for response, ours in walks(TokenAutomaton(pattern, vocabulary), 6):
        state = index.get_initial_state()
        for token in response:
            state = index.get_next_state(state, token)
        theirs = set(index.get_allowed_tokens(state))
        if index.is_final_state(state):
            theirs.add(vocabulary.eos)
        assert set(np.flatnonzero(ours).tolist()) == theirs, response
