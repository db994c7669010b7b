"""Reads the rows of one file, JSON lines, JSON, CSV or Parquet: for `textgym.data_sets`."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
"""Endings of the files that can be read; all but the last also with .gz behind."""

MAX_LINE = 16_000_000
"""Characters that a line of a JSONL file may have."""

MAX_JSON = 512_000_000
"""Characters that a JSON file may have, which is read in one piece."""


class Row(dict[str, Any]):
    """One row: column or field -> value.

    `split`: "train", "validation", "test", or "" where the source has no splits. `place`: where the
    row comes from, for messages. `layout`: the name of the layout that it was read by, or "".
    """

    __slots__ = ("layout", "place", "split")

    def __init__(self, values: Mapping[str, Any], *, place: str, layout: str = "") -> None:
        super().__init__(values)
        self.place, self.layout, self.split = place, layout, ""


def suffix_of(file: Path) -> str:
    """The ending that says how to read a file, without .gz; "" if there is no reader for it."""
    name = file.name.lower()
    plain = name.removesuffix(".gz")
    ending = next((suffix for suffix in SUFFIXES if plain.endswith(suffix)), "")
    return "" if ending == ".parquet" and plain != name else ending


def read_file(file: Path) -> Iterator[Row]:
    """The rows of a file, one by one.

    Raises:
        ValueError: if the file cannot be read as what its ending says, or at all.
    """
    readers = {".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json, ".csv": _csv}
    suffix = suffix_of(file)
    if not suffix:
        raise ValueError(f"{file} ends in {file.suffix!r}, expected one of {list(SUFFIXES)}")
    if suffix == ".parquet":
        yield from _parquet(file)
        return
    opened = gzip.open if file.name.lower().endswith(".gz") else open
    try:
        with opened(file, "rt", encoding="utf-8", newline="") as stream:
            yield from readers[suffix](stream, file)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def _json_lines(stream: IO[str], file: Path) -> Iterator[Row]:
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        place = f"{file}:{number}"
        if len(line) > MAX_LINE:
            raise ValueError(f"{place} has over {MAX_LINE} characters, expected a shorter line")
        if line.strip():
            yield _row(_parsed(line, place), place)


def _json(stream: IO[str], file: Path) -> Iterator[Row]:
    text = stream.read(MAX_JSON + 1)
    if len(text) > MAX_JSON:
        raise ValueError(f"{file} has over {MAX_JSON} characters: save it as .jsonl")
    content = _parsed(text, f"{file} (one object a line would be .jsonl)")
    if not isinstance(content, list):
        raise ValueError(f"{file} holds a {type(content).__name__}, expected a list of objects")
    for number, value in enumerate(content, start=1):
        place = f"{file} row {number}"
        yield _row(value, place)


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # nested too deep, or a number of 5,000 digits
        raise ValueError(f"{place} is no valid JSON: {error}") from None


def _row(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise ValueError(f"{place} holds a {type(value).__name__}, expected an object")
    return Row(value, place=place)


def _csv(stream: IO[str], file: Path) -> Iterator[Row]:
    reader = csv.DictReader(stream, strict=True)
    try:
        for values in reader:
            place = f"{file}:{reader.line_num}"
            if None in values or None in values.values():
                raise ValueError(
                    f"{place} has more or fewer values than the {len(reader.fieldnames or ())} "
                    "columns of the first line"
                )
            yield Row(values, place=place)
    except csv.Error as error:
        raise ValueError(f"{file}:{reader.line_num} is no valid CSV: {error}") from None


def _parquet(file: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise ImportError(
            f"reading {file} needs pyarrow: pip install 'textgym[data]', or save it as .jsonl"
        ) from None
    number = 0
    try:
        with parquet.ParquetFile(file) as table:
            for batch in table.iter_batches():
                for values in batch.to_pylist():
                    number += 1
                    yield Row(values, place=f"{file} row {number}")
    except ArrowException as error:
        raise ValueError(f"{file} is no valid Parquet: {error}") from error
