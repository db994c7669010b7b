"""Grades programs by running them in a sandbox: what they compute is compared outside of it."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from textgym.grading.asserts import Plan, plan_tests
from textgym.grading.isolation import wire
from textgym.grading.pool import LIMITS, MIB, Child, Ended, Launch, Steps, printable, tail
from textgym.grading.sandbox import Sandbox, default_sandbox
from textgym.grading.values import NotPlain, compares, equal

KIB = 1 << 10
MAX_PROGRAM = 1 << 20
"""Characters of a program; a longer one fails."""
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


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
    """Call a function of the program and compare what it returns, see `textgym.grading.values`.

    The program sees the inputs, never an expected value.

    Attributes:
        entry_point: "name", or "Class.method": then of a new object of the class for each call.
        cases: (arguments, expected value) pairs of plain values.
    """

    entry_point: str
    cases: Sequence[tuple[Sequence[Any], Any]]

    def __post_init__(self) -> None:
        if not isinstance(self.entry_point, str) or not _is_path(self.entry_point):
            raise ValueError(f"entry_point is {self.entry_point!r:.80}, expected a function's name")
        if not self.cases:
            raise ValueError("cases is empty, expected at least one (arguments, expected) pair")
        for index, case in enumerate(self.cases):
            is_pair = isinstance(case, tuple | list) and len(case) == 2
            if not is_pair or not isinstance(case[0], tuple | list):
                raise ValueError(
                    f"cases[{index}] is {case!r:.80}, expected a pair of a tuple of arguments and "
                    "the expected value, such as ((1, 2), 3)"
                )
            expected = case[1]
            _plain(f"cases[{index}]'s expected value", expected)
        self._calls  # noqa: B018  # refuse now what cannot be sent

    @cached_property
    def _calls(self) -> list[list[str]]:
        return [
            [self.entry_point, _plain(f"cases[{index}]'s arguments", list(args))]
            for index, (args, _) in enumerate(self.cases)
        ]

    def steps(self, program: str, seconds: float, memory: int) -> Steps[CodeVerdict]:
        """Grade a program, see textgym.grading.pool."""
        expected = [value for _, value in self.cases]
        return _call_steps(program, self._calls, expected, equal, seconds, memory)


@dataclass(frozen=True)
class AssertTests:
    """Run assert statements against the program.

    Where every assert compares a call of literals with a literal, the literals never enter the
    program's process. Otherwise the tests run in a process of their own, and calls go from there to
    the program's and back as plain values. Either way comparisons are Python's own.

    A test is a statement that holds an assert, also if in a loop: MBPP's asserts are one test each,
    and so are those at the top of HumanEval's `check(candidate)`. If a statement between them
    fails, so do the tests after it.

    Attributes:
        source: asserts, `check(candidate)` or functions `test_...()`; also imports and helpers.
        entry_point: what `candidate` is; unneeded where the asserts call the function by its name.
    """

    source: str
    entry_point: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.source, str):
            raise TypeError(
                f"source is {self.source!r:.80}, expected one text: join a list with newlines"
            )
        if not isinstance(self.entry_point, str | None):
            raise TypeError(f"entry_point is {self.entry_point!r:.80}, expected a name or None")
        self._plan  # noqa: B018  # refuse now what is no test

    @property
    def _plan(self) -> Plan:
        return plan_tests(self.source, self.entry_point)

    @cached_property
    def _calls(self) -> list[list[str]] | None:
        if self._plan.reduced is None:
            return None
        return [[test.function, wire.dumps(test.args)] for test in self._plan.reduced]

    def steps(self, program: str, seconds: float, memory: int) -> Steps[CodeVerdict]:
        """Grade a program, see textgym.grading.pool."""
        plan = self._plan
        if self._calls is not None:
            expected = [test.comparison for test in plan.reduced]
            return _call_steps(program, self._calls, expected, compares, seconds, memory)
        return self._split_steps(plan, program, seconds, memory)

    def _split_steps(
        self, plan: Plan, program: str, seconds: float, memory: int
    ) -> Steps[CodeVerdict]:
        if len(program) > MAX_PROGRAM:
            return _too_long(plan.num_tests)
        tests = {"steps": plan.steps, "names": plan.names, "aliases": plan.aliases}
        room = (64 + plan.num_tests) * KIB
        children = (
            Child({"mode": "test", **tests}, reply_bytes=room),
            Child({"mode": "serve", "program": program}, reply_bytes=KIB),
        )
        outcome = yield Launch(children, seconds, memory)
        if outcome.error:
            return _failed(plan.num_tests, outcome.error)
        tester, candidate = outcome.children
        replies = tester.answers()
        missing = replies.get("load") or (tester if tester.stopped else candidate).ending()
        results = [_result(replies.get(index), missing) for index in range(plan.num_tests)]
        if "late" in replies and results[-1].passed:
            results[-1] = TestResult(False, replies["late"])
        return _verdict(results, candidate)


@dataclass(frozen=True)
class StdioTests:
    """Run the program as a script, once a case, and compare what it prints.

    Each case has a process of its own. It passes if the program ends by itself with exit code 0 and
    prints the expected text; in both, runs of blanks count as one, and blanks at the ends of lines
    and empty lines at the end as none. `timeout` is for all cases together.

    Attributes:
        cases: (standard input, expected standard output) pairs.
    """

    cases: Sequence[tuple[str, str]]

    def __post_init__(self) -> None:
        if not self.cases:
            raise ValueError("cases is empty, expected at least one (stdin, stdout) pair")
        for index, case in enumerate(self.cases):
            if len(case) != 2 or not all(isinstance(text, str) for text in case):
                raise ValueError(f"cases[{index}] is {case!r:.80}, expected two strings")

    def steps(self, program: str, seconds: float, memory: int) -> Steps[CodeVerdict]:
        """Grade a program, see textgym.grading.pool."""
        if len(program) > MAX_PROGRAM:
            return _too_long(len(self.cases))
        results: list[TestResult] = []
        first: Ended | None = None
        for stdin, expected in self.cases:
            if seconds <= 0:
                results.append(TestResult(False, LIMITS["time"]))
                continue
            child = Child(
                {"mode": "script", "program": program},
                stdin=stdin.encode(errors="surrogatepass"),
                output_bytes=64 * KIB + 8 * len(expected),
                reply_bytes=4 * KIB,
            )
            outcome = yield Launch((child,), seconds, memory)
            if outcome.error:
                return _failed(len(self.cases), outcome.error)
            seconds -= outcome.seconds
            (ended,) = outcome.children
            results.append(_printed(ended, expected))
            if first is None or (not results[-1].passed and all(r.passed for r in results[:-1])):
                first = ended  # what is shown: the first failure
        return _verdict(results, first)


Tests = CallTests | AssertTests | StdioTests


def _is_path(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _plain(what: str, value: Any) -> str:
    try:
        return wire.dumps(value)
    except wire.NotPlain as error:
        raise ValueError(f"{what}: {error}; expected numbers, text, lists and the like") from None


def _call_steps(
    program: str,
    calls: list[list[str]],
    expected: list[Any],
    agree: Callable[[Any, Any], bool],
    seconds: float,
    memory: int,
) -> Steps[CodeVerdict]:
    """Make the calls in one process; judge what each returns."""
    if len(program) > MAX_PROGRAM:
        return _too_long(len(calls))
    # Room for right answers, and for wrong ones that are not absurdly long.
    room = (64 + len(calls)) * KIB + 2 * sum(len(wire.dumps(value)) for value in expected)
    child = Child({"mode": "call", "program": program, "calls": calls}, reply_bytes=room)
    outcome = yield Launch((child,), seconds, memory)
    if outcome.error:
        return _failed(len(calls), outcome.error)
    (ended,) = outcome.children
    replies = ended.answers()
    missing = replies.get("load") or ended.ending()
    results = [
        _result(replies.get(index), missing, partial(agree, expected=value))
        for index, value in enumerate(expected)
    ]
    return _verdict(results, ended)


def _result(
    reply: dict | None, missing: str, agrees: Callable[..., bool] | None = None
) -> TestResult:
    """The result that a reply tells; without `agrees` its own word counts."""
    if reply is None:
        return TestResult(False, missing)
    if "v" not in reply:
        if agrees is not None and agrees(NotPlain(reply.get("truth") is True)):
            return TestResult(True)
        reason = reply.get("x")
        return TestResult(False, printable(reason) if isinstance(reason, str) else "no value")
    if agrees is None:
        return TestResult(reply["v"] is True)
    try:
        value = wire.decode(reply["v"])
        if agrees(value):
            return TestResult(True)
        return TestResult(False, "wrong value", _short(value))
    except (wire.NotPlain, RecursionError) as error:
        return TestResult(False, str(error))
    except (ArithmeticError, TypeError, ValueError) as error:  # Decimal("sNaN"), complex(10**400)
        return TestResult(False, f"cannot be compared ({type(error).__name__})")


def _printed(ended: Ended, expected: str) -> TestResult:
    printed = ended.stdout.decode(errors="replace")
    error = ended.answers().get("x")
    if ended.stopped or error or ended.status:
        return TestResult(False, error or ended.ending(), _short(printed))
    if _normal(printed) == _normal(expected):
        return TestResult(True)
    return TestResult(False, "wrong output", _short(printed))


def _short(value: Any) -> str:
    try:
        return _SHORT.repr(value)
    except ValueError:  # an integer of more digits than Python likes to write
        return f"{type(value).__name__} too long to show"


def _normal(text: str) -> list[str]:
    """Lines of words, without empty lines at the end."""
    lines = [" ".join(line.split()) for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _failed(count: int, error: str) -> CodeVerdict:
    return CodeVerdict(False, 0.0, (TestResult(False, "not run"),) * count, error)


def _too_long(count: int) -> CodeVerdict:
    reason = f"the program is longer than {MAX_PROGRAM} characters"
    return CodeVerdict(False, 0.0, (TestResult(False, reason),) * count, reason=reason)


def _verdict(results: Sequence[TestResult], ended: Ended) -> CodeVerdict:
    num_passed = sum(result.passed for result in results)
    first = next((result for result in results if not result.passed), None)
    return CodeVerdict(
        passed=first is None,
        tests_passed=num_passed / len(results),
        results=tuple(results),
        reason="" if first is None else first.reason,
        stdout=tail(ended.stdout),
        stderr=tail(ended.stderr),
    )


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
    for index, (program, tests) in enumerate(items):
        if not isinstance(program, str) or not isinstance(tests, Tests):
            raise TypeError(
                f"items[{index}] is {program!r:.40} and {tests!r:.40}, expected a program's text "
                "and CallTests, AssertTests or StdioTests"
            )
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < 1e6:
        raise ValueError(f"timeout is {timeout!r}, expected a positive number of seconds")
    if not 1 <= memory_mb <= 1 << 20:
        raise ValueError(f"memory_mb is {memory_mb}, expected at least 1")
    if not isinstance(sandbox, str | Sandbox):
        raise TypeError(f"sandbox is {sandbox!r:.80}, expected a Sandbox or a backend's name")
    if isinstance(sandbox, str):
        sandbox = default_sandbox(sandbox)
    jobs = [tests.steps(program, timeout, memory_mb * MIB) for program, tests in items]
    verdicts = sandbox.run_all(jobs)
    return [replace(verdict, isolation=sandbox.isolation) for verdict in verdicts]
