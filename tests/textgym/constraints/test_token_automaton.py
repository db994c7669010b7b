"""Token masks against all responses that there are, for each kind of tokenizer."""

from __future__ import annotations

import copy
import itertools
import pickle
import re
from typing import Any

import numpy as np
import pytest

from tests.textgym.constraints import vocabularies
from textgym.constraints import NEVER, TokenAutomaton, automaton
from textgym.tokenizer import CharTokenizer, Vocabulary

TOKENIZERS = {
    "byte-level": lambda: vocabularies.byte_level(
        [b"a", b"b", b"ab", b"ba a", b" ", b"\xc3", b"\xa9", b"a\xc3"]
    ),
    "byte fallback": lambda: vocabularies.byte_fallback(
        ["▁", "a", "▁a", "b▁", "ab", "<0xC3>", "<0xA9>", "é"]
    ),
    "metaspace": lambda: vocabularies.metaspace(["▁", "▁▁", "a", "▁a▁", "b", "ab", "é"]),
    "word piece": lambda: vocabularies.word_piece(["a", "##a", "b", "##b", "ab", "##é"]),
    "slow": lambda: vocabularies.Slow(["a", "b", "ab", " ", "é", "é a"]),
}
PATTERNS = [
    "a*b",
    "a|ab",
    "(ab|ba)+",
    "[ab ]{2,4}",
    "a( [ab])*",
    "é?a|éé|ab?é",
    "(a|é| )*b",
    " ?a ",
]
LENGTH = 5  # tokens of the longest response, eos included


def responses(vocabulary: Vocabulary) -> list[tuple[int, ...]]:
    """All that have a token with a text in each place but the last, which is eos."""
    tokens = np.flatnonzero(~vocabulary.illegal).tolist()
    tokens.remove(vocabulary.eos)
    return [
        (*response, vocabulary.eos)
        for n in range(LENGTH)
        for response in itertools.product(tokens, repeat=n)
    ]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_masks_allow_exactly_what_can_be_completed(kind: str) -> None:
    vocabulary = Vocabulary(TOKENIZERS[kind]())
    every = responses(vocabulary)
    texts = [vocabulary.decode(response) for response in every]
    for pattern in PATTERNS:
        valid = [r for r, text in zip(every, texts, strict=True) if re.fullmatch(pattern, text)]
        needed: dict[tuple[int, ...], dict[int, int]] = {}  # beginning -> token -> tokens to eos
        for response in valid:
            for i, token in enumerate(response):
                found = needed.setdefault(response[:i], {})
                found[token] = min(found.get(token, LENGTH), len(response) - i)
        if not valid:  # "word piece" cannot end in a space
            with pytest.raises(ValueError, match="no text that matches it can be written"):
                TokenAutomaton(pattern, vocabulary)
            continue
        found = TokenAutomaton(pattern, vocabulary)
        for beginning, tokens in needed.items():
            state = found.advance(found.start, beginning)
            assert found.accepts(state) == (vocabulary.eos in tokens)
            assert found.shortest(state) == min(tokens.values())
            for left in range(LENGTH + 1 - len(beginning)):
                expected = {token for token, need in tokens.items() if need <= left}
                assert set(np.flatnonzero(found.mask(state, left)).tolist()) == expected, pattern


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_response_is_dead_as_soon_as_nothing_valid_begins_so(kind: str) -> None:
    vocabulary = Vocabulary(TOKENIZERS[kind]())
    found = TokenAutomaton("(ab|ba)+", vocabulary)
    every = responses(vocabulary)
    alive = {r[:i] for r in every if re.fullmatch("(ab|ba)+", vocabulary.decode(r)) for i in (1, 2)}
    first = [(token,) for token in np.flatnonzero(~vocabulary.illegal).tolist()]
    assert {r for r in first if found.advance(found.start, r) >= 0} == alive & set(first) - {
        (vocabulary.eos,)
    }


def char_automaton(pattern: str) -> TokenAutomaton:
    return automaton(pattern, Vocabulary(CharTokenizer()))


def test_nothing_follows_the_dead_state() -> None:
    found, encode = char_automaton("ab"), CharTokenizer().encode
    eos, pad = CharTokenizer.eos_token_id, CharTokenizer.pad_token_id
    for tokens in (encode("b"), [eos], [pad], encode("a") + [eos], encode("abc")):
        assert found.advance(found.start, tokens) == -1
    assert found.advance(-1, encode("a")) == found.advance(-1, []) == -1
    assert not found.mask(-1, 10**6).any()
    assert not found.accepts(-1) and found.shortest(-1) == NEVER


def test_no_budget_allows_nothing() -> None:
    found = char_automaton("a*")
    assert not found.mask(found.start, 0).any() and not found.mask(found.start, -5).any()
    assert np.flatnonzero(found.mask(found.start, 1)).tolist() == [CharTokenizer.eos_token_id]


def test_a_budget_without_end_is_one() -> None:
    found = char_automaton("a*")
    assert found.mask(found.start, 10**9).sum() == 2


def test_masks_are_fresh() -> None:
    found = char_automaton("a*")
    found.mask(found.start, 5)[:] = True
    assert found.mask(found.start, 5).sum() == 2


def test_what_the_tokens_cannot_write_is_an_error() -> None:
    with pytest.raises(ValueError, match="'é': no text that matches it can be written"):
        char_automaton("é")
    assert char_automaton("é|a").mask(0, 9).sum() == 1


@pytest.mark.parametrize("pattern", ["(", "a(?=b)", 7])
def test_a_bad_pattern_is_named(pattern: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(pattern))):
        char_automaton(pattern)


def test_a_tokenizer_that_joins_texts_otherwise_is_an_error() -> None:
    class Sorting(vocabularies.Slow):
        def decode(self, token_ids: Any, *, skip_special_tokens: bool = False) -> str:
            return "".join(sorted(super().decode(token_ids)))

    with pytest.raises(ValueError, match=r"the tokenizer \(Sorting\) joins the texts of tokens"):
        automaton("a", Vocabulary(Sorting(["a", "b", "c"])))


def test_automata_are_kept_for_equal_tokenizers_and_no_others() -> None:
    assert char_automaton("a") is char_automaton("a")
    one, other = vocabularies.Slow(["a"]), vocabularies.Slow(["a"])
    assert automaton("a", Vocabulary(one)) is automaton("a", Vocabulary(one))
    assert automaton("a", Vocabulary(one)) is not automaton("a", Vocabulary(other))


def test_copies_say_the_same() -> None:
    found = char_automaton("(ab|c){1,3}")
    found.mask(found.start, 9)
    assert copy.deepcopy(found) is found
    data = pickle.dumps(found)
    assert len(data) < 10_000
    assert (pickle.loads(data).mask(found.start, 4) == found.mask(found.start, 4)).all()


def test_what_is_kept_of_states_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgym.constraints.token_automaton.MAX_CACHED", 300)
    found, a = (
        TokenAutomaton("a{0,50}", Vocabulary(CharTokenizer())),
        CharTokenizer().encode("a")[0],
    )
    states = list(
        itertools.accumulate([a] * 50, lambda s, t: found.advance(s, [t]), initial=found.start)
    )
    counts = [int(found.mask(state, 99).sum()) for state in states]
    assert counts == [2] * 50 + [1] and len(found._needs) <= 4
