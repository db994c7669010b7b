"""Files of preferences: JSON lines with prompt, chosen and rejected, as TRL and `datasets` read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from textgym.task import Preference


def write_preferences(
    path: str | os.PathLike[str], pairs: Iterable[Preference], *, overwrite: bool = False
) -> int:
    """Write pairs, one JSON object a line; returns how many there were.

    The file appears when it is complete, or not at all.

    Args:
        path: the file; `textgym.load_preferences` reads it again if it ends in .jsonl.
        pairs: what is written, as it comes.
        overwrite: whether to replace a file that exists.

    Raises:
        FileExistsError: if there is a file already.
        OSError: if it cannot be written.
    """
    count = 0
    with _whole_file(Path(path), overwrite) as file:
        for pair in pairs:
            row = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
            file.write(json.dumps(row) + "\n")
            count += 1
    return count


@contextmanager
def _whole_file(path: Path, overwrite: bool) -> Iterator[IO[str]]:
    """A file that is there under another name until the body has ended without an exception."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected a file's name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
    if not overwrite:
        _refuse(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("x", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not overwrite:
            _refuse(path)  # it may have come into being meanwhile
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _refuse(path: Path) -> None:
    if path.exists():
        raise FileExistsError(f"{path} exists already; give another name, or say to overwrite it")
