"""The level "bugfix": a program with one mistake, to be written right.

The mistake is a step, condition, value or number in the place of another that is like it, so what
the wrong program computes is known, and hidden tests refute it.
"""

from __future__ import annotations

from dataclasses import replace

from textgym.tasks.code import algorithms, expressions
from textgym.tasks.code.exercise import Exercise
from textgym.tasks.code.lists import LISTS
from textgym.tasks.code.pipelines import Kit, alike, body, chain, words
from textgym.tasks.code.strings import STRINGS

NUM_BUGS = 4 * 10**12
"""Numbers that `bug` is drawn from: many more than there are programs and mistakes."""


def bug(n: int) -> Exercise:
    """A list function, a text function, one with cases, or an algorithm, with a mistake in it."""
    n, kind = divmod(n, 4)
    if kind < 2:
        return _wrong_step((LISTS, STRINGS)[kind], n)
    return _wrong_case(n) if kind == 2 else _wrong_number(n)


def _wrong_step(kit: Kit, n: int) -> Exercise:
    n, choice = divmod(n, 60)
    n, place = divmod(n, 12)
    parts = kit.parts(n)
    place %= len(parts)
    others = alike(kit, parts[place])
    if not others:  # nothing is like it: take the first step, whose group is larger
        place, others = 0, alike(kit, parts[0])
    wrong = [*parts]
    wrong[place] = others[choice % len(others)]
    header = kit.signature.header
    return Exercise(
        kit.signature,
        words(parts),
        header,
        body(kit, parts),
        chain(parts),
        near=(chain(wrong),),
        mistaken=header + body(kit, wrong),
    )


def _wrong_case(n: int) -> Exercise:
    """One condition or one value is another; the two cases may also be the wrong way round."""
    conditions, values = expressions.CONDITIONS, expressions.VALUES
    n, first = divmod(n, len(conditions))
    n, x = divmod(n, len(values))
    n, y = divmod(n, len(values))
    n, place = divmod(n, 4)
    right = [conditions[first]], [values[x], values[y]]
    if place == 0:
        wrong = [conditions[n % len(conditions)]], right[1]
    elif place == 1:
        wrong = right[0], right[1][::-1]
    else:
        changed = [*right[1]]
        changed[place - 2] = values[n % len(values)]
        wrong = right[0], changed
    exercise, shown = (expressions.by_cases(*cases) for cases in (right, wrong))
    near = (*exercise.near, shown.function)
    return replace(exercise, near=near, mistaken=shown.header + shown.answer)


def _wrong_number(n: int) -> Exercise:
    n, variant = divmod(n, len(algorithms.VARIANTS))
    template, numbers = algorithms.VARIANTS[variant]
    function, signature, _ = algorithms.TEMPLATES[template]
    n, name = divmod(n, len(numbers))
    name = [*numbers][name]
    wrong = {**numbers, name: numbers[name] + 1}
    exercise = algorithms.with_numbers(function, signature, numbers, [wrong])
    # Where the wrong number makes no difference, the near-miss that says so makes it unsound.
    near = exercise.near or (exercise.function,)
    return replace(
        exercise, near=near, mistaken=signature.header + algorithms.source(function, wrong)
    )
