"""The built-in tokenizer, its Hugging Face twin and files, and what environments ask of any."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from textgym.tokenizer import CHAR_FILES, CharTokenizer, Tokenizer, Vocabulary, load_tokenizer

CHAR = CharTokenizer()
LEGAL = list(range(4, 100))


@pytest.fixture(scope="module")
def twin():
    return CharTokenizer().to_hugging_face()


def random_texts(count: int) -> list[str]:
    """Texts of up to 40 characters; one in ten is not in the vocabulary."""
    rng = random.Random(0)
    characters = [*CHAR.characters * 9, *"\t\r\0\u00e9\u0663\u2028\U0001f600 <pad><eos>"]
    return ["".join(rng.choices(characters, k=rng.randrange(40))) for _ in range(count)]


def test_the_vocabulary_is_100_symbols_with_pad_0_bos_1_eos_2_unk_3_newline_4() -> None:
    assert len(CHAR) == len(CHAR.get_vocab()) == 100
    assert [CHAR.pad_token_id, CHAR.bos_token_id, CHAR.eos_token_id, CHAR.unk_token_id] == [
        *(0, 1, 2, 3)
    ]
    assert CHAR.encode("\n !~") == [4, 5, 6, 99]
    assert sorted(CHAR.get_vocab().values()) == list(range(100))


def test_decoding_gives_back_what_was_encoded() -> None:
    for text in random_texts(1000):
        known = "".join(c for c in text if c in CHAR.characters)
        assert CHAR.decode(CHAR.encode(known)) == known


def test_an_unknown_character_is_unk() -> None:
    assert CHAR.encode("a\u00e9b\ud800") == [*CHAR.encode("a"), 3, *CHAR.encode("b"), 3]


def test_special_tokens_decode_to_their_names_or_to_nothing() -> None:
    tokens = [1, *CHAR.encode("ab"), 2, 0]
    assert CHAR.decode(tokens) == "<bos>ab<eos><pad>"
    assert CHAR.decode(tokens, skip_special_tokens=True) == "ab"


def test_every_tokenizer_satisfies_the_protocol(twin) -> None:
    assert isinstance(CHAR, Tokenizer) and isinstance(twin, Tokenizer)


def test_the_twin_encodes_and_decodes_the_same(twin) -> None:
    assert len(twin) == 100 and twin.get_vocab() == CHAR.get_vocab()
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id"):
        assert getattr(twin, name) == getattr(CHAR, name)
    rng = np.random.default_rng(0)
    for text in random_texts(1000):
        # A special token's name in a text is that token to Hugging Face, and characters to us.
        text = text.replace("<", "(")
        tokens = CHAR.encode(text)
        assert twin.encode(text, add_special_tokens=False) == tokens
        tokens = rng.integers(100, size=len(text)).tolist()
        for skip in (False, True):
            ours = CHAR.decode(tokens, skip_special_tokens=skip)
            assert twin.decode(tokens, skip_special_tokens=skip) == ours


def test_the_bundled_files_are_what_saving_the_twin_writes(twin, tmp_path: Path) -> None:
    twin.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        path.name for path in CHAR_FILES.iterdir()
    }
    for path in tmp_path.iterdir():
        assert json.loads(path.read_text()) == json.loads((CHAR_FILES / path.name).read_text())


def test_the_twin_and_its_files_load_as_the_built_in_tokenizer(twin) -> None:
    for source in ("char", str(CHAR_FILES), twin, CHAR):
        assert load_tokenizer(source) == CHAR


def test_a_tokenizer_without_eos_is_refused(twin) -> None:
    twin = CharTokenizer().to_hugging_face()
    twin.eos_token = None
    with pytest.raises(ValueError, match="has no eos token, so no response could end"):
        load_tokenizer(twin)


@pytest.mark.parametrize("tokenizer", [None, 7, object(), ["a"]])
def test_what_is_no_tokenizer_is_refused(tokenizer: object) -> None:
    with pytest.raises(TypeError, match="expected 'char', a Hugging Face name, or an object with"):
        load_tokenizer(tokenizer)


def legal_tokens(tokenizer: Tokenizer) -> list[int]:
    return np.flatnonzero(~Vocabulary(tokenizer).illegal).tolist()


def test_pad_bos_and_unk_are_illegal_and_eos_is_legal(twin) -> None:
    assert legal_tokens(CHAR) == legal_tokens(twin) == [2, *LEGAL]


def test_where_pad_is_eos_the_token_stays_legal() -> None:
    tokenizer = CharTokenizer().to_hugging_face()
    tokenizer.pad_token = tokenizer.eos_token
    assert load_tokenizer(tokenizer) is tokenizer  # not the built-in: its pad is another token
    vocabulary = Vocabulary(tokenizer)
    assert vocabulary.pad == vocabulary.eos == 2
    assert 2 in legal_tokens(tokenizer) and 1 not in legal_tokens(tokenizer)


def test_where_there_is_no_pad_eos_fills_the_observation() -> None:
    tokenizer = CharTokenizer().to_hugging_face()
    tokenizer.pad_token = None
    vocabulary = Vocabulary(load_tokenizer(tokenizer))
    assert vocabulary.pad == 2 and not vocabulary.illegal[2]


def test_every_special_token_but_eos_is_illegal() -> None:
    tokenizer = CharTokenizer().to_hugging_face()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|tool|>"]})
    tokenizer.add_tokens(["<think>"])  # not special: it is text
    assert len(tokenizer) == 103
    assert legal_tokens(tokenizer) == [2, *LEGAL, 102]


def test_an_added_token_above_the_count_of_tokens_has_its_place() -> None:
    class Gap(CharTokenizer):
        eos_token_id = 150

    vocabulary = Vocabulary(Gap())
    assert vocabulary.size == len(vocabulary.illegal) == 151 and not vocabulary.illegal[150]


def test_in_alphabet_finds_the_tokens_made_of_these_characters() -> None:
    inside = Vocabulary(CHAR).in_alphabet("0123456789-")
    assert inside[CHAR.encode("0123456789-")].all()
    assert inside.sum() == 11 + 4  # and the special ones, which are no text
    assert Vocabulary(CHAR).in_alphabet(None).all()


def test_decoding_rows_equals_decoding_each(twin) -> None:
    rng = np.random.default_rng(0)
    rows, lengths = rng.integers(4, 100, size=(50, 8)), rng.integers(1, 9, size=50)
    rows[np.arange(8) >= lengths[:, None]] = 0
    rows[np.arange(50), lengths - 1] = rng.integers(1, 100, size=50)  # the last may be special
    ours, theirs = Vocabulary(CHAR), Vocabulary(twin)
    for i in range(50):
        text = CHAR.decode(rows[i, : lengths[i]].tolist(), skip_special_tokens=True)
        assert ours.decode_rows(rows, lengths)[i] == theirs.decode_rows(rows, lengths)[i] == text


def test_a_folder_without_a_tokenizers_files_is_told(tmp_path: Path) -> None:
    # transformers makes a tokenizer of special tokens alone for it.
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ValueError, match="special tokens only: its files.*are missing"):
        load_tokenizer(str(tmp_path))
