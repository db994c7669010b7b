r"""Whether an expression reaches a target from given numbers: exact, bounded, no code is run.

answer = sum [ "=" number ]
sum    = ["-"] term { ("+" | "-") term }
term   = factor { ("*" | "/") factor }
factor = number | "(" sum ")" | "\frac" "{" sum "}" "{" sum "}"
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from textgym.grading.math import Verdict

MAX_CHARACTERS = 400
MAX_DEPTH = 20
"""Brackets within brackets; no expression of ten numbers needs more than nine."""

_SIGNS = str.maketrans({"×": "*", "·": "*", "⋅": "*", "÷": "/", "−": "-", "–": "-", "x": "*"})
_COMMANDS = re.compile(r"\\(times|cdot|div|left|right)(?![a-zA-Z])|\\[dt]frac(?![a-zA-Z])|\$")
_PLAIN = {"times": "*", "cdot": "*", "div": "/"}
_TOKEN = re.compile(r"\s*([0-9]{1,12}(?![0-9.])|\\frac|[-+*/(){}=])")


def reaches_target(
    answer: str, numbers: Sequence[int], target: int, *, exactly_once: bool = False
) -> Verdict:
    """Whether an expression has the target's value and uses each given number at most once.

    Numbers stand as they are given (no 12 out of 1 and 2), and nothing but `+ - * /` and brackets
    joins them; × ÷ − · and LaTeX's commands for them are read too, and `= target` may stand behind.

    Args:
        answer: the expression.
        numbers: what may be used, each as often as it is listed.
        target: what has to come out.
        exactly_once: whether each number has to be used.

    Returns:
        A Verdict. Its rule says what decided: "value", "numbers" (others than those given, or, with
        `exactly_once`, not all of them), "syntax" (no such expression) or "division by zero".
    """
    try:
        value, used = _Reader(answer, len(numbers)).read()
    except ZeroDivisionError:
        return Verdict(False, "division by zero")
    except ValueError as error:
        return Verdict(False, str(error))
    given, taken = Counter(numbers), Counter(used)
    if taken - given or (exactly_once and given - taken):
        return Verdict(False, "numbers")
    return Verdict(value == target, "value")


class _Reader:
    """Recursive descent over the tokens; a ValueError's text is the verdict's rule."""

    def __init__(self, text: str, most_numbers: int) -> None:
        if len(text) > MAX_CHARACTERS:
            raise ValueError("syntax")
        text = _COMMANDS.sub(_without_command, text).translate(_SIGNS).strip()
        self.tokens: list[str] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise ValueError("syntax")
            self.tokens.append(match[1])
            position = match.end()
        self.tokens.append("")
        self.position, self.depth = 0, 0
        self.used: list[int] = []
        self.most_numbers = most_numbers

    def read(self) -> tuple[Fraction, list[int]]:
        """The value of the whole text and the numbers in it."""
        value = self.sum()
        if self.accept("="):
            negative = self.accept("-") is not None
            stated = self.take()
            if not stated.isdigit() or value != (-int(stated) if negative else int(stated)):
                raise ValueError("syntax")
        if self.take():
            raise ValueError("syntax")
        return value, self.used

    def take(self) -> str:
        token = self.tokens[self.position]
        self.position += bool(token)
        return token

    def accept(self, *symbols: str) -> str | None:
        return self.take() if self.tokens[self.position] in symbols else None

    def sum(self) -> Fraction:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ValueError("syntax")
        negative = self.accept("-")
        value = -self.term() if negative else self.term()
        while sign := self.accept("+", "-"):
            term = self.term()
            value = value + term if sign == "+" else value - term
        self.depth -= 1
        return value

    def term(self) -> Fraction:
        value = self.factor()
        while sign := self.accept("*", "/"):
            factor = self.factor()
            value = value * factor if sign == "*" else value / factor
        return value

    def factor(self) -> Fraction:
        token = self.take()
        if token.isdigit():
            # One number more than given is wrong already, and exact values stay small.
            if len(self.used) >= self.most_numbers:
                raise ValueError("numbers")
            self.used.append(int(token))
            return Fraction(int(token))
        if token == "(":
            return self.enclosed(")")
        if token == "\\frac" and self.accept("{"):
            value = self.enclosed("}")
            if self.accept("{"):
                return value / self.enclosed("}")
        raise ValueError("syntax")

    def enclosed(self, closing: str) -> Fraction:
        value = self.sum()
        if self.take() != closing:
            raise ValueError("syntax")
        return value


def _without_command(match: re.Match[str]) -> str:
    if match[1] is None:
        return "" if match[0] == "$" else "\\frac"
    return _PLAIN.get(match[1], "")
