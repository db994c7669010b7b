"""A person's labels: which of two responses is better, asked in the terminal, kept line by line."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from textgym.preferences.functions import is_swapped
from textgym.preferences.terminal import printable
from textgym.task import Preference

Label = Literal["a", "b", "tie", "skip"]

ANSWERS: dict[str, Label | None] = {
    **{"a": "a", "b": "b", "t": "tie", "tie": "tie", "s": "skip", "skip": "skip"},
    **{"q": None, "quit": None},
}
"""What a person may say -> the label; None: stop."""

QUESTION = "a, b, tie, skip or quit> "


class LabelFile:
    """Labels as JSON lines, `{"prompt", "a", "b", "label"}`, each on the disk once it is given.

    Args:
        path: the file; where there is one, it is gone on with.

    Attributes:
        labels: (prompt, a, b) -> label, of all pairs in the file.

    Raises:
        ValueError: if the file holds anything but labels; the message names the line.
        FileNotFoundError: if there is no folder for it: before anybody is asked.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"there is no folder {self.path.parent} to write {self.path.name} to"
            )
        self.labels: dict[tuple[str, str, str], Label] = {}
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        for number, line in enumerate(lines, start=1):
            self._read(line, f"{path}:{number}")
        if lines and not self.path.read_bytes().endswith(b"\n"):
            self._write(b"\n")

    def _read(self, line: bytes, place: str) -> None:
        try:
            row = json.loads(line)
            label, pair = row["label"], (row["prompt"], row["a"], row["b"])
        except (ValueError, TypeError, KeyError, RecursionError):
            label = None
        if label not in ("a", "b", "tie", "skip") or not all(isinstance(t, str) for t in pair):
            raise ValueError(
                f"{place} is no label, expected an object with prompt, a, b, and label a, b, tie "
                "or skip: give another file"
            )
        self.labels[pair] = label

    def add(self, pair: tuple[str, str, str], label: Label) -> None:
        """Append a label; when this returns, it is on the disk."""
        row = dict(zip(("prompt", "a", "b"), pair, strict=True), label=label)
        self._write(json.dumps(row).encode() + b"\n")
        self.labels[pair] = label

    def _write(self, line: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def label_pairs(
    pairs: Sequence[Preference],
    file: LabelFile,
    *,
    ask: Callable[[str], str] = input,
    show: Callable[[str], None] = print,
) -> None:
    """Ask a person about every pair that has no label yet, until all have one or they stop.

    Which response is shown as a depends on the texts, as by a coin, and not on which of them is the
    chosen one. Returns as soon as the person quits, or the input ends, or on Ctrl-C.

    Args:
        pairs: what is asked about, in this order; a pair that comes twice is asked about once.
        file: where labels are, and go to.
        ask: as `input`.
        show: as `print`.
    """
    shown = list(dict.fromkeys(map(as_shown, pairs)))
    try:
        for number, pair in enumerate(shown, start=1):
            if pair in file.labels:
                continue
            prompt, a, b = map(printable, pair)
            show(f"\n--- {number} of {len(shown)}\n{prompt}\n\n[a] {a}\n\n[b] {b}\n")
            while (answer := ask(QUESTION).strip().lower()) not in ANSWERS:
                show(f"please answer {QUESTION[:-2]}")
            label = ANSWERS[answer]
            if label is None:
                return
            file.add(pair, label)
    except (EOFError, KeyboardInterrupt):
        show("")


def as_shown(pair: Preference) -> tuple[str, str, str]:
    """The prompt, and the two responses in the order in which they are shown."""
    responses = (pair.chosen, pair.rejected)
    swapped = is_swapped(pair.prompt, *responses)
    return pair.prompt, *(responses[::-1] if swapped else responses)


def summary(pairs: Sequence[Preference], file: LabelFile) -> str:
    """How many labels there are of each kind, and how many agree with the pairs themselves."""
    counts = Counter(file.labels.values())
    told = ", ".join(f"{name} {counts[name]}" for name in ("a", "b", "tie", "skip"))
    agreed = []
    for pair in dict.fromkeys(pairs):
        label = file.labels.get(as_shown(pair))
        if label in ("a", "b"):
            agreed.append(as_shown(pair)[1 if label == "a" else 2] == pair.chosen)
    return (
        f"{len(file.labels)} labels ({told}); {sum(agreed)} of {len(agreed)} agree with the pairs"
    )
