"""Units of measure: which physical size a unit's words name, and how large it is.

A table for what problems ask in, not a system of units: what is not in it is a noun.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple


class Unit(NamedTuple):
    """A product of base dimensions, such as length / time, and its size in base units.

    `dimensions` are sorted pairs (name, power); without any, the words are no unit but a noun.
    """

    size: Fraction
    dimensions: tuple[tuple[str, int], ...]


NOUN = Unit(Fraction(1), ())

_F = Fraction
_BASES: dict[str, list[tuple[Fraction | int, str]]] = {
    "length": [
        (_F(1, 10**9), "nm nanometer nanometre"),
        (_F(1, 10**6), "um micrometer micrometre micron"),
        (_F(1, 1000), "mm millimeter millimetre"),
        (_F(1, 100), "cm centimeter centimetre"),
        (_F(1, 10), "dm decimeter decimetre"),
        (1, "m meter metre"),
        (1000, "km kilometer kilometre"),
        (_F(254, 10000), "in inch inches"),
        (_F(3048, 10000), "ft foot feet"),
        (_F(9144, 10000), "yd yard"),
        (_F(1609344, 1000), "mi mile"),
    ],
    "mass": [
        (_F(1, 10**6), "mg milligram"),
        (_F(1, 1000), "g gram gm"),
        (1, "kg kilogram kilo"),
        (_F(45359237, 10**8), "lb lbs pound"),
        (_F(45359237, 16 * 10**8), "oz ounce"),
        (1000, "tonne"),
        (_F(90718474, 10**5), "ton"),
    ],
    "time": [
        (_F(1, 1000), "ms millisecond"),
        (1, "s sec second"),
        (60, "min minute"),
        (3600, "h hr hour"),
        (86400, "day"),
        (604800, "week wk"),
        (2629746, "month"),
        (31556952, "year yr"),
    ],
    "money": [(1, "dollar usd buck"), (_F(1, 100), "cent penny pennies")],
    "euro": [(1, "euro eur")],
    "sterling": [(1, "sterling gbp"), (_F(1, 100), "pence")],
    "rupee": [(1, "rupee inr rs")],
    "yen": [(1, "yen jpy")],
    "angle": [(1, "degree deg"), (_F(1, 60), "arcminute")],
    "turn": [(1, "radian rad")],
    "part": [(_F(1, 100), "percent percentage pct")],
    "celsius": [(1, "celsius centigrade")],
    "fahrenheit": [(1, "fahrenheit")],
    "kelvin": [(1, "kelvin")],
    "current": [(1, "ampere amp")],
    "force": [(1, "N newton")],
    "energy": [(1, "J joule"), (1000, "kj kilojoule"), (_F(4184, 1000), "calorie cal")],
    "power": [(1, "W watt"), (1000, "kw kilowatt")],
    "voltage": [(1, "V volt")],
    "resistance": [(1, "ohm")],
    "frequency": [(1, "hz hertz")],
    "pressure": [(1, "pa pascal"), (1000, "kpa kilopascal"), (101325, "atm atmosphere")],
    "amount": [(1, "mol mole")],
    "before noon": [(1, "am")],
    "after noon": [(1, "pm")],
}
_VOLUMES = [
    (_F(1, 1000), "l liter litre"),
    (_F(1, 10**6), "ml milliliter millilitre cc"),
    (1, "kl kiloliter kilolitre"),
    (_F(3785411784, 10**12), "gal gallon"),
    (_F(946352946, 10**12), "qt quart"),
    (_F(473176473, 10**12), "pt pint"),
    (_F(2365882365, 10**13), "cup"),
]
_SPEEDS = [
    (_F(1609344, 3600000), "mph"),
    (_F(1000, 3600), "kph kmh kmph"),
]


def _table() -> dict[str, Unit]:
    units: dict[str, Unit] = {}
    for dimension, rows in _BASES.items():
        for size, names in rows:
            units |= dict.fromkeys(names.split(), Unit(_F(size), ((dimension, 1),)))
    for size, names in _VOLUMES:
        units |= dict.fromkeys(names.split(), Unit(_F(size), (("length", 3),)))
    for size, names in _SPEEDS:
        units |= dict.fromkeys(names.split(), Unit(size, (("length", 1), ("time", -1))))
    units["acre"] = Unit(_F(40468564224, 10**7), (("length", 2),))
    units["hectare"] = units["ha"] = Unit(_F(10**4), (("length", 2),))
    return units


UNITS = _table()
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "squared": 2, "cubed": 3}
_piece = re.compile(r"[a-zA-Z]+|\d+|[/^*-]")


_OPPOSITES = {
    **{"increase": "decrease", "north": "south", "east": "west", "later": "earlier"},
    **{"more": "less", "left": "right", "up": "down", "gain": "loss", "profit": "loss"},
    **{"above": "below", "before": "after", "ahead": "behind", "bc": "ad", "fewer": "more"},
    **{"clockwise": "counterclockwise", "positive": "negative", "upward": "downward"},
}
_OPPOSITE_PAIRS = {*_OPPOSITES.items(), *((b, a) for a, b in _OPPOSITES.items())}


def contradict(words: str, others: str) -> bool:
    """Whether the words behind two numbers say the opposite: `5 north` and `5 south`."""
    pairs = ((a, b) for a in words.lower().split() for b in others.lower().split())
    return not _OPPOSITE_PAIRS.isdisjoint(pairs)


def read_unit(words: str) -> Unit:
    """The unit that some words name; NOUN for words that name none, such as `apples`.

    `cm ^ 2`, `square centimeters`, `miles per hour`, `m / s ^ 2` are units; a noun behind a unit
    (`cm of rope`) changes nothing.
    """
    size, powers, sign, pending, last = Fraction(1), {}, 1, 0, None
    pieces = _piece.findall(words)
    for position, piece in enumerate(pieces):
        name = piece.lower()
        if name in ("per", "/"):
            sign, pending = -1, 0
        elif name in ("square", "sq", "cubic", "cu"):
            pending = _POWERS[name]
        elif name in ("squared", "cubed") and last:
            size, powers = _multiply(size, powers, last, sign * (_POWERS[name] - 1))
        elif name == "^" and last:
            exponent = "".join(pieces[position + 1 : position + 2])
            if exponent.isdigit() and len(exponent) == 1:
                size, powers = _multiply(size, powers, last, sign * (int(exponent) - 1))
        elif (unit := find_unit(piece)) is not None:
            size, powers = _multiply(size, powers, unit, sign * (pending or 1))
            last, pending = unit, 0
    dimensions = tuple(sorted((name, power) for name, power in powers.items() if power))
    return Unit(size, dimensions) if dimensions else NOUN


def find_unit(piece: str) -> Unit | None:
    """A unit by name, in the singular or plural; one-letter names are exact."""
    if len(piece) == 1:
        return UNITS.get(piece if piece != "L" else "l")
    name = piece.lower()
    for candidate in (name, name.removesuffix("s"), name.removesuffix("es")):
        if candidate in UNITS and len(candidate) > 1:
            return UNITS[candidate]
    return None


def _multiply(
    size: Fraction, powers: dict[str, int], unit: Unit, power: int
) -> tuple[Fraction, dict[str, int]]:
    powers = dict(powers)
    for name, own in unit.dimensions:
        powers[name] = powers.get(name, 0) + own * power
    return size * unit.size**power, powers


PERCENT, DEGREE = read_unit("percent"), read_unit("degree")
