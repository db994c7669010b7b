"""Exercise: a function that is described in words, with its reference program and what it computes.

Expected values come from the reference as a function of our own, never from text that is run.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Arguments = tuple[Any, ...]
Function = Callable[..., Any]
Case = tuple[Arguments, Any]
"""Arguments and what the function must return for them."""

NUM_HIDDEN = 8
"""Hidden test cases of an exercise; a few more where they miss a near-miss."""

NUM_SHOWN = 2
"""Cases that a prompt shows unless an exercise says which."""

MAX_DRAWS = 100
"""Draws for cases that fit."""

NUM_PROBES = 16
"""Inputs by which two functions are told apart."""


class Signature:
    """The parameters of an exercise's function, and a way to draw arguments for them.

    Args:
        parameters: as they stand in the header, "a, b".
        draw: arguments from a generator; of many kinds, edge cases among them.
    """

    def __init__(self, parameters: str, draw: Callable[[random.Random], Arguments]) -> None:
        self.parameters, self.draw = parameters, draw
        rng = random.Random(f"probes of {parameters}")
        self.probes = [draw(rng) for _ in range(NUM_PROBES)]
        self.header = f"def f({parameters}):\n"

    def behaviour(self, function: Function) -> list[Any]:
        """What a function returns for the probes."""
        return [function(*probe) for probe in self.probes]


@dataclass(frozen=True)
class Exercise:
    """One programming problem made by a generator.

    Attributes:
        signature: parameters and arguments.
        task: what the function shall do, in words.
        header: how the program begins; the response continues it.
        answer: the reference response: header + answer is the reference program.
        function: what that program computes.
        near: functions of plausible wrong programs; hidden tests tell each from the reference.
        mistaken: a program with a mistake that the prompt shows, or "".
        examples: arguments whose results the prompt shows; None: two that are drawn.
    """

    signature: Signature
    task: str
    header: str
    answer: str
    function: Function
    near: tuple[Function, ...] = ()
    mistaken: str = ""
    examples: tuple[Arguments, ...] | None = None

    @cached_property
    def behaviour(self) -> list[Any]:
        """What the function returns for its signature's probes."""
        return self.signature.behaviour(self.function)

    @cached_property
    def is_sound(self) -> bool:
        """Whether it is worth asking: not nearly constant, and every near-miss is really wrong."""
        outputs = [repr(value) for value in self.behaviour]
        num_distinct = len(set(outputs))
        if num_distinct < (2 if set(outputs) <= {"True", "False"} else 4):
            return False
        if max(outputs.count(value) for value in set(outputs)) > NUM_PROBES * 3 // 4:
            return False
        return all(self.signature.behaviour(wrong) != self.behaviour for wrong in self.near)

    @property
    def key(self) -> str:
        """The same for functions that do the same, whatever the words: they are one question."""
        digest = hashlib.blake2b(repr(self.behaviour).encode(), digest_size=12).hexdigest()
        return f"f({self.signature.parameters}) {digest}"

    def cases(self, rng: random.Random) -> tuple[list[Case], list[Case]]:
        """The cases that the prompt shows, and the hidden ones, all with different arguments."""
        drawn = {repr(arguments): arguments for arguments in self.examples or ()}
        num_shown = NUM_SHOWN if self.examples is None else len(drawn)
        for _ in range(MAX_DRAWS):
            arguments = self.signature.draw(rng)
            drawn.setdefault(repr(arguments), arguments)
            if len(drawn) == num_shown + NUM_HIDDEN:
                break
        cases = [(arguments, self.function(*arguments)) for arguments in drawn.values()]
        shown, hidden = cases[:num_shown], cases[num_shown:]
        constant = hidden[0][1]
        for wrong in (*self.near, lambda *arguments: constant):
            if all(wrong(*arguments) == expected for arguments, expected in hidden):
                hidden.append(self._refutation(wrong, shown, rng))
        return shown, hidden

    def _refutation(self, wrong: Function, shown: list[Case], rng: random.Random) -> Case:
        """A case that tells a near-miss from the reference, if it can be one that is not shown."""
        seen = [repr(arguments) for arguments, _ in shown]
        candidates = [self.signature.draw(rng) for _ in range(MAX_DRAWS)]
        found = []
        for arguments in (*candidates, *self.signature.probes):
            expected = self.function(*arguments)
            if wrong(*arguments) != expected:
                found.append((arguments, expected))
                if repr(arguments) not in seen:
                    return found[-1]
        return found[0]  # a sound exercise has one: its probes tell every near-miss


def example(case: Case) -> str:
    """A case as a line of a prompt: "f(2, 3) = 5"."""
    arguments, expected = case
    return f"f({', '.join(map(repr, arguments))}) = {expected!r}"
