"""The corpus against textgym's own grader, on one rung of its isolation, as a process of its own.

`python -m benchmarks.attack_run RUNG` is a trainer: it grades every program through the public API,
looks after each class what became of its surroundings (benchmarks/yard.py), and prints a JSON line
for each verdict and each damage. Programs may kill it: run it as a child, read what it printed, and
believe it only if the last line is there.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import attacks
from benchmarks.yard import Yard, descendants
from textgym.grading import code
from textgym.grading.sandbox import Sandbox

MEMORY_MB = 256
HONEST_TIMEOUT = 15.0
BETWEEN = 9  # hostile programs from one honest neighbour to the next
# Classes whose success depends on the rung and the user. A run that takes a share of the corpus
# takes these whole.
ON_THE_HOST = ("bombs", "files", "network", "processes", "syscalls", "state")
LATE = 0.8  # seconds after the verdicts in which survivors may act


@dataclass(frozen=True)
class Case:
    """One program in one form; `expect` is the verdict it must not get, or must."""

    kind: str
    name: str
    form: str
    program: str
    tests: dict[str, Any]
    timeout: float
    honest: bool = False


def main() -> None:
    """Print the verdicts and the damage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attack_run", description=__doc__)
    parser.add_argument("rung", help='a rung of the ladder, or "bubblewrap"')
    parser.add_argument("--uid", type=int, help="become this user first")
    parser.add_argument("--share", type=int, nargs=2, metavar=("INDEX", "OF"), default=(0, 1))
    parser.add_argument("--one-by-one", action="store_true", help="and time each verdict")
    parser.add_argument("--classes", nargs="+", default=attacks.CLASSES)
    parser.add_argument("--only", nargs="+", help="names of programs")
    options = parser.parse_args()
    if options.uid is not None:
        become(options.uid)
    for row in run(options):
        print(json.dumps(row), flush=True)


def become(uid: int) -> None:
    """Change the user, and be as open to others as an ordinary user's process is."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # dumpable
    os.environ["HOME"] = "/nonexistent"


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows: what is used, the verdicts and damage of each class, what is left at the end."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # orphans of the programs become ours, and are seen
    yard = Yard()
    backend = {"backend": "bubblewrap"} if options.rung == "bubblewrap" else {"rung": options.rung}
    sandbox = Sandbox(**backend)
    yield {"what": "sandbox", "isolation": sandbox.isolation, "uid": os.getuid()}
    yield from judge(honest_cases(), sandbox, one_by_one=False)
    yield from judge([neighbour()] * 8, sandbox, one_by_one=False)  # every worker has started
    known = len(descendants(os.getpid()))
    for kind in options.classes:
        yield from damage(kind, yard)  # of what was there before: a clean start for this class
        for part in (0, 1):
            cases = hostile_cases(kind, part, yard, options)
            yield from judge(cases, sandbox, one_by_one=options.one_by_one)
        time.sleep(LATE if kind in ("processes", "bombs") else 0.05)
        yield from damage(kind, yard)
        if (now := len(descendants(os.getpid()))) > known:
            yield {"what": "damage", "class": kind, "how": f"{now - known} processes more"}
    yield from judge(honest_cases()[:: options.share[1]], sandbox, one_by_one=False)
    sandbox.close()
    time.sleep(0.1)
    for name in descendants(os.getpid()).values():
        yield {"what": "damage", "class": "end", "how": f"process {name} is left"}
    yield from damage("end", yard)
    yard.close()
    yield {"what": "end"}


def damage(kind: str, yard: Yard) -> Iterator[dict[str, Any]]:
    """A row for each thing that is not as it was."""
    for how in yard.damage():
        yield {"what": "damage", "class": kind, "how": how}


def hostile_cases(kind: str, part: int, yard: Yard, options: argparse.Namespace) -> list[Case]:
    """Part 0: programs of one part, and the first parts of the others; part 1: their second."""
    index, of = options.share
    found = []
    for number, attack in enumerate(attacks.attacks(kind)):
        parts = attack.filled(yard.values(attack))
        if part >= len(parts) or (options.only and attack.name not in options.only):
            continue
        if number % of != index and ("hang" in attack.flags or kind not in ON_THE_HOST):
            continue
        forms = attack.forms if of == 1 else [attack.forms[(number + index) % len(attack.forms)]]
        times = 4 if len(parts) > 1 else 1  # so that every worker meets it
        for form in forms:
            tests = attack.tests(form, yard.secret)
            case = Case(kind, attack.name, form, parts[part], tests, attack.timeout)
            found += [case] * times
    return found


def honest_cases() -> list[Case]:
    """Programs that must pass, and programs that must fail, in all their forms."""
    found = []
    for kind in ("honest", "wrong"):
        for example in attacks.examples(kind):
            for tests in example.tests:
                form = "call" if "cases" in tests else "stdio" if "stdio" in tests else "assert"
                program = example.program
                case = Case(kind, example.name, form, program, tests, HONEST_TIMEOUT)
                found.append(case)
    return found


def neighbour() -> Case:
    """A small honest program, graded between hostile ones."""
    tests = {"entry_point": "double", "cases": [((21,), 42), (("a",), "aa")]}
    program = "def double(x):\n    return 2 * x\n"
    return Case("honest", "neighbour", "call", program, tests, HONEST_TIMEOUT)


def judge(cases: Sequence[Case], sandbox: Sandbox, *, one_by_one: bool) -> Iterator[dict[str, Any]]:
    """A row for each verdict, and one for each batch's time."""
    for timeout in sorted({case.timeout for case in cases}):
        batch = [case for case in cases if case.timeout == timeout]
        if batch[0].kind not in ("honest", "wrong"):
            for place in range(BETWEEN, len(batch) + len(batch) // BETWEEN, BETWEEN + 1):
                batch.insert(place, neighbour())
        for part in [[case] for case in batch] if one_by_one else [batch]:
            yield from _judge(part, timeout, sandbox)


def _judge(batch: Sequence[Case], timeout: float, sandbox: Sandbox) -> Iterator[dict[str, Any]]:
    start, spent = time.monotonic(), time.process_time()
    limits = {"timeout": timeout, "memory_mb": MEMORY_MB}
    try:
        items = [(case.program, tests_of(case.tests)) for case in batch]
        verdicts = code.grade_many(items, sandbox=sandbox, **limits)
    except Exception as error:
        if len(batch) > 1:  # find out which
            for case in batch:
                yield from _judge([case], timeout, sandbox)
        else:
            row = {"class": batch[0].kind, "attack": batch[0].name, "form": batch[0].form}
            yield {"what": "raised", **row, "error": f"{type(error).__name__}: {error}"[:200]}
        return
    wall = time.monotonic() - start
    for case, verdict in zip(batch, verdicts, strict=True):
        row = {"what": "verdict", "class": case.kind, "attack": case.name, "form": case.form}
        row |= {"passed": verdict.passed, "tests_passed": verdict.tests_passed}
        row |= {"error": verdict.error, "reason": verdict.reason[:200]}
        yield row | ({"wall": round(wall, 4)} if len(batch) == 1 else {})
        if odd := unprintable(verdict):
            yield {**row, "what": "raised", "error": f"{odd} cannot be written as UTF-8"}
    workers = sandbox.pool.num_workers
    yield {
        "what": "batch",
        "class": batch[0].kind,
        "attack": batch[0].name if len(batch) == 1 else "",
        "size": len(batch),
        "wall": round(wall, 3),
        "cpu": round(time.process_time() - spent, 3),
        "late": round(wall - timeout * -(-len(batch) // workers), 3),
    }


def unprintable(verdict: code.CodeVerdict) -> str:
    """A text of a verdict that would break whoever logs it."""
    texts = {"reason": verdict.reason, "stdout": verdict.stdout, "stderr": verdict.stderr}
    texts |= {f"results[{i}]": f"{r.reason}{r.got}" for i, r in enumerate(verdict.results)}
    for name, text in texts.items():
        try:
            text.encode()
        except UnicodeEncodeError:
            return name
    return ""


def tests_of(data: dict[str, Any]) -> Any:
    """The grader's own tests from the corpus' neutral shape."""
    if "cases" in data:
        return code.CallTests(data["entry_point"], data["cases"])
    if "stdio" in data:
        return code.StdioTests(data["stdio"])
    return code.AssertTests(data["asserts"], data["entry_point"])


if __name__ == "__main__":
    main()
