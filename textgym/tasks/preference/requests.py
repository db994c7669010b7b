"""Requests at six levels. Each is made together with the points that a perfect response makes.

The number of points is the level's: 4, or 2 at the levels facts and menu.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from string import ascii_lowercase

from textgym.tasks.math.choices import Choices
from textgym.tasks.preference.utility import Request

NAMES = ("Ann", "Bob", "Cleo", "Dan", "Eve", "Finn", "Gil", "Hana", "Ivan", "Joy", "Ken", "Lea")
THINGS = ("hat", "car", "dog", "bag", "cup", "cat", "bed", "coat", "boat", "lamp")
QUALITIES = (
    *("red", "blue", "green", "grey", "old", "new", "big", "tiny"),
    *("cheap", "clean", "heavy", "broken"),
)
FOODS = (
    *("soup", "tea", "pie", "rice", "jam", "milk", "eggs", "oats", "figs", "corn"),
    *("bread", "beans", "cake", "fish", "plums", "salad", "pasta", "cocoa", "cider", "stew"),
)


def letters(choose: Choices) -> Request:
    """The four letters behind a plus: `+k -b +d +x -q -a +m -s:`."""
    drawn = _some(choose, ascii_lowercase, 10)
    wanted, unwanted, others = drawn[:4], drawn[4:8], drawn[8:]
    marked = choose.shuffled([*(f"+{c}" for c in wanted), *(f"-{c}" for c in unwanted)])
    points = [item[1] for item in marked if item[0] == "+"]
    key = f"letters {''.join(sorted(wanted))} {''.join(sorted(unwanted))}"
    return _request(" ".join(marked) + ":", points, [*unwanted, *others], key)


def facts(choose: Choices) -> Request:
    """Two of the things said of one person: `Ann: red hat, old car, ... Ann's car and hat?`."""
    people, things = _some(choose, NAMES, 2), _some(choose, THINGS, 3)
    qualities = _some(choose, QUALITIES, 6)
    told = {
        name: [f"{quality} {thing}" for quality, thing in zip(each, things, strict=True)]
        for name, each in zip(people, (qualities[:3], qualities[3:]), strict=True)
    }
    name, asked = choose.one_of(people), _some(choose, range(3), 2)
    points = [told[name][i] for i in asked]
    wrong = [fact for each in told.values() for fact in each if fact not in points]
    lines = [f"{person}: {', '.join(choose.shuffled(told[person]))}." for person in people]
    text = f"{' '.join(lines)} {name}'s {' and '.join(things[i] for i in asked)}?"
    canonical = [f"{person} {sorted(told[person])}" for person in sorted(people)]
    return _request(text, points, wrong, f"facts {canonical} {name} {sorted(points)}")


def sort(choose: Choices) -> Request:
    """Four numbers in order: `52 17 90 38, smallest first:`."""
    numbers = choose.distinct(8, 10, 99)
    shown, others = numbers[:4], numbers[4:]
    is_rising = choose.below(2) == 0
    points = [str(number) for number in sorted(shown, reverse=not is_rising)]
    end = "smallest first" if is_rising else "largest first"
    text = f"{' '.join(map(str, shown))}, {end}:"
    return _request(text, points, map(str, others), f"sort {points}", ordered=True)


def menu(choose: Choices) -> Request:
    """What of six is hot (or cold) and not dear: `soup hot 4, tea cold 2, ... Hot, up to 5:`."""
    foods, limit = _some(choose, FOODS, 6), choose.between(3, 7)
    kind, other = choose.shuffled(("hot", "cold"))
    low, high = (1, limit), (limit + 1, 9)
    offers = [(kind, low), (kind, low), (kind, high), (other, low), (kind, high), (other, high)]
    priced = [
        (food, temperature, choose.between(*prices))
        for food, (temperature, prices) in zip(foods, offers, strict=True)
    ]
    points, wrong = foods[:2], foods[2:]
    text = f"{_offers(choose.shuffled(priced))}. {kind.title()}, up to {limit}:"
    return _request(text, points, wrong, f"menu {sorted(priced)} {kind} {limit}")


def changes(choose: Choices) -> Request:
    """A list after four changes: `milk, rice, tea, figs. Add eggs. Drop tea. Swap ...`."""
    foods = _some(choose, FOODS, 11)
    items, spare, others = foods[:4], foods[4:7], foods[7:]
    started, said, gone = ", ".join(items), [], []
    for change in choose.shuffled(("add", "drop", "swap", "swap")):
        if change == "add":
            items.append(spare.pop())
            said.append(f"Add {items[-1]}.")
            continue
        place = choose.below(len(items))
        gone.append(items.pop(place))
        said.append(f"Drop {gone[-1]}.")
        if change == "swap":
            items.insert(place, spare.pop())
            said[-1] = f"Swap {gone[-1]} for {items[place]}."
    text = f"{started}. {' '.join(said)} Now:"
    key = f"changes {sorted(started.split(', '))} {said}"
    return _request(text, items, [*gone, *others[:2]], key)


def ranked(choose: Choices) -> Request:
    """What of six is hot (or cold), by price: `soup hot 4, ... Hot, cheapest first:`."""
    foods, prices = _some(choose, FOODS, 8), choose.distinct(6, 1, 20)
    kind, other = choose.shuffled(("hot", "cold"))
    priced = list(zip(foods[:6], [kind] * 4 + [other] * 2, prices, strict=True))
    is_rising = choose.below(2) == 0
    fitting = sorted(priced[:4], key=lambda offer: offer[2], reverse=not is_rising)
    end = "cheapest first" if is_rising else "dearest first"
    text = f"{_offers(choose.shuffled(priced))}. {kind.title()}, {end}:"
    key = f"ranked {sorted(priced)} {kind} {end}"
    return _request(text, [offer[0] for offer in fitting], foods[4:], key, ordered=True)


LEVELS: Mapping[str, Callable[[Choices], Request]] = {
    "letters": letters,
    "facts": facts,
    "sort": sort,
    "menu": menu,
    "changes": changes,
    "ranked": ranked,
}
"""Level -> its generator, easiest first."""


def _request(
    text: str, points: Sequence[str], wrong: Sequence[str], key: str, *, ordered: bool = False
) -> Request:
    return Request(text, tuple(points), tuple(wrong), ordered, key)


def _some(choose: Choices, options: Sequence, count: int) -> list:
    """Different ones of the options, in random order."""
    return [options[i] for i in choose.distinct(count, 0, len(options) - 1)]


def _offers(priced: Sequence[tuple[str, str, int]]) -> str:
    return ", ".join(f"{food} {temperature} {price}" for food, temperature, price in priced)
