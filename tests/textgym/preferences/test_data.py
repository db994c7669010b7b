"""Data sets of preferences: every layout, every way in which a row can be bad, and the splits."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import textgym
from textgym import Preference, load_preferences
from textgym.task import Problem

PAIR = {"prompt": "Say hi", "chosen": "Hi!", "rejected": "No."}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def hh(*turns: str) -> str:
    speakers = ("\n\nHuman: ", "\n\nAssistant: ")
    return "".join(speakers[i % 2] + turn for i, turn in enumerate(turns))


def load(tmp_path: Path, *rows: Any, **keywords: Any) -> list[Preference]:
    return load_preferences(write(tmp_path / "pairs.jsonl", *rows), **keywords)


# -------------------------------------------------------------------- layouts


def test_plain_pairs(tmp_path: Path) -> None:
    assert load(tmp_path, {**PAIR, "score": 7}) == [Preference("Say hi", "Hi!", "No.")]


def test_csv_holds_plain_pairs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,chosen,rejected\nSay hi,Hi!,No.\n")
    assert load_preferences(tmp_path / "a.csv") == [Preference("Say hi", "Hi!", "No.")]


def test_columns_of_other_names(tmp_path: Path) -> None:
    row = {"question": "Say hi", "good": "Hi!", "bad": "No."}
    fields = {"prompt": "question", "chosen": "good", "rejected": "bad"}
    assert load(tmp_path, row, fields=fields) == [Preference("Say hi", "Hi!", "No.")]


def test_dialogues_of_hh_are_split_behind_the_last_turn_that_they_share(tmp_path: Path) -> None:
    shared = ("Hi", "Hello", "Tell me a joke")
    chosen, rejected = hh(*shared, "Why did the hen..."), hh(*shared, "Why should I?")
    (pair,) = load(tmp_path, {"chosen": chosen, "rejected": rejected})
    assert pair.prompt == hh(*shared) + "\n\nAssistant:"
    assert (pair.chosen, pair.rejected) == (" Why did the hen...", " Why should I?")
    assert pair.prompt + pair.chosen == chosen and pair.prompt + pair.rejected == rejected


def test_dialogues_of_hh_that_part_early_keep_their_later_turns(tmp_path: Path) -> None:
    chosen, rejected = hh("Hi", "Hello", "Bye", "Bye!"), hh("Hi", "Hey", "What?", "Hey.")
    (pair,) = load(tmp_path, {"chosen": chosen, "rejected": rejected})
    assert pair.prompt == "\n\nHuman: Hi\n\nAssistant:"
    assert pair.chosen == " Hello\n\nHuman: Bye\n\nAssistant: Bye!"


def test_ultrafeedback_binarized(tmp_path: Path) -> None:
    row = {
        "prompt": "Say hi",
        "prompt_id": "x",
        "chosen": [user("Say hi"), assistant("Hi!")],
        "rejected": [user("Say hi"), assistant("No.")],
        "messages": [user("Say hi"), assistant("Hi!")],
        "score_chosen": 8.0,
        "score_rejected": 3.5,
    }
    assert load(tmp_path, row) == [Preference("Say hi", "Hi!", "No.")]


def test_messages_of_several_turns_become_a_dialogue_as_hh_writes_it(tmp_path: Path) -> None:
    before = [user("Hi"), assistant("Hello"), user("Joke?")]
    expected = Preference(hh("Hi", "Hello", "Joke?") + "\n\nAssistant: ", "Ha", "No")
    whole = {"chosen": [*before, assistant("Ha")], "rejected": [*before, assistant("No")]}
    assert load(tmp_path, {"prompt": "Hi", **whole}) == [expected]
    last = {"chosen": [assistant("Ha")], "rejected": [assistant("No")]}
    assert load(tmp_path, {"prompt": before, **last}) == [expected]
    assert load(tmp_path, {"prompt": [user("Hi")], **last}) == [Preference("Hi", "Ha", "No")]


def test_messages_may_hold_the_prompt_without_a_column_of_it(tmp_path: Path) -> None:
    row = {
        "chosen": [user("Say hi"), assistant("Hi!")],
        "rejected": [user("Say hi"), assistant("No.")],
    }
    assert load(tmp_path, row) == [Preference("Say hi", "Hi!", "No.")]
    for wrong, message in (
        ([user("Say ho"), assistant("No.")], "answer different prompts"),
        ("\n\nHuman: Say hi\n\nAssistant: No.", "answer different prompts"),
    ):
        with pytest.raises(ValueError, match=message):
            load(tmp_path, {**row, "rejected": wrong})
    bare = {"chosen": [assistant("Hi!")], "rejected": [assistant("No.")]}
    with pytest.raises(ValueError, match=":1: the prompt is empty"):
        load(tmp_path, bare)


def test_ultrafeedback_gives_the_best_and_the_worst_completion(tmp_path: Path) -> None:
    scores = {"so": 5.0, "bad": 1, "good": 8.5, "as good": 8.5, "as bad": 1.0}
    completions = [{"response": text, "overall_score": score} for text, score in scores.items()]
    row = {"source": "x", "instruction": "Say hi", "completions": completions}
    assert load(tmp_path, row) == [Preference("Say hi", "good", "bad")]


def test_labels_of_a_person(tmp_path: Path) -> None:
    row = {"prompt": "Say hi", "a": "Hi!", "b": "No."}
    rows = [{**row, "label": label, "a": f"Hi {label}"} for label in ("a", "b", "tie", "skip")]
    with pytest.warns(UserWarning, match="2 of 4 rows of .* prefer neither"):
        pairs = load(tmp_path, *rows)
    assert pairs == [Preference("Say hi", "Hi a", "No."), Preference("Say hi", "No.", "Hi b")]


# ------------------------------------------------------------- what is left out


def test_the_same_text_twice_is_no_preference(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"2 of 3 rows of .*pairs.jsonl prefer neither response"):
        pairs = load(tmp_path, PAIR, {**PAIR, "rejected": "Hi!"}, {**PAIR, "chosen": "No."})
    assert len(pairs) == 1
    with pytest.raises(ValueError, match="1 of 1 rows .* expected at least one"):
        load(tmp_path, {**PAIR, "rejected": "Hi!"})


def test_equal_scores_are_no_preference(tmp_path: Path) -> None:
    tie = [{"response": text, "overall_score": 4} for text in ("one", "two")]
    rows = [{"instruction": "Say hi", "completions": tie}]
    rows.append({"instruction": "Hi", "completions": [tie[0], {**tie[1], "overall_score": 5}]})
    with pytest.warns(UserWarning, match="1 of 2 rows"):
        assert load(tmp_path, *rows) == [Preference("Hi", "two", "one")]


def test_an_equal_row_is_read_once_and_another_pair_of_its_prompt_too(tmp_path: Path) -> None:
    other = {**PAIR, "rejected": "Never."}
    assert len(load(tmp_path, PAIR, other, PAIR)) == 2


# ------------------------------------------------------------------- bad rows


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**PAIR, "chosen": None}, r"pairs.jsonl:2, column 'chosen' \(chosen\) is missing"),
        ({**PAIR, "chosen": {"a": 1}}, r":2, column 'chosen' .* is {'a': 1}, expected a text"),
        ({**PAIR, "chosen": []}, r":2, column 'chosen' .* is an empty list, expected messages"),
        ({**PAIR, "chosen": ["Hi"]}, r":2, .* has the message 'Hi', expected an object with role"),
        ({**PAIR, "chosen": [user("Hi")]}, r":2, chosen: the last message is the user's, expected"),
        ({**PAIR, "rejected": [{"role": "assistant"}]}, r":2, .*rejected.*role and content"),
        ({**PAIR, "chosen": [{"role": "bot", "content": "x"}]}, r":2, .* has the role 'bot'"),
        ({**PAIR, "chosen": [assistant(7.5)]}, r":2, .* is 7.5, expected a text"),
        ({**PAIR, "chosen": [{"role": [], "content": "x"}]}, r":2, .* has the role \[\]"),
        ({**PAIR, "prompt": ""}, r":2: the prompt is empty"),
        ({**PAIR, "chosen": [user("A"), assistant("b")]}, r":2: .* answer different prompts, 'A' "),
        ({"prompt": "x"}, r":2, column 'chosen' \(chosen\) is missing"),
    ],
)
def test_a_bad_pair_is_told_with_its_line(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, PAIR, row)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": "Hi!", "rejected": "No."}, r":1: .* share no turn up to .*Assistant:"),
        ({"chosen": hh("Hi", "A"), "rejected": hh("Ho", "A")}, r":1: .* share no turn"),
        ({"chosen": hh("Hi", "A"), "rejected": ""}, r":1, column 'rejected' .* is empty"),
        (
            {"instruction": "Hi", "completions": []},
            r":1, column 'completions' .* is \[\], expected",
        ),
        ({"instruction": "Hi", "completions": [{"text": "x"}]}, r":1, .*object with a response"),
        (
            {"instruction": "Hi", "completions": [{"response": "x", "overall_score": "8"}]},
            r":1, .* has the overall_score '8', expected a number",
        ),
        (
            {
                "instruction": "Hi",
                "completions": [{"response": "x", "overall_score": float("nan")}],
            },
            "overall_score nan",
        ),
        ({"prompt": "x", "a": "y", "b": "z", "label": "c"}, r":1: label is 'c', expected a, b"),
        ({"question": "x", "answer": "y"}, r":1 has the columns .* fit none of: .*Anthropic HH"),
    ],
)
def test_bad_rows_of_other_layouts_are_told_too(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, row)


# --------------------------------------------------------------------- splits


def test_splits_of_a_file_are_those_of_its_prompts(tmp_path: Path) -> None:
    rows = [{**PAIR, "prompt": f"Say {i}"} for i in range(300)]
    parts = {s: load(tmp_path, *rows, split=s) for s in ("train", "validation", "test")}
    assert sum(map(len, parts.values())) == 300 and len(parts["train"]) > 200
    assert all(Problem(p.prompt).split == split for split, ps in parts.items() for p in ps)


def test_no_prompt_is_in_two_official_splits(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", {**PAIR, "rejected": "Never."}, {**PAIR, "prompt": "Other"})
    write(tmp_path / "test.jsonl", PAIR)
    assert load_preferences(tmp_path, split="test") == [Preference("Say hi", "Hi!", "No.")]
    assert load_preferences(tmp_path, split="train") == [Preference("Other", "Hi!", "No.")]
    with pytest.raises(ValueError, match="has no pair in the split 'validation'"):
        load_preferences(tmp_path, split="validation")


def test_the_splits_of_ultrafeedback_on_the_hub_are_those_of_its_pairs(monkeypatch) -> None:
    found = {
        name: [{**PAIR, "prompt": f"{name} {i}"} for i in range(3)]
        for name in ("train_sft", "train_prefs", "test_prefs", "train_gen")
    }
    hub = types.SimpleNamespace(load_dataset=lambda source, subset: found)
    monkeypatch.setitem(sys.modules, "datasets", hub)
    for split in ("train", "test"):
        pairs = load_preferences("owner/ultrafeedback_binarized", split=split)
        assert [pair.prompt for pair in pairs] == [f"{split}_prefs {i}" for i in range(3)]


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split is 'dev', expected one of"):
        load(tmp_path, PAIR, split="dev")


def test_environments_judge_every_layout(tmp_path: Path) -> None:
    row = {"chosen": hh("Hi", "Hello"), "rejected": hh("Hi", "Go away")}
    file = write(tmp_path / "hh.jsonl", row)
    task = textgym.load_task("TextPreference-v0", dataset=str(file))
    (problem,) = task.list_problems()
    assert problem.prompt.startswith("\n\nHuman: Hi\n\nAssistant:\nA: ")
    assert task.grade(problem, problem.answer) == {"correct": 1.0}
