"""TextUnits: conversions of length, mass, time, volume, area, speed and temperature."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from textgym.grading.expressions.cleaning import clean
from textgym.grading.expressions.tree import OutOfBounds
from textgym.grading.expressions.units import NOUN, read_unit
from textgym.grading.math import Verdict, equivalent
from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.family import Family
from textgym.tasks.math.writing import Rational, decimal

# (large unit, small unit, how many small ones a large one is)
METRIC = (
    *(("km", "m", 1000), ("m", "dm", 10), ("m", "cm", 100), ("m", "mm", 1000), ("cm", "mm", 10)),
    *(("tonnes", "kg", 1000), ("kg", "g", 1000), ("g", "mg", 1000)),
    *(("L", "mL", 1000), ("m^3", "L", 1000)),
)
TIME = (
    *(("weeks", "days", 7), ("days", "hours", 24), ("hours", "minutes", 60)),
    *(("minutes", "seconds", 60), ("hours", "seconds", 3600), ("days", "minutes", 1440)),
)
IMPERIAL = (
    *(("miles", "yards", 1760), ("miles", "feet", 5280), ("yards", "feet", 3)),
    *(("feet", "inches", 12), ("yards", "inches", 36), ("pounds", "ounces", 16)),
    *(("gallons", "quarts", 4), ("gallons", "pints", 8), ("inches", "cm", Fraction(254, 100))),
    *(("feet", "cm", Fraction(3048, 100)), ("inches", "mm", Fraction(254, 10))),
)
AREA_VOLUME = (
    *(("km^2", "m^2", 10**6), ("km^2", "hectares", 100), ("hectares", "m^2", 10**4)),
    *(("m^2", "cm^2", 10**4), ("cm^2", "mm^2", 100), ("m^3", "cm^3", 10**6)),
    *(("L", "cm^3", 1000), ("m^3", "L", 1000), ("square yards", "square feet", 9)),
    *(("square feet", "square inches", 144), ("cubic feet", "cubic inches", 1728)),
)
RATES = (("m/s", "km/h", Fraction(36, 10)), ("g/cm^3", "kg/m^3", 1000), ("L/s", "L/min", 60))

_QUANTITY = re.compile(
    r"\s*([-+]?[0-9][0-9,]*(?:\.[0-9]+)?(?:\s*/\s*[0-9]+|\s+[0-9]+\s*/\s*[0-9]+)?)\s*(.*)",
    re.DOTALL,
)
_WRAPPERS = re.compile(r"\\(?:text|mathrm|mbox|,|;|!| |circ)|\^\s*\{?\\circ\}?|[{}$°~\x02\x03]")
_TEMPERATURES = {
    "c": "degrees C",
    "f": "degrees F",
    "celsius": "degrees C",
    "fahrenheit": "degrees F",
}


def split_quantity(answer: str) -> tuple[str, str] | None:
    """The number of an answer and the words of its unit; None if it is no literal number."""
    try:
        match = _QUANTITY.fullmatch(clean(answer))
    except OutOfBounds:
        return None
    if match is None:
        return None
    return match[1], _WRAPPERS.sub(" ", match[2]).strip(" .")


def is_unit(words: str, expected: str) -> bool:
    """Whether some words name the unit that is expected, by any of its names."""
    if words == expected:
        return True
    words = " ".join(words.split()).removeprefix("degrees ").removeprefix("degree ")
    if words.lower() in _TEMPERATURES:
        return _TEMPERATURES[words.lower()] == expected
    unit = read_unit(words)
    return unit != NOUN and unit == read_unit(expected)


def _convert(prompt: str, answer: Rational, unit: str) -> Problem:
    return Problem(prompt, decimal(answer), {"unit": unit})


def _amount(amount: Rational, unit: str, asked: str, answer: Rational) -> Problem:
    return _convert(f"{decimal(amount)} {unit} = ? {asked}: ", answer, asked)


def _either_way(
    choose: Choices,
    units: Sequence[tuple[str, str, Rational]],
    bounds: tuple[int, int],
    divisors: Sequence[int],
) -> Problem:
    """An amount of a large unit in a small one, or the other way round."""
    large, small, size = choose.one_of(units)
    amount = Fraction(choose.between(*bounds), choose.one_of(divisors))
    if choose.below(2):
        return _amount(amount, large, small, amount * size)
    return _amount(amount * size, small, large, amount)


# ------------------------------------------------------------------- one quantity


def metric(choose: Choices) -> Problem:
    """A metric quantity in a neighbouring unit."""
    large, small, size = choose.one_of(METRIC)
    amount = Fraction(choose.between(1, 999), choose.one_of((1, 1, 10)))
    if choose.below(2):
        return _amount(amount, large, small, amount * size)
    return _amount(amount, small, large, amount / size)


def time(choose: Choices) -> Problem:
    """A time in a smaller unit, or in a larger one of which it is a number of quarters."""
    large, small, size = choose.one_of(TIME)
    if choose.below(2) or size == 7:
        amount = choose.between(2, 99)
        return _amount(amount, large, small, amount * size)
    amount = Fraction(choose.between(1, 120), 4)
    return _amount(amount * size, small, large, amount)


def mixed_time(choose: Choices) -> Problem:
    """A time in two units."""
    large, small, size = choose.one_of(TIME[:4])
    many, few = choose.between(2, 30), choose.between(2, size - 1)
    return _convert(f"{many} {large} {few} {small} = ? {small}: ", many * size + few, small)


def imperial(choose: Choices) -> Problem:
    """Miles, yards, feet, inches, pounds, gallons; inches and feet in centimetres."""
    return _either_way(choose, IMPERIAL, (2, 120), (1, 1, 2, 4))


def mixed_imperial(choose: Choices) -> Problem:
    """Feet and inches, or pounds and ounces, in one unit."""
    large, small, size = choose.one_of((IMPERIAL[3], IMPERIAL[5], IMPERIAL[2]))
    many, few = choose.between(2, 60), choose.between(2, size - 1)
    return _convert(f"{many} {large} {few} {small} = ? {small}: ", many * size + few, small)


# ------------------------------------------------------------------ derived units


def area_volume(choose: Choices) -> Problem:
    """An area or a volume."""
    return _either_way(choose, AREA_VOLUME, (1, 400), (1, 1, 4, 10))


def rate(choose: Choices) -> Problem:
    """A speed, a density or a flow."""
    return _either_way(choose, RATES, (1, 300), (1, 2, 4))


def temperature(choose: Choices) -> Problem:
    """Degrees Celsius and Fahrenheit."""
    celsius = Fraction(choose.between(-400, 1200), choose.one_of((1, 2, 10)))
    fahrenheit = celsius * 9 / 5 + 32
    if choose.below(2):
        return _amount(celsius, "degrees C", "degrees F", fahrenheit)
    return _amount(fahrenheit, "degrees F", "degrees C", celsius)


# -------------------------------------------------------------------- multi-step


def dripping(choose: Choices) -> Problem:
    """Millilitres every few seconds, in litres after some hours."""
    drop, every, hours = (
        choose.between(2, 40),
        choose.one_of((2, 3, 4, 5, 6, 8, 9, 10, 12)),
        choose.between(2, 24),
    )
    prompt = f"A tap drips {drop} mL every {every} seconds. How many L are that in {hours} hours? "
    return _convert(prompt, Fraction(drop * 3600 * hours, every * 1000), "L")


def driving(choose: Choices) -> Problem:
    """A speed in km/h, and metres after some seconds, or the other way round."""
    speed, seconds = choose.between(3, 45), choose.between(5, 90)
    stated = decimal(Fraction(36 * speed, 10))
    if choose.below(2):
        prompt = f"A train runs at {stated} km/h. How many m does it run in {seconds} seconds? "
        return _convert(prompt, speed * seconds, "m")
    prompt = f"A train runs {speed * seconds} m in {seconds} seconds. What is its speed in km/h? "
    return _convert(prompt, Fraction(36 * speed, 10), "km/h")


def tiling(choose: Choices) -> Problem:
    """Square tiles on a floor."""
    side = choose.one_of((20, 25, 30, 40, 50))
    across, along = sorted((choose.between(8, 40), choose.between(8, 40)))
    floor = f"{decimal(Fraction(side * across, 100))} m by {decimal(Fraction(side * along, 100))} m"
    prompt = f"How many square tiles with sides of {side} cm cover a floor of {floor}? "
    return _convert(prompt, across * along, "tiles")


def tank(choose: Choices) -> Problem:
    """The volume of a box in litres, or the time that it takes to fill it."""
    a, b = sorted((choose.between(2, 12), choose.between(2, 12)))
    height = 10 * choose.between(3, 25)
    volume = a * b * height * 10
    box = f"A tank measures {a} m by {b} m by {height} cm."
    if choose.below(2):
        return _convert(f"{box} How many L does it hold? ", volume, "L")
    flow = choose.one_of((10, 20, 25, 40, 50))
    prompt = f"{box} Water runs in at {flow} L per minute. How many hours does filling it take? "
    hours = Fraction(volume, 60 * flow)
    if hours.denominator not in (1, 2, 4, 5, 10):
        return _convert(prompt.replace("hours", "minutes"), Fraction(volume, flow), "minutes")
    return _convert(prompt, hours, "hours")


def walking(choose: Choices) -> Problem:
    """Steps a minute, their length, and the way in km."""
    steps, length, minutes = (
        5 * choose.between(12, 30),
        choose.between(50, 90),
        10 * choose.between(2, 30),
    )
    prompt = (
        f"Somebody takes {steps} steps a minute, each {length} cm long. "
        f"How many km are that in {minutes} minutes? "
    )
    return _convert(prompt, Fraction(steps * length * minutes, 100000), "km")


def block(choose: Choices) -> Problem:
    """The mass of a block in kg from its sides in cm and its density in g/cm^3."""
    a, b, c = sorted(choose.between(2, 50) for _ in range(3))
    density = Fraction(choose.between(5, 199), 10)
    prompt = (
        f"A block of {a} cm by {b} cm by {c} cm has a density of {decimal(density)} g/cm^3. "
        "What is its mass in kg? "
    )
    return _convert(prompt, density * a * b * c / 1000, "kg")


def fuel(choose: Choices) -> Problem:
    """Litres for a way, from a use in litres per 100 km and stages in km and m."""
    use, km, m = (
        Fraction(choose.between(30, 120), 10),
        choose.between(10, 400),
        100 * choose.between(1, 9),
    )
    prompt = (
        f"A car uses {decimal(use)} L of fuel per 100 km. How many mL does it use on a way of "
        f"{km} km and {m} m? "
    )
    return _convert(prompt, use * (1000 * km + m) / 100, "mL")


LEVELS = {
    "metric": (metric,),
    "time": (time, mixed_time),
    "imperial": (imperial, mixed_imperial),
    "derived": (area_volume, rate, temperature),
    "hard": (dripping, driving, tiling, tank, walking, block, fuel),
}


@register_task("TextUnits-v0")
class TextUnits(Family):
    """Convert lengths, masses, times, volumes, areas, speeds and temperatures.

    ## Description
    The prompt is a quantity and the unit to convert it to, such as `409 mL = ? L: `, and the
    response the number, `0.409`, exactly. Each prompt says which unit the answer is in.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. A bare answer holds digits and `.`, and a unit if
    it likes. The budget is 24 tokens, eos included, and no reference answer in 20,000 of a level
    has more than 9 characters; give `max_response_tokens` where there is to be reasoning before the
    answer.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. Prompts have up to 20
    characters at the first level and 113 at the longest, without the words of an `answer_format`.

    ## Starting State
    A question of the level, at random, made backwards from its answer where it has to be. The kinds
    of a level are equally likely.

    ## Rewards
    `correct`, weight 1: 1 if the response is the number of the reference answer, alone or with the
    unit that was asked for by any of its names: `0.409 L`, `0.409 litres`. With another unit it is
    wrong, also where the quantity is the same: `409 mL` is the question. The reward comes at the
    end of the episode.

    `format`, weight 0: 1 if the answer stands where `answer_format` wants it.

    ## Episode End
    The episode terminates with eos or after 24 tokens. A response cut off there is graded as it
    stands. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`; `verdict` has the `rule` by which the response was judged.

    ## Arguments
    `difficulty`: a level of the table, the first one unless told otherwise. `answer_format`:
    "bare", "boxed", "hash" or "any"; see `textgym.tasks.math.base.MathTask`.

    ## Difficulties
    Questions are counted by their key, exactly where no `>` says that there are more. Repeats are
    the share of 20,000 draws whose question came before. An inch has 2.54 cm, a gallon 4 quarts, a
    mile 1,760 yards. All answers are exact decimals.

    | level    | questions | repeats | what is asked                                 |
    |----------|-----------|---------|-----------------------------------------------|
    | metric   |    37,980 |  24.2 % | length, mass, volume; neighbouring units      |
    | time     |     5,335 |  77.2 % | weeks to seconds, two units in one            |
    | imperial |     6,733 |  72.1 % | miles to inches, pounds, gallons; cm          |
    | derived  |    33,402 |  37.0 % | areas, volumes, speeds, flows, temperatures   |
    | hard     | > 800,000 |  14.4 % | drips, trains, tiles, tanks, steps, densities |

    An example of each:

    * metric: `409 mL = ? L:`
    * time: `5 minutes 56 seconds = ? seconds:`
    * imperial: `9 yards 2 feet = ? feet:`
    * derived: `72 km/h = ? m/s:`
    * hard: `A tap drips 5 mL every ...`

    ## References
    Saxton et al. 2019, "Analysing Mathematical Reasoning Abilities of Neural Models" (measurement:
    conversion, time).

    ## Version History
    * v0: initial version.
    """

    levels = LEVELS
    difficulties = tuple(LEVELS)
    max_response_tokens = 24

    def verdict(self, problem: Problem, answer: str) -> Verdict:
        """The number decides, unless it has another unit than the one that was asked for."""
        parts = split_quantity(answer)
        if parts is None:
            return Verdict(False, "no literal number")
        number, unit = parts
        if unit and not is_unit(unit, problem.info["unit"]):
            return Verdict(False, "unit")
        return equivalent(problem.answer, number)
