"""What one has to write in a given form: dates, times, colours, sums of money, and the like."""

from __future__ import annotations

from collections.abc import Callable

from textgym.task import Problem
from textgym.tasks.math.choices import Choices

Form = tuple[str, str, Callable[[Choices], tuple[str, str]]]
"""What the form is of, its pattern, and a function that draws something and writes it so."""

MONTHS = (
    "January February March April May June July August September October November December"
).split()
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
COMPASS = {"N": "north", "S": "south", "E": "east", "W": "west"}


def date(choose: Choices) -> tuple[str, str]:
    """7 March 2021: 2021-03-07."""
    year, month, day = choose.between(1900, 2099), choose.between(1, 12), choose.between(1, 28)
    return f"{day} {MONTHS[month - 1]} {year}", f"{year}-{month:02}-{day:02}"


def time(choose: Choices) -> tuple[str, str]:
    """9:05 pm: 21:05."""
    hour, minute = choose.below(24), choose.below(60)
    half = "pm" if hour >= 12 else "am"
    return f"{hour % 12 or 12}:{minute:02} {half}", f"{hour:02}:{minute:02}"


def colour(choose: Choices) -> tuple[str, str]:
    """Red 255, green 0, blue 17: #ff0011."""
    red, green, blue = (choose.below(256) for _ in range(3))
    return f"red {red}, green {green}, blue {blue}", f"#{red:02x}{green:02x}{blue:02x}"


def money(choose: Choices) -> tuple[str, str]:
    """12 dollars and 5 cents: $12.05."""
    dollars, cents = choose.between(1, 9999), choose.between(1, 99)
    return f"{dollars} dollars and {cents} cents", f"${dollars}.{cents:02}"


def duration(choose: Choices) -> tuple[str, str]:
    """2 days, 5 hours and 40 minutes: P2DT5H40M."""
    days, hours, minutes = choose.between(2, 99), choose.between(2, 23), choose.between(2, 59)
    return f"{days} days, {hours} hours and {minutes} minutes", f"P{days}DT{hours}H{minutes}M"


def phone(choose: Choices) -> tuple[str, str]:
    """5550172368: (555) 017-2368."""
    digits = f"{choose.below(10**10):010}"
    return digits, f"({digits[:3]}) {digits[3:6]}-{digits[6:]}"


def place(choose: Choices) -> tuple[str, str]:
    """48 degrees 7 minutes north, 11 degrees 30 minutes east: N48:07 E011:30."""
    along, across = choose.one_of("NS"), choose.one_of("EW")
    a, b, c, d = choose.below(90), choose.below(60), choose.below(180), choose.below(60)
    return (
        f"{a} degrees {b} minutes {COMPASS[along]}, {c} degrees {d} minutes {COMPASS[across]}",
        f"{along}{a:02}:{b:02} {across}{c:03}:{d:02}",
    )


def plate(choose: Choices) -> tuple[str, str]:
    """Letters K, Q, B, number 417: KQB-0417."""
    letters, number = [choose.one_of(LETTERS) for _ in range(3)], choose.below(10_000)
    return f"letters {', '.join(letters)}, number {number}", f"{''.join(letters)}-{number:04}"


FORMS: tuple[Form, ...] = (
    ("year, month and day", "[0-9]{4}-[0-9]{2}-[0-9]{2}", date),
    ("a time of 24 hours", "[0-2][0-9]:[0-5][0-9]", time),
    ("a colour", "#[0-9a-f]{6}", colour),
    ("a price", r"\$[0-9]{1,4}\.[0-9]{2}", money),
    ("a duration", "P[0-9]{1,2}DT[0-9]{1,2}H[0-9]{1,2}M", duration),
    ("a phone number", r"\([0-9]{3}\) [0-9]{3}-[0-9]{4}", phone),
    ("a place", "[NS][0-9]{2}:[0-9]{2} [EW][0-9]{3}:[0-9]{2}", place),
    ("a number plate", "[A-Z]{3}-[0-9]{4}", plate),
)


def ask_form(choose: Choices) -> Problem:
    """Something to be written in the form that a regular expression says."""
    name, pattern, draw = choose.one_of(FORMS)
    facts, answer = draw(choose)
    prompt = f"Write {facts} as {name}, in the form {pattern}: "
    return Problem(prompt, answer, info={"pattern": pattern})
