"""Attacks that succeed, by class and executor: runs the corpus in child processes and counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import attacks
from benchmarks.cage import UID
from benchmarks.interpreters import command_for
from benchmarks.peers.executors import EXECUTORS
from textgym.grading.sandbox import LADDER, Sandbox, SandboxUnavailable

Row = dict[str, Any]
SECONDS = 900  # longest run of one rung


def attack_rows(rungs: Sequence[str] | None, peers: Path | None) -> Iterator[Row]:
    """One row for each executor and class: attacks tried, and the names of those that succeeded."""
    users = [("root", None), ("user", UID)] if os.geteuid() == 0 else [("user", None)]
    for rung in rungs or (*LADDER, "bubblewrap"):
        if (why := lacking(rung)) is not None:
            yield {"executor": f"textgym, {rung}", "what": "skipped", "why": why}
            continue
        for user, uid in users:
            yield from ours(rung, uid, f"textgym, {rung}, {user}")
    for name in EXECUTORS if peers else ():
        yield from peer(name, peers / "bin" / "python")


def lacking(rung: str) -> str | None:
    """Why this machine cannot offer a rung; None if it can."""
    try:
        backend = {"backend": rung} if rung == "bubblewrap" else {"rung": rung}
        Sandbox(workers=1, **backend).close()
    except SandboxUnavailable as error:
        return str(error)
    return None


def ours(rung: str, uid: int | None, name: str) -> Iterator[Row]:
    """Run benchmarks.attack_run, and count."""
    with command_for(uid) as (command, environment):
        arguments = [*command, "-m", "benchmarks.attack_run", rung, "--one-by-one"]
        arguments += ["--uid", str(uid)] if uid is not None else []
        done = subprocess.run(
            arguments, env=environment, capture_output=True, text=True, timeout=SECONDS
        )
    tried: dict[str, set[str]] = defaultdict(set)
    won: dict[str, dict[str, str]] = defaultdict(dict)
    late = 0.0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    for row in rows:
        kind, attack = row.get("class", ""), row.get("attack", "")
        if row["what"] == "verdict":
            tried[kind].add(attack)
        if how := succeeded(row):
            won[kind].setdefault(attack or how, how)
        if row["what"] == "batch" and kind in attacks.CLASSES:
            late = max(late, row["late"])
    if not rows or rows[-1]["what"] != "end":
        won["end"]["trainer"] = f"the trainer died: {done.stderr[-300:]}"
    for kind in [*tried, *(kind for kind in won if kind not in tried)]:
        found = won[kind]
        yield {"executor": name, "class": kind, "tried": len(tried[kind]), "won": found}
    yield {"executor": name, "what": "latest verdict after its deadline, s", "late": late}


def succeeded(row: Row) -> str:
    """What a row of benchmarks.attack_run says that an attack achieved; "" for nothing."""
    if row["what"] == "raised":
        return f"the grader raised {row['error']}"
    if row["what"] == "damage":
        return row["how"]
    if row["what"] != "verdict":
        return ""
    if row["error"]:
        return f"no verdict: {row['error']}"
    if row["class"] == "honest":
        return "" if row["passed"] else f"an honest program failed: {row['reason']}"
    if row["passed"]:
        return "passed"
    if row["tests_passed"] and row["class"] != "wrong":
        return f"passed {row['tests_passed']:.2f} of its tests"
    return ""


def peer(name: str, interpreter: Path) -> Iterator[Row]:
    """Run benchmarks.peers.executors with the peers' interpreter, and count."""
    command = [interpreter, "-m", "benchmarks.peers.executors", name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        yield {"executor": name, "what": "skipped", "why": done.stderr.strip()[-300:]}
        return
    yield from peer_rows(name, done.stdout.splitlines())


def peer_rows(name: str, lines: Sequence[str]) -> Iterator[Row]:
    """Count a peer's rows by class."""
    tried: dict[str, int] = defaultdict(int)
    won: dict[str, dict[str, str]] = defaultdict(dict)
    for row in map(json.loads, lines):
        if row["won"] is not None:
            tried[row["class"]] += 1
        if row["won"]:
            won[row["class"]][row["attack"]] = row["how"][:120]
    for kind, count in tried.items():
        yield {"executor": name, "class": kind, "tried": count, "won": won[kind]}


def table(rows: Sequence[Row]) -> str:
    """Successes of tried, a line for each executor, a column for each class."""
    found: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        if "class" in row and "tried" in row:
            found[row["executor"]][row["class"]] = row
    kinds = [*attacks.CLASSES, "honest", "wrong"]
    lines = [" ".join(f"{text:>9.9}" for text in [*kinds, "attacks"]) + "  executor"]
    for executor, by_kind in found.items():
        cells, total, count = [], 0, 0
        for kind in kinds:
            row = by_kind.get(kind)
            cells.append(f"{len(row['won'])}/{row['tried']}" if row else "-")
            if row and kind in attacks.CLASSES:
                total, count = total + len(row["won"]), count + row["tried"]
        cells.append(f"{total}/{count}")
        lines.append(" ".join(f"{cell:>9}" for cell in cells) + f"  {executor}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table([json.loads(line) for line in sys.stdin]))
