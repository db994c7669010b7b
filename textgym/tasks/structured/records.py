"""Facts in a sentence and as JSON: flat records and nested ones, with their schemas."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from textgym.constraints import schema_pattern
from textgym.task import Problem
from textgym.tasks.math.choices import Choices

Schema = Mapping[str, Any]
Draw = Callable[[Choices], tuple[str, dict[str, Any]]]
"""Draws facts: a sentence with them, and the value that has them."""

NAMES = (
    "Ada Alan Anna Boris Clara David Edith Emil Farah Felix Grace Hana Hugo Ines Ivan Jonas Kira "
    "Laura Leo Lina Mara Max Mina Nils Nora Omar Otto Paula Pavel Rosa Ruth Samir Sonia Theo Tomas "
    "Vera Yuki Zoe"
).split()
CITIES = (
    "Accra Athens Berlin Bogota Cairo Dakar Dublin Geneva Hanoi Havana Kyoto Lagos Lima Lisbon "
    "London Madrid Manila Milan Nairobi Oslo Paris Porto Prague Quito Riga Rome Seoul Sofia Sydney "
    "Tallinn Tokyo Tunis Turin Vienna Vilnius Warsaw"
).split()
THINGS = (
    "apples bags bells books boxes bowls caps chairs clocks coats cups desks drums forks hats keys "
    "kites knives lamps lemons maps mugs nails pans pears pens plates ropes scarves shirts shoes "
    "spoons stools tables tents towels vases"
).split()


def text(longest: int = 12) -> Schema:
    """A string of at least one character."""
    return {"type": "string", "minLength": 1, "maxLength": longest}


def integer(low: int, high: int) -> Schema:
    """A whole number between two."""
    return {"type": "integer", "minimum": low, "maximum": high}


def record(**properties: Schema) -> Schema:
    """An object with exactly these members."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def listed(items: Schema, most: int) -> Schema:
    """An array of at least one item."""
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}


BOOLEAN: Schema = {"type": "boolean"}


def described(schema: Schema) -> str:
    """A schema of those made here in few characters.

    As in `{"name":text(1..12),"ages":[0..120, 1 to 3]}`.
    """
    if isinstance(schema["type"], list):
        return "|".join(described({**schema, "type": name}) for name in schema["type"])
    if schema["type"] == "object":
        members = [f'"{name}":{described(value)}' for name, value in schema["properties"].items()]
        return "{" + ",".join(members) + "}"
    if schema["type"] == "array":
        return f"[{described(schema['items'])}, {schema['minItems']} to {schema['maxItems']}]"
    if schema["type"] == "integer":
        return f"{schema['minimum']}..{schema['maximum']}"
    if schema["type"] == "string":
        return f"text({schema['minLength']}..{schema['maxLength']})"
    return {"boolean": "true|false", "null": "null"}[schema["type"]]


def person(choose: Choices) -> tuple[str, dict[str, Any]]:
    """Ada is 36 and lives in Rome."""
    name, age, city = choose.one_of(NAMES), choose.between(1, 99), choose.one_of(CITIES)
    sentence = choose.one_of(
        (f"{name} is {age} and lives in {city}.", f"In {city} lives {name}, aged {age}.")
    )
    return sentence, {"name": name, "age": age, "city": city}


def stock(choose: Choices) -> tuple[str, dict[str, Any]]:
    """There are 17 lamps at 42 dollars each."""
    item, count, price = choose.one_of(THINGS), choose.between(2, 999), choose.between(2, 99)
    sentence = choose.one_of(
        (
            f"There are {count} {item} at {price} dollars each.",
            f"At {price} dollars each, {count} {item} are left.",
        )
    )
    return sentence, {"item": item, "count": count, "price": price}


def weather(choose: Choices) -> tuple[str, dict[str, Any]]:
    """It is -3 degrees in Oslo, and it rains."""
    city, degrees = choose.one_of(CITIES), choose.between(-30, 45)
    rain, day = bool(choose.below(2)), choose.between(1, 30)
    rest = "it rains" if rain else "it is dry"
    return (
        f"On day {day}, it is {degrees} degrees in {city}, and {rest}.",
        {"city": city, "day": day, "degrees": degrees, "rain": rain},
    )


def journey(choose: Choices) -> tuple[str, dict[str, Any]]:
    """From Oslo, the train to Rome takes 31 hours."""
    start, end = choose.shuffled(CITIES)[:2]
    hours = choose.between(2, 48)
    sentence = choose.one_of(
        (
            f"The train from {start} to {end} takes {hours} hours.",
            f"To {end} it is {hours} hours by train from {start}.",
        )
    )
    return sentence, {"from": start, "to": end, "hours": hours}


def order(choose: Choices) -> tuple[str, dict[str, Any]]:
    """Ada orders 3 pens and 12 cups and pays later."""
    name, paid = choose.one_of(NAMES), bool(choose.below(2))
    things = choose.shuffled(THINGS)[: choose.between(1, 3)]
    items = [{"item": thing, "count": choose.between(2, 99)} for thing in things]
    goods = [f"{entry['count']} {entry['item']}" for entry in items]
    all_of_it = f"{', '.join(goods[:-1])} and {goods[-1]}" if len(goods) > 1 else goods[0]
    return (
        f"{name} orders {all_of_it} and {'has paid' if paid else 'pays later'}.",
        {"name": name, "items": items, "paid": paid},
    )


def flight(choose: Choices) -> tuple[str, dict[str, Any]]:
    """Flight 417 leaves Oslo at 7 and lands in Rome at 10."""
    number, (start, end) = choose.between(100, 999), choose.shuffled(CITIES)[:2]
    hour, hours = choose.below(18), choose.between(1, 5)
    sentence = choose.one_of(
        (
            f"Flight {number} leaves {start} at {hour} and lands in {end} at {hour + hours}.",
            f"Landing in {end} at {hour + hours}, flight {number} starts in {start} at {hour}.",
        )
    )
    ends = {"city": start, "hour": hour}, {"city": end, "hour": hour + hours}
    return sentence, {"flight": number, "from": ends[0], "to": ends[1]}


def game(choose: Choices) -> tuple[str, dict[str, Any]]:
    """Oslo beats Rome by 3 to 1: the winner has to be found, and may be nobody."""
    home, away = choose.shuffled(CITIES)[:2]
    goals = choose.below(10), choose.below(10)
    winner = None if goals[0] == goals[1] else home if goals[0] > goals[1] else away
    teams = [{"team": team, "goals": n} for team, n in zip((home, away), goals, strict=True)]
    return (
        f"{home} plays {away}, and it ends {goals[0]} to {goals[1]}.",
        {"teams": teams, "winner": winner},
    )


KINDS: Mapping[str, tuple[tuple[Schema, Draw], ...]] = {
    "record": (
        (record(name=text(), age=integer(0, 120), city=text()), person),
        (record(item=text(), count=integer(0, 999), price=integer(0, 999)), stock),
        (
            record(city=text(), day=integer(1, 31), degrees=integer(-99, 99), rain=BOOLEAN),
            weather,
        ),
        (record(**{"from": text(), "to": text(), "hours": integer(0, 99)}), journey),
    ),
    "nested": (
        (
            record(
                name=text(),
                items=listed(record(item=text(), count=integer(1, 99)), 3),
                paid=BOOLEAN,
            ),
            order,
        ),
        (
            record(
                flight=integer(100, 999),
                **{end: record(city=text(), hour=integer(0, 23)) for end in ("from", "to")},
            ),
            flight,
        ),
        (
            record(
                teams=listed(record(team=text(), goals=integer(0, 99)), 2),
                winner={**text(), "type": ["string", "null"]},
            ),
            game,
        ),
    ),
}


def ask_record(choose: Choices) -> Problem:
    """Facts in a sentence, to be written as a flat object."""
    return _ask(choose, "record")


def ask_nested(choose: Choices) -> Problem:
    """Facts in a sentence, to be written as objects and arrays in one another."""
    return _ask(choose, "nested")


def _ask(choose: Choices, level: str) -> Problem:
    position = choose.below(len(KINDS[level]))
    schema, draw = KINDS[level][position]
    sentence, value = draw(choose)
    answer = json.dumps(value, separators=(",", ":"))
    prompt = f"{sentence} As JSON {described(schema)}: "
    # The answer is the key: a record in two wordings is one problem.
    return Problem(prompt, answer, info=_form(level, position), key=answer)


@cache
def _form(level: str, position: int) -> Mapping[str, Any]:
    schema = KINDS[level][position][0]
    return {"pattern": schema_pattern(schema), "schema": schema}
