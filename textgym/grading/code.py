"""Grades programs by running them in a sandbox: what they compute is compared outside of it."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from textgym.grading.isolation import wire
from textgym.grading.pool import MIB, Child, Ended, Launch, Steps
from textgym.grading.sandbox import Sandbox, default_sandbox
from textgym.grading.values import equal

KIB = 1 << 10
MAX_PROGRAM = 1 << 20
"""Characters of a program; a longer one fails."""
_TAIL = 2000
"""Characters kept of what a program writes."""


@dataclass(frozen=True)
class TestResult:
    """One test's verdict: whether it passed; if not, why, and what the program returned."""

    passed: bool
    reason: str = ""
    got: str = ""


@dataclass(frozen=True)
class CodeVerdict:
    """What the tests say of a program.

    Attributes:
        passed: every test passed.
        tests_passed: the fraction that passed, of all tests that there are.
        results: one a test, in order.
        error: None, or why the sandbox failed: then no verdict was reached, and the rest means
            nothing. Nothing that a program does sets it.
        reason: the first failure, in one line; "" if there is none.
        stdout: the end of what the program wrote; stderr likewise.
        isolation: what held the program, see `Sandbox.isolation`.
    """

    passed: bool
    tests_passed: float
    results: tuple[TestResult, ...]
    error: str | None = None
    reason: str = ""
    stdout: str = ""
    stderr: str = ""
    isolation: str = ""


@dataclass(frozen=True)
class CallTests:
    """Call a function of the program and compare what it returns.

    Attributes:
        entry_point: "name", or "Class.method": then of a new object of the class.
        cases: (arguments, expected value) pairs of plain values.
    """

    entry_point: str
    cases: Sequence[tuple[Sequence[Any], Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.cases:
            raise ValueError("cases is empty, expected at least one (arguments, expected) pair")
        self._inputs, self._bytes  # noqa: B018  # refuse now what cannot be sent

    @cached_property
    def _inputs(self) -> list[str]:
        return [
            _plain(f"cases[{i}]'s arguments", list(case[0])) for i, case in enumerate(self.cases)
        ]

    @cached_property
    def _bytes(self) -> int:
        """Room for right answers, and for wrong ones that are not absurdly long."""
        texts = [
            _plain(f"cases[{i}]'s expected value", case[1]) for i, case in enumerate(self.cases)
        ]
        return 2 * sum(map(len, texts)) + (64 + len(texts)) * KIB

    def steps(self, program: str, seconds: float, memory: int) -> Steps[CodeVerdict]:
        """Grade a program, see textgym.grading.pool."""
        job = {"program": program, "entry": self.entry_point, "inputs": self._inputs}
        child = Child({"mode": "call", **job}, reply_bytes=self._bytes)
        outcome = yield Launch((child,), seconds, memory)
        if outcome.error:
            return _failed(len(self.cases), outcome.error)
        (ended,) = outcome.children
        replies = _replies(ended)
        missing = _ending(ended)
        results = []
        for index, (_, expected) in enumerate(self.cases):
            reply = replies.get(index)
            if reply is None:
                results.append(TestResult(False, replies.get("load") or missing))
            else:
                results.append(_compare(reply, expected))
        return _verdict(results, ended)


def _plain(what: str, value: Any) -> str:
    try:
        return wire.dumps(value)
    except wire.NotPlain as error:
        raise ValueError(f"{what}: {error}; expected numbers, text, lists and the like") from None


def _replies(ended: Ended) -> dict[Any, Any]:
    """Replies by index, and "load": why nothing could be called. The first of each counts."""
    found: dict[Any, Any] = {}
    for reply in ended.replies:
        if isinstance(reply, dict):
            if type(reply.get("i")) is int:
                found.setdefault(reply["i"], reply)
            elif isinstance(reply.get("load"), str):
                found.setdefault("load", reply["load"][:400])
    return found


def _ending(ended: Ended) -> str:
    """Why a test has no result."""
    from os import WEXITSTATUS, WIFSIGNALED, WTERMSIG

    limits = {
        "time": "out of time",
        "output": "wrote too much",
        "replies": "returned too much",
    }
    if ended.stopped:
        return limits[ended.stopped]
    if WIFSIGNALED(ended.status):
        return f"the program was ended by signal {WTERMSIG(ended.status)}"
    return f"the program ended early, with exit code {WEXITSTATUS(ended.status)}"


def _compare(reply: dict, expected: Any) -> TestResult:
    if "v" not in reply:
        reason = reply.get("x")
        return TestResult(False, reason[:400] if isinstance(reason, str) else "no value")
    try:
        value = wire.decode(reply["v"])
        if equal(value, expected):
            return TestResult(True)
    except (wire.NotPlain, RecursionError) as error:
        return TestResult(False, str(error))
    return TestResult(False, "wrong value", reprlib.repr(value))


def _failed(count: int, error: str) -> CodeVerdict:
    return CodeVerdict(False, 0.0, (TestResult(False, "not run"),) * count, error)


def _verdict(results: Sequence[TestResult], ended: Ended) -> CodeVerdict:
    num_passed = sum(result.passed for result in results)
    first = next((result for result in results if not result.passed), None)
    return CodeVerdict(
        passed=first is None,
        tests_passed=num_passed / len(results),
        results=tuple(results),
        reason="" if first is None else first.reason,
        stdout=ended.stdout[-4 * _TAIL :].decode(errors="replace")[-_TAIL:],
        stderr=ended.stderr[-4 * _TAIL :].decode(errors="replace")[-_TAIL:],
    )


Tests = CallTests


def grade_code(
    program: str,
    tests: Tests,
    *,
    timeout: float = 3.0,
    memory_mb: int = 512,
    sandbox: Sandbox | str = "auto",
) -> CodeVerdict:
    """Run a program against tests.

    Args:
        program: any text.
        tests: what to run.
        timeout: seconds of wall clock for all tests together. Tests which finished before it ran
            out keep their verdicts.
        memory_mb: mebibytes that the program may map beyond the interpreter's own.
        sandbox: a Sandbox, or the backend of the one that this process shares.

    Returns:
        The verdict. It raises for nothing that a program can do.

    Raises:
        SandboxUnavailable: this machine cannot isolate programs.
        ValueError: a limit is not positive.
    """
    return grade_many([(program, tests)], timeout=timeout, memory_mb=memory_mb, sandbox=sandbox)[0]


def grade_many(
    items: Sequence[tuple[str, Tests]],
    *,
    timeout: float = 3.0,
    memory_mb: int = 512,
    sandbox: Sandbox | str = "auto",
) -> list[CodeVerdict]:
    """`grade_code` for many (program, tests) pairs, side by side; verdicts in order."""
    from dataclasses import replace

    if not 0 < timeout < 1e6:
        raise ValueError(f"timeout is {timeout}, expected a positive number of seconds")
    if not 1 <= memory_mb <= 1 << 20:
        raise ValueError(f"memory_mb is {memory_mb}, expected at least 1")
    if isinstance(sandbox, str):
        sandbox = default_sandbox(sandbox)
    jobs = [tests.steps(program, timeout, memory_mb * MIB) for program, tests in items]
    verdicts = sandbox.run_all(jobs)
    return [replace(verdict, isolation=sandbox.isolation) for verdict in verdicts]
