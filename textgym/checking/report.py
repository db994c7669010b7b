"""What a check says: Check, Report, and the tools that find what is wrong. Nothing of text here."""

from __future__ import annotations

import contextlib
import io
import pickle
import random
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

Verdict = Literal["ok", "warning", "error"]

MAX_SHOWN = 60
"""Characters of a value that a message shows."""

MAX_LINE = 400
"""Characters of a message."""


class ContractError(ValueError):
    """Raised by `Report.raise_if_failed`: the message lists the errors."""


class Flaw(Exception):
    """Raised inside a check: what is wrong, what was got and what was expected, in one line."""

    def __init__(self, message: str, verdict: Verdict = "error") -> None:
        super().__init__(message)
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a report."""

    name: str
    verdict: Verdict
    message: str


@dataclass
class Report:
    """What `check_task` or `check_env` found; printing it gives a table.

    `checks`: one line each, in the order in which they ran. `levels`: level -> column -> number,
    what was measured at each difficulty (of a task; empty for an environment).
    """

    title: str
    checks: list[Check] = field(default_factory=list)
    levels: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether there is no error (there may be warnings)."""
        return not self.of("error")

    def of(self, verdict: Verdict) -> list[Check]:
        """The checks with this verdict."""
        return [check for check in self.checks if check.verdict == verdict]

    def raise_if_failed(self) -> None:
        """Raise ContractError, whose message lists the errors, unless the report is ok."""
        if not self.ok:
            lines = [f"{check.name}: {check.message}" for check in self.of("error")]
            raise ContractError("\n  ".join([f"{self.title} failed", *lines]))

    def run(self, name: str, check: Callable[..., str], *arguments: Any) -> None:
        """Run a check, which returns what it saw or raises a Flaw, and write its line down."""
        try:
            verdict, message = "ok", check(*arguments)
        except Flaw as flaw:
            verdict, message = flaw.verdict, str(flaw)
        except Exception as error:  # whatever the code under test raises is its flaw
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(frame.filename).name}, line {frame.lineno}"
            verdict, message = "error", f"{type(error).__name__}: {error} ({place})"
        self.checks.append(Check(name, verdict, _one_line(message)))

    def __str__(self) -> str:
        """The table: a line for each check, then the numbers of each level."""
        counts = f"errors: {len(self.of('error'))}, warnings: {len(self.of('warning'))}"
        rows = [(check.verdict, check.name, check.message) for check in self.checks]
        lines = [f"{self.title}: {counts}, checks: {len(self.checks)}", table(rows)]
        if self.levels:
            columns = list(
                dict.fromkeys(name for values in self.levels.values() for name in values)
            )
            numbers = [
                (level, *(_number(values.get(name, np.nan)) for name in columns))
                for level, values in self.levels.items()
            ]
            lines += ["", table([("level", *columns), *numbers])]
        return "\n".join(lines)


def _one_line(message: str) -> str:
    """The message as one printable line: the text of an exception may be anything."""
    line = " ".join(message[: 2 * MAX_LINE].split())
    return line.encode("utf-8", "backslashreplace").decode()[:MAX_LINE]


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if np.isnan(value) else f"{value:.3f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equal length as text, in aligned columns, indented by two spaces."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [map(str.ljust, row, widths) for row in rows]
    return "\n".join("  " + "  ".join(line).rstrip() for line in lines)


def shown(value: Any) -> str:
    """A value for a message: its repr, cut in the middle where it is long."""
    # A megabyte is cut before repr, not after: escaping it would take longer than the check.
    text = repr(value[: 4 * MAX_SHOWN] if isinstance(value, str) else value)
    if len(text) <= MAX_SHOWN:
        return text
    return f"{text[: MAX_SHOWN // 2]}...{text[-MAX_SHOWN // 2 + 3 :]}"


def difference(left: Any, right: Any, where: str) -> str:
    """Where two nested results differ first and how; an empty text if they are the same."""
    if type(left) is not type(right):
        return f"{where} is {shown(left)} and {shown(right)}"
    if isinstance(left, Mapping):
        if left.keys() != right.keys():
            return f"{where} has the keys {sorted(left)} and {sorted(right)}"
        pairs = ((left[key], right[key], f"{where}[{key!r}]") for key in left)
    elif isinstance(left, list | tuple) or (isinstance(left, np.ndarray) and left.dtype == object):
        if len(left) != len(right):
            return f"{where} has {len(left)} and {len(right)} elements"
        pairs = ((a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(left, right, strict=True)))
    elif isinstance(left, np.ndarray):
        same = left.dtype == right.dtype and np.array_equal(left, right)
        return "" if same else f"{where} is {shown(left.tolist())} and {shown(right.tolist())}"
    else:
        return "" if left == right else f"{where} is {shown(left)} and {shown(right)}"
    return next(filter(None, (difference(*pair) for pair in pairs)), "")


@contextlib.contextmanager
def undisturbed(what: str, owner: object | None = None) -> Iterator[None]:
    """Raise a Flaw if the body moves a global generator, prints, or changes `owner`'s attributes.

    Args:
        what: the subject of the message, as in "sample".
        owner: an object whose attributes, and whose class's, should stay as they are.
    """
    generators, attributes = _global_generators(), _attributes(owner)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        yield
    for name, state in _global_generators().items():
        if state != generators[name]:
            raise Flaw(f"{what} uses {name}'s global generator, expected only the one it is given")
    after = _attributes(owner)
    changed = sorted(name for name in after if after[name] != attributes.get(name))
    if changed:
        raise Flaw(f"{what} changes the attributes {changed}, expected no state")
    if printed.getvalue():
        raise Flaw(f"{what} prints {shown(printed.getvalue())}, expected silence")


def _global_generators() -> dict[str, bytes]:
    return {
        "numpy": pickle.dumps(np.random.get_state()),
        "random": pickle.dumps(random.getstate()),
    }


def _attributes(owner: object | None) -> dict[str, bytes | str]:
    if owner is None:
        return {}
    found = {**vars(type(owner)), **vars(owner)}
    return {name: _frozen(value) for name, value in found.items() if not name.startswith("__")}


def _frozen(value: Any) -> bytes | str:
    """Something that is equal later if and only if the value has not changed."""
    try:
        return pickle.dumps(value)
    except Exception:  # a function made inside another, a file, a lock: they have no content
        return repr(value)
