"""Patterns of JSON schemas against JSON itself."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest

from textgym.constraints import matches, schema_pattern
from textgym.grading.json_values import conforms


def written(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 0), (0, 9), (3, 27), (0, 130), (99, 100), (45, 1234), (-5, 5), (-120, -3), (-7, 0)],
)
def test_an_integer_is_one_of_its_range(low: int, high: int) -> None:
    pattern = schema_pattern({"type": "integer", "minimum": low, "maximum": high})
    texts = [str(n) for n in range(-1300, 1300)] + ["-0", "00", "07", "-07", "1.0", "+1", ""]
    expected = [str(n) for n in range(low, high + 1)]
    assert [text for text in texts if re.fullmatch(pattern, text)] == expected


VALUES = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        17,
        1.5,
        -0.25,
        "",
        "a",
        "ab",
        "abc",
        'a"b',
        "é\\",
        "\n",
        "null",
    ),
    *([], [1], [1, 2], [True], [[1], []], {}, {"a": 1}, {"b": "x"}, {"a": 1, "b": "x"}, {"c": 1}),
    *({"a": "1"}, {"a": 1, "c": None}, {"b": "x", "c": [1]}, {"a": 1, "b": "x", "c": [1]}),
]
CLOSED = {"additionalProperties": False}
MEMBERS = {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": ["array", "null"]}}
MEMBERS["c"]["items"] = {"type": "integer"}
SCHEMAS = [
    *({"type": name} for name in ("string", "integer", "number", "boolean", "null")),
    {"type": ["string", "null"], "maxLength": 2, "title": "an annotation"},
    {"type": "string", "minLength": 1, "maxLength": 2},
    {"type": "string", "pattern": "^[a-c]+$"},
    {"type": "array", "items": {"type": "integer"}},
    {"type": "array", "items": {"type": ["integer", "boolean"]}, "minItems": 1, "maxItems": 1},
    {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}, "maxItems": 0},
    {"enum": ["a", 1, None, [1, 2], {"a": 1}, 'a"b', "é\\"]},
    {"type": "string", "enum": ["a", "ab"]},
    {"const": {"a": 1, "b": "x"}},
    {"anyOf": [{"type": "boolean"}, {"type": "string", "maxLength": 1}]},
    *(
        {"type": "object", "properties": MEMBERS, "required": list(names), **CLOSED}
        for n in range(4)
        for names in itertools.combinations("abc", n)
    ),
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=written)
def test_a_value_matches_if_it_conforms(schema: dict[str, Any]) -> None:
    pattern = schema_pattern(schema)
    expected = [value for value in VALUES if conforms(value, schema)]
    assert [value for value in VALUES if matches(pattern, written(value))] == expected
    assert expected and len(expected) < len(VALUES)


def test_strings_have_characters_of_json_and_a_length() -> None:
    pattern = schema_pattern({"type": "string", "maxLength": 2})
    valid = ['""', '"a"', '"é\U0001f600"', r'"\"\\"', r'"\n/"', '"\x7f "']
    invalid = ['"abc"', '"a', 'a"', '"a"b"', '"\n"', r'"\x"', '"\\"', r'"\u0061"']
    assert all(matches(pattern, text) and json.loads(text) is not None for text in valid)
    assert not any(matches(pattern, text) for text in invalid)


def test_without_limits_everything_is_finite() -> None:
    schema = {"type": "array", "items": {"type": "string"}}
    longest = written(["x" * 64] * 8)
    assert matches(schema_pattern(schema), longest)
    assert not matches(schema_pattern(schema), written(["x" * 65]))
    assert not matches(schema_pattern(schema), written(["x"] * 9))
    assert matches(schema_pattern({"type": "integer"}), "-" + "9" * 15)
    assert not matches(schema_pattern({"type": "integer"}), "1" + "0" * 15)


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


ENDLESS: dict[str, Any] = {"type": "array"}
ENDLESS["items"] = ENDLESS


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (5, "schema is 5, expected a mapping"),
        ({}, "schema.type is None, expected one or some of"),
        ({"type": "text"}, "schema.type is .*'text'"),
        ({"type": ["string", ["null"]]}, "schema.type is"),
        ({"$ref": "#/x"}, r"schema has \['\$ref'\]"),
        ({"type": "number", "minimum": 3}, "a number with limits"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "the lower one first"),
        ({"type": "integer", "minimum": True}, "schema.minimum is True"),
        ({"type": "string", "minLength": -1}, "neither below 0"),
        ({"type": "string", "pattern": "a"}, r"from \^ to \$"),
        ({"type": "string", "pattern": "^.$"}, "no text with a quote"),
        ({"type": "string", "pattern": "^a|b$"}, r"schema.pattern: .*inside of it"),
        ({"type": "string", "pattern": "^a$", "maxLength": 3}, "a pattern and a length"),
        ({"type": "array"}, "schema.items is None"),
        ({"type": "object", "properties": {"a": {"type": "x"}}}, "schema.a.type is"),
        ({"type": "object", "properties": []}, "schema.properties is"),
        ({"type": "object", "required": ["a"]}, r"schema.required is \['a'\]"),
        ({"type": "object", "additionalProperties": {}}, "additionalProperties has a schema"),
        ({"enum": []}, "schema.enum is"),
        ({"enum": [float("nan")]}, "not JSON compliant"),
        ({"type": "string", "enum": [3]}, "expected values of the type"),
        ({"enum": [1], "const": 1}, "expected one of them"),
        ({"anyOf": [{"type": "null"}], "type": "null"}, "no keyword beside"),
        (nested(40), "more than 200000 characters"),
        (ENDLESS, "nested too deeply, or in itself"),
    ],
)
def test_what_is_not_understood_is_named_with_its_place(schema: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        schema_pattern(schema)
