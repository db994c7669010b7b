"""The bytes that each token of a tokenizer adds to a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from textgym.constraints.prefix_tree import PrefixTree
from textgym.tokenizer import CharTokenizer, Vocabulary

REPLACEMENT = "\ufffd"
"""What decoding puts where bytes are no UTF-8."""

RUN = 16
"""Tokens decoded together when texts are checked."""

Text = bytes | None
"""What a token adds; None: nothing that can be relied on, so no valid response has it."""


class TokenTexts:
    """What the tokens of a vocabulary add to a text.

    Decoders of the sentencepiece kind drop spaces of the first token, so that it adds something
    else than it does later on.

    Attributes:
        inside: [V] what each token adds behind another one.
        at_start: [V] what it adds as the first; the same list where there is no difference.
        tree, start_tree: prefix trees of both.
        eos, size: the vocabulary's.

    Raises:
        ValueError: if the tokenizer decodes in a way that no such texts describe.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos, self.size = vocabulary.eos, vocabulary.size
        usable = ~vocabulary.illegal
        usable[self.eos] = False
        ids = np.flatnonzero(usable).tolist()
        for inside, at_start in _readings(vocabulary, ids):
            if _agree(vocabulary, inside, at_start):
                break
        else:
            raise ValueError(
                f"the tokenizer ({type(vocabulary.tokenizer).__name__}) joins the texts of tokens "
                "in a way that token masks don't know; expected byte-level BPE, sentencepiece, or "
                "one whose decode() adds the same text for a token wherever it stands"
            )
        self.inside, self.at_start = inside, at_start
        self.tree = self.start_tree = PrefixTree(inside)
        if at_start is not inside:
            self.start_tree = PrefixTree(at_start)


@dataclass(frozen=True)
class Key:
    """What finds the things kept of a vocabulary: its size, and its tokenizer by identity."""

    vocabulary: Vocabulary = field(compare=False)
    tokenizer: int | type
    size: int

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Key:
        """The key of a vocabulary. While it is kept, no other tokenizer has the same address."""
        is_built_in = isinstance(vocabulary.tokenizer, CharTokenizer)
        tokenizer = CharTokenizer if is_built_in else id(vocabulary.tokenizer)
        return cls(vocabulary, tokenizer, vocabulary.size)


@lru_cache(maxsize=4)
def texts_of(key: Key) -> TokenTexts:
    """The texts of a vocabulary's tokens; those of the latest 4 are kept."""
    return TokenTexts(key.vocabulary)


# ------------------------------------------------------------------ what a token's name says


def _readings(
    vocabulary: Vocabulary, ids: Sequence[int]
) -> Iterator[tuple[list[Text], list[Text]]]:
    """What tokens may add inside of a text and at its start, the likeliest first."""
    for read in (_characters, _byte_level, _pieces):
        inside = read(vocabulary, ids)
        if inside is not None:
            yield inside, inside
            yield inside, [text and text.removeprefix(b" ") for text in inside]
            yield inside, [text and text.replace(b" ", b"") for text in inside]
    anchor = next((i for i in ids if vocabulary.decode([i]).strip().isalnum()), None)
    if anchor is not None:
        inside, at_start = (_in_context(vocabulary, ids, before) for before in ([anchor], []))
        yield inside, inside if at_start == inside else at_start


def _characters(vocabulary: Vocabulary, ids: Sequence[int]) -> list[Text] | None:
    """The built-in tokenizer's: a token is a character."""
    if not isinstance(vocabulary.tokenizer, CharTokenizer):
        return None
    return _by_id(vocabulary, ids, lambda token: vocabulary.decode([token]).encode())


def _byte_level(vocabulary: Vocabulary, ids: Sequence[int]) -> list[Text] | None:
    """GPT-2's: each byte is shown as a character; a token that was added may be plain text."""
    alphabet = byte_alphabet()

    def read(piece: str) -> bytes:
        if all(character in alphabet for character in piece):
            return bytes(alphabet[character] for character in piece)
        return piece.encode("utf-8", "replace")

    return _by_piece(vocabulary, ids, read)


def _pieces(vocabulary: Vocabulary, ids: Sequence[int]) -> list[Text] | None:
    """Sentencepiece's: a low line is a space, and <0xE2> a byte."""

    def read(piece: str) -> bytes:
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            try:
                return bytes([int(piece[3:5], 16)])
            except ValueError:
                pass
        return piece.replace("\u2581", " ").encode("utf-8", "replace")

    return _by_piece(vocabulary, ids, read)


def _in_context(vocabulary: Vocabulary, ids: Sequence[int], tokens: Sequence[int]) -> list[Text]:
    """Any other's: what decoding says that a token adds behind some others."""
    before = vocabulary.decode(tokens)

    def read(token: int) -> Text:
        text = vocabulary.decode([*tokens, token])
        if not text.startswith(before) or REPLACEMENT in text:
            return None
        return text[len(before) :].encode("utf-8", "replace")

    return _by_id(vocabulary, ids, read)


def byte_alphabet() -> dict[str, int]:
    """Character -> byte of GPT-2's alphabet: visible Latin-1 itself, others from U+0100 on."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = [byte for byte in range(256) if byte not in visible]
    shown = {byte: byte for byte in visible} | {byte: 256 + i for i, byte in enumerate(hidden)}
    return {chr(code): byte for byte, code in shown.items()}


def _by_piece(
    vocabulary: Vocabulary, ids: Sequence[int], read: Callable[[str], Text]
) -> list[Text] | None:
    names = getattr(vocabulary.tokenizer, "convert_ids_to_tokens", None)
    if names is None:
        return None
    pieces = dict(zip(ids, names(ids), strict=True))
    return _by_id(vocabulary, ids, lambda token: pieces[token] and read(pieces[token]))


def _by_id(vocabulary: Vocabulary, ids: Sequence[int], read: Callable[[int], Text]) -> list[Text]:
    """[V] texts; None for a token without one, which would be a free way to say nothing."""
    texts: list[Text] = [None] * vocabulary.size
    for token in ids:
        texts[token] = read(token) or None
    return texts


# ------------------------------------------------------------------ what decoding says


def _agree(vocabulary: Vocabulary, inside: Sequence[Text], at_start: Sequence[Text]) -> bool:
    """Whether decoding, token by token and in runs with each of them, gives the same texts."""
    return all(
        _shown(vocabulary.decode(tokens)) == _shown(text.decode("utf-8", "replace"))
        for tokens, text in _samples(inside, at_start)
    )


def _samples(inside: Sequence[Text], at_start: Sequence[Text]) -> Iterator[tuple[list[int], bytes]]:
    """Tokens and their text: all in runs, shuffled, and alone where decoders may differ."""
    whole, num_spaced = [], 0
    for token, text in enumerate(inside):
        if text is None:
            continue
        is_text, num_spaces = _is_text(text), text.count(b" ")
        num_spaced += num_spaces > 0
        if is_text:
            whole.append(token)
        if not is_text or num_spaces > 1 or (num_spaces and num_spaced < RUN):
            yield [token], at_start[token] or b""
    order = np.random.Generator(np.random.PCG64(0)).permutation(whole).tolist()
    for start in range(0, len(order), RUN):
        first, *rest = tokens = order[start : start + RUN]
        yield tokens, b"".join([at_start[first] or b"", *(inside[token] for token in rest)])


def _is_text(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(text: str) -> str:
    # Decoders differ in how many of these stand for some bytes that are no UTF-8.
    return text.replace(REPLACEMENT, "")
