"""Plain Python values as JSON, both ways: typed, bounded, and with nothing in it that can run.

JSON has no tuples, sets or bytes, and a result must not be mistaken for another that only looks
like it. So a value that JSON lacks becomes an object with one key, which names the type:

    None, True, "text", 12, 1.5, [..]   as JSON has them
    {"i": "-0x1f"}                      an integer of more than 64 bits
    {"f": "nan"}                        a float that is not finite
    {"c": [re, im]}                     complex
    {"t": [..]}  {"s": [..]}  {"z": [..]}  {"q": [..]}     tuple, set, frozenset, deque
    {"d": [[key, value], ..]}           dict, keys of any kind
    {"b": "00ff"}  {"y": "00ff"}        bytes, bytearray
    {"n": [n, d]}  {"m": "1.50"}  {"r": [start, stop, step]}     Fraction, Decimal, range
    {"h": 3}                            a reference to an object that stays where it is

`encode` reads a value by its builtin type's own methods, never by an attribute of the value, so an
object whose class overrides `__eq__`, `__iter__` or `__class__` arrives as the plain value that it
holds, or not at all.
"""

from __future__ import annotations

import collections
import decimal
import fractions
import json
import math
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 100
"""Levels of nesting. Python's own limit on recursion is ten times as much."""

_HEX = {bytes: "b", bytearray: "y"}
_SEQUENCES = {"t": tuple, "s": set, "z": frozenset, "q": collections.deque}
_INT_BITS = 64


class NotPlain(ValueError):
    """The value is no plain value, or the text does not describe one; the message says why."""


# Compact, and blind to whatever a program does to the json module's defaults.
_to_text = json.JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":")).encode


def dumps(value: Any, refer: Callable[[Any], int] | None = None) -> str:
    """The text of a value.

    Args:
        value: what to describe.
        refer: gives a number to an object that is no plain value; None: such an object is refused.

    Raises:
        NotPlain: the value holds something that is not plain, or is nested too deeply.
    """
    return _to_text(encode(value, refer))


def loads(text: str | bytes, refer: Callable[[int], Any] | None = None) -> Any:
    """The value that a text describes.

    Args:
        text: what `dumps` gave, or whatever an enemy wrote. Bound its length before calling.
        refer: the object behind a number; None: references are refused.

    Raises:
        NotPlain: the text is not what `dumps` writes.
    """
    return decode(parse(text), refer)


def parse(text: str | bytes) -> Any:
    """JSON as Python has it, from text of any origin.

    Raises:
        NotPlain: it is not JSON, or nested too deeply, or holds a number that JSON has no word for.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except NotPlain:
        raise
    except (ValueError, RecursionError) as error:
        raise NotPlain(f"not JSON: {error}") from None


def _refuse(constant: str) -> Any:
    raise NotPlain(f"the constant {constant} is not JSON")


def encode(value: Any, refer: Callable[[Any], int] | None = None, depth: int = 0) -> Any:
    """A value as a tree that JSON can say. Arguments and errors as in `dumps`."""
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if depth > MAX_DEPTH:
        raise NotPlain(f"nested more than {MAX_DEPTH} levels deep")
    # mro, not isinstance: an object can lie about its __class__, not about its type.
    bases = type.__dict__["__mro__"].__get__(kind)
    if int in bases:
        number = int.__int__(value)
        if number.bit_length() > _INT_BITS:
            return {"i": int.__format__(number, "#x")}
        return number
    if float in bases:
        number = float.__float__(value)
        return number if math.isfinite(number) else {"f": float.__repr__(number)}
    if str in bases:
        return str.__str__(value)
    for base, tag in _HEX.items():
        if base in bases:
            return {tag: base.hex(value)}
    if kind is complex:
        return {"c": [encode(value.real), encode(value.imag)]}
    if dict in bases:
        pairs = [[key, dict.__getitem__(value, key)] for key in dict.__iter__(value)]
        return {"d": [[encode(item, refer, depth + 1) for item in pair] for pair in pairs]}
    for base, tag in (
        (list, ""),
        (tuple, "t"),
        (set, "s"),
        (frozenset, "z"),
        (collections.deque, "q"),
    ):
        if base in bases:
            items = [encode(item, refer, depth + 1) for item in base.__iter__(value)]
            return {tag: items} if tag else items
    if kind is fractions.Fraction:
        return {"n": [encode(int(value._numerator)), encode(int(value._denominator))]}
    if kind is decimal.Decimal:
        return {"m": decimal.Decimal.__str__(value)}
    if kind is range:
        return {"r": [encode(value.start), encode(value.stop), encode(value.step)]}
    if refer is not None:
        return {"h": refer(value)}
    name = kind.__name__ if type(kind) is type else "object"
    raise NotPlain(f"{name[:60]} is not a plain value")


def decode(tree: Any, refer: Callable[[int], Any] | None = None, depth: int = 0) -> Any:
    """The value behind what JSON gave. Arguments and errors as in `loads`."""
    if depth > MAX_DEPTH:
        raise NotPlain(f"nested more than {MAX_DEPTH} levels deep")
    if isinstance(tree, list):
        for index, item in enumerate(tree):
            if isinstance(item, list | dict):
                tree[index] = decode(item, refer, depth + 1)
        return tree
    if not isinstance(tree, dict):
        return tree
    if len(tree) != 1:
        raise NotPlain(f"an object of {len(tree)} keys, expected 1")
    ((tag, content),) = tree.items()
    try:
        if tag in _SEQUENCES:
            return _SEQUENCES[tag](decode(_list(content), refer, depth + 1))
        if tag == "d":
            pairs = [_list(pair, 2) for pair in _list(content)]
            return {
                decode(key, refer, depth + 1): decode(value, refer, depth + 1)
                for key, value in pairs
            }
        if tag == "h" and refer is not None:
            return refer(_int(content))
        return _SCALARS[tag](content)
    except NotPlain:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise NotPlain(f"bad {tag[:20]!r}: {type(error).__name__}") from None


def _list(tree: Any, length: int | None = None) -> list:
    if not isinstance(tree, list) or length not in (None, len(tree)):
        raise NotPlain("a list was expected")
    return tree


def _text(tree: Any) -> str:
    if type(tree) is not str:
        raise NotPlain("text was expected")
    return tree


def _int(tree: Any) -> int:
    if type(tree) is dict and set(tree) == {"i"}:
        return int(tree["i"], 16)
    if type(tree) is not int:
        raise NotPlain("an integer was expected")
    return tree


def _float(tree: Any) -> float:
    if type(tree) is dict and set(tree) == {"f"} and tree["f"] in ("nan", "inf", "-inf"):
        return float(tree["f"])
    if type(tree) is not float:
        raise NotPlain("a float was expected")
    return tree


# Of a size in proportion to the text: nothing here computes. A Decimal keeps its exponent as such.
_SCALARS: dict[str, Callable[[Any], Any]] = {
    "i": lambda content: int(content, 16),
    "f": lambda content: _float({"f": content}),
    "c": lambda content: complex(*(_float(part) for part in _list(content, 2))),
    "b": bytes.fromhex,
    "y": bytearray.fromhex,
    "n": lambda content: fractions.Fraction(*(_int(part) for part in _list(content, 2))),
    "m": lambda content: decimal.Decimal(_text(content)),
    "r": lambda content: range(*(_int(part) for part in _list(content, 3))),
}
