"""From a JSON schema to a pattern of the values that conform to it, written without blanks.

A finite part of JSON Schema, which is what a response of bounded length can hold. Understood are

    object   properties (in this order), required, additionalProperties (none are written)
    array    items, minItems, maxItems (8)
    string   minLength, maxLength (64), pattern (with ^ and $, and no quote, backslash or control
             character in what it matches)
    integer  minimum, maximum (15 digits)
    number   up to 15 digits before and after the point, no exponent
    boolean, null, enum, const, anyOf, and a list of types

with what holds where nothing is said in brackets. Titles, descriptions and other annotations are
passed over; every other keyword is an error, as it would be a promise that is not kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from textgym.constraints.grammar import MAX_PATTERN
from textgym.constraints.machine import compiled

MAX_LENGTH, MAX_ITEMS, MAX_INTEGER = 64, 8, 10**15 - 1
"""Of a string, an array, an integer, where the schema states no limit."""

CHARACTER = r'(?:[^"\\\x00-\x1f]|\\["\\/bfnrt])'
"""One character of a string, written as itself or by one letter behind a backslash."""

NUMBER = r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?"

KEYWORDS = frozenset(
    "type enum const anyOf properties required additionalProperties items minItems maxItems "
    "minLength maxLength pattern minimum maximum".split()
)
ANNOTATIONS = frozenset("title description default examples format $schema $id $comment".split())

Schema = Mapping[str, Any]


def schema_pattern(schema: Schema) -> str:
    """A pattern of the JSON texts that conform to a schema; see this module for what it may say.

    Raises:
        ValueError: for a schema that is not understood; the message says where in it.
    """
    try:
        return _value(schema, "schema")
    except RecursionError:
        raise ValueError("schema: it is nested too deeply, or in itself") from None


def _value(schema: Any, path: str) -> str:
    if not isinstance(schema, Mapping):
        raise ValueError(f"{path} is {schema!r:.80}, expected a mapping such as {{'type': 'null'}}")
    unknown = sorted(map(str, schema.keys() - KEYWORDS - ANNOTATIONS))
    if unknown:
        raise ValueError(f"{path} has {unknown}, expected some of {sorted(KEYWORDS)}")
    kinds = [key for key in ("enum", "const", "anyOf") if key in schema]
    if len(kinds) > 1:
        raise ValueError(f"{path} has {kinds}, expected one of them")
    if "anyOf" in schema:
        return _any_of(schema, path)
    names = schema.get("type")
    names = [names] if isinstance(names, str) else names
    is_known = _is_list(names) and all(isinstance(n, str) and n in _WRITERS for n in names)
    if not (is_known and names) and not (kinds and names is None):
        raise ValueError(f"{path}.type is {names!r:.80}, expected one or some of {list(_WRITERS)}")
    if kinds:
        values = schema["enum"] if kinds == ["enum"] else [schema["const"]]
        return _values(values, names, f"{path}.{kinds[0]}")
    pattern = _either([_WRITERS[name](schema, path) for name in names])
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"{path} has a pattern of more than {MAX_PATTERN} characters")
    return pattern


def _either(patterns: Sequence[str]) -> str:
    return patterns[0] if len(patterns) == 1 else f"(?:{'|'.join(patterns)})"


def _any_of(schema: Schema, path: str) -> str:
    options = schema["anyOf"]
    if not _is_list(options) or not options or schema.keys() & KEYWORDS != {"anyOf"}:
        raise ValueError(f"{path}.anyOf is {options!r:.80}, expected a list and no keyword beside")
    return _either([_value(option, f"{path}.anyOf[{i}]") for i, option in enumerate(options)])


def _values(values: Any, names: Sequence[str] | None, path: str) -> str:
    if not _is_list(values) or not values:
        raise ValueError(f"{path} is {values!r:.80}, expected a list of at least one value")
    if names and not all(_types(value) & set(names) for value in values):
        raise ValueError(f"{path} is {values!r:.80}, expected values of the type {list(names)}")
    try:
        texts = [
            json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            for value in values
        ]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is {values!r:.80}: {error}") from None
    return _either([re.escape(text) for text in texts])


def _types(value: Any) -> set[str]:
    if value is None or isinstance(value, bool):
        return {"null" if value is None else "boolean"}
    if isinstance(value, int):
        return {"integer", "number"}
    if isinstance(value, float | str):
        return {"number" if isinstance(value, float) else "string"}
    return {"object" if isinstance(value, Mapping) else "array"}


def _object(schema: Schema, path: str) -> str:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, Mapping) or not all(isinstance(k, str) for k in properties):
        raise ValueError(f"{path}.properties is {properties!r:.80}, expected names with schemas")
    if not _is_list(required) or not all(name in properties for name in required):
        raise ValueError(f"{path}.required is {required!r:.80}, expected some of the properties")
    if not isinstance(schema.get("additionalProperties", False), bool):
        raise ValueError(f"{path}.additionalProperties has a schema, expected True or False")
    members = [
        (_values([name], None, path) + ":" + _value(value, f"{path}.{name}"), name in required)
        for name, value in properties.items()
    ]
    needed = [i for i, (_, is_required) in enumerate(members) if is_required]
    if needed:
        body = _members(members, needed[0])
    else:  # whichever comes first has no comma before it
        bodies = [_members(members[i:], 0) for i in range(len(members))]
        body = f"(?:{'|'.join(bodies)})?"
    return rf"\{{{body}\}}"


def _members(members: Sequence[tuple[str, bool]], first: int) -> str:
    """The members in order: the one at `first` is there, each other one if it is required."""
    before = "".join(f"(?:{text},)?" for text, _ in members[:first])
    after = "".join(
        f",{text}" if is_required else f"(?:,{text})?" for text, is_required in members[first + 1 :]
    )
    return before + members[first][0] + after


def _array(schema: Schema, path: str) -> str:
    low, high = _limits(schema, path, "minItems", "maxItems", 0, MAX_ITEMS)
    item = _value(schema.get("items"), f"{path}.items")
    if not high:
        return r"\[\]"
    body = f"{item}(?:,{item}){{{max(low - 1, 0)},{high - 1}}}"
    return rf"\[{body}\]" if low else rf"\[(?:{body})?\]"


def _string(schema: Schema, path: str) -> str:
    pattern = schema.get("pattern")
    if pattern is None:
        low, high = _limits(schema, path, "minLength", "maxLength", 0, MAX_LENGTH)
        return f'"{CHARACTER}{{{low},{high}}}"'
    if {"minLength", "maxLength"} & schema.keys():
        raise ValueError(f"{path} has a pattern and a length, expected one of them")
    if not isinstance(pattern, str) or pattern[:1] != "^" or pattern[-1:] != "$":
        raise ValueError(f"{path}.pattern is {pattern!r:.80}, expected a text from ^ to $")
    inside = f"(?:{pattern[1:-1]})"
    try:
        compiled(pattern)  # where ^a|b$ fails
        machine = compiled(inside)
    except ValueError as error:
        raise ValueError(f"{path}.pattern: {error}") from None
    if machine.reads(b'"\\' + bytes(range(32))):
        raise ValueError(
            f"{path}.pattern is {pattern!r:.80}, expected one that matches no text with a quote, a "
            "backslash or a control character"
        )
    return f'"{inside}"'


def _integer(schema: Schema, path: str) -> str:
    low, high = _limits(schema, path, "minimum", "maximum", -MAX_INTEGER, MAX_INTEGER)
    parts = []
    if low < 0:
        parts.append(f"-{_between(max(1, -high), -low)}")
    if high >= 0:
        parts.append(_between(max(low, 0), high))
    return _either(parts)


def _between(low: int, high: int) -> str:
    """The numbers from `low` to `high`, both at least 0, in decimal notation."""
    bounds = [10**i for i in range(1, len(str(high))) if 10**i > low]
    starts, ends = [low, *bounds], [*(bound - 1 for bound in bounds), high]
    return _either([_same_length(str(a), str(b)) for a, b in zip(starts, ends, strict=True)])


def _same_length(low: str, high: str) -> str:
    if low == high:
        return low
    rest = len(low) - 1
    if low[0] == high[0]:
        return low[0] + _same_length(low[1:], high[1:])
    first, last = int(low[0]), int(high[0])
    parts = []
    if rest and low[1:] != "0" * rest:
        parts.append(low[0] + _same_length(low[1:], "9" * rest))
        first += 1
    if rest and high[1:] != "9" * rest:
        parts.append(high[0] + _same_length("0" * rest, high[1:]))
        last -= 1
    if first <= last:
        parts.append(f"[{first}-{last}]" + f"[0-9]{{{rest}}}" * bool(rest))
    return _either(parts)


def _number(schema: Schema, path: str) -> str:
    if {"minimum", "maximum"} & schema.keys():
        raise ValueError(f"{path} is a number with limits, expected an integer or no limits")
    return NUMBER


def _limits(schema: Schema, path: str, low: str, high: str, least: int, most: int) -> list[int]:
    """The two bounds; one that is not given is `least` or `most`, or beyond it, the other one."""
    found = [schema.get(low, least), schema.get(high, most)]
    for name, value in zip((low, high), found, strict=True):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{path}.{name} is {value!r:.80}, expected an integer")
    if low not in schema:
        found[0] = min(found)
    if high not in schema:
        found[1] = max(found)
    if found[0] > found[1] or found[0] < 0 == least:
        raise ValueError(
            f"{path} has {low}={found[0]} and {high}={found[1]}, expected the lower one first"
            + ", and neither below 0" * (least == 0)
        )
    return found


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


_WRITERS: dict[str, Callable[[Schema, str], str]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda schema, path: "(?:true|false)",
    "null": lambda schema, path: "null",
}
