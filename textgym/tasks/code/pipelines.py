"""Functions made of steps, one after the other: the levels lists and strings.

A step is the words for it, its code and what it does, as a function of ours. Steps of one group are
alike, and so one is a bug where another was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from textgym.tasks.code.exercise import Exercise, Function, Signature


class Step(NamedTuple):
    """Words ("keep the even numbers"), code (an expression in the variable), and a function."""

    words: str
    code: str
    function: Callable[[Any], Any]
    group: str


@dataclass(frozen=True)
class Kit:
    """What a level's functions are made of.

    Attributes:
        signature: one parameter.
        steps: that turn such a value into another of its kind.
        ends: that make the result of the last value. The first one returns the value itself.
    """

    signature: Signature
    steps: Sequence[Step]
    ends: Sequence[Step]

    @property
    def size(self) -> int:
        """After so many numbers, `pipeline` repeats itself."""
        return 2 * len(self.steps) ** 3 * len(self.ends)

    def parts(self, n: int) -> list[Step]:
        """The steps and the end that number n stands for: two or three steps, half and half."""
        n, three = divmod(n, 2)
        n, end = divmod(n, len(self.ends))
        steps = []
        for _ in range(2 + three):
            n, step = divmod(n, len(self.steps))
            steps.append(self.steps[step])
        return [*steps, self.ends[end]]


def pipeline(kit: Kit, n: int) -> Exercise:
    """Such as "keep the even numbers, then double each number, and return the sum"."""
    parts = kit.parts(n)
    return Exercise(
        kit.signature,
        words(parts),
        kit.signature.header,
        body(kit, parts),
        chain(parts),
        near=tuple(chain(parts[:i] + parts[i + 1 :]) for i in range(len(parts) - 1)),
    )


def words(parts: Sequence[Step]) -> str:
    """What the function does."""
    *steps, end = parts
    return ", then ".join(step.words for step in steps) + f", and return {end.words}"


def body(kit: Kit, parts: Sequence[Step]) -> str:
    """The lines of the program: one a step."""
    name, (*steps, end) = kit.signature.parameters, parts
    if end.code == name:  # the last step's value is returned as it is
        steps, end = steps[:-1], steps[-1]
    lines = [f"    {name} = {step.code}" for step in steps]
    return "\n".join([*lines, f"    return {end.code}"])


def chain(parts: Sequence[Step]) -> Function:
    """What the program computes."""
    functions = [part.function for part in parts]

    def function(value: Any) -> Any:
        for step in functions:
            value = step(value)
        return value

    return function


def alike(kit: Kit, step: Step) -> list[Step]:
    """The other steps or ends of a step's group."""
    return [
        other for other in (*kit.steps, *kit.ends) if other.group == step.group and other != step
    ]
