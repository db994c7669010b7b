"""Rows of data sets: from a file, a folder, or the Hugging Face hub, checked one by one.

JSON, JSON lines and CSV need nothing but Python, also where gzip compressed them. Parquet files
want pyarrow and names on the hub `datasets`: `pip install 'textgym[data]'` brings both.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from textgym.row_files import SUFFIXES, Row, read_file, suffix_of
from textgym.task import SPLITS

MAX_ROWS = 1_000_000
"""Rows that a data set may have unless the caller says otherwise: it is held in memory."""

MAX_CHARACTERS = 1_000_000
"""Characters that one field of a row may have."""

SPLIT_NAMES = {
    **{"train": "train", "training": "train"},
    **{"validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"},
    **{"test": "test", "testing": "test"},
    **{"train_prefs": "train", "test_prefs": "test"},  # UltraFeedback's pairs, beside its others
}
"""Official names of splits -> ours."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


class Layout:
    """Which columns of a data set mean what: a field's name -> the column that holds it.

    Example:
        >>> Layout("GSM8K", prompt="question", answer="answer")
        Layout GSM8K: prompt='question', answer='answer'

    Args:
        name: what the layout is called.
        lists: fields that hold a list of texts; the others hold one text.
        read: field -> function (value, place) -> what the field is to hold, for those that hold
            neither; it raises a ValueError that names the place where the value is none of that.
        optional: field -> column; "" or [] where a row lacks it. All other fields are required.
        key: fields in which two rows agree if they are the same problem.
        **columns: field -> column.
    """

    def __init__(
        self,
        name: str,
        *,
        lists: Sequence[str] = (),
        read: Mapping[str, Callable[[Any, str], Any]] | None = None,
        optional: Mapping[str, str] | None = None,
        key: Sequence[str] = ("prompt",),
        **columns: str,
    ) -> None:
        self.name, self.required, self.optional = name, columns, dict(optional or {})
        self.lists, self.read, self.key = frozenset(lists), dict(read or {}), tuple(key)
        unknown = self.lists.union(self.read, self.key) - {*self.required, *self.optional}
        if unknown:
            raise ValueError(
                f"{self} has no fields {sorted(unknown)}, which lists, read or key name"
            )

    def __repr__(self) -> str:
        columns = ", ".join(f"{field}={column!r}" for field, column in self.required.items())
        return f"Layout {self.name}: {columns}"

    def with_fields(self, fields: Mapping[str, str]) -> Layout:
        """The same layout, with other columns for the fields named."""
        required = {field: fields.get(field, column) for field, column in self.required.items()}
        optional = {field: fields.get(field, column) for field, column in self.optional.items()}
        settings = {"lists": self.lists, "read": self.read, "optional": optional, "key": self.key}
        return Layout(self.name, **settings, **required)


def load_rows(
    source: str | os.PathLike[str],
    *,
    layouts: Sequence[Layout] = (),
    fields: Mapping[str, str] | None = None,
    name: str | None = None,
    split: str | None = None,
    max_rows: int = MAX_ROWS,
) -> list[Row]:
    """The rows of a data set: dicts, each with its `split`, `place` and `layout`.

    Where the data set has official splits (files of a folder, or the hub's), a row's `split` is
    "train", "validation" or "test"; else it is "", which `Problem(fixed_split="")` takes for "by a
    hash of the question". Splits of any other name are left out unless `split` asks for one, whose
    rows then have "".

    With layouts or `fields`, a row holds these fields alone, checked: required ones are texts that
    are not empty (or lists of them), whole numbers become texts. Rows that agree in a layout's key
    are the same problem, and the first is kept: that of test before validation before train, so
    that nothing tested was trained on. Without either, a row holds all columns, unchecked.

    Args:
        source: a file (.jsonl, .json, .csv, each also with .gz; .parquet), a folder with files of
            train, validation or test in their names, or the name of a data set on the hub.
        layouts: what the caller can read; the first whose required columns exist is taken.
        fields: field -> column, for columns of other names than a layout's. Without layouts, these
            are the fields, required, and `prompt` (if it is one) the key.
        name: which configuration of a data set on the hub, as in "main" for openai/gsm8k.
        split: the one official split to read (None: all of them).
        max_rows: how many rows there may be.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ImportError: if the library that the source needs is not installed; says what to install.
        ValueError: for a bad row (the message names file, line, field and value), columns that no
            layout knows, a name that is none, more than `max_rows` rows, or a failed download.
    """
    wanted = _layouts(layouts, fields)
    parts = _parts(source, name, split)
    found: list[Row] = []
    layout: Layout | None = None
    # Test first: of a problem that several splits have, the one kept is never trained on.
    for official, rows in sorted(parts, key=lambda part: (*SPLITS[::-1], "").index(part[0])):
        for row in rows:
            if wanted and layout is None:
                layout = _recognise(row, wanted)
            row = row if layout is None else _mapped(row, layout)
            row.split = official
            found.append(row)
            if len(found) > max_rows:
                raise ValueError(f"{source} has more than max_rows={max_rows} rows; raise it")
    if not found:
        raise ValueError(f"{source} has no rows")
    return found if layout is None else _distinct(found, layout)


# ------------------------------------------------------------------ where rows come from


def _parts(
    source: str | os.PathLike[str], name: str | None, split: str | None
) -> list[tuple[str, Iterable[Row]]]:
    """Pairs of a split's name among ours ("": none) and its rows."""
    path = Path(source).expanduser()
    if not path.exists() and not _looks_like_a_path(str(source)):
        return _hub_parts(str(source), name, split)
    if name is not None:
        raise ValueError(f"name is {name!r}, but {source} is no data set on the hub: leave it out")
    if path.is_dir():
        files = [(_split_of(file), file) for file in sorted(path.iterdir()) if suffix_of(file)]
        files = [(official, file) for official, file in files if official]
        if split is not None:
            files = [(o, file) for o, file in files if o == SPLIT_NAMES.get(split, split)]
        if not files:
            asked = "train, validation or test" if split is None else split
            raise FileNotFoundError(
                f"{source} has no file of {asked}; expected one named like train.jsonl"
            )
        return [(official, read_file(file)) for official, file in files]
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {source}")
    if split is not None:
        raise ValueError(
            f"split is {split!r}, but the file {source} has no splits of its own: leave it out, "
            "its rows are split by a hash of the question"
        )
    return [("", read_file(path))]


def _looks_like_a_path(source: str) -> bool:
    return source.startswith(("/", ".", "~")) or source.lower().endswith((*SUFFIXES, ".gz"))


def _split_of(file: Path) -> str:
    words = re.split(r"[^a-z]+", file.name.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "")


def _hub_parts(source: str, name: str | None, split: str | None) -> list[tuple[str, Iterable[Row]]]:
    if not _HUB_NAME.fullmatch(source) or ".." in source:
        raise ValueError(
            f"{source!r} is no file or folder that exists, and no name of a data set on the hub "
            "(OWNER/NAME)"
        )
    try:
        import datasets
    except ImportError:
        raise ImportError(
            f"{source} is no file here, and reading a data set of the hub by name needs `datasets`:"
            " pip install 'textgym[data]'"
        ) from None
    try:
        # Never with code of the data set's: `datasets` 4 cannot run it any more.
        found = datasets.load_dataset(source, name)
    except Exception as error:  # whatever the network, the hub or a file's format has to say
        reason = " ".join(str(error).split())
        raise ValueError(f"could not load {source} from the hub: {reason}") from error
    if split is not None and split not in found:
        raise ValueError(f"{source} has no split {split!r}, it has {sorted(found)}")
    official = {key: SPLIT_NAMES[key] for key in found if key in SPLIT_NAMES}
    chosen = dict.fromkeys(found, "") if not official else official
    if split is not None:
        chosen = {split: SPLIT_NAMES.get(split, "")}
    return [
        (ours, _hub_rows(found[theirs], f"{source}, {theirs}")) for theirs, ours in chosen.items()
    ]


def _hub_rows(rows: Iterable[Mapping[str, Any]], place: str) -> Iterable[Row]:
    for number, row in enumerate(rows, start=1):
        yield Row(row, place=f"{place} row {number}")


# ------------------------------------------------------------------ what rows hold


def _layouts(layouts: Sequence[Layout], fields: Mapping[str, str] | None) -> list[Layout]:
    if not fields:
        return list(layouts)
    if not layouts:
        key = ["prompt"] if "prompt" in fields else list(fields)
        return [Layout("fields", key=key, **fields)]
    known = sorted(
        {field for layout in layouts for field in {**layout.required, **layout.optional}}
    )
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise ValueError(f"fields names {unknown}, expected some of {known}")
    fitting = [
        layout for layout in layouts if fields.keys() <= {*layout.required, *layout.optional}
    ]
    if not fitting:
        raise ValueError(f"no layout has all of the fields {sorted(fields)}; known: {layouts}")
    return [layout.with_fields(fields) for layout in fitting]


def _recognise(row: Row, layouts: Sequence[Layout]) -> Layout:
    for layout in layouts:
        if set(layout.required.values()) <= row.keys():
            return layout
    known = "; ".join(map(str, layouts))
    raise ValueError(
        f"{row.place} has the columns {sorted(row)}, which fit none of: {known}. Say which column "
        "holds what: fields={'prompt': COLUMN, ...}"
    )


def _mapped(row: Row, layout: Layout) -> Row:
    """The fields of a row, checked."""
    found = Row({}, place=row.place, layout=layout.name)
    for field, column in {**layout.required, **layout.optional}.items():
        value = row.get(column)
        is_list, where = field in layout.lists, f"{row.place}, column {column!r} ({field})"
        if value is None and field in layout.optional:
            value = [] if is_list else ""
        elif field in layout.read:
            found[field] = layout.read[field](value, where)
            continue
        elif is_list:
            if not isinstance(value, list | tuple):
                raise ValueError(f"{where} is {_shown(value)}, expected a list of texts")
            value = [read_text(item, where) for item in value]
        else:
            value = read_text(value, where)
        if field in layout.required and (not value if is_list else not value.strip()):
            raise ValueError(f"{where} is empty, expected {'texts' if is_list else 'a text'}")
        found[field] = value
    return found


def read_text(value: Any, where: str) -> str:
    """A value as a text: that of a whole number is its digits.

    Raises:
        ValueError: if it is neither, too long, or no valid text; the message begins with `where`.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if value.bit_length() < 10_000 else None  # Python refuses longer ones
    if not isinstance(value, str):
        raise ValueError(f"{where} is {_shown(value)}, expected a text")
    if len(value) > MAX_CHARACTERS:
        raise ValueError(f"{where} has {len(value)} characters, expected at most {MAX_CHARACTERS}")
    if not value.isascii() and value.encode("utf-8", "ignore").decode() != value:
        raise ValueError(f"{where} holds a lone surrogate, expected valid text")
    return value


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _distinct(rows: list[Row], layout: Layout) -> list[Row]:
    """The first of the rows that agree in the layout's key."""
    kept: dict[str, Row] = {}
    for row in rows:
        kept.setdefault(repr([row[field] for field in layout.key]), row)
    return list(kept.values())
