"""Graders of mathematics, ours and others, on one corpus of labelled cases.

The corpus is tests/data/math_cases.jsonl and, where it lies beside the repository,
../shared/data/math_grading_cases.jsonl. Ours runs under this Python, the others under the one given
by `--peers`: an environment with math-verify, trl, gem-llm, tinker-cookbook, lm-eval, verl,
reasoning-gym, sympy, pylatexenc and antlr4-python3-runtime 4.11, or some of them; those that it
lacks are left out. Each grader runs in a process and an empty folder of its own, which is killed
and started again where a verdict takes more than 12 seconds.

accuracy and rates: of all cases but the hostile ones; no verdict is a refusal.
hung, crashed: of all cases; exceptions, and processes that ended, are crashes.
hostile_paid: hostile cases answered with "equal". ran_code: a file was written that some of them
try to write.
verdicts_per_cpu_second: of all cases; one that hung counts 12 seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.peers import graders
from textgym.grading.math import equivalent

ROOT = Path(__file__).resolve().parent.parent
CORPORA = (
    ROOT / "tests" / "data" / "math_cases.jsonl",
    ROOT.parent / "shared" / "data" / "math_grading_cases.jsonl",
)
RESPONSES = {"extract", "response", "wrapped", "hedge", "refusal", "copy"}
"""Categories whose answers are whole responses."""
HUNG = 12.0
STARTED = 120.0
COLUMNS = ("accuracy", "false_positive_rate", "false_negative_rate", "hung", "crashed")
MORE_COLUMNS = ("hostile_paid", "ran_code", "verdicts_per_cpu_second")


class Case(TypedDict):
    """A labelled case."""

    category: str
    reference: str
    answer: str
    equal: bool


def main(arguments: list[str] | None = None) -> None:
    """Print one JSON line for each grader, and a table on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks grading", description=__doc__)
    parser.add_argument("--peers", metavar="PYTHON", help="the peers' interpreter")
    parser.add_argument("--cases", type=Path, nargs="+", default=CORPORA, metavar="JSONL")
    parser.add_argument("--only", nargs="+", choices=graders.GRADERS, default=graders.GRADERS)
    parser.add_argument("--categories", action="store_true", help="each category's counts too")
    options = parser.parse_args(arguments)
    cases = [case for path in options.cases if path.exists() for case in _read(path)]
    names = [name for name in options.only if name == "textgym" or options.peers]
    table = [("grader", *COLUMNS, *MORE_COLUMNS)]
    for name in names:
        python = sys.executable if name == "textgym" else options.peers
        row = measure(name, python, cases, by_category=options.categories)
        print(json.dumps(row), flush=True)
        if "missing" in row:
            table.append((name, row["missing"][:60]))
        else:
            table.append((name, *(str(row[column]) for column in (*COLUMNS, *MORE_COLUMNS))))
    if "textgym" in names:
        print(json.dumps({**_machine(), "grader": "textgym", **_exact_speed()}), flush=True)
    widths = [max(len(row[i]) for row in table if i < len(row)) for i in range(len(table[0]))]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        print("  ".join(cells).rstrip(), file=sys.stderr)


def measure(name: str, python: str, cases: list[Case], *, by_category: bool) -> dict[str, Any]:
    """The figures of one grader; `missing` says why there are none."""
    common = {**_machine(), "grader": name}
    count: Counter[str] = Counter()
    categories: dict[str, Counter[str]] = {}
    cpu = 0.0
    with tempfile.TemporaryDirectory() as folder, _Grader(name, python, folder) as grader:
        if grader.missing:
            return {**common, "missing": grader.missing}
        for case in cases:
            verdict = grader.judge(case)
            cpu += verdict["cpu"]
            count["hung"] += verdict["error"] == "hung"
            count["crashed"] += verdict["error"] not in (None, "hung")
            paid = verdict["equal"] is True
            if case["category"] == "hostile":
                count["hostile"] += 1
                count["hostile_paid"] += paid and not case["equal"]
                continue
            outcome = _OUTCOMES[case["equal"], paid]
            count[outcome] += 1
            categories.setdefault(case["category"], Counter())[outcome] += 1
        ran_code = os.path.exists(os.path.join(folder, "canary"))
    positives = count["right, paid"] + count["false_negatives"]
    negatives = count["wrong, refused"] + count["false_positives"]
    right = count["right, paid"] + count["wrong, refused"]
    row = {
        **{**common, "version": grader.version, "cases": positives + negatives},
        "accuracy": round(right / max(1, positives + negatives), 4),
        "false_positive_rate": round(count["false_positives"] / max(1, negatives), 4),
        "false_negative_rate": round(count["false_negatives"] / max(1, positives), 4),
        **{key: count[key] for key in ("false_positives", "false_negatives")},
        **{key: count[key] for key in ("hung", "crashed", "hostile", "hostile_paid")},
        "ran_code": ran_code,
        "verdicts_per_cpu_second": _three_digits(len(cases) / cpu),
    }
    return {**row, "categories": categories} if by_category else row


_OUTCOMES = {
    (True, True): "right, paid",
    (True, False): "false_negatives",
    (False, True): "false_positives",
    (False, False): "wrong, refused",
}


class _Grader:
    """A grader's process, which is started again after it hung or ended."""

    def __init__(self, name: str, python: str, folder: str) -> None:
        # Resolving links would lead out of a virtual environment.
        self._command = [os.path.abspath(python), graders.__file__, name]
        self._folder = folder
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT)} if name == "textgym" else None
        self._start()

    def __enter__(self) -> _Grader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def judge(self, case: Case) -> dict[str, Any]:
        """{"equal", "cpu", "error"}; the error is "hung", "ended", or an exception's text."""
        response = case["category"] in RESPONSES
        asked = {"reference": case["reference"], "answer": case["answer"], "response": response}
        try:
            self._process.stdin.write((json.dumps(asked) + "\n").encode())
            line = self._line(HUNG)
        except BrokenPipeError:
            line = b""
        if line:
            return json.loads(line)
        error, cpu = ("hung", HUNG) if line is None else ("ended", 0.0)
        self._stop()
        self._start()
        return {"equal": None, "cpu": cpu, "error": error}

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            env=self._environment,
            bufsize=0,
            start_new_session=True,
        )
        hello = json.loads(self._line(STARTED) or b'{"missing": "the process did not start"}')
        self.version, self.missing = hello.get("version"), hello.get("missing")

    def _stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)  # some graders have children
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _line(self, seconds: float) -> bytes | None:
        """The next line; empty where the process ended, None where none came in time."""
        end, line = time.monotonic() + seconds, b""
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                return None
            piece = self._process.stdout.read(1 << 16)
            if not piece:
                return b""
            line += piece
        return line


def _exact_speed() -> dict[str, Any]:
    """Verdicts a CPU second on integers and fractions alone, the best of five rounds."""
    pairs = [(str(n * n), str(n * n + n % 2)) for n in range(2000)]
    pairs += [(f"{n}/{n + 7}", f"{2 * n}/{2 * n + 14}") for n in range(2000)]
    best = 0.0
    for _ in range(5):
        start = time.process_time()
        for reference, answer in pairs:
            equivalent(reference, answer)
        best = max(best, len(pairs) / (time.process_time() - start))
    return {"what": "integers and fractions", "verdicts_per_cpu_second": _three_digits(best)}


def _three_digits(value: float) -> int:
    return int(float(f"{value:.3g}"))


def _machine() -> dict[str, Any]:
    row: dict[str, Any] = {"benchmark": "grading", "python": platform.python_version()}
    try:
        row["mpmath"] = version("mpmath")
    except PackageNotFoundError:
        pass
    return row


def _read(path: Path) -> Iterator[Case]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


if __name__ == "__main__":
    main()
