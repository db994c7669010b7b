"""The sandbox for model-written programs: attacks that succeed, speed, lateness, leaks.

Parts, chosen by --parts:
  attacks  the corpus on every rung, as root and as an unused user, and against peers (--peers)
  speed    verdicts a second for trivial programs, beside a cold `python -I -S` in turn
  hangs    how far a program that never ends is over its deadline
  mbpp     false verdicts on MBPP's references and mutants of them, with all cores busy
  soak     processes, descriptors and memory before and after thousands of submissions
Rows are JSON lines; --output adds them to a file. The attacks' table follows at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import mbpp
from benchmarks.attack_table import attack_rows, table
from benchmarks.yard import descendants
from textgym.grading.code import AssertTests, CallTests, CodeVerdict, StdioTests, grade_many
from textgym.grading.sandbox import Sandbox

PARTS = ("attacks", "speed", "hangs", "mbpp", "soak")
Row = dict[str, Any]

TRIVIAL = "def f(x):\n    return x + 1\n"
TRIVIAL_TESTS = {
    "call": CallTests("f", [((1,), 2), ((5,), 6)]),
    "assert": AssertTests("assert f(1) == 2\nassert f(5) == 6\n", "f"),
    "split": AssertTests("def check(c):\n    assert c(1) == 2 and c(5) == 6\ncheck(f)\n", "f"),
}
SCRIPT = "print(int(input()) + 1)\n"
SCRIPT_TESTS = StdioTests([("1\n", "2\n")])
HANGS = {
    "loop": "def f(x):\n    while True: pass\n",
    "sleep": "import time\ndef f(x):\n    time.sleep(60)\n",
    "in C": "def f(x):\n    return 9 ** 9 ** 9\n",
    "swallows": "def f(x):\n    while True:\n        try:\n            while True: pass\n"
    "        except BaseException: pass\n",
}


def main(arguments: list[str] | None = None) -> None:
    """Print one JSON line for each figure, and the table of attacks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks sandbox",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rungs", nargs="+", help="default: all that this machine has")
    parser.add_argument("--peers", type=Path, help="a virtual environment with peers installed")
    parser.add_argument("--mbpp", type=Path, help="MBPP's rows, a JSON-lines file")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each speed measurement")
    parser.add_argument("--submissions", type=int, default=10_000, help="of the soak")
    parser.add_argument("--repeats", type=int, default=5, help="runs of MBPP")
    parser.add_argument("--output", type=Path, help="file to which the rows are added")
    options = parser.parse_args(arguments)
    machine = {"python": platform.python_version(), "kernel": platform.release()}
    common = {"benchmark": "sandbox", **machine, "cores": len(os.sched_getaffinity(0))}
    rows = []
    for part in options.parts:
        for row in globals()[f"measure_{part}"](options):
            rows.append({**common, "part": part, **row})
            print(json.dumps(rows[-1]), flush=True)
            if options.output:
                with options.output.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    if "attacks" in options.parts:
        print(table(rows))


def measure_attacks(options: argparse.Namespace) -> Iterator[Row]:
    """Attacks that succeed, by class: ours on each rung, and peers."""
    yield from attack_rows(options.rungs, options.peers)


def measure_speed(options: argparse.Namespace) -> Iterator[Row]:
    """Verdicts a second, processor time a verdict here and below, and a cold interpreter's."""
    for workers in sorted({1, len(os.sched_getaffinity(0))}):
        sandbox = Sandbox(workers=workers)
        common = {"isolation": sandbox.isolation, "workers": workers}
        ours = {name: (TRIVIAL, tests) for name, tests in TRIVIAL_TESTS.items()}
        ours["stdio"] = (SCRIPT, SCRIPT_TESTS)
        runs: dict[str, Callable[[], int]] = {
            name: partial(_grade_all, [item] * 50 * workers, sandbox) for name, item in ours.items()
        }
        runs["cold python -I -S"] = partial(_cold, 20)
        best = _alternate(runs, options.seconds)
        for name, figures in best.items():
            yield {**common, "what": name, **figures}
        sandbox.close()


def _grade_all(items: list[Any], sandbox: Sandbox) -> int:
    verdicts = grade_many(items, sandbox=sandbox)
    bad = [verdict for verdict in verdicts if not verdict.passed]
    if bad:
        raise RuntimeError(f"{len(bad)} of {len(items)} honest programs failed: {bad[0]}")
    return len(items)


def _cold(count: int) -> int:
    for _ in range(count):
        command = [sys.executable, "-I", "-S", "-c", TRIVIAL + "print(f(1), f(5))"]
        done = subprocess.run(command, capture_output=True, check=True)
        if done.stdout.split() != [b"2", b"6"]:
            raise RuntimeError(f"a cold interpreter said {done.stdout!r}")
    return count


def _alternate(runs: dict[str, Callable[[], int]], seconds: float) -> dict[str, Row]:
    """Each run in turn, round after round; medians and the best rate of the rounds."""
    rounds: dict[str, list[Row]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # workers are started before anything is timed
    end = time.monotonic() + seconds * len(runs)
    while time.monotonic() < end or len(next(iter(rounds.values()))) < 3:
        for name, run in runs.items():
            start, here, below = time.perf_counter(), time.process_time(), _below()
            count = run()
            wall = time.perf_counter() - start
            rounds[name].append(
                {
                    "verdicts_per_second": count / wall,
                    "wall_ms": 1e3 * wall / count,
                    "trainer_cpu_ms": 1e3 * (time.process_time() - here) / count,
                    "children_cpu_ms": 1e3 * (_below() - below) / count,
                }
            )
    found = {}
    for name, measured in rounds.items():
        middle = {key: statistics.median(m[key] for m in measured) for key in measured[0]}
        best = max(m["verdicts_per_second"] for m in measured)
        figures = {**middle, "best_verdicts_per_second": best}
        found[name] = {key: round(value, 3) for key, value in figures.items()}
        found[name]["rounds"] = len(measured)
    return found


def _below() -> float:
    """Processor seconds of all processes below this one: running, and ended and waited for."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    tick = os.sysconf("SC_CLK_TCK")
    for pid in descendants(os.getpid()):
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        # utime, stime, and of its own ended children; see proc(5), fields 14 to 17
        total += sum(map(int, text.rpartition(")")[2].split()[11:15])) / tick
    return total


def measure_hangs(options: argparse.Namespace) -> Iterator[Row]:
    """Seconds by which programs that never end are over their deadline, one at a time."""
    sandbox = Sandbox()
    for timeout in (0.5, 1.0):
        for name, program in HANGS.items():
            late = []
            for _ in range(5):
                start = time.monotonic()
                (verdict,) = grade_many(
                    [(program, TRIVIAL_TESTS["call"])], timeout=timeout, sandbox=sandbox
                )
                late.append(time.monotonic() - start - timeout)
                if verdict.passed or verdict.error:
                    raise RuntimeError(f"a program that never ends got {verdict}")
            figures = {"median_late": statistics.median(late), "max_late": max(late)}
            rounded = {key: round(value, 4) for key, value in figures.items()}
            yield {"what": name, "timeout": timeout, "unit": "s", **rounded}
    sandbox.close()


def measure_mbpp(options: argparse.Namespace) -> Iterator[Row]:
    """Verdicts that differ from a plain interpreter's, while every core is kept busy."""
    if options.mbpp is None:
        yield {"what": "skipped: --mbpp gives no file"}
        return
    rows = mbpp.load(options.mbpp)
    changed = mbpp.mutants(rows)
    items = [(row.code, AssertTests(row.asserts, row.entry_point)) for row in rows]
    items += [(m.code, AssertTests(m.row.asserts, m.row.entry_point)) for m in changed]
    wanted = [True] * len(rows) + [False] * len(changed)
    names = [str(row.task_id) for row in rows] + [f"{m.row.task_id} {m.kind}" for m in changed]
    with _busy_cores():
        for repeat in range(options.repeats):
            start = time.monotonic()
            verdicts = grade_many(items, timeout=20.0)
            checked = list(zip(names, verdicts, wanted, strict=True))
            wrong = [name for name, verdict, want in checked if verdict.passed != want]
            failed = [name for name, verdict, _ in checked if verdict.error]
            yield {
                "what": f"run {repeat}, all cores busy",
                "references": len(rows),
                "mutants": len(changed),
                "false_verdicts": len(wrong),
                "which": wrong[:10],
                "no_verdict": len(failed),
                "seconds": round(time.monotonic() - start, 2),
            }


@contextmanager
def _busy_cores() -> Iterator[None]:
    command = [sys.executable, "-c", "while True: pass"]
    spinning = [subprocess.Popen(command) for _ in range(len(os.sched_getaffinity(0)))]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def measure_soak(options: argparse.Namespace) -> Iterator[Row]:
    """What thousands of submissions in a row leave behind, one in ten of them hostile."""
    sandbox = Sandbox()
    tests = TRIVIAL_TESTS["call"]
    bad = ["import os\nos._exit(0)\n", "def f(x): return [0] * 10 ** 9\n", "def f(x:\n", "1 / 0"]
    batch = [(TRIVIAL, tests)] * 9
    _check_soak(grade_many([*batch, (bad[0], tests)] * 20, sandbox=sandbox))
    before, start, lost = _held(), time.monotonic(), 0
    for index in range(0, options.submissions, 100):
        items = [(*batch, (bad[(index // 100 + k) % len(bad)], tests)) for k in range(10)]
        verdicts = grade_many([item for part in items for item in part], sandbox=sandbox)
        lost += _check_soak(verdicts)
    after = _held()
    sandbox.close()
    yield {
        "what": f"{options.submissions} submissions",
        "lost_or_false": lost,
        "seconds": round(time.monotonic() - start, 1),
        "before": before,
        "after": after,
        "after_closing": _held(),
    }


def _check_soak(verdicts: list[CodeVerdict]) -> int:
    """How many of a soak's verdicts are not what they must be: nine pass, the tenth fails."""
    return sum(
        bool(verdict.error) or verdict.passed == (index % 10 == 9)
        for index, verdict in enumerate(verdicts)
    )


def _held() -> Row:
    """Processes and descriptors of this one, and memory of it and of those below."""
    below = descendants(os.getpid())
    return {
        "processes": len(below),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "memory_mb": round(_resident("self"), 1),
        "memory_below_mb": round(sum(map(_resident, below)), 1),
    }


def _resident(pid: int | str) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * resource.getpagesize() / 2**20
