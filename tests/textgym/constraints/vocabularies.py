"""Tokenizers with a given vocabulary, of each kind of decoder; and a large one."""

from __future__ import annotations

import re
import sysconfig
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from textgym.constraints.token_texts import byte_alphabet

SPECIAL = ("<pad>", "<eos>", "<unk>")


def shown(data: bytes) -> str:
    """Bytes as a piece of a byte-level vocabulary."""
    character_of = {byte: character for character, byte in byte_alphabet().items()}
    return "".join(character_of[byte] for byte in data)


def byte_level(texts: Iterable[bytes]) -> Any:
    """GPT-2's kind: a token is any string of bytes."""
    from tokenizers import decoders, pre_tokenizers

    tokenizer = _hugging_face([shown(text) for text in texts], decoders.ByteLevel())
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def byte_fallback(pieces: Iterable[str]) -> Any:
    """Llama's kind: a low line for a space, <0xE2> for a byte, one space dropped at the start."""
    from tokenizers import decoders

    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return _hugging_face(pieces, decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)]))


def metaspace(pieces: Iterable[str]) -> Any:
    """Sentencepiece's kind: a low line for a space, which the first token loses."""
    from tokenizers import decoders

    return _hugging_face(pieces, decoders.Metaspace())


def word_piece(pieces: Iterable[str]) -> Any:
    """BERT's kind: a space before each token but the first and those that begin with ##."""
    from tokenizers import decoders

    return _hugging_face(pieces, decoders.WordPiece(cleanup=False))


def _hugging_face(pieces: Iterable[str], decoder: Any) -> Any:
    from tokenizers import AddedToken, Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys([*SPECIAL, *pieces]))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.decoder = decoder
    backend.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


class Slow:
    """A tokenizer of texts that is no Hugging Face one: tokens joined, eos last."""

    pad_token_id = bos_token_id = None

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts, self.eos_token_id = list(texts), len(texts)

    def __len__(self) -> int:
        return len(self.texts) + 1

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        return [self.texts.index(character) for character in text]

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        return "".join(self.texts[token] for token in token_ids if token != self.eos_token_id)


def word_pieces(count: int) -> list[str]:
    """The most common words, their beginnings and signs of Python's own library, a space before."""
    counts: Counter[str] = Counter()
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="ignore")
        counts.update(re.findall(r" ?[A-Za-z]+| ?[0-9]{1,3}| ?[^\sA-Za-z0-9]+|\s+", text))
    words = [word for word, _ in counts.most_common()]
    starts = (word[:end] for word in words for end in range(len(word), 1, -1))
    pieces = dict.fromkeys([*words, *starts])
    variants = dict.fromkeys(p for piece in pieces for p in (piece, " " + piece.lstrip(" ")))
    assert len(variants) >= count, len(variants)
    return list(variants)[:count]
