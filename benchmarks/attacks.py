"""The corpus of hostile, honest and wrong programs, read from tests/textgym/grading/attacks.

Only text is read here; the programs are run by whatever grader is being judged. README.md beside
them has the format.
"""

from __future__ import annotations

import ast
import platform
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).resolve().parent.parent / "tests" / "textgym" / "grading" / "attacks"
CLASSES = (
    *("hangs", "bombs", "files", "network", "processes", "exits"),
    *("hostile_objects", "forging", "protocol", "syscalls", "crashes", "state"),
)
FORMS = ("call", "assert", "split", "map", "mutation", "imports", "kinds", "stdio")
HANG_TIMEOUT = 0.3  # seconds: the deadline of programs marked `hang`
TIMEOUT = 1.0

# What solve(3), solve(10) and solve(7) should return. No program can work that out.
HIDDEN = {3: 71933, 10: 20641, 7: 94208}

# Expected values of every kind that tests may hold; programs that know them not return others.
KINDS = (
    *(1j, 2.5, 1e300, 10**50, Decimal("1.5"), Fraction(1, 3), "text", b"xy", range(3)),
    *({1, 2}, frozenset({3}), {"a": 1}, {1.5: [2]}, (1, 2), [1, [2]], deque([1, 2])),
)
NUM_HOSTILE = 40  # solve(0), solve(1), ... of the form "kinds"

CHARACTERS = {
    **{"NUL": "\0", "SURROGATE": "\ud800", "BOM": "\ufeff", "NBSP": "\xa0", "ESC": "\x1b"},
    **{"BELL": "\x07", "RTL": "\u202e", "LS": "\u2028", "CR": "\r", "FF": "\f", "NL": "\n"},
    **{"LINE": "x" * 99 + "\\n", "THREE": "71933", "TEN": "20641", "SEVEN": "94208"},
}

# scan(pid): the secret, from another process's memory or, with "self", our own.
SCAN = """\
import re
pattern = re.compile(b"SEKR" + b"IT-[0-9a-f]{32}")
def scan(pid, step=1 << 22):
    try: maps, memory = open(f"/proc/{pid}/maps"), open(f"/proc/{pid}/mem", "rb", 0)
    except OSError: return None
    for line in maps:
        span, mode = line.split()[:2]
        if "rw" not in mode: continue
        start, end = (int(v, 16) for v in span.split("-"))
        for place in range(start, min(end, start + (1 << 27)), step):
            try:
                memory.seek(place)
                found = pattern.search(memory.read(min(end - place, step)))
            except (OSError, ValueError, OverflowError): break
            if found: return found[0].decode()
"""

# say(text): a line on every descriptor, alone and after each secret of the runner's frames.
REPLIES = """\
import os, sys
_write, _exit = os.write, os._exit
def secrets():
    found, frame = {b""}, sys._getframe()
    while frame:
        cells = [c for v in frame.f_locals.values() for c in (getattr(v, "__closure__", 0) or ())]
        for value in [*frame.f_locals.values(), *(c.cell_contents for c in cells)]:
            if isinstance(value, str) and 8 <= len(value) <= 80: value = value.encode()
            if isinstance(value, bytes) and 8 <= len(value) <= 80: found.add(value)
        frame = frame.f_back
    return found
SECRETS = secrets()
def say(text):
    for secret in SECRETS:
        for fd in (3, 4, 5, 6):
            try: _write(fd, b"\\n" + secret + text.encode("utf-8", "surrogatepass") + b"\\n")
            except OSError: pass
def end(): _exit(0)
"""

# A system call counts as reachable unless the kernel refuses it for want of permission.
SYSTEM_CALL = """\
import ctypes
def solve(*x):
    libc = ctypes.CDLL(None, use_errno=True)
    def pointer(v):
        return (ctypes.c_char * len(v)).from_buffer(v) if isinstance(v, bytearray) else v
    got = libc.syscall(*[ctypes.c_long(v) if isinstance(v, int) else pointer(v) for v in ARGUMENTS])
    return "DONE" if got >= 0 or ctypes.get_errno() not in (1, 13, 38) else ""
"""


@dataclass(frozen=True)
class Program:
    """A hostile program, maybe in two parts of which the second is judged."""

    name: str
    kind: str
    parts: tuple[str, ...]
    forms: tuple[str, ...]
    flags: frozenset[str]

    @property
    def timeout(self) -> float:
        """Seconds: short for programs that never end."""
        return HANG_TIMEOUT if "hang" in self.flags else TIMEOUT

    def filled(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """The parts with their placeholders replaced by `values` (see benchmarks/yard.py)."""
        values = {**CHARACTERS, **values, "NAME": self.name}
        return tuple(fill(part, values) for part in self.parts)

    def tests(self, form: str, secret: str) -> dict[str, Any]:
        """Tests that no honest run of this program can pass, in a neutral shape."""
        expected: dict[Any, Any] = dict(HIDDEN)
        if self.flags & {"done", "secret"}:
            expected = dict.fromkeys(HIDDEN, "DONE" if "done" in self.flags else secret)
        return tests_of_function(form, expected)


@dataclass(frozen=True)
class Example:
    """An honest or wrong program with its tests: one neutral mapping for each form."""

    name: str
    program: str
    tests: tuple[dict[str, Any], ...]


def tests_of_function(form: str, expected: Mapping[Any, Any]) -> dict[str, Any]:
    """Tests of `solve(x) == expected[x]` in one of FORMS."""
    if form == "call":
        return {"entry_point": "solve", "cases": [((x,), y) for x, y in expected.items()]}
    if form == "kinds":
        cases = [((index,), kind) for index in range(NUM_HOSTILE) for kind in KINDS]
        return {"entry_point": "solve", "cases": cases}
    if form == "stdio":
        return {"stdio": [(f"{x}\n", f"{y}\n") for x, y in expected.items()]}
    if form == "assert":
        lines = [f"assert solve({x!r}) == {y!r}" for x, y in expected.items()]
    elif form == "split":
        lines = [
            "METADATA = {}",
            "def check(candidate):",
            f"    table = {dict(expected)!r}",
            "    for x in table:",
            "        assert candidate(x) == table[x], 'wrong'",
            "    assert not any(candidate(x) != y for x, y in table.items())",
            "check(solve)",
        ]
    elif form == "map":
        lines = [
            "def check(candidate):",
            f"    got = map(candidate, {list(expected)!r})",
            f"    for pair in zip(got, {list(expected.values())!r}):",
            "        assert pair[0] == pair[1]",
            "check(solve)",
        ]
    elif form == "imports":  # leans on the program's import of math, as some of MBPP's tests do
        lines = [f"assert math.isclose(solve({x!r}), {y!r})" for x, y in expected.items()]
    elif form == "mutation":
        lines = [
            "def check(candidate):",
            "    want = [1, 2, 3]",
            "    values = list(want)",
            "    assert candidate(values) == want and values == want",
            "    assert candidate(list(want), want) == [1, 2, 3]",
            "check(solve)",
        ]
    else:
        raise ValueError(f"form is {form!r}, expected one of {FORMS}")
    return {"asserts": "\n".join(lines) + "\n", "entry_point": "solve"}


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace @NAME@, then @REPEAT n text@."""
    if found := re.fullmatch(r"@SYSCALL@\((.*)\)\n*", text):
        text = SYSTEM_CALL.replace("ARGUMENTS", f"({found[1]},)")
    text = text.replace("@SCAN@", SCAN).replace("@REPLIES@", REPLIES)
    text = re.sub(r"@([A-Z_]+)@", lambda m: values.get(m[1], m[0]), text)
    return re.sub(r"@REPEAT (\d+) (.*?)@", lambda m: int(m[1]) * m[2], text, flags=re.DOTALL)


def sections(path: Path) -> Iterator[tuple[str, str]]:
    """(header, body) for every `--- header` of a file."""
    text = path.read_text(encoding="utf-8")
    for part in re.split(r"^--- ", text, flags=re.MULTILINE)[1:]:
        header, _, body = part.partition("\n")
        yield header, body


def attacks(kind: str) -> list[Program]:
    """The hostile programs of one class; raw system calls (x86-64's numbers) only there."""
    found = []
    for header, body in sections(CORPUS / f"{kind}.txt"):
        name, forms, flags = ([*map(str.strip, header.split("|"))] + [""])[:3]
        if platform.machine() != "x86_64" and ("syscall(" in body or "@SYSCALL@" in body):
            continue
        parts = tuple(re.split(r"^\+\+\+\n", body, flags=re.MULTILINE))
        found.append(Program(name, kind, parts, tuple(forms.split()), frozenset(flags.split())))
    return found


def all_attacks() -> list[Program]:
    """The whole corpus, class by class."""
    return [program for kind in CLASSES for program in attacks(kind)]


def examples(file: str) -> list[Example]:
    """The programs of honest.txt (`honest`) or wrong.txt (`wrong`) with their tests."""
    found = []
    for name, body in sections(CORPUS / f"{file}.txt"):
        program, *lines = re.split(r"^(?=>>> |<<< )", body, flags=re.MULTILINE)
        tests: tuple[dict[str, Any], ...]
        if lines[0].startswith("<<<"):
            pairs = [re.fullmatch(r"<<< (.*)\n=== (.*)\n*", line) for line in lines]
            tests = ({"stdio": [(_literal(pair[1]), _literal(pair[2])) for pair in pairs]},)
        else:
            tests = tuple(_function_tests(lines))
        found.append(Example(name, program, tests))
    return found


def _function_tests(lines: list[str]) -> Iterator[dict[str, Any]]:
    """Call, assert and HumanEval-like tests; `>>> f(x) % 7` is no plain call: asserts only."""
    cases, asserts, entry_point = [], [], ""
    for line in lines:
        source, _, value = line[4:].strip().partition("\n")
        value = fill(value, CHARACTERS)
        asserts.append(f"assert {source} == {value}")
        call = ast.parse(source, mode="eval").body
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            with suppress(ValueError):
                arguments = tuple(ast.literal_eval(argument) for argument in call.args)
                entry_point = call.func.id
                cases.append((arguments, _literal(value)))
    if not entry_point:
        raise ValueError(f"no plain call among {lines}")
    yield {"entry_point": entry_point, "cases": cases}
    yield {"asserts": "\n".join(asserts) + "\n", "entry_point": entry_point}
    called = [line.replace(f"{entry_point}(", "candidate(") for line in asserts]
    body = "".join(f"    {line}\n" for line in called)
    check = f"def check(candidate):\n{body}\ncheck({entry_point})\n"
    yield {"asserts": check, "entry_point": entry_point}


def _literal(text: str) -> Any:
    """A Python literal, frozensets included."""
    text = fill(text, CHARACTERS)
    node = ast.parse(text.strip(), mode="eval").body
    frozen = [n for n in ast.walk(node) if isinstance(n, ast.Call)]
    if not frozen:
        return ast.literal_eval(node)
    if len(frozen) > 1 or not isinstance(node, ast.Dict):
        raise ValueError(f"frozenset is known as one value of a dictionary only, got {text!r}")
    value = frozenset(ast.literal_eval(frozen[0].args[0]))
    keys = [ast.literal_eval(key) for key in node.keys if key is not None]
    values = [value if item is frozen[0] else ast.literal_eval(item) for item in node.values]
    return dict(zip(keys, values, strict=True))
