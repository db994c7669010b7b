"""Programs are graded by what they compute: every kind of test, partial credit, honest reasons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from textgym.grading.code import AssertTests, CallTests, StdioTests, grade_code, grade_many

MBPP = Path(__file__).resolve().parents[4] / "shared" / "data" / "mbpp_train_374.jsonl"
ADD = "def add(a, b):\n    return a + b\n"
ADD_TESTS = CallTests("add", [((1, 2), 3), (("a", "b"), "ab")])


def returns(value: str, expected: object) -> bool:
    """Whether a function that returns the text `value` is right where `expected` is."""
    return grade_code(f"def f():\n    return {value}", CallTests("f", [((), expected)])).passed


def test_a_right_program_passes_every_test():
    verdict = grade_code(ADD, ADD_TESTS)
    assert verdict.passed and verdict.tests_passed == 1.0 and verdict.error is None
    assert [result.passed for result in verdict.results] == [True, True]


def test_the_fraction_counts_all_tests_that_there_are():
    verdict = grade_code("def add(a, b):\n    return 3\n", ADD_TESTS)
    assert not verdict.passed and verdict.tests_passed == 0.5
    assert verdict.reason == "wrong value" and verdict.results[1].got == "3"


def test_an_exception_fails_its_own_test_only_and_names_the_line():
    verdict = grade_code("def add(a, b):\n    return a + b if a == 1 else 1 / 0\n", ADD_TESTS)
    assert [result.passed for result in verdict.results] == [True, False]
    assert verdict.reason == "ZeroDivisionError: division by zero (line 2)"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("def add(a, b) return a", "SyntaxError"),
        ("def plus(a, b):\n    return a + b", "does not define add"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("import os; os._exit(0)", "ended early, with exit code 0"),
        ("import os; os.abort()", "signal 6"),
        ("add = 3", "not callable"),
        ("a\0b", "null bytes"),
        ("(" * 100_000, "parentheses"),
        ("#" * 2_000_000, "longer than"),
        ("def add(a, b):\n    return object()", "object is not a plain value"),
        ("def add(a, b):\n    return [0] * 10**10", "MemoryError"),
        ("print('x' * 10**7)", "wrote too much"),
        ("def add(a, b):\n    return 'x' * 10**7", "returned too much"),
    ],
)
def test_the_reason_says_why_a_program_failed(program, reason):
    verdict = grade_code(program, ADD_TESTS)
    assert not verdict.passed and verdict.tests_passed == 0.0 and verdict.error is None
    assert reason in verdict.reason


def test_a_hung_test_leaves_the_verdicts_before_it():
    program = "def add(a, b):\n    while a == 'a': pass\n    return a + b\n"
    verdict = grade_code(program, ADD_TESTS, timeout=0.5)
    assert [result.passed for result in verdict.results] == [True, False]
    assert verdict.reason == "out of time" and verdict.error is None


def test_what_the_program_prints_is_kept():
    verdict = grade_code(
        "import sys\nprint('out')\nprint('err', file=sys.stderr)\n" + ADD, ADD_TESTS
    )
    assert (verdict.stdout, verdict.stderr) == ("out\n", "err\n")


def test_a_method_is_called_on_a_new_object_each_time():
    program = (
        "class Box:\n    n = 0\n    def add(self, x):\n        self.n += x\n        return self.n\n"
    )
    assert grade_code(program, CallTests("Box.add", [((1,), 1), ((2,), 2)])).passed


def test_no_call_changes_the_arguments_of_another():
    program = "def f(x):\n    x.append(1)\n    return len(x)\n"
    shared: list[int] = []
    assert grade_code(program, CallTests("f", [((shared,), 1), ((shared,), 1)])).passed


def test_verdicts_come_in_the_order_of_the_items():
    programs = [f"def f():\n    return {number}" for number in range(20)]
    verdicts = grade_many([(program, CallTests("f", [((), 7)])) for program in programs])
    assert [verdict.passed for verdict in verdicts] == [number == 7 for number in range(20)]
    assert grade_many([]) == []


@pytest.mark.parametrize(
    ("value", "expected", "same"),
    [
        ("1", 1, True),
        ("True", 1, False),
        ("1", True, False),
        ("1.0", 1, True),
        ("0.1 + 0.2", 0.3, True),
        ("0.3001", 0.3, False),
        ("2.0000000001", 2, False),
        ("float('nan')", float("nan"), True),
        ("float('inf')", float("-inf"), False),
        ("(1, 2)", [1, 2], False),
        ("[(1, 'a'), {2: {3}}]", [(1, "a"), {2: {3}}], True),
        ("{1: 2}", {True: 2}, False),
        ("{True}", {1}, False),
        ("frozenset([1])", {1}, True),
        ("-(2**64) + 1", -(2**64), False),
        ("b'ab'", b"ab", True),
        ("1j", 1j, True),
        ("__import__('collections').OrderedDict(a=1)", {"a": 1}, True),
        ("__import__('fractions').Fraction(1, 2)", 0.5, True),
        ("'\\ud800'", "\ud800", True),
        ("None", None, True),
        ("range(3)", [0, 1, 2], False),
        ("type('X', (int,), {'__eq__': lambda *_: True})(3)", 4, False),
    ],
)
def test_when_a_value_is_the_expected_one(value, expected, same):
    assert returns(value, expected) is same


def test_integers_may_have_more_digits_than_python_writes():
    tests = CallTests("f", [((10**5000,), 10**5001)])
    assert grade_code("def f(x):\n    return 10 * x", tests).passed
    assert grade_code("def f(x):\n    return x", tests).results[0].got == "int too long to show"


def test_a_bad_test_is_refused_where_it_is_made():
    with pytest.raises(ValueError, match=r"cases\[0\]'s expected value: object is not a plain"):
        CallTests("f", [((), object())])
    with pytest.raises(ValueError, match="cases is empty"):
        CallTests("f", [])
    with pytest.raises(ValueError, match="no assert statement"):
        AssertTests("x = 1")
    with pytest.raises(ValueError, match="not Python"):
        AssertTests("assert (")
    with pytest.raises(ValueError, match=r"cases\[0\] is .* expected two strings"):
        StdioTests([("1", 2)])
    with pytest.raises(ValueError, match="timeout is 0"):
        grade_code(ADD, ADD_TESTS, timeout=0)
    with pytest.raises(ValueError, match="sandbox is 'none'"):
        grade_code(ADD, ADD_TESTS, sandbox="none")


# ---------------------------------------------------------------------- asserts


def test_each_assert_is_a_test():
    verdict = grade_code(ADD, AssertTests("assert add(1, 1) == 2\nassert add(1, 1) == 3"))
    assert [result.passed for result in verdict.results] == [True, False]


CHECK = """
def check(candidate):
    numbers = [3, 1, 2]
    assert candidate(numbers) is None
    assert numbers == [1, 2, 3]
    for i in range(3):
        assert numbers[i] == i + 1
    try:
        candidate(None)
        assert False
    except AttributeError:
        pass
"""


def test_a_check_function_runs_beside_the_candidate_which_may_change_its_arguments():
    verdict = grade_code("def f(x):\n    x.sort()", AssertTests(CHECK, "f"))
    assert verdict.passed and len(verdict.results) == 4


def test_a_candidate_that_changes_nothing_fails_the_tests_that_look():
    verdict = grade_code("def f(x):\n    sorted(x)", AssertTests(CHECK, "f"))
    assert [result.passed for result in verdict.results] == [True, False, False, False]


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        # A class of the program's own, whose objects stay with it.
        (
            "class Pair:\n    def __init__(s, a, b): s.a, s.b = a, b\ndef f(p): return p.a + p.b",
            "assert f(Pair(1, 2)) == 3\np = Pair(3, 4)\np.a = 5\nassert f(p) == 9 and p.b == 4",
        ),
        ("def f(g, x):\n    return [g(i) for i in x]", "assert f(lambda v: v + 1, [1]) == [2]"),
        ("def f(n):\n    yield from range(n)", "assert list(f(3)) == [0, 1, 2]\nassert 2 in f(3)"),
        ("import re\ndef f(s):\n    return re.match('a', s)", "assert f('ab')\nassert not f('b')"),
        ("import math\ndef f(x):\n    return x", "assert f(math.pi) == math.pi"),
        (
            "def f(x):\n    raise KeyError(x)",
            "try:\n    f(1)\n    assert False\nexcept KeyError: pass",
        ),
        ("def f(x):\n    return x", "def test_one():\n    assert f(1) == 1"),
        ("def f(x):\n    return x * 2", "from math import isclose\nassert isclose(f(1.5), 3.0)"),
        ("K = 3\ndef f(x):\n    return x * K", "assert all(f(i) == i * K for i in range(5))"),
        ("def f(x):\n    return 10**5000", "assert f(1) == 10**5000"),
    ],
)
def test_asserts_that_honest_programs_pass(program, tests):
    verdict = grade_code(program, AssertTests(tests))
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    "program",
    [
        "class A:\n    def __eq__(s, o): return True\ndef f(x): return A()",
        "class A(int):\n    def __eq__(s, o): return True\ndef f(x): return A()",
        "class A:\n    __sub__ = __abs__ = lambda *_: 0\ndef f(x): return A()",
        "def f(x):\n    raise StopIteration",
        "def f(x):\n    raise SystemExit(0)",
        "import builtins\nbuiltins.all = builtins.abs = lambda *a: 0\ndef f(x): return 0",
        "all = lambda x: True\ncheck = lambda c: None\ndef f(x): return 0",
        "import os\ndef f(x): os._exit(0)",
        "def f(x): return x.__globals__ if callable(x) else 0",
    ],
)
def test_a_candidate_cannot_make_asserts_succeed(program):
    source = """
def check(c):
    assert all(map(lambda x: c(x) == x * x + 1, [1, 2, 3]))
    for x in (4, 5):
        assert c(x) == x * x + 1
    assert abs(c(6) - 37) < 1e-9
    assert c(7) in (50, 50.0)
"""
    assert grade_code(program, AssertTests(source, "f")).tests_passed == 0


def test_a_function_of_the_tests_does_not_open_their_memory():
    program = (
        "def f(g):\n    for name in ('__globals__', 'f_globals', '__code__', '__self__'):\n"
        "        try: return getattr(g, name)\n        except AttributeError: pass\n    return g(0)"
    )
    assert grade_code(program, AssertTests("assert f(lambda x: x + 1) == 1")).passed


def test_if_a_step_between_the_tests_fails_the_tests_after_it_fail():
    tests = "assert f(1) == 1\nx = f(0)\nassert f(1) == 1\n"
    program = "def f(x):\n    assert x\n    return x"
    verdict = grade_code(program, AssertTests(tests))
    assert [result.passed for result in verdict.results] == [True, False]


@pytest.mark.skipif(not MBPP.is_file(), reason="../shared/data/mbpp_train_374.jsonl is absent")
def test_every_reference_solution_of_mbpp_passes():
    rows = [json.loads(line) for line in MBPP.read_text(encoding="utf-8").splitlines()]
    items = []
    for row in rows:
        source = "\n".join([row["test_setup_code"], *row["test_list"]])
        items.append((row["code"], AssertTests(source)))
    verdicts = grade_many(items, timeout=10.0)
    assert [row["task_id"] for row, v in zip(rows, verdicts, strict=True) if not v.passed] == []


# ------------------------------------------------------------------------ stdio


@pytest.mark.parametrize(
    "program",
    [
        "a, b = map(int, input().split())\nprint(a + b)",
        "import sys\nprint(sum(map(int, sys.stdin.read().split())), end='')",
        "print(sum(map(int, open(0).read().split())), '  \\n\\n')",
        "import os\nos.write(1, str(sum(map(int, os.read(0, 99).split()))).encode())",
        "import threading\ndef main(): print(sum(map(int, input().split())))\n"
        "threading.stack_size(2**26)\nthreading.Thread(target=main).start()",
        "import atexit\natexit.register(lambda: print(sum(map(int, input().split()))))",
        "if __name__ == '__main__':\n    print(sum(map(int, input().split())))\n    exit()",
    ],
)
def test_scripts_read_and_write_as_scripts_do(program):
    verdict = grade_code(program, StdioTests([("1 2\n", "3\n"), ("3 4", "7")]))
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("print(3)", "wrong output"),
        ("print(3)\n1 / 0", "ZeroDivisionError: division by zero (line 2)"),
        ("import sys\nprint(3)\nsys.exit(4)", "exit code 4"),
        ("while True: print('x' * 1000)", "wrote too much"),
        ("while True: pass", "out of time"),
        ("input(); input()", "EOFError"),
    ],
)
def test_scripts_that_fail(program, reason):
    cases = [("1 2\n", "3\n"), ("3 4", "7")]
    verdict = grade_code(program, StdioTests(cases), timeout=0.7)
    assert not verdict.passed and reason in " | ".join(result.reason for result in verdict.results)


def test_cases_share_no_state():
    program = (
        "import os, tempfile\npath = os.path.join(tempfile.gettempdir(), 'seen')\n"
        "print(os.path.exists(path))\nopen(path, 'w').close()"
    )
    assert grade_code(program, StdioTests([("", "False")] * 3)).passed


def test_a_function_named_as_a_builtin_is_the_programs() -> None:
    tests = AssertTests("assert sum([1, 2]) == 3\nassert sum([]) == 0")
    assert grade_code("def sum(items): return len(items) + 1 if items else 0", tests).passed
    assert not grade_code("def sum(items): return 7", tests).passed
    assert not grade_code("", tests).passed
