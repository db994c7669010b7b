"""TextUnits against sizes of units written down anew."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from tests.textgym.tasks.drawing import check, draw
from textgym.task import Problem
from textgym.tasks.math.units import TextUnits, is_unit, split_quantity

ID = "TextUnits-v0"
F = Fraction
METRE, SECOND, KILOGRAM = F(1), F(1), F(1)
INCH = F("0.0254")
SIZES = {
    **{"km": 1000, "m": 1, "dm": F("0.1"), "cm": F("0.01"), "mm": F("0.001")},
    **{"inches": INCH, "feet": 12 * INCH, "yards": 36 * INCH, "miles": 1760 * 36 * INCH},
    **{"tonnes": 1000, "kg": 1, "g": F("0.001"), "mg": F("0.000001"), "pounds": 16, "ounces": 1},
    **{"weeks": 604800, "days": 86400, "hours": 3600, "minutes": 60, "seconds": 1},
    **{"km^2": 10**6, "hectares": 10**4, "m^2": 1, "cm^2": F(1, 10**4), "mm^2": F(1, 10**6)},
    **{"m^3": 1, "L": F(1, 1000), "mL": F(1, 10**6), "cm^3": F(1, 10**6)},
    **{"square yards": 9, "square feet": 1, "square inches": F(1, 144)},
    **{"cubic feet": 1728, "cubic inches": 1, "gallons": 8, "quarts": 2, "pints": 1},
    **{"m/s": 1, "km/h": F(1000, 3600), "g/cm^3": 1000, "kg/m^3": 1, "L/s": 60, "L/min": 1},
}


def decimal(value: Fraction) -> str:
    """A terminating decimal, digit by digit."""
    sign, value = "-" * (value < 0), abs(value)
    whole, rest = divmod(value, 1)
    digits = ""
    while rest:
        digit, rest = divmod(rest * 10, 1)
        digits += str(digit)
        assert len(digits) < 20
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def converted(amount: str, unit: str, asked: str) -> str:
    if asked == "degrees F":
        return decimal(F(amount) * 9 / 5 + 32)
    if asked == "degrees C":
        return decimal((F(amount) - 32) * 5 / 9)
    return decimal(F(amount) * SIZES[unit] / SIZES[asked])


def added(many: str, large: str, few: str, small: str) -> str:
    return decimal((F(many) * SIZES[large] + F(few) * SIZES[small]) / SIZES[small])


def tank(a: str, b: str, height: str, flow: str, unit: str) -> str:
    litres = F(a) * F(b) * F(height) / 100 * 1000
    return decimal(litres / F(flow) / {"minutes": 1, "hours": 60}[unit])


ONE = {
    r"(-?[\d.]+) ([a-zA-Z][^=?]*) = \? ([^=?]*):": converted,
    r"(\d+) (\w+) (\d+) (\w+) = \? \4:": added,
}
SOLVERS = {
    "metric": {k: v for k, v in ONE.items() if v is converted},
    "time": ONE,
    "imperial": ONE,
    "derived": {k: v for k, v in ONE.items() if v is converted},
    "hard": {
        r"A tap drips (\d+) mL every (\d+) seconds\. How many L are that in (\d+) hours\?": (
            lambda drop, every, hours: decimal(F(hours) * 3600 / F(every) * F(drop) / 1000)
        ),
        r"A train runs at ([\d.]+) km/h\. How many m does it run in (\d+) seconds\?": (
            lambda speed, seconds: decimal(F(speed) * 1000 / 3600 * F(seconds))
        ),
        r"A train runs (\d+) m in (\d+) seconds\. What is its speed in km/h\?": (
            lambda metres, seconds: decimal(F(metres) / 1000 / (F(seconds) / 3600))
        ),
        r"How many square tiles with sides of (\d+) cm cover a floor of ([\d.]+) m by "
        r"([\d.]+) m\?": (lambda side, a, b: decimal(F(a) * F(b) * 10**4 / F(side) ** 2)),
        r"A tank measures (\d+) m by (\d+) m by (\d+) cm\. How many L does it hold\?": (
            lambda a, b, height: tank(a, b, height, "1", "minutes")
        ),
        r"A tank measures (\d+) m by (\d+) m by (\d+) cm\. Water runs in at (\d+) L per minute\. "
        r"How many (minutes|hours) does filling it take\?": tank,
        r"Somebody takes (\d+) steps a minute, each (\d+) cm long\. How many km are that in (\d+) "
        r"minutes\?": lambda steps, cm, minutes: decimal(F(steps) * F(minutes) * F(cm) / 10**5),
        r"A block of (\d+) cm by (\d+) cm by (\d+) cm has a density of ([\d.]+) g/cm\^3\. "
        r"What is its "
        r"mass in kg\?": lambda a, b, c, d: decimal(F(a) * F(b) * F(c) * F(d) / 1000),
        r"A car uses ([\d.]+) L of fuel per 100 km\. How many mL does it use on a way of "
        r"(\d+) km and "
        r"(\d+) m\?": lambda use, km, m: decimal((F(km) + F(m) / 1000) / 100 * F(use) * 1000),
    },
}


@pytest.mark.parametrize("level", TextUnits.difficulties)
def test_sizes_of_units_give_the_reference(level: str) -> None:
    solvers = SOLVERS[level]
    if len(solvers) == 2:  # the first pattern takes what the second one is for
        solvers = {rf"(?!\d+ \w+ \d){k}" if v is converted else k: v for k, v in solvers.items()}
    check(draw(ID, level, 300), solvers, per_kind=10)


@pytest.mark.parametrize(
    ("reference", "unit", "right", "wrong"),
    [
        (
            "3000",
            "m",
            ["3000", "3000 m", "3,000 m", "3000m", "3000 metres", r"3000\,\text{m}", "3000.0 m."],
            ["3 km", "3000 km", "3000 cm", "3000 apples", "300", "2999+1", "3000 m^2", "3000 kg"],
        ),
        ("12.5", "km/h", ["25/2", "12 1/2 km/h", "12.5 kph", "12.5 km per hour"], ["12.5 m/s"]),
        (
            "98.6",
            "degrees F",
            ["98.6", "98.6 F", "98.6°F", "98.6 degrees Fahrenheit", r"98.6^\circ F"],
            ["98.6 C", "98.6°C", "37 C"],
        ),
        ("12", "tiles", ["12", "12 tiles"], ["12 cm"]),
        ("12", "cm^2", ["12 cm^2", "12 square centimeters", "12 cm²"], ["12 cm", "12 m^2"]),
        ("155", "minutes", ["155 min", "155 minutes"], ["155 hours", "155 seconds"]),
        ("1.5", "L", ["1.5 litres", "1.5 liters"], ["1.5 mL", "1500 mL"]),
        ("1.5", "hectares", ["1.5 ha"], ["15000 m^2", "1.5 m^2"]),
    ],
)
def test_a_number_is_right_with_its_unit_or_without_and_wrong_with_another(
    reference, unit, right, wrong
) -> None:
    task, problem = TextUnits(), Problem("?", reference, {"unit": unit})
    assert [task.grade(problem, answer)["correct"] for answer in right] == [1.0] * len(right)
    assert [task.grade(problem, answer)["correct"] for answer in wrong] == [0.0] * len(wrong)


@pytest.mark.parametrize("level", TextUnits.difficulties)
def test_every_unit_that_is_asked_for_is_right_behind_the_reference(level: str) -> None:
    task = TextUnits()
    for problem in draw(ID, level, 300):
        unit = problem.info["unit"]
        assert is_unit(unit, unit)
        assert task.grade(problem, f"{problem.answer} {unit}")["correct"] == 1.0
        assert task.grade(problem, f"{problem.answer} volts")["correct"] == 0.0


def test_the_quantity_of_the_question_is_no_answer() -> None:
    task = TextUnits()
    for problem in draw(ID, "metric", 200):
        quantity = re.match(r"(.*) =", problem.prompt)[1]
        assert task.grade(problem, quantity)["correct"] == 0.0


def test_quantities_are_split_behind_their_number() -> None:
    assert split_quantity("-3,000.5 m") == ("-3,000.5", "m")
    assert split_quantity("2 1/2 hours") == ("2 1/2", "hours")
    assert split_quantity("x m") is None and split_quantity("") is None
