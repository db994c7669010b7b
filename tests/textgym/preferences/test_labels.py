"""A person's labels: asked in the terminal, kept line by line, gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from textgym import Preference, load_preferences
from textgym.preferences import Person
from textgym.preferences.functions import is_swapped
from textgym.preferences.labels import LabelFile, as_shown, label_pairs, summary
from textgym.tasks import TextPreference

PAIRS = [Preference(f"Say {i}", f"{i}!", "no") for i in range(40)]


def saying(*answers: str | type[BaseException]) -> Callable[[str], str]:
    """`input`, by a person who says these, in order."""
    rest: Iterator[str | type[BaseException]] = iter(answers)

    def ask(question: str) -> str:
        answer = next(rest)
        if not isinstance(answer, str):
            raise answer
        return answer

    return ask


def label(path: Path, *answers: str | type[BaseException]) -> tuple[LabelFile, list[str]]:
    file, shown = LabelFile(path), []
    label_pairs(PAIRS, file, ask=saying(*answers), show=shown.append)
    return file, shown


def test_labels_are_written_as_they_are_shown(tmp_path: Path) -> None:
    file, shown = label(tmp_path / "a.jsonl", "a", " B ", "nonsense", "tie", "skip", "q")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == ["a", "b", "tie", "skip"]
    for row, pair in zip(rows, PAIRS, strict=False):
        assert row["prompt"] == pair.prompt and {row["a"], row["b"]} == {pair.chosen, "no"}
        assert f"[a] {row['a']}\n\n[b] {row['b']}" in "\n".join(shown)
    assert "please answer a, b, tie, skip or quit" in shown
    assert summary(PAIRS, file).startswith("4 labels (a 1, b 1, tie 1, skip 1); ")


@pytest.mark.parametrize("end", ["quit", KeyboardInterrupt, EOFError])
def test_labelling_goes_on_where_it_was_left(tmp_path: Path, end: str | type) -> None:
    label(tmp_path / "a.jsonl", "a", "b", end)
    file, shown = label(tmp_path / "a.jsonl", "tie", end)
    assert shown[0].startswith(f"\n--- 3 of 40\n{PAIRS[2].prompt}\n")
    assert list(file.labels.values()) == ["a", "b", "tie"]
    assert list(LabelFile(tmp_path / "a.jsonl").labels) == [as_shown(p) for p in PAIRS[:3]]


def test_what_has_been_labelled_is_not_asked_again(tmp_path: Path) -> None:
    label(tmp_path / "a.jsonl", *["a"] * 40)
    file = LabelFile(tmp_path / "a.jsonl")
    swapped = [Preference(pair.prompt, pair.rejected, pair.chosen) for pair in PAIRS]
    label_pairs(swapped, file, ask=saying())  # any question would be one too many
    assert len(file.labels) == 40


def test_a_label_is_on_the_disk_before_the_next_question(tmp_path: Path) -> None:
    seen = []

    def ask(question: str) -> str:
        seen.append(len((tmp_path / "a.jsonl").read_text().splitlines()) if seen else 0)
        return "a" if len(seen) < 5 else "q"

    label_pairs(PAIRS, LabelFile(tmp_path / "a.jsonl"), ask=ask, show=lambda text: None)
    assert seen == [0, 1, 2, 3, 4]


def test_the_chosen_one_is_as_often_first_as_second() -> None:
    pairs = [Preference(f"Say {i}", f"{i}!", "no") for i in range(1000)]
    first = sum(as_shown(pair)[1] == pair.chosen for pair in pairs)
    assert 450 < first < 550
    assert all(is_swapped("p", "x", str(i)) != is_swapped("p", str(i), "x") for i in range(50))


def test_labels_that_agree_with_the_pairs_are_counted(tmp_path: Path) -> None:
    right = ["a" if as_shown(pair)[1] == pair.chosen else "b" for pair in PAIRS]
    wrong = ["b" if answer == "a" else "a" for answer in right]
    file, _ = label(tmp_path / "a.jsonl", *right[:30], *wrong[30:38], "tie", "skip")
    assert summary(PAIRS, file).endswith("; 30 of 38 agree with the pairs")
    with pytest.warns(UserWarning, match="2 of 40 rows"):
        pairs = load_preferences(tmp_path / "a.jsonl")
    assert pairs[:30] == PAIRS[:30] and pairs[30].chosen == "no"


def test_a_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    label(tmp_path / "a.jsonl", "a", "b", "q")
    text = (tmp_path / "a.jsonl").read_text()
    (tmp_path / "a.jsonl").write_text(text[:-1])
    file, _ = label(tmp_path / "a.jsonl", "tie", "q")
    assert len(file.labels) == 3 and (tmp_path / "a.jsonl").read_text().startswith(text)


@pytest.mark.parametrize(
    "line",
    ['{"prompt": "x"', "{}", "7", '{"prompt":1,"a":"","b":"","label":"a"}', "\udcff", "[" * 10**5],
)
def test_what_is_no_file_of_labels_is_left_alone(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text(line + "\n", errors="surrogateescape")
    before = (tmp_path / "a.jsonl").read_bytes()
    with pytest.raises(ValueError, match="a.jsonl:1 is no label, expected .*give another file"):
        LabelFile(tmp_path / "a.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == before


def test_what_a_terminal_would_obey_is_not_shown(tmp_path: Path) -> None:
    shown: list[str] = []
    pairs = [Preference("\x1b[2J", "\x07a", "b\r")]
    label_pairs(pairs, LabelFile(tmp_path / "a"), ask=saying("a"), show=shown.append)
    assert all(c.isprintable() or c == "\n" for text in shown for c in text)
    (row,) = map(json.loads, (tmp_path / "a").read_text().splitlines())
    assert {row["a"], row["b"]} == {"\x07a", "b\r"}


# ------------------------------------------------------- a person as preference


@pytest.mark.parametrize(("answer", "prefers"), [("a", 1), ("b", 2), ("tie", None)])
def test_a_person_is_asked_until_they_answer(monkeypatch, capsys, answer, prefers) -> None:
    answers = iter(["what?", answer.upper()])
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    for a, b in (("one", "two"), ("two", "one")):
        answers = iter(["what?", answer.upper()])
        probability = Person()("Say", a, b)
        shown = capsys.readouterr().out
        first = "one" if "[a] one" in shown else "two"
        expected = 0.5 if prefers is None else float((a == first) == (prefers == 1))
        assert probability == expected


def test_a_duel_may_be_judged_by_a_person(monkeypatch) -> None:
    task = TextPreference("duel", preference="person")
    problem = task.sample(np.random.default_rng(0))
    monkeypatch.setattr("builtins.input", lambda question: "tie")
    assert task.grade(problem, "a, b") == {"preferred": 0.5}

    def closed(question: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", closed)
    with pytest.warns(RuntimeWarning, match="Person"):
        assert "EOFError" in task.grade(problem, "a, b").error
