"""Tokenizers: the protocol, which every Hugging Face tokenizer satisfies, and a built-in one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

CHAR_FILES = Path(__file__).parent / "assets" / "char"
"""The built-in tokenizer as a folder that `AutoTokenizer.from_pretrained` loads; written by
`CharTokenizer().to_hugging_face().save_pretrained(CHAR_FILES)`."""


@runtime_checkable
class Tokenizer(Protocol):
    """What an environment asks of a tokenizer. Every Hugging Face tokenizer satisfies it."""

    eos_token_id: int | None
    pad_token_id: int | None
    bos_token_id: int | None

    def __len__(self) -> int: ...

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The ids of a text."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of some ids."""


class CharTokenizer:
    """One token a character: pad, bos, eos, unk, newline, then printable ASCII; 100 in all.

    A character outside of it becomes unk. Special tokens decode to their names (`<eos>`), or to
    nothing with `skip_special_tokens=True`.
    """

    pad_token_id, bos_token_id, eos_token_id, unk_token_id = 0, 1, 2, 3
    special_tokens = ("<pad>", "<bos>", "<eos>", "<unk>")
    characters = "\n" + "".join(map(chr, range(32, 127)))

    def __len__(self) -> int:
        return len(self.special_tokens) + len(self.characters)

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The token of each character; `add_special_tokens` is accepted and adds none."""
        unknown = self.unk_token_id
        table = self._token_of
        return [table.get(character, unknown) for character in text]

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of a sequence of ids, each in [0, 100)."""
        texts = self._plain_texts if skip_special_tokens else self._texts
        return "".join([texts[token] for token in token_ids])

    def get_vocab(self) -> dict[str, int]:
        """Token text -> id, as Hugging Face tokenizers give it."""
        return {text: i for i, text in enumerate((*self.special_tokens, *self.characters))}

    def to_hugging_face(self) -> Any:
        """The same tokenizer as a `transformers.PreTrainedTokenizerFast`."""
        from tokenizers import AddedToken, decoders, models
        from tokenizers import Tokenizer as Backend
        from transformers import PreTrainedTokenizerFast

        # BPE without merges: one token a character. Fuse joins them again without spaces.
        backend = Backend(models.BPE(vocab=self.get_vocab(), merges=[], unk_token="<unk>"))
        backend.decoder = decoders.Fuse()
        backend.add_special_tokens([AddedToken(t, special=True) for t in self.special_tokens])
        names = dict(zip(("pad", "bos", "eos", "unk"), self.special_tokens, strict=True))
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            clean_up_tokenization_spaces=False,
            **{f"{name}_token": token for name, token in names.items()},
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CharTokenizer)

    def __hash__(self) -> int:
        return hash(CharTokenizer)

    @cached_property
    def _token_of(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.characters, start=4)}

    @cached_property
    def _texts(self) -> list[str]:
        return [*self.special_tokens, *self.characters]

    @cached_property
    def _plain_texts(self) -> list[str]:
        return ["", "", "", "", *self.characters]


def load_tokenizer(tokenizer: str | Tokenizer) -> Tokenizer:
    """A tokenizer from "char", a Hugging Face name or folder, or the object itself.

    What has the built-in tokenizer's vocabulary gives the built-in one, which is faster.

    Raises:
        ValueError: if there is no tokenizer of this name, or the tokenizer has no eos token,
            without which no response could end.
        TypeError: if the object is no tokenizer.
    """
    if isinstance(tokenizer, str):
        if tokenizer == "char":
            return CharTokenizer()
        tokenizer = _from_pretrained(tokenizer)
    if not isinstance(tokenizer, Tokenizer):
        raise TypeError(
            f"tokenizer is {type(tokenizer).__name__}, expected 'char', a Hugging Face name, or an "
            "object with encode, decode, len() and the ids of its pad, bos and eos tokens"
        )
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "the tokenizer has no eos token, so no response could end: set tokenizer.eos_token"
        )
    built_in = CharTokenizer()
    # The ids first: listing a vocabulary of 150,000 tokens takes a tenth of a second.
    if _ids(tokenizer) == _ids(built_in):
        if getattr(tokenizer, "get_vocab", dict)() == built_in.get_vocab():
            return built_in
    return tokenizer


def _from_pretrained(name: str) -> Tokenizer:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"tokenizer is {name!r}, expected 'char', a folder or a Hugging Face name: {reason}"
        ) from None
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # made of a model's config.json alone
        raise ValueError(
            f"the tokenizer of {name} has special tokens only: its files, such as tokenizer.json, "
            "are missing; tokenizer.save_pretrained writes them"
        )
    return tokenizer


def _ids(tokenizer: Tokenizer) -> tuple[int | None, ...]:
    special = tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id
    return len(tokenizer), *special


class Vocabulary:
    """A tokenizer as arrays: what an environment looks up for each of its V tokens.

    `illegal` [V] bool: pad, bos, unk and every other special token but eos, which no policy may
    choose: they are no text, and a token that decoding drops would be a free way to say nothing.
    `pad` fills observations (eos where the tokenizer has no pad). `unknown` stands for text without
    a token (None: there is no such token). `in_alphabet(text)` [V] bool: tokens made of these
    characters only.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.eos = int(tokenizer.eos_token_id)
        pad = tokenizer.pad_token_id
        self.pad = self.eos if pad is None else int(pad)
        added = getattr(tokenizer, "added_tokens_decoder", {})  # those of a Hugging Face tokenizer
        # Where the ids of added tokens leave gaps, the highest one is above len(tokenizer).
        self.size = max(len(tokenizer), 1 + max([self.eos, self.pad, *added]))
        self.illegal = np.zeros(self.size, dtype=bool)
        special = {i for i, token in added.items() if token.special}
        unknown = getattr(tokenizer, "unk_token_id", None)
        special |= {pad, tokenizer.bos_token_id, unknown}
        # Some tokenizers use eos as pad, bos or unk; eos must stay legal, or nothing could end.
        self.illegal[[i for i in special if i is not None and i != self.eos]] = True
        # unk stands for a character that has no token, unless it is another token's second name.
        self._control = (special - {None, unknown}) | {self.eos}
        named = (self.eos, pad, tokenizer.bos_token_id)
        self.unknown = None if unknown in named else unknown
        self._encode_plain = {"split_special_tokens": True} if added else {}
        self._characters = None
        if isinstance(tokenizer, CharTokenizer):
            codes = [0, 0, 0, 0, *map(ord, tokenizer.characters)]
            self._characters = np.array(codes, dtype=np.uint32)
            # The last place, that of a control character, stands for all characters from there on.
            self._token_of_code = np.full(128, tokenizer.unk_token_id)
            self._token_of_code[codes[4:]] = np.arange(4, len(codes))

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, with no special token added."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def encode_plain(self, text: str) -> list[int]:
        """Tokens of a text from outside, such as a tool's output: none of them is special.

        Where such a text says "<eos>", it means five characters: as the token of that name, it
        would end a turn in the eyes of a policy. (`encode` knows the names: prompts may hold the
        tokens of a chat template.) Half of a surrogate pair, which is no character, is U+FFFD.
        """
        if not text.isascii():
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        tokens = self.tokenizer.encode(text, add_special_tokens=False, **self._encode_plain)
        return [token for token in tokens if token not in self._control]

    def encode_rows(self, texts: Sequence[str], width: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [k, width] int64 of k texts, as `encode_plain` has them, and how many [k].

        Of a longer text, the first `width`; behind a shorter one, anything.
        """
        if self._characters is None:
            tokens = np.zeros((len(texts), width), dtype=np.int64)
            lengths = np.zeros(len(texts), dtype=np.int64)
            for i, text in enumerate(texts):
                row = self.encode_plain(text)[:width]
                tokens[i, : len(row)], lengths[i] = row, len(row)
            return tokens, lengths
        codes = np.array(texts, dtype=f"<U{width}").view(np.uint32).reshape(len(texts), width)
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        return self._token_of_code.take(np.minimum(codes, 127)), np.minimum(lengths, width)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of a response, without its eos and other special tokens."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True)

    def decode_rows(
        self, rows: np.ndarray, lengths: np.ndarray, *, special_inside: bool = False
    ) -> list[str]:
        """Texts of the `rows` [k, T]: `lengths` [k] tokens each, then pad.

        Only a row's last token may be a special one, unless `special_inside`.
        """
        if self._characters is None:
            return [self.decode(row[:n].tolist()) for row, n in zip(rows, lengths, strict=True)]
        # NumPy reads a row of code points as one text and drops the zeros at its end.
        texts = self._characters.take(rows).view(f"<U{rows.shape[1]}")[:, 0].tolist()
        return [text.replace("\0", "") for text in texts] if special_inside else texts

    def in_alphabet(self, characters: str | None) -> np.ndarray:
        """[V] bool: True where the token's text has no character but these (None: all True)."""
        if characters is None:
            return np.ones(self.size, dtype=bool)
        allowed = set(characters)
        inside = [allowed.issuperset(self.decode([token])) for token in range(self.size)]
        return np.array(inside, dtype=bool)
