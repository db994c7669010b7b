"""Rows of data sets: every format, every way in which a row can be bad, and the splits."""

from __future__ import annotations

import gzip
import json
import pickle
import sys
import types
from pathlib import Path

import pytest

from textgym.data_sets import Layout, load_rows

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
GSM8K = Layout("GSM8K", prompt="question", answer="answer")
MBPP = Layout(
    "MBPP",
    prompt="text",
    answer="code",
    tests="test_list",
    lists=["tests"],
    optional={"setup": "test_setup_code"},
    key=["prompt", "tests"],
)
LAYOUTS = (GSM8K, MBPP)


def write(path: Path, *rows: object) -> Path:
    """A JSONL file; texts are written as they are."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def qa(question: object = "1+1?", answer: object = "2", **more: object) -> dict[str, object]:
    return {"question": question, "answer": answer, **more}


# ------------------------------------------------------------------ formats


def test_json_lines_json_and_csv_give_the_same_rows(tmp_path: Path) -> None:
    rows = [qa("1+1?", "2"), qa("2, or\n3?", '"3"')]
    lines = write(tmp_path / "a.jsonl", *rows)
    whole = tmp_path / "a.json"
    whole.write_text(json.dumps(rows))
    table = tmp_path / "a.csv"
    table.write_text('question,answer\n1+1?,2\n"2, or\n3?","""3"""\n', newline="")
    for file in (lines, whole, table):
        assert load_rows(file) == rows
        fields = [{"prompt": row["question"], "answer": row["answer"]} for row in rows]
        assert load_rows(str(file), layouts=LAYOUTS) == fields


def test_gzip_is_read_through(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps(qa()).encode()))
    assert load_rows(file) == [qa()]


def test_parquet_is_read(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pip install 'textgym[data]' brings pyarrow")
    from pyarrow import parquet

    row = {"text": "Add", "code": "def f(): ...", "test_list": ["assert 1", "assert 2"]}
    parquet.write_table(arrow.Table.from_pylist([row]), tmp_path / "a.parquet")
    (found,) = load_rows(tmp_path / "a.parquet", layouts=LAYOUTS)
    assert found["tests"] == ["assert 1", "assert 2"] and found["setup"] == ""
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match=r"b\.parquet is no valid Parquet"):
        load_rows(tmp_path / "b.parquet")


def test_parquet_without_its_library_says_what_to_install(tmp_path, monkeypatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"needs pyarrow: pip install 'textgym\[data\]'"):
        load_rows(tmp_path / "a.parquet")


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    assert load_rows(write(tmp_path / "a.jsonl", "", qa(), "  ")) == [qa()]


# ------------------------------------------------------------------ layouts


def test_a_row_knows_its_layout_and_place(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", qa("1?"), qa("2?"))
    rows = load_rows(file, layouts=LAYOUTS)
    assert [row.layout for row in rows] == ["GSM8K", "GSM8K"]
    assert [row.place for row in rows] == [f"{file}:1", f"{file}:2"]


def test_the_first_layout_whose_columns_exist_is_taken(tmp_path: Path) -> None:
    both = {**qa(), "text": "Add", "code": "x", "test_list": ["t"]}
    file = write(tmp_path / "a.jsonl", both)
    assert load_rows(file, layouts=[MBPP, GSM8K])[0].layout == "MBPP"
    assert load_rows(file, layouts=[GSM8K, MBPP])[0].layout == "GSM8K"


def test_fields_rename_the_columns_of_a_layout(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"q": "1?", "answer": "2", "other": None})
    rows = load_rows(file, layouts=LAYOUTS, fields={"prompt": "q"})
    assert rows == [{"prompt": "1?", "answer": "2"}]


def test_fields_alone_are_a_layout(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"q": "1?", "a": 2}, {"q": "1?", "a": 2})
    assert load_rows(file, fields={"prompt": "q", "answer": "a"}) == [
        {"prompt": "1?", "answer": "2"}
    ]


def test_unknown_columns_are_told_with_the_layouts_known(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"problem": "1?", "solution": "2"})
    with pytest.raises(ValueError) as caught:
        load_rows(file, layouts=LAYOUTS)
    message = str(caught.value)
    assert "columns ['problem', 'solution']" in message
    assert "Layout GSM8K: prompt='question', answer='answer'" in message
    assert "fields={'prompt': COLUMN, ...}" in message


def test_a_field_that_no_layout_has_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", qa())
    with pytest.raises(ValueError, match=r"fields names \['promt'\], expected some of \['answer'"):
        load_rows(file, layouts=LAYOUTS, fields={"promt": "question"})


def test_a_layout_whose_key_is_no_field_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has no fields \['prompt'\]"):
        Layout("mine", question="q")


def test_an_optional_column_may_lack(tmp_path: Path) -> None:
    row = {"text": "Add", "code": "x", "test_list": ["t"]}
    file = write(tmp_path / "a.jsonl", row, {**row, "text": "Sub", "test_setup_code": "y = 1"})
    assert [row["setup"] for row in load_rows(file, layouts=LAYOUTS)] == ["", "y = 1"]


# ------------------------------------------------------------------ bad rows


@pytest.mark.parametrize(
    ("second", "complaint"),
    [
        ('{"question": "1?", ', r"a\.jsonl:2 is no valid JSON"),
        ("[" * 100_000, r"a\.jsonl:2 is no valid JSON"),
        ('{"question": "?", "answer": ' + "1" * 5000 + "}", r"a\.jsonl:2 is no valid JSON"),
        ([1, 2], r"a\.jsonl:2 holds a list, expected an object"),
        ({"question": "1?"}, r"a\.jsonl:2, column 'answer' \(answer\) is missing, expected a text"),
        (qa("1?", None), r"column 'answer' \(answer\) is missing"),
        (qa("1?", ["2"]), r"column 'answer' \(answer\) is \['2'\], expected a text"),
        (qa("1?", 2.5), r"is 2\.5, expected a text"),
        (qa("1?", True), r"is True, expected a text"),
        (qa(" \n", "2"), r"a\.jsonl:2, column 'question' \(prompt\) is empty, expected a text"),
        (qa("1?", "\ud800"), r"holds a lone surrogate"),
        (qa("1?", "x" * 1_000_001), r"has 1000001 characters, expected at most 1000000"),
    ],
)
def test_a_bad_row_is_told_with_its_line(tmp_path: Path, second: object, complaint: str) -> None:
    file = write(tmp_path / "a.jsonl", qa(), second)
    with pytest.raises(ValueError, match=complaint):
        load_rows(file, layouts=LAYOUTS)


@pytest.mark.parametrize(
    ("tests", "complaint"),
    [
        ("assert f()", r"column 'test_list' \(tests\) is 'assert f\(\)', expected a list of texts"),
        ([], r"column 'test_list' \(tests\) is empty, expected texts"),
        (["assert f()", None], r"\(tests\) is missing, expected a text"),
    ],
)
def test_a_list_must_hold_texts(tmp_path: Path, tests: object, complaint: str) -> None:
    file = write(tmp_path / "a.jsonl", {"text": "Add", "code": "x", "test_list": tests})
    with pytest.raises(ValueError, match=complaint):
        load_rows(file, layouts=LAYOUTS)


def test_whole_numbers_become_texts(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", qa("1?", 204), qa("2?", -(10**30)))
    rows = load_rows(file, layouts=LAYOUTS)
    assert [row["answer"] for row in rows] == ["204", "-1" + "0" * 30]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.jsonl", b'{"question": "\xff"}', r"a\.jsonl is damaged"),
        ("a.jsonl.gz", b"no gzip", r"a\.jsonl\.gz is damaged"),
        ("a.json", b'{"question": "1?"}', r"holds a dict, expected a list of objects"),
        ("a.json", b'{"a": 1}\n{"a": 2}', r"one object a line would be \.jsonl"),
        (
            "a.csv",
            b"question,answer\n1?\n",
            r"a\.csv:2 has more or fewer values than the 2 columns",
        ),
        ("a.csv", b'question,answer\n1?,"2', r"a\.csv:1 is no valid CSV"),
        ("a.txt", b"1?", r"ends in '\.txt', expected one of \['\.jsonl'"),
        ("a.jsonl", b"\n", r"a\.jsonl has no rows"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, name, content, complaint) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        load_rows(tmp_path / name, layouts=LAYOUTS)


def test_more_rows_than_asked_for_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", qa("1?"), qa("2?"), qa("3?"))
    assert len(load_rows(file, max_rows=3)) == 3
    with pytest.raises(ValueError, match="more than max_rows=2 rows"):
        load_rows(file, max_rows=2)


def test_equal_problems_are_kept_once(tmp_path: Path) -> None:
    row = {"text": "Add", "code": "x", "test_list": ["t"]}
    rows = [row, {**row, "code": "y"}, {**row, "test_list": ["u"]}, row]
    found = load_rows(write(tmp_path / "a.jsonl", *rows), layouts=LAYOUTS)
    assert [(row["answer"], row["tests"]) for row in found] == [("x", ["t"]), ("x", ["u"])]
    assert len(load_rows(tmp_path / "a.jsonl")) == 4  # raw rows are left alone


# ------------------------------------------------------------------ splits


def test_the_rows_of_one_file_belong_to_no_split(tmp_path: Path) -> None:
    file = write(tmp_path / "train.jsonl", qa())
    assert load_rows(file)[0].split == ""
    with pytest.raises(ValueError, match="has no splits of its own"):
        load_rows(file, split="train")


def folder(tmp_path: Path) -> Path:
    write(tmp_path / "train-00001.jsonl", qa("1?"), qa("2?"))
    write(tmp_path / "gsm8k_dev.jsonl", qa("2?"), qa("3?"))
    write(tmp_path / "test.jsonl", qa("3?"), qa("4?"))
    write(tmp_path / "notes.jsonl", qa("5?"))
    (tmp_path / "train.txt").write_text("no data")
    return tmp_path


def test_a_folder_keeps_its_splits_and_nothing_tested_is_trained_on(tmp_path: Path) -> None:
    rows = load_rows(folder(tmp_path), layouts=LAYOUTS)
    found = {row["prompt"]: row.split for row in rows}
    assert found == {"1?": "train", "2?": "validation", "3?": "test", "4?": "test"}
    assert len(rows) == 4


def test_one_split_of_a_folder_can_be_read_alone(tmp_path: Path) -> None:
    rows = load_rows(folder(tmp_path), split="validation")
    assert [row["question"] for row in rows] == ["2?", "3?"]


def test_a_folder_without_splits_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", qa())
    with pytest.raises(FileNotFoundError, match="has no file of train, validation or test"):
        load_rows(tmp_path)


# ------------------------------------------------------------------ names


@pytest.mark.parametrize(
    "name", ["os:system", "a/b/c", "owner/../secret", "a b", "https://x.y/z", "..", "", "owner/"]
)
def test_what_is_no_name_never_reaches_the_hub(monkeypatch, tmp_path, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises((ValueError, FileNotFoundError)):
        load_rows(name)


@pytest.mark.parametrize("name", ["./none.jsonl", "/none", "none.jsonl", "~/none.json.gz"])
def test_a_missing_file_is_not_looked_for_on_the_hub(monkeypatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        load_rows(name)


def test_a_configuration_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no data set on the hub: leave it out"):
        load_rows(write(tmp_path / "a.jsonl", qa()), name="main")


def test_the_hub_without_its_library_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"openai/gsm8k .* pip install 'textgym\[data\]'"):
        load_rows("openai/gsm8k")


@pytest.fixture
def hub(monkeypatch) -> list[tuple[object, ...]]:
    """A stand-in for the library, which cannot reach the hub here; holds what it was asked."""
    asked: list[tuple[object, ...]] = []
    content = {
        "owner/both": {"train": [qa("1?"), qa("2?")], "test": [qa("2?")], "prompt": [qa("0?")]},
        "owner/odd": {"all": [qa("1?")]},
    }

    def load_dataset(*arguments: object) -> dict[str, list[dict[str, object]]]:
        asked.append(arguments)
        if arguments[0] not in content:
            raise ConnectionError("no\nsuch  host")
        return content[arguments[0]]

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    return asked


def test_official_splits_of_the_hub_are_kept(hub) -> None:
    rows = load_rows("owner/both", layouts=LAYOUTS, name="main")
    assert {row["prompt"]: row.split for row in rows} == {"1?": "train", "2?": "test"}
    assert hub == [("owner/both", "main")]
    assert rows[0].place == "owner/both, test row 1"


def test_splits_of_other_names_are_read_where_asked_for_or_alone(hub) -> None:
    assert [(r["question"], r.split) for r in load_rows("owner/both", split="prompt")] == [
        ("0?", "")
    ]
    assert [(r["question"], r.split) for r in load_rows("owner/odd")] == [("1?", "")]
    with pytest.raises(ValueError, match=r"has no split 'dev', it has \['all'\]"):
        load_rows("owner/odd", split="dev")


def test_a_failed_download_is_told_in_one_line(hub) -> None:
    with pytest.raises(ValueError, match="could not load owner/none from the hub: no such host"):
        load_rows("owner/none")


# ------------------------------------------------------------------ others


def test_rows_survive_pickling(tmp_path: Path) -> None:
    (row,) = load_rows(write(tmp_path / "a.jsonl", qa()), layouts=LAYOUTS)
    copy = pickle.loads(pickle.dumps(row))
    assert copy == row and (copy.place, copy.layout, copy.split) == (row.place, "GSM8K", "")


@pytest.mark.parametrize(
    ("name", "layout", "count"), [("gsm8k_train_2000", GSM8K, 2000), ("mbpp_train_374", MBPP, 374)]
)
def test_real_data_sets_are_read_whole(name: str, layout: Layout, count: int) -> None:
    file = DATA / f"{name}.jsonl"
    if not file.exists():
        pytest.skip(f"{file.name} does not lie in ../shared/data")
    rows = load_rows(file, layouts=LAYOUTS)
    assert len(rows) == count and {row.layout for row in rows} == {layout.name}
