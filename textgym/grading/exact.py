"""Exact equality of integers and fractions written as text. Nothing here evaluates expressions."""

from __future__ import annotations

import re
from fractions import Fraction

MAX_CHARACTERS = 40
"""Longer texts are no answer: int() of a megabyte of digits is slow, and raises in the end."""

_match = re.compile(r" *([+-]?[0-9]+)(?:/(0*[1-9][0-9]*))? *").fullmatch


def parse_rational(text: str) -> int | Fraction | None:
    """The number that a bare answer denotes; None for any other text. Never raises for a text.

    What is accepted, in at most 40 characters:

        answer  =  spaces [ "+" | "-" ] digits [ "/" digits ] spaces
        digits  =  one or more of 0 1 2 3 4 5 6 7 8 9
        spaces  =  none or more of U+0020

    where the digits after "/" are not all zeros. So " 7 ", "+7", "07" and "-6/4" are numbers, while
    "3.", "1e3", "1_000", "--3", "3/-4", "3 / 4", "3/0" and digits of other scripts are not.

    Returns:
        An int where there is no "/", else a Fraction. The two compare exactly.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    if text.isdigit() and text.isascii():  # most answers, at a third of the pattern's price
        return int(text)
    match = _match(text)
    if match is None:
        return None
    numerator, denominator = match.groups()
    return int(numerator) if denominator is None else Fraction(int(numerator), int(denominator))


def equal_rationals(reference: str, answer: str) -> bool:
    """Whether two texts denote the same number; a reference that is no number equals only itself.

    `answer` may be any text whatsoever: what `parse_rational` refuses is equal to no number.
    """
    if answer == reference:
        return True
    value = parse_rational(answer)
    return value is not None and value == parse_rational(reference)
