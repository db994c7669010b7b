"""JSON in a response: read within bounds, and compared with a schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from textgym.constraints import matches

MAX_CHARACTERS = 20_000
MAX_DEPTH = 100
"""Brackets that may open in a text; where they are within strings they count as well."""


class NoJson(ValueError):
    """A text is no JSON, or more of it than is read."""


def read_json(text: str) -> Any:
    """The value of a JSON text, by the letter of RFC 8259: without NaN, and no name twice.

    Raises:
        NoJson: for anything else, and for a text of more than MAX_CHARACTERS or MAX_DEPTH brackets.
    """
    if len(text) > MAX_CHARACTERS or text.count("[") + text.count("{") > MAX_DEPTH:
        raise NoJson("too large")
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_without_twins)
    except ValueError as error:  # also of integers with thousands of digits
        raise NoJson(str(error)) from None


def conforms(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value read by `read_json` conforms to a schema, as JSON Schema says.

    Args:
        value: what was read.
        schema: one that `textgym.constraints.schema_pattern` understands. Limits that it does not
            state, such as the length of a string, are none here.
    """
    if "anyOf" in schema and not any(conforms(value, option) for option in schema["anyOf"]):
        return False
    if "enum" in schema and not any(same(value, known) for known in schema["enum"]):
        return False
    if "const" in schema and not same(value, schema["const"]):
        return False
    names = schema.get("type")
    if names is not None:
        if not any(_is(value, name) for name in ([names] if isinstance(names, str) else names)):
            return False
    if isinstance(value, str):
        return _fits(len(value), schema, "minLength", "maxLength") and (
            "pattern" not in schema or matches(schema["pattern"], value)
        )
    if isinstance(value, list):
        return _fits(len(value), schema, "minItems", "maxItems") and all(
            conforms(item, schema.get("items", {})) for item in value
        )
    if isinstance(value, dict):
        return _members_conform(value, schema)
    if isinstance(value, bool) or value is None:
        return True
    return _fits(value, schema, "minimum", "maximum")


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal as JSON has it: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def _members_conform(value: dict[str, Any], schema: Mapping[str, Any]) -> bool:
    properties: Mapping[str, Any] = schema.get("properties", {})
    if not all(name in value for name in schema.get("required", ())):
        return False
    if not schema.get("additionalProperties", True) and not value.keys() <= properties.keys():
        return False
    return all(conforms(value[name], properties[name]) for name in value if name in properties)


def _is(value: Any, name: str) -> bool:
    if name == "null":
        return value is None
    if name == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if name == "integer":  # 3.0 is one
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    kinds = {"number": int | float, "string": str, "array": list, "object": dict}
    return isinstance(value, kinds[name])


def _fits(number: float, schema: Mapping[str, Any], low: str, high: str) -> bool:
    return not (
        (low in schema and number < schema[low]) or (high in schema and number > schema[high])
    )


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _without_twins(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a name twice")
    return found
