"""Checks a learner's configuration once, where it enters."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any


def check_ranges(
    config: Any,
    *,
    integers: Mapping[str, int],
    positive: Collection[str] = (),
    non_negative: Collection[str] = (),
    unit: Collection[str] = (),
    optional: Collection[str] = (),
) -> None:
    """Check fields of a config; one named in `optional` may also be None.

    Args:
        config: the object with the fields.
        integers: name -> the least value that it may have.
        positive: names of finite numbers over 0.
        non_negative: names of finite numbers of at least 0.
        unit: names of numbers from 0 to 1.
        optional: names whose value may be None.

    Raises:
        ValueError: naming the field, what it is and what was expected.
    """
    rules = {
        name: (_is_integer, low, 2**63 - 1, f"an integer of at least {low}")
        for name, low in integers.items()
    }
    rules |= dict.fromkeys(positive, (_is_number, math.ulp(0.0), math.inf, "a positive number"))
    rules |= dict.fromkeys(non_negative, (_is_number, 0.0, math.inf, "a number of at least 0"))
    rules |= dict.fromkeys(unit, (_is_number, 0.0, 1.0, "a number from 0 to 1"))
    for name, (is_kind, low, high, expected) in rules.items():
        value = getattr(config, name)
        if value is None and name in optional:
            continue
        if not is_kind(value) or not low <= value <= high:
            expected += " or None" if name in optional else ""
            raise ValueError(f"{name} is {value!r}, expected {expected}")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
