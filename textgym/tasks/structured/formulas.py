"""Calculations in words and as formulas of a small grammar."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from textgym.constraints import grammar_pattern
from textgym.task import Problem
from textgym.tasks.math.choices import Choices

RULES = {
    "e": ["<n>", "(<e><op><e>)"],
    "op": ["+", "-", "*"],
    "n": ["<d>", "<d>0", "<d><d>"],
    "d": list("123456789"),
}
START, MAX_NESTED = "e", 3
DEPTH = MAX_NESTED + 3
"""A number is three rules deep: e, n and d; each pair of brackets adds one."""

SPOKEN = "e is n, (e+e), (e-e) or (e*e); n is 1 to 99"
"""The rules as the prompt states them."""

WORDS = {"+": "sum", "-": "difference", "*": "product"}


def ask_formula(choose: Choices) -> Problem:
    """A calculation in words, to be written as a formula."""
    words, formula = _formula(choose, choose.between(2, 4), MAX_NESTED)
    return Problem(f"{SPOKEN}. Write as e: {words}: ", formula, info=_form())


@cache
def _form() -> Mapping[str, str]:
    return {"pattern": grammar_pattern(RULES, START, DEPTH)}


def _formula(choose: Choices, num_operations: int, nested: int) -> tuple[str, str]:
    """So many operations, at most `nested` of them one in another, in words and as a formula."""
    if not num_operations:
        number = str(choose.between(1, 99))
        return number, number
    most = min(num_operations - 1, 2 ** (nested - 1) - 1)  # what has room on one side
    on_the_left = choose.between(num_operations - 1 - most, most)
    sign = choose.one_of("+-*")
    left, a = _formula(choose, on_the_left, nested - 1)
    right, b = _formula(choose, num_operations - 1 - on_the_left, nested - 1)
    return f"the {WORDS[sign]} of {left} and {right}", f"({a}{sign}{b})"
