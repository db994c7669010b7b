"""When a returned value is the expected one: a comparison of plain builtin values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

RELATIVE, ABSOLUTE = 1e-9, 1e-12
"""How far a float may be off: rounding in another order of operations, and no more."""

_NUMBERS = (int, float, complex)


@dataclass(frozen=True)
class NotPlain:
    """A value that stayed with the program, known only by what it says is its truth."""

    truth: bool


def compares(value: Any, expected: tuple[str, Any]) -> bool:
    """Whether `value OPERATOR literal` holds in Python, as an assert asks."""
    operator, literal = expected
    if operator == "bool":
        return (value.truth if isinstance(value, NotPlain) else bool(value)) is literal
    if isinstance(value, NotPlain):
        return operator == "!="
    if operator == "is":
        return value is literal
    return bool(value == literal) is (operator == "==")


def equal(value: Any, expected: Any) -> bool:
    """Whether a value is as good as the expected one.

    As Python's ==, but that a truth value is no number (True is not 1), and that a float may be off
    by 1e-9 of its size, or 1e-12, where a float is expected; nan is equal to nan. In sets and in
    the keys of a dict floats are exact.
    """
    kind = type(expected)
    if isinstance(value, NotPlain):
        return False
    if kind is bool or type(value) is bool:
        return kind is type(value) and value == expected
    if kind in _NUMBERS and type(value) in _NUMBERS:
        return _same_number(value, expected)
    if kind is dict:
        if type(value) is not dict or len(value) != len(expected):
            return False
        found = {_key(key): item for key, item in value.items()}
        return all(
            _key(key) in found and equal(found[_key(key)], item) for key, item in expected.items()
        )
    if kind in (set, frozenset):
        return type(value) in (set, frozenset) and set(map(_key, value)) == set(map(_key, expected))
    if hasattr(expected, "__iter__") and kind not in (str, bytes, bytearray, range):
        if kind is not type(value) or len(value) != len(expected):
            return False
        return all(map(equal, value, expected))
    return bool(value == expected)


def _same_number(value: Any, expected: Any) -> bool:
    if complex in (type(value), type(expected)):
        value, expected = complex(value), complex(expected)
        return _near(value.real, expected.real) and _near(value.imag, expected.imag)
    if type(expected) is float:
        return _near(value, expected)
    return value == expected


def _near(value: int | float, expected: float) -> bool:
    try:
        return math.isclose(value, expected, rel_tol=RELATIVE, abs_tol=ABSOLUTE) or (
            value != value and expected != expected
        )
    except OverflowError:  # an integer beyond all floats
        return False


def _key(value: Any) -> Any:
    """A value to find a set's element or a dict's key by: True and 1 are different."""
    if type(value) is tuple:
        return tuple(map(_key, value))
    if type(value) is frozenset:
        return frozenset(map(_key, value))
    return (bool, value) if type(value) is bool else value
