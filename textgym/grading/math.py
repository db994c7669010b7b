r"""Whether a response answers a mathematical question: `equivalent`, `extract_answer`.

No text is ever evaluated as code and no symbolic algebra is done, so that nothing can run away: an
answer is read by a bounded grammar (`textgym.grading.expressions`) into a tree, and two trees are
compared by exact arithmetic, modulo a prime, or in fifty digits at fixed points. A verdict is a
pure function of its two texts, on any thread, in any process.

What counts as equal: the same number however written (1/2, 0.5, 50 %, \frac12), but 0.333 is not
1/3 and 3.14 is not pi; the same function; the same equation up to a factor, but a solved one has to
be solved; the same set, list (in any order) or tuple (in order); the same interval with the same
brackets; the same quantity, where a unit that is left out goes without saying and a wrong one does
not. Several answers instead of one are wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from textgym.grading.expressions.cleaning import MAX_CHARACTERS
from textgym.grading.expressions.compare import compare
from textgym.grading.expressions.fields import Budget, OutOfTime
from textgym.grading.expressions.reading import Reading, read
from textgym.grading.extraction import (
    NONE,
    Extraction,
    last_expression,
    marked_answer,
)

MAX_WORDS = 8
"""A response of more words that is no mathematics is a sentence, whose last expression counts."""

_rational = re.compile(r" *([+-]?\d{1,40})(?:/(\d{1,40}))? *", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is equal to the reference.

    equal: True or False, or None if that was not found out. rule: what decided, such as "rational",
    "digits", "set", "text", "unit". error: why there is no verdict, if there is none.
    """

    equal: bool | None
    rule: str
    error: str | None = None


def equivalent(reference: str, answer: str, *, timeout: float = 2.0) -> Verdict:
    r"""Whether an answer says what the reference says.

    Args:
        reference: the right answer, bare or in a solution that marks it (`\boxed{}`, `####`).
        answer: a bare answer or a whole response.
        timeout: seconds after which there is no verdict. A verdict takes about 0.1 ms, and the
            slowest that the bounds admit well under a second.

    Returns:
        A Verdict. `equal` is None only if the time was up, or if the reference is nothing that the
        grammar knows and the answer is written differently. Whatever the answer is, it is no error.

    Raises:
        TypeError: if one is no text.
        ValueError: if `timeout` is not positive.
    """
    if not isinstance(reference, str) or not isinstance(answer, str):
        got = ", ".join(type(text).__name__ for text in (reference, answer))
        raise TypeError(f"reference and answer are {got}, expected two texts")
    if not timeout > 0:
        raise ValueError(f"timeout is {timeout!r}, expected a positive number of seconds")
    first, second = _rational(reference), _rational(answer)
    if first and second:
        a, b = _fraction(first), _fraction(second)
        if a is not None and b is not None:
            return _EQUAL if a == b else _UNEQUAL
    budget = Budget(timeout)
    try:
        return _judge(reference, answer, budget)
    except OutOfTime as error:
        return Verdict(None, "deadline", str(error))


def equivalent_many(pairs: Iterable[tuple[str, str]], *, timeout: float = 2.0) -> list[Verdict]:
    """`equivalent` for each (reference, answer); `timeout` is for each of them."""
    return [equivalent(reference, answer, timeout=timeout) for reference, answer in pairs]


def extract_answer(response: str) -> Extraction:
    """The final answer of a response, and the rule by which it was found (see Extraction)."""
    if not isinstance(response, str):
        raise TypeError(f"response is {type(response).__name__}, expected a text")
    marked = marked_answer(response)
    if marked is not None:
        return marked
    text = response.strip()
    if not text:
        return NONE
    if len(text) <= MAX_CHARACTERS:
        reading = read(text)
        if not reading.is_text or (len(text.split()) <= MAX_WORDS and _is_plain(text)):
            return Extraction(text, "whole")
    return last_expression(response)


_EQUAL, _UNEQUAL = Verdict(True, "rational"), Verdict(False, "rational")


def _fraction(match: re.Match[str]) -> Fraction | int | None:
    if match[2] is None:
        return int(match[1])
    denominator = int(match[2])
    return Fraction(int(match[1]), denominator) if denominator else None


def _is_plain(text: str) -> bool:
    """Whether a text is one line without figures and formulas."""
    return not any(c.isdigit() or c in "$\n" for c in text) and "\\[" not in text


@lru_cache(maxsize=4096)
def _reference(text: str) -> Reading:
    """A reference is asked for again and again."""
    marked = marked_answer(text)
    return read(text if marked is None or not marked.text else marked.text)


def _judge(reference: str, answer: str, budget: Budget) -> Verdict:
    expected = _reference(reference)
    extraction = extract_answer(answer)
    if (
        expected.is_text
        and expected.words
        and expected.words == read(answer[:MAX_CHARACTERS]).words
    ):
        return Verdict(True, "text")
    if extraction.rule == "none":
        return Verdict(False, "no answer")
    given = read(extraction.text[: MAX_CHARACTERS + 1])
    if expected.choice:
        chosen = given.choice or read(answer[:MAX_CHARACTERS]).choice
        return Verdict(chosen == expected.choice, "choice")
    if expected.is_text and expected.words and expected.words == given.words:
        return Verdict(True, "text")
    rule = "text"
    for a, b in given.pairs(expected):
        equal, rule = compare(a, b, budget)
        if equal:
            return Verdict(True, rule)
    if expected.is_strange:
        return Verdict(None, "reference", f"the reference {reference[:80]!r} is not understood")
    return Verdict(False, rule)
