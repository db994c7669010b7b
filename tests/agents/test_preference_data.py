"""Pairs from anywhere become tokens with an exact border; bad data get one clear line."""

from __future__ import annotations

import json

import gymnasium
import pytest
import torch

from agents.preference_data import (
    pairs_of_lists,
    preference_batch,
    read_preferences,
    tokenise_preferences,
)
from agents.text_data import tokenise
from textgym import CharTokenizer, Preference

PAD, EOS = 0, 2
encode = CharTokenizer().encode


def pairs(*triples: tuple[str, str, str]) -> list[Preference]:
    return [Preference(*triple) for triple in triples]


def test_a_row_is_the_prompt_the_response_and_eos() -> None:
    data = tokenise_preferences(pairs(("ab", "xyz", "q")), "char")
    batch = preference_batch(data, [0])
    assert batch.chosen_tokens.tolist() == [[*encode("abxyz"), EOS]]
    assert batch.rejected_tokens.tolist() == [[*encode("abq"), EOS, PAD, PAD]]
    assert batch.chosen_mask.tolist() == [[False] * 2 + [True] * 4]
    assert batch.rejected_mask.tolist() == [[False] * 2 + [True] * 2 + [False] * 2]


def test_the_two_texts_of_a_prompt_are_neighbours() -> None:
    data = tokenise_preferences(pairs(("a", "x", "y"), ("b", "z", "w")), "char")
    tokens, _ = data.batch([1, 0])
    assert [row[:2] for row in tokens.tolist()] == [encode(t) for t in ("bz", "bw", "ax", "ay")]


def test_tokens_are_never_merged_over_the_border_of_prompt_and_response() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<eos>": 0, "a": 1, "b": 2, "ab": 3, "c": 4}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")
    assert tokenizer.encode("ab") == [3]
    data = tokenise_preferences(pairs(("ca", "b", "bc")), tokenizer)
    assert data.prompts == [[4, 1]] and data.responses == [([2, 0], [2, 4, 0])]


def test_a_response_that_names_a_special_token_does_not_hold_it() -> None:
    tokenizer = CharTokenizer().to_hugging_face()
    tokenizer.add_tokens(["another vocabulary"])
    data = tokenise_preferences(pairs(("a", "x<eos>y", "z")), tokenizer)
    assert data.responses[0][0] == [*encode("x<eos>y"), EOS]


def test_lists_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError) as error:
        pairs_of_lists(["a", "b"], ["x", "y"], ["z"])
    assert str(error.value) == (
        "got 2 prompts, 2 chosen, 1 rejected; expected equally many, at least one of each"
    )
    with pytest.raises(ValueError, match="got 0 prompts"):
        pairs_of_lists([], [], [])


def test_one_text_is_no_list_of_texts() -> None:
    with pytest.raises(TypeError, match="chosen is a str, expected a list of texts"):
        pairs_of_lists(["a"], "x", ["y"])


def test_what_is_no_text_is_named_with_its_position() -> None:
    with pytest.raises(TypeError, match="response 1 is a NoneType, expected a text"):
        tokenise_preferences(pairs(("a", "x", "y"), ("b", "z", None)), "char")
    with pytest.raises(TypeError, match="prompt 0 is a int, expected a text"):
        tokenise_preferences(pairs((3, "x", "y")), "char")


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="prompt 0 is '', expected at least one token"):
        tokenise_preferences(pairs(("", "x", "y")), "char")


def test_pairs_that_teach_nothing_are_left_out_and_counted_in_one_warning() -> None:
    given = pairs(("a", "x", "y"), ("b", "x", "x"), ("c", "", "x"), ("d", "é", "x"))
    with pytest.warns(UserWarning) as warned:
        data = tokenise_preferences(given, "char")
    assert [str(w.message) for w in warned] == [
        "1 of 4 rows kept (1 empty, 1 identical, 1 unknown)"
    ]
    assert len(data) == data.report.kept == 1 and data.prompts == [encode("a")]


def test_data_of_which_nothing_is_left_are_refused() -> None:
    with pytest.raises(ValueError, match=r"nothing to learn from: 0 of 1 rows kept \(1 identical"):
        tokenise_preferences(pairs(("a", "x", "x")), "char")


LONG = pairs(("abcdef", "xyz", "q"), ("ab", "x", "y"))


def shortened(too_long: str, max_length: int):
    with pytest.warns(UserWarning):
        return tokenise_preferences(LONG, "char", max_length=max_length, too_long=too_long)


def test_too_long_pairs_are_left_out() -> None:
    data = shortened("drop", 9)
    assert data.prompts == [encode("ab")] and data.report.too_long == 1


def test_cutting_the_prompt_keeps_its_end_the_same_for_both_responses() -> None:
    data = shortened("cut_prompt", 9)
    assert data.prompts[0] == encode("bcdef") and data.report.cut == 1
    assert data.responses[0] == ([*encode("xyz"), EOS], [*encode("q"), EOS])


def test_cutting_the_response_takes_its_end_and_eos() -> None:
    data = shortened("cut_response", 9)
    assert data.prompts[0] == encode("abcdef")
    assert data.responses[0] == (encode("xyz"), [*encode("q"), EOS])


def test_a_prompt_without_room_for_a_response_is_left_out_in_any_case() -> None:
    assert shortened("cut_response", 6).report.too_long == 1


def test_responses_that_a_cut_makes_equal_are_identical() -> None:
    given = pairs(("abc", "xy", "xz"), ("a", "b", "c"))
    with pytest.warns(UserWarning):
        data = tokenise_preferences(given, "char", max_length=4, too_long="cut_response")
    assert (data.report.identical, data.report.cut, len(data)) == (1, 0, 1)


def test_an_unknown_policy_for_long_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="too_long is 'left', expected one of"):
        tokenise(["a"], [("b",)], "char", too_long="left")


def test_no_prompt_is_both_trained_on_and_held_out() -> None:
    data = tokenise([str(i % 20) for i in range(100)], [("x", "y")] * 100, "char")
    rows, held_out = data.hold_out(0.25, seed=0)
    assert sorted(rows + held_out) == list(range(100)) and len(held_out) == 25
    assert not {i % 20 for i in rows} & {i % 20 for i in held_out}
    assert data.hold_out(0.25, seed=0) == (rows, held_out) != data.hold_out(0.25, seed=1)
    assert data.hold_out(0.0, seed=0)[1] == []


def test_records_lists_files_and_environments_give_the_same_pairs(tmp_path) -> None:
    env = gymnasium.make("TextPreference-v0", form="duel")
    drawn = read_preferences(env, num_pairs=3, seed=5)
    assert drawn == env.unwrapped.preferences(3, 5)
    assert drawn == read_preferences("TextPreference-v0", num_pairs=3, seed=5, form="duel")
    path = tmp_path / "pairs.jsonl"
    lines = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in drawn]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert drawn == read_preferences(path) == read_preferences(str(path)) == read_preferences(drawn)


def test_what_is_no_source_of_pairs_is_refused() -> None:
    with pytest.raises(TypeError, match="the pairs are a list, expected Preferences"):
        read_preferences([("a", "b", "c")])
    with pytest.raises(TypeError, match="has no preferences"):
        read_preferences(gymnasium.make("CartPole-v1"))


def test_lengths_and_counts_are_of_prompt_and_response() -> None:
    data = tokenise_preferences(pairs(("ab", "xyz", "q"), ("a", "x", "y")), "char")
    assert torch.equal(data.lengths([1, 0]), torch.tensor([3, 6]))
    assert data.num_tokens([0]) == 6 and data.num_tokens([0, 1]) == 10
