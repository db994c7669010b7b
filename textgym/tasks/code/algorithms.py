"""The level "algorithms": functions of `textgym.tasks.code.solutions` with numbers filled in."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import random
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from textgym.tasks.code import solutions
from textgym.tasks.code.exercise import Arguments, Exercise, Signature

Numbers = Mapping[str, int]


def _two_integers(rng: random.Random) -> Arguments:
    factor = rng.randint(1, 12)
    return factor * rng.randint(0, 12), factor * rng.randint(-3, 12)


def _base_and_exponent(rng: random.Random) -> Arguments:
    return rng.randint(-4, 20), rng.randint(-2, 12)


def _list(rng: random.Random) -> Arguments:
    length = rng.choice((0, 1, 4, 6, 7, 8, 9, 12))
    return ([rng.randint(-5, 12) for _ in range(length)],)


def _text(rng: random.Random) -> Arguments:
    length = rng.choice((0, 1, 6, 8, 10, 12, 16))
    text = "".join(rng.choice("aaabbcdxyz A") * rng.choice((1, 1, 2, 3)) for _ in range(length))
    return (text[:16],)


def _two_texts(rng: random.Random) -> Arguments:
    first = "".join(rng.choice("abcde") for _ in range(rng.randint(0, 8)))
    second = "".join(rng.choice((c, c, "", "x", c + "a")) for c in first)
    return first, second + rng.choice(("", "b", "cd"))


TWO = Signature("a, b", _two_integers)
POWER = Signature("a, b", _base_and_exponent)
SMALL = Signature("n", lambda rng: (rng.randint(0, 30),))
LARGE = Signature("n", lambda rng: (rng.choice((rng.randint(0, 40), rng.randint(40, 300))),))
LIST = Signature("xs", _list)
TEXT = Signature("s", _text)
TEXTS = Signature("s, t", _two_texts)


def _choices(**values: Iterable[int]) -> list[Numbers]:
    """Every combination of the values of each name."""
    return [
        dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())
    ]


def _rising(names: str, values: Iterable[int]) -> list[Numbers]:
    """Every choice of different values for one-letter names, the least first."""
    chosen = itertools.combinations(values, len(names))
    return [dict(zip(names, numbers, strict=True)) for numbers in chosen]


_S = solutions

TEMPLATES: list[tuple[Callable[..., Any], Signature, Sequence[Numbers]]] = [
    (_S.common_divisor, TWO, _choices(j=range(2, 6), k=range(1, 20))),
    (_S.common_multiple, TWO, _choices(j=range(2, 6), k=range(1, 20))),
    (_S.power_modulo, POWER, _choices(m=range(5, 105))),
    (_S.divisors, LARGE, _choices(j=range(1, 11), k=range(2, 12))),
    (_S.divisor_sum, LARGE, _choices(j=range(1, 20), k=range(1, 4))),
    (_S.primes, LARGE, _rising("rm", range(1, 18))),
    (_S.next_prime, LARGE, _choices(k=range(1, 30))),
    (_S.prime_factors, LARGE, _choices(j=(2, 3, 4, 6), k=range(7, 30))),
    (_S.digits, LARGE, _choices(base=range(2, 20))),
    (_S.digit_sum, LARGE, _choices(base=range(2, 20), k=range(2, 5))),
    (_S.fibonacci, SMALL, _choices(x=range(8), y=range(1, 9))),
    (_S.recurrence, SMALL, _choices(x=(1, 2, 3), y=(2, 3, 5, 7), m=range(20, 30))),
    (_S.collatz, LARGE, _choices(j=range(20, 60, 5), k=range(1, 30, 2))),
    (_S.survivor, SMALL, _choices(k=range(2, 40))),
    (_S.ways_to_pay, SMALL, _rising("xyz", range(2, 12))),
    (_S.fewest_coins, SMALL, _rising("xy", range(2, 14))),
    (_S.climbs, SMALL, _rising("xy", range(1, 10))),
    (_S.best_run, LIST, _choices(k=range(1, 9))),
    (_S.longest_rise, LIST, _rising("jk", range(1, 12))),
    (_S.pairs_with_sum, LIST, _choices(d=range(2, 7), k=range(-2, 16))),
    (_S.pairs_apart, LIST, _choices(d=range(1, 6), k=range(1, 9))),
    (_S.windows, LIST, _choices(j=range(20), k=range(2, 6))),
    (_S.rotated, LIST, _choices(k=range(1, 12))),
    (_S.by_remainder, LIST, _choices(j=range(1, 9), k=range(2, 10))),
    (_S.run_lengths, TEXT, _rising("jk", range(1, 6))),
    (_S.shifted, TEXT, _choices(k=range(1, 26))),
    (_S.every, TEXT, _rising("rk", range(8))),
    (_S.edits, TEXTS, _choices(a=range(1, 4), b=range(1, 4), k=range(1, 5))),
]
"""Function, signature, and the numbers that it is asked with."""

VARIANTS = [(i, numbers) for i, (_, _, choices) in enumerate(TEMPLATES) for numbers in choices]
"""All there is: position of the template, and numbers."""


@functools.cache
def algorithm(n: int) -> Exercise:
    """Variant n: a template with its numbers."""
    template, numbers = VARIANTS[n]
    function, signature, _ = TEMPLATES[template]
    others = [{**numbers, name: value + 1} for name, value in numbers.items()]
    return with_numbers(function, signature, numbers, others)


def with_numbers(
    function: Callable[..., Any], signature: Signature, numbers: Numbers, others: Sequence[Numbers]
) -> Exercise:
    """The exercise with these numbers; those with `others` are near-misses where they differ."""
    right = functools.partial(function, **numbers)
    behaviour = signature.behaviour(right)
    near = [functools.partial(function, **wrong) for wrong in others]
    return Exercise(
        signature,
        " ".join(inspect.getdoc(function).split()).format(**numbers),
        signature.header,
        source(function, numbers),
        right,
        near=tuple(wrong for wrong in near if signature.behaviour(wrong) != behaviour),
    )


def source(function: Callable[..., Any], numbers: Numbers) -> str:
    """The body of a function of `solutions`, with numbers in the place of its own."""
    program = _Filled(numbers).visit(ast.parse(inspect.getsource(function)).body[0])
    lines = (ast.unparse(statement) for statement in program.body[1:])  # without its docstring
    return textwrap.indent("\n".join(lines), "    ")


class _Filled(ast.NodeTransformer):
    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers

    def visit_Name(self, node: ast.Name) -> ast.AST:  # noqa: N802
        if node.id in self.numbers and isinstance(node.ctx, ast.Load):
            return ast.Constant(self.numbers[node.id])
        return node
