"""Reads tests written as assert statements: what is tested, step by step, and what could be data.

The tests are the data set's, not a model's; they are parsed here and executed in the sandbox alone.
Three layouts are understood: bare asserts (MBPP), a function `check(candidate)` (HumanEval), and
functions `test_...()` without arguments.
"""

from __future__ import annotations

import ast
import builtins
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Comparison = tuple[str, Any]
"""What a returned value must be: ("==", value), ("!=", value), ("is", value), ("bool", True)."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Scope = _Function | ast.ClassDef | ast.Lambda
_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__"}


@dataclass(frozen=True)
class ReducedTest:
    """An assert that calls a function with literals and compares with a literal."""

    function: str
    args: list[Any]
    comparison: Comparison


@dataclass(frozen=True)
class Plan:
    """What a source tests.

    Attributes:
        steps: ("setup" or "test", source text) in order; a test fails if it raises.
        names: names that only the program can define.
        aliases: names of the tests for names of the program: {"candidate": "add"}.
        reduced: one a test where every test is data, else None.
    """

    steps: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    aliases: dict[str, str]
    reduced: tuple[ReducedTest, ...] | None

    @property
    def num_tests(self) -> int:
        """Steps that are tests."""
        return sum(kind == "test" for kind, _ in self.steps)


@lru_cache(maxsize=4096)
def plan_tests(source: str, entry_point: str | None) -> Plan:
    """Read a source of tests.

    Args:
        source: asserts, perhaps with imports and helpers.
        entry_point: the function under test, where the tests call it by another name.

    Raises:
        ValueError: it is not Python, or holds nothing that could fail, or wants an entry point.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"source is not Python: {error}") from None
    functions = {node.name: node for node in body if isinstance(node, _Function)}
    aliases: dict[str, str] = {}
    check = functions.get("check")
    if check is not None and len(check.args.args) == 1:
        name = entry_point or _checked(body)
        if name is None:
            raise ValueError("source defines check(...) and calls it nowhere: name entry_point")
        body = [node for node in body if not _is_call_of(node, "check")]
        parameter = check.args.args[0].arg
        if any(isinstance(node, ast.Return) for node in _within(check.body)):
            aliases["_function_under_test"] = name
            body.append(ast.parse("check(_function_under_test)").body[0])
        else:
            aliases[parameter] = name
            body = [node for node in body if node is not check] + check.body
    elif entry_point is not None:
        aliases["candidate"] = entry_point
    body = [*_missing_imports(body, set(aliases.values())), *body]
    steps, nodes = [], []
    testing = {name for name, node in functions.items() if _asserts(node.body)}
    for node in [*body, *_unused_tests(body, functions)]:
        calls = {name for name in testing if _is_call_of(node, name)}
        is_test = calls or (not isinstance(node, _Scope) and _asserts([node]))
        steps.append(("test" if is_test else "setup", _text(source, node)))
        nodes.append(node)
    if not any(kind == "test" for kind, _ in steps):
        raise ValueError("source holds no assert statement")
    free, bound = _names(body)
    tested = {*free, *aliases.values()} - set(aliases)
    names = tuple(sorted(tested or _shadowed_builtins(body)))
    reduced = None if bound & set(aliases) else _reduce(steps, nodes, names, aliases)
    return Plan(tuple(steps), names, aliases, reduced)


def _missing_imports(body: list[ast.stmt], tested: set[str]) -> list[ast.stmt]:
    """Imports of the library's modules that the tests use and leave to the program.

    `assert math.isclose(f(2), 1.5)` without an import: were `math` the program's to give, it could
    give a class whose isclose is always true.
    """
    nodes = [node for root in body for node in ast.walk(root)]
    holders = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    loads = [node for node in nodes if isinstance(node, ast.Name)]
    used = {node.id for node in loads if id(node) in holders}
    others = {node.id for node in loads if id(node) not in holders}
    missing = (_names(body)[0] & used & sys.stdlib_module_names) - others - tested
    return [ast.parse(f"import {name}").body[0] for name in sorted(missing)]


def _shadowed_builtins(body: list[ast.stmt]) -> set[str]:
    """Builtins that are what is tested: `assert sum([1, 2]) == 3` where nothing else is called.

    Python's own would answer for the program, and any program pass.
    """
    found = set()
    for node in (node for root in body for node in ast.walk(root)):
        if isinstance(node, ast.Assert):
            tested = node.test.left if isinstance(node.test, ast.Compare) else node.test
            if isinstance(tested, ast.Call) and isinstance(tested.func, ast.Name):
                found.add(tested.func.id)
    return found & _BUILTINS


def _text(source: str, node: ast.stmt) -> str:
    try:
        return ast.unparse(node)
    except ValueError:  # an integer of more digits than Python likes to write
        return textwrap.dedent(ast.get_source_segment(source, node, padded=True) or "")


def _checked(body: list[ast.stmt]) -> str | None:
    """`f` of a statement `check(f)`."""
    for node in body:
        if _is_call_of(node, "check") and len(node.value.args) == 1:
            if isinstance(node.value.args[0], ast.Name):
                return node.value.args[0].id
    return None


def _is_call_of(node: ast.stmt, name: str) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == name
    )


def _within(body: Iterable[ast.AST]) -> Iterable[ast.AST]:
    """All nodes, but those inside of functions and classes."""
    for node in body:
        yield node
        if not isinstance(node, _Scope):
            yield from _within(ast.iter_child_nodes(node))


def _asserts(body: Iterable[ast.AST]) -> bool:
    return any(isinstance(node, ast.Assert) for node in _within(body))


def _unused_tests(body: list[ast.stmt], functions: dict[str, _Function]) -> list[ast.stmt]:
    """Calls of the functions test_...() that nothing calls."""
    used = {node.id for root in body for node in ast.walk(root) if isinstance(node, ast.Name)}
    return [
        ast.parse(f"{name}()").body[0]
        for name, node in functions.items()
        if name.startswith("test_") and name not in used and not node.args.args
    ]


def _names(body: list[ast.stmt]) -> tuple[set[str], set[str]]:
    """Names that are read and bound nowhere, and names that are bound."""
    read, bound = set(), set(_BUILTINS)
    for root in body:
        for node in ast.walk(root):
            if isinstance(node, ast.Name):
                (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
            elif isinstance(node, _Function | ast.ClassDef):
                bound.add(node.name)
            elif isinstance(node, ast.arg):
                bound.add(node.arg)
            elif isinstance(node, ast.alias):
                bound.add((node.asname or node.name).split(".")[0])
            elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
                bound.add(node.name)
            elif isinstance(node, ast.MatchMapping) and node.rest:
                bound.add(node.rest)
    return read - bound, bound


def _reduce(
    steps: list[tuple[str, str]],
    nodes: list[ast.stmt],
    names: tuple[str, ...],
    aliases: dict[str, str],
) -> tuple[ReducedTest, ...] | None:
    """Every test as data; None if one of them is more than that."""
    tests = []
    for (kind, _), node in zip(steps, nodes, strict=True):
        if kind == "test":
            test = _reduced(node, names, aliases)
            if test is None:
                return None
            tests.append(test)
        elif not isinstance(node, ast.Import | ast.ImportFrom | _Scope | ast.Pass):
            if any(isinstance(part, ast.Call) for part in ast.walk(node)) or not isinstance(
                node, ast.Assign | ast.AnnAssign | ast.Expr
            ):
                return None  # it may fail, and then so do the tests after it
    return tuple(tests)


def _reduced(node: ast.stmt, names: tuple[str, ...], aliases: dict[str, str]) -> ReducedTest | None:
    if not isinstance(node, ast.Assert):
        return None
    test, comparison = node.test, ("bool", True)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test, comparison = test.operand, ("bool", False)
    try:
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            sides, operator = (test.left, test.comparators[0]), _OPERATORS.get(type(test.ops[0]))
            if comparison[1] is not True or operator is None:
                return None
            call, literal = sides if isinstance(sides[0], ast.Call) else reversed(sides)
            value = ast.literal_eval(literal)
            if operator == "is" and not (value is None or isinstance(value, bool)):
                return None
            test, comparison = call, (operator, value)
        if not isinstance(test, ast.Call) or not isinstance(test.func, ast.Name) or test.keywords:
            return None
        name = aliases.get(test.func.id, test.func.id)
        if name not in names and test.func.id not in aliases:
            return None  # a function of the tests' own, or a builtin
        return ReducedTest(name, [ast.literal_eval(arg) for arg in test.args], comparison)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


_OPERATORS = {ast.Eq: "==", ast.NotEq: "!=", ast.Is: "is"}
