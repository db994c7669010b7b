"""What the functions of the level "lists" are made of."""

from __future__ import annotations

import random
from collections.abc import Iterator

from textgym.tasks.code.exercise import Arguments, Signature
from textgym.tasks.code.pipelines import Kit, Step


def _draw(rng: random.Random) -> Arguments:
    length = rng.choice((0, 1, 3, 5, 6, 7, 8, 10))
    reach = rng.choice((4, 9, 9, 20))
    return ([rng.randint(-reach, reach) for _ in range(length)],)


def _filters() -> Iterator[Step]:
    keep = [
        ("keep the even numbers", "x % 2 == 0", lambda x: x % 2 == 0),
        ("keep the odd numbers", "x % 2 == 1", lambda x: x % 2 == 1),
        ("keep the positive numbers", "x > 0", lambda x: x > 0),
        ("keep the negative numbers", "x < 0", lambda x: x < 0),
        ("remove the zeros", "x != 0", lambda x: x != 0),
        ("keep the multiples of 3", "x % 3 == 0", lambda x: x % 3 == 0),
        *(
            (f"keep the numbers greater than {k}", f"x > {k}", lambda x, k=k: x > k)
            for k in (-3, 1, 2, 3, 4)
        ),
        *(
            (f"keep the numbers less than {k}", f"x < {k}", lambda x, k=k: x < k)
            for k in (-1, 2, 3, 5, 8)
        ),
    ]
    for words, code, condition in keep:
        yield Step(
            words,
            f"[x for x in xs if {code}]",
            lambda xs, condition=condition: [x for x in xs if condition(x)],
            "filter",
        )


def _maps() -> Iterator[Step]:
    change = [
        ("double each number", "2 * x", lambda x: 2 * x),
        ("square each number", "x * x", lambda x: x * x),
        ("negate each number", "-x", lambda x: -x),
        ("replace each number by its absolute value", "abs(x)", abs),
        ("replace each number by its last decimal digit", "abs(x) % 10", lambda x: abs(x) % 10),
        ("replace each number by its remainder by 3", "x % 3", lambda x: x % 3),
        ("replace negative numbers by 0", "max(x, 0)", lambda x: max(x, 0)),
        ("multiply each number by 3", "3 * x", lambda x: 3 * x),
        *((f"add {k} to each number", f"x + {k}", lambda x, k=k: x + k) for k in (1, 2, 3, 5, 10)),
    ]
    for words, code, function in change:
        yield Step(
            words,
            f"[{code} for x in xs]",
            lambda xs, function=function: [function(x) for x in xs],
            "map",
        )


STEPS = [
    *_filters(),
    *_maps(),
    Step("sort ascending", "sorted(xs)", sorted, "order"),
    Step(
        "sort descending",
        "sorted(xs, reverse=True)",
        lambda xs: sorted(xs, reverse=True),
        "order",
    ),
    Step("reverse the list", "xs[::-1]", lambda xs: xs[::-1], "order"),
    Step("sort by absolute value", "sorted(xs, key=abs)", lambda xs: sorted(xs, key=abs), "order"),
    Step(
        "keep the first of equal numbers",
        "list(dict.fromkeys(xs))",
        lambda xs: list(dict.fromkeys(xs)),
        "order",
    ),
    Step("drop the first number", "xs[1:]", lambda xs: xs[1:], "part"),
    Step("drop the last number", "xs[:-1]", lambda xs: xs[:-1], "part"),
    Step("keep every second number, from the first on", "xs[::2]", lambda xs: xs[::2], "part"),
    Step("keep every second number, from the second on", "xs[1::2]", lambda xs: xs[1::2], "part"),
    Step("keep the first three numbers", "xs[:3]", lambda xs: xs[:3], "part"),
    Step("keep the last three numbers", "xs[-3:]", lambda xs: xs[-3:], "part"),
    Step(
        "replace each number by the sum of those up to it",
        "[sum(xs[:i + 1]) for i in range(len(xs))]",
        lambda xs: [sum(xs[: i + 1]) for i in range(len(xs))],
        "neighbours",
    ),
    Step(
        "take the differences of neighbours, the later minus the earlier",
        "[y - x for x, y in zip(xs, xs[1:])]",
        lambda xs: [y - x for x, y in zip(xs, xs[1:], strict=False)],
        "neighbours",
    ),
    Step(
        "take the sums of neighbours",
        "[x + y for x, y in zip(xs, xs[1:])]",
        lambda xs: [x + y for x, y in zip(xs, xs[1:], strict=False)],
        "neighbours",
    ),
]

ENDS = [
    Step("the list", "xs", lambda xs: xs, "list"),
    Step("the sum", "sum(xs)", sum, "number"),
    Step("how many are left", "len(xs)", len, "number"),
    Step(
        "the largest, 0 if there is none",
        "max(xs, default=0)",
        lambda xs: max(xs, default=0),
        "number",
    ),
    Step(
        "the smallest, 0 if there is none",
        "min(xs, default=0)",
        lambda xs: min(xs, default=0),
        "number",
    ),
]

LISTS = Kit(Signature("xs", _draw), STEPS, ENDS)
