"""Values cross between processes as typed JSON: the same value arrives, or none does."""

from __future__ import annotations

import collections
import decimal
import fractions
import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from textgym.grading.isolation import wire

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers()
    | st.fractions()
    | st.decimals(allow_nan=False)
)
KEYS = st.booleans() | st.integers() | st.text() | st.tuples(st.integers(), st.text())
VALUES = st.recursive(
    SCALARS,
    lambda items: (
        st.lists(items)
        | st.lists(items).map(tuple)
        | st.dictionaries(KEYS, items)
        | st.sets(KEYS)
        | st.frozensets(KEYS)
    ),
    max_leaves=20,
)


def same(one: object, other: object) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


def alike(one: object, other: object) -> bool:
    """Equal, and of equal types, where NaN equals NaN, and sets have no order to print."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return alike(list(one), list(other)) and alike(list(one.values()), list(other.values()))
    if isinstance(one, set | frozenset):
        return one == other
    return repr(one) == repr(other)


@given(VALUES)
@example({False: [math.nan], True: {-183, True, False}})
def test_a_value_arrives_as_it_was(value):
    assert alike(wire.loads(wire.dumps(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        *(True, 1, 1.0, -0.0, math.inf, -math.inf, 2**64, -(2**64), 10**5000, "\ud800\0", b"\0"),
        *(1j, complex(math.inf, -0.0), bytearray(b"ab"), range(2, 9, 3), (), [[]], {(): {}}),
        *(collections.deque([1, (2,)]), fractions.Fraction(-2, 3), decimal.Decimal("1.50")),
        decimal.Decimal("NaN"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_type_arrives_too(value):
    arrived = wire.loads(wire.dumps(value))
    assert type(arrived) is type(value)
    assert arrived == value or math.isnan(value)


class Liar(int):
    """Says it is equal to everything and a string."""

    __class__ = str
    __eq__ = lambda self, other: True  # noqa: E731
    __hash__ = int.__hash__
    __int__ = __index__ = __repr__ = __reduce__ = lambda self: "forged"  # noqa: E731


class List(list):
    """Shows other items than it has."""

    __iter__ = lambda self: iter("forged")  # noqa: E731
    __len__ = lambda self: 99  # noqa: E731


def test_what_an_object_says_of_itself_does_not_count():
    assert wire.dumps(Liar(3)) == "3"
    assert wire.dumps(List([1, Liar(2)])) == "[1,2]"


def test_an_object_that_is_no_plain_value_is_refused_or_referred_to():
    with pytest.raises(wire.NotPlain, match="object is not a plain value"):
        wire.dumps([object()])
    assert wire.dumps([object()], refer=lambda value: 7) == '[{"h":7}]'
    assert wire.loads('[{"h":7}]', refer=lambda number: -number) == [-7]
    with pytest.raises(wire.NotPlain):
        wire.loads('{"h":7}')


def test_nesting_is_bounded_both_ways():
    deep: list = []
    for _ in range(wire.MAX_DEPTH + 1):
        deep = [deep]
    with pytest.raises(wire.NotPlain, match="more than 100 levels"):
        wire.dumps(deep)
    for text in ("[" * 200 + "]" * 200, "[" * 10**5, '{"t":' * 10**5):
        with pytest.raises(wire.NotPlain):
            wire.loads(text)
    loop: list = []
    loop.append(loop)
    with pytest.raises(wire.NotPlain):
        wire.dumps(loop)


@pytest.mark.parametrize(
    "text",
    [
        *("", "nan", "NaN", "Infinity", "{}", '{"t":1}', '{"t":[],"s":[]}', '{"x":1}', '{"i":1}'),
        *('{"i":"z"}', '{"b":"0"}', '{"b":1}', '{"c":[1]}', '{"c":[1,2]}', '{"n":[1,0]}'),
        *('{"n":[1.5,2]}', '{"m":"x"}', '{"m":1}', '{"r":[1,2]}', '{"r":[1,2,0]}', '{"s":[[]]}'),
        *('{"d":[[[],1]]}', '{"d":[1]}', '{"d":[[1]]}', '{"f":"1"}', '{"h":1}', "9" * 5000, "\xff"),
    ],
    ids=lambda text: text[:12] or "empty",
)
def test_text_that_no_value_has_is_refused(text):
    with pytest.raises(wire.NotPlain):
        wire.loads(text.encode("latin-1"))


@given(
    st.recursive(
        st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
        lambda items: (
            st.lists(items, max_size=3)
            | st.dictionaries(st.sampled_from([*"ifctszqdbynmrhx"]), items, max_size=2)
        ),
    )
)
def test_any_json_gives_a_value_or_is_refused(tree):
    try:
        wire.loads(json.dumps(tree))
    except wire.NotPlain:
        pass
