"""JSON in responses: what is read, what is refused, what conforms."""

from __future__ import annotations

from typing import Any

import pytest

from textgym.grading.json_values import MAX_CHARACTERS, NoJson, conforms, read_json, same


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        (' {"a" : [1, 2.5e1, true] }\n', {"a": [1, 25.0, True]}),
        (r'"\u00e9\ud83d\ude00"', "é\U0001f600"),
        ("-0", 0),
        ("1e999", float("inf")),
    ],
)
def test_json_is_read(text: str, value: Any) -> None:
    assert read_json(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "nul", "{'a':1}", "[1,]", "NaN", "[Infinity]", "-Infinity", "01", "1 2", "\ufeff1"),
        *('{"a":1,"a":1}', '[{"a":1,"b":2,"a":3}]', '"\n"', '"\ud800', "\0"),
        *("[" * 10**5, "[" * 101 + "]" * 101, '{"a":' * 101 + "1" + "}" * 101),
        *("7" * 5000, "7" * 10**6, " " * MAX_CHARACTERS + "1", '"' + "x" * 10**6 + '"'),
    ],
    ids=lambda text: repr(text)[:20],
)
def test_what_is_no_json_or_too_much_is_refused(text: str) -> None:
    with pytest.raises(NoJson):
        read_json(text)


def test_values_are_equal_as_json_has_it() -> None:
    assert same(1, 1.0) and same([1, {"a": None}], [1.0, {"a": None}])
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    for one, other in ((1, True), (0, False), (None, False), ([1], [1, 1]), ({}, []), ("1", 1)):
        assert not same(one, other) and not same(other, one)


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        (3.0, {"type": "integer"}, True),
        (3.5, {"type": "integer"}, False),
        (True, {"type": "integer"}, False),
        (True, {"enum": [1]}, False),
        (float("inf"), {"type": "integer"}, False),
        (float("inf"), {"type": "number"}, True),
        (5, {"type": "integer", "minimum": 3, "maximum": 5}, True),
        (6, {"type": "integer", "minimum": 3, "maximum": 5}, False),
        ("\ud800", {"type": "string", "pattern": "^.$"}, False),
        ({"a": 1, "x": 2}, {"type": "object", "properties": {"a": {"type": "integer"}}}, True),
        ({"b": 1, "a": 1}, {"type": "object", "properties": {"a": {}, "b": {}}}, True),
        ({"a": 1}, {"type": "object", "required": ["b"]}, False),
        ([1, "a"], {"type": "array", "items": {"type": "integer"}}, False),
    ],
)
def test_a_value_conforms_as_json_schema_says(value: Any, schema: Any, expected: bool) -> None:
    assert conforms(value, schema) is expected
