"""MBPP's references and mutants of them, and what each does according to a plain interpreter.

The references are trusted, and so are their mutants: a plain interpreter runs them, each in a fork
with a time and a memory limit. It is the judge that a sandbox's verdicts are held against.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}

# Reads [program, ...] as JSON; writes, for each, "pass", "fail" or "time". A fork per program.
JUDGE = """
import json, os, resource, signal, sys
programs, answers = json.load(sys.stdin), []
for program in programs:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
            signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1]))
            out = os.open(os.devnull, os.O_RDWR)
            [os.dup2(out, fd) for fd in (0, 1, 2)]
            exec(compile(program, "program", "exec"), {"__name__": "program"})
            status = 0
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    answers.append({0: "pass", -signal.SIGALRM: "time"}.get(code, "fail"))
print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Row:
    """A row of MBPP: the reference, and its tests as statements that run after it."""

    task_id: int
    code: str
    asserts: str
    entry_point: str


@dataclass(frozen=True)
class Mutant:
    """A changed reference and the plain interpreter's verdict on it: "fail" or "time"."""

    row: Row
    kind: str
    code: str
    verdict: str = ""


def load(path: Path) -> list[Row]:
    """The rows of a JSON-lines file in MBPP's layout."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        # The one setup of the training split makes objects of the reference's class: after it.
        asserts = "\n".join([row["test_setup_code"], *row["test_list"]]) + "\n"
        entry_point = next(_calls(row["test_list"][0], row["code"]))
        rows.append(Row(row["task_id"], row["code"], asserts, entry_point))
    return rows


def _calls(test: str, code: str) -> Iterator[str]:
    """Functions of `code` that `test` calls."""
    defined = {n.name for n in ast.walk(_parse(code)) if isinstance(n, ast.FunctionDef)}
    for node in ast.walk(_parse(test)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in defined:
                yield node.func.id


def judge(programs: Sequence[str], seconds: float = 1.0) -> list[str]:
    """What a plain interpreter says of each program: "pass", "fail" or "time"."""
    command = [sys.executable, "-c", JUDGE, str(seconds)]
    text = json.dumps(list(programs))
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def mutants(rows: Sequence[Row], seconds: float = 1.0) -> list[Mutant]:
    """Mutants that change the outcome of their row's asserts: at most three a row."""
    found = []
    for row in rows:
        for kind, mutate in (
            ("constant", constant_return),
            ("swapped", swapped_comparison),
            ("off_by_one", off_by_one),
        ):
            code = mutate(row)
            if code is not None:
                found.append((row, kind, code))
    verdicts = judge([f"{code}\n{row.asserts}" for row, _, code in found], seconds)
    made = [Mutant(*parts, verdict) for parts, verdict in zip(found, verdicts, strict=True)]
    return [mutant for mutant in made if mutant.verdict != "pass"]


def _parse(text: str) -> ast.Module:
    """MBPP's code holds escapes that Python warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def _function(row: Row) -> tuple[ast.Module, ast.FunctionDef]:
    tree = _parse(row.code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == row.entry_point:
            return tree, node
    raise ValueError(f"task {row.task_id} defines no function {row.entry_point!r}")


def constant_return(row: Row) -> str | None:
    """Every return of the function gives what the first assert expects."""
    tree, function = _function(row)
    test = next(node for node in _parse(row.asserts).body if isinstance(node, ast.Assert))
    value: ast.expr = ast.Constant(0)
    if isinstance(test.test, ast.Compare) and isinstance(test.test.ops[0], ast.Eq):
        value = test.test.comparators[0]
    function.body = [ast.Return(value)]
    return ast.unparse(ast.fix_missing_locations(tree))


def swapped_comparison(row: Row) -> str | None:
    """The first comparison is turned round."""
    tree, function = _function(row)
    for node in ast.walk(function):
        if isinstance(node, ast.Compare):
            node.ops[0] = OPPOSITES[type(node.ops[0])]()
            return ast.unparse(tree)
    return None


def off_by_one(row: Row) -> str | None:
    """The first integer of the function is one more, or else the first range one shorter."""
    tree, function = _function(row)
    for node in ast.walk(function):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            node.value += 1
            return ast.unparse(tree)
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "range":
                node.args[-1] = ast.BinOp(node.args[-1], ast.Sub(), ast.Constant(1))
                return ast.unparse(ast.fix_missing_locations(tree))
    return None
