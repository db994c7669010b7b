"""Stories of one to four steps, out of which word problems are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textgym.tasks.math.choices import Choices

SHORT_NAMES = ("Ann", "Ben", "Cem", "Dan", "Eva", "Fay", "Gus", "Ida", "Jim", "Kim", "Leo", "Mia")
NAMES = (*SHORT_NAMES, "Amira", "Carlos", "Daniel", "Elena", "Hiro", "Lucy", "Nadia", "Pedro")
SHORT_THINGS = ("pens", "nuts", "eggs", "cards", "coins", "cups", "keys")
THINGS = (*SHORT_THINGS, "apples", "stickers", "marbles", "books", "shells", "stamps", "beads")
WARES = ("notebook", "ticket", "cake", "plant", "lamp", "hat", "puzzle", "basket")


@dataclass(frozen=True, slots=True)
class Story:
    """What is told, what is asked, the answer, and a key that names and wordings do not change."""

    facts: tuple[str, ...]
    asked: str
    answer: int
    key: str


Teller = Callable[[Choices], Story]


def _story(facts: tuple[str, ...] | str, asked: str, answer: int, *key: object) -> Story:
    facts = (facts,) if isinstance(facts, str) else facts
    return Story(facts, asked, answer, " ".join(map(str, key)))


# ---------------------------------------------------------------------- one step


def gain(choose: Choices) -> Story:
    """A + b."""
    a, b = choose.between(2, 60), choose.between(2, 60)
    name, thing = choose.one_of(SHORT_NAMES), choose.one_of(SHORT_THINGS)
    return _story(f"{name} has {a} {thing}, gets {b}.", "Total?", a + b, "gain", *sorted((a, b)))


def loss(choose: Choices) -> Story:
    """A - b."""
    b = choose.between(2, 60)
    a = b + choose.between(1, 60)
    name, thing = choose.one_of(SHORT_NAMES), choose.one_of(SHORT_THINGS)
    return _story(f"{name} has {a} {thing}, loses {b}.", "Left?", a - b, "loss", a, b)


def bags(choose: Choices) -> Story:
    """A * b."""
    a, b, thing = choose.between(2, 20), choose.between(2, 20), choose.one_of(SHORT_THINGS)
    return _story(f"{a} bags hold {b} {thing} each.", "Total?", a * b, "bags", *sorted((a, b)))


def shares(choose: Choices) -> Story:
    """Ab / a."""
    a, b, thing = choose.between(2, 20), choose.between(2, 30), choose.one_of(SHORT_THINGS)
    return _story(f"{a} girls share {a * b} {thing}.", "Each gets?", b, "shares", a * b, a)


# --------------------------------------------------------------------- two steps


def boxes(choose: Choices) -> Story:
    """A + b*c."""
    a, b, c = choose.between(2, 60), choose.between(2, 12), choose.between(3, 24)
    name, thing = choose.one_of(NAMES), choose.one_of(THINGS)
    facts = (f"{name} has {a} {thing}.", f"{name} buys {b} boxes with {c} {thing} each.")
    return _story(facts, f"How many {thing} does {name} have now?", a + b * c, "boxes", a, b, c)


def unit_price(choose: Choices) -> Story:
    """The price of c things from that of a."""
    price, ware = choose.between(2, 40), choose.one_of(WARES)
    a, c = choose.distinct(2, 2, 15)
    facts = f"{a} {ware}s cost ${a * price}."
    asked = f"How many dollars do {c} {ware}s cost?"
    return _story(facts, asked, c * price, "unit price", a, a * price, c)


def change(choose: Choices) -> Story:
    """What is left of a banknote."""
    a, price, spare = choose.between(2, 9), choose.between(2, 30), choose.between(1, 60)
    name, ware = choose.one_of(NAMES), choose.one_of(WARES)
    paid = a * price + spare
    facts = (f"{name} buys {a} {ware}s at ${price} each.", f"{name} pays with ${paid}.")
    return _story(facts, "How many dollars of change are due?", spare, "change", a, price, paid)


def give_and_share(choose: Choices) -> Story:
    """(a - b) / k."""
    k, each, b = choose.between(2, 9), choose.between(2, 20), choose.between(2, 30)
    name, thing = choose.one_of(NAMES), choose.one_of(THINGS)
    facts = (
        f"{name} has {k * each + b} {thing} and loses {b} of them.",
        f"The other {thing} are shared equally by {k} children.",
    )
    asked = f"How many {thing} does each child get?"
    return _story(facts, asked, each, "give and share", k * each + b, b, k)


def times_as_many(choose: Choices) -> Story:
    """A + k*a."""
    a, k = choose.between(3, 60), choose.between(2, 9)
    one, other = (NAMES[i] for i in choose.distinct(2, 0, len(NAMES) - 1))
    thing = choose.one_of(THINGS)
    facts = (f"{one} has {a} {thing}.", f"{other} has {k} times as many {thing} as {one}.")
    asked = f"How many {thing} do they have together?"
    return _story(facts, asked, a * (k + 1), "times as many", a, k)


def ages(choose: Choices) -> Story:
    """A - b + c."""
    a, c = choose.between(20, 70), choose.between(2, 30)
    b = choose.between(2, a - 2)
    one, other = (NAMES[i] for i in choose.distinct(2, 0, len(NAMES) - 1))
    facts = (f"{one} is {a} years old.", f"{other} is {b} years younger than {one}.")
    asked = f"How old will {other} be in {c} years?"
    return _story(facts, asked, a - b + c, "ages", a, b, c)


# ------------------------------------------------------------------- three steps


def shopping(choose: Choices) -> Story:
    """What is left after two purchases."""
    a, b = choose.between(2, 8), choose.between(2, 8)
    p, q, left = choose.between(2, 20), choose.between(2, 20), choose.between(1, 60)
    name, (one, other) = choose.one_of(NAMES), [WARES[i] for i in choose.distinct(2, 0, 7)]
    money = a * p + b * q + left
    facts = (
        f"{name} has ${money}.",
        f"{name} buys {a} {one}s at ${p} each and {b} {other}s at ${q} each.",
    )
    pairs = sorted(((a, p), (b, q)))
    return _story(facts, "How many dollars are left?", left, "shopping", money, pairs)


def factory(choose: Choices) -> Story:
    """Rate * hours * days - broken."""
    rate, hours, days = choose.between(5, 40), choose.between(2, 9), choose.between(2, 7)
    broken, thing = choose.between(2, 50), choose.one_of(THINGS)
    made = rate * hours * days
    broken = min(broken, made - 1)
    facts = (
        f"A machine makes {rate} {thing} an hour and runs {hours} hours a day.",
        f"In {days} days {broken} of these {thing} come out broken.",
    )
    asked = f"How many {thing} are not broken after {days} days?"
    return _story(facts, asked, made - broken, "factory", rate, hours, days, broken)


def discount(choose: Choices) -> Story:
    """Things with a discount in percent, and a fee."""
    percent, price = 5 * choose.between(1, 12), 20 * choose.between(1, 12)
    count, fee, ware = choose.between(2, 9), choose.between(2, 25), choose.one_of(WARES)
    facts = (
        f"A {ware} costs ${price}, but today there is a discount of {percent}%.",
        f"Delivery costs ${fee} in all.",
    )
    answer = count * (price - price * percent // 100) + fee
    asked = f"How many dollars do {count} {ware}s cost with delivery?"
    return _story(facts, asked, answer, "discount", price, percent, count, fee)


def fence(choose: Choices) -> Story:
    """The price of a fence around a garden with a gate."""
    a, b, gate, price = (
        choose.between(6, 60),
        choose.between(6, 60),
        choose.between(1, 5),
        choose.between(2, 15),
    )
    facts = (
        f"A rectangular garden is {a} m long and {b} m wide.",
        f"The garden gets a fence all around except for a gate of {gate} m.",
        f"One metre of fence costs ${price}.",
    )
    answer = (2 * (a + b) - gate) * price
    asked = "How many dollars does the fence cost?"
    return _story(facts, asked, answer, "fence", *sorted((a, b)), gate, price)


def filling(choose: Choices) -> Story:
    """How long filling a tank takes, with a leak and some water in it already."""
    leak, net, minutes = choose.between(1, 12), choose.between(2, 20), choose.between(5, 90)
    start = 10 * choose.between(1, 20)
    facts = (
        f"A tank of {start + net * minutes} litres holds {start} litres.",
        f"A pump adds {net + leak} litres a minute to it, a leak loses {leak} litres a minute.",
    )
    asked = "After how many minutes is the tank full?"
    key = (start + net * minutes, start, net + leak, leak)
    return _story(facts, asked, minutes, "filling", *key)


def chain(choose: Choices, length: int = 3) -> Story:
    """Things that come and go, one event a step."""
    name, thing, now = choose.one_of(NAMES), choose.one_of(THINGS), choose.between(6, 60)
    facts, key = [f"{name} has {now} {thing}."], [str(now)]
    for _ in range(length):
        divisors = [k for k in (2, 3, 4, 5) if now % k == 0]
        kinds = "+" + "-" * (now > 3) + "*" * (now <= 200) + "/" * (now > 5 and bool(divisors))
        kind = choose.one_of(kinds)
        if kind == "+":
            n = choose.between(2, 50)
            now += n
            facts.append(
                choose.one_of(
                    (f"Then {name} finds {n} more {thing}.", f"A friend adds {n} {thing}.")
                )
            )
        elif kind == "-":
            n = choose.between(2, now - 1)
            now -= n
            facts.append(
                choose.one_of(
                    (f"Then {name} gives {n} {thing} away.", f"After that {n} {thing} get lost.")
                )
            )
        elif kind == "*":
            n = choose.between(2, 4)
            now *= n
            facts.append(f"The next day {name} has {n} times as many {thing} as before.")
        else:
            n = choose.one_of(divisors)
            now //= n
            facts.append(
                f"{name} shares all the {thing} equally with {sharers(n)} and keeps a part."
            )
        key.append(f"{kind}{n}")
    return _story(
        tuple(facts), f"How many {thing} does {name} have in the end?", now, "chain", *key
    )


def sharers(parts: int) -> str:
    """Whom somebody shares with so that there are so many parts."""
    return "one friend" if parts == 2 else f"{('two', 'three', 'four')[parts - 3]} friends"


# -------------------------------------------------------------------- four steps


def long_chain(choose: Choices) -> Story:
    """Four or five events."""
    return chain(choose, choose.between(4, 5))


def backwards(choose: Choices) -> Story:
    """How many there were at first, from what is left after some events."""
    name, thing = choose.one_of(NAMES), choose.one_of(THINGS)
    left, b, d, k = (
        choose.between(2, 30),
        choose.between(2, 30),
        choose.between(2, 30),
        choose.between(2, 5),
    )
    kept = (left + d) * k
    facts = (
        f"{name} gives {b} {thing} to a brother.",
        f"Then {name} shares the other {thing} equally with {sharers(k)} and keeps a part.",
        f"Of the part that {name} keeps, {d} get lost, and {left} remain.",
    )
    asked = f"How many {thing} did {name} have at first?"
    return _story(facts, asked, kept + b, "backwards", b, k, d, left)


def legs(choose: Choices) -> Story:
    """Heads and legs."""
    hens, cows = choose.between(3, 60), choose.between(3, 60)
    two, four = choose.one_of((("hens", "cows"), ("ducks", "sheep"), ("geese", "goats")))
    heads, legs = hens + cows, 2 * hens + 4 * cows
    facts = f"A farm has {two} and {four} with {heads} heads and {legs} legs in all."
    return _story(facts, f"How many {four} are there?", cows, "legs", hens, cows)


def age_ratio(choose: Choices) -> Story:
    """Ages now, from a multiple now and another in some years."""
    later, k = choose.between(2, 4), choose.between(1, 5)
    now = later + k
    # now*x + t = later*(x + t), so x = t*(later - 1)/k: a whole number for t = k*n.
    n = choose.between(2, 9)
    t, x = k * n, (later - 1) * n
    one, other = (NAMES[i] for i in choose.distinct(2, 0, len(NAMES) - 1))
    facts = (
        f"{one} is {now} times as old as {other}.",
        f"In {t} years {one} will be {later} times as old as {other}.",
    )
    return _story(facts, f"How old is {one} now?", now * x, "age ratio", now, t, later)


def meeting(choose: Choices) -> Story:
    """Where two that travel towards each other meet, the second one starting later."""
    u, v = choose.between(20, 90), choose.between(20, 90)
    alone, together = choose.between(1, 3), choose.between(2, 8)
    distance = u * (alone + together) + v * together
    facts = (
        f"Two towns are {distance} km apart.",
        f"A car leaves the first one at {u} km/h.",
        f"{alone} h after that car, another one leaves the second town towards it at {v} km/h.",
    )
    asked = "How many km from the first town do they meet?"
    return _story(facts, asked, u * (alone + together), "meeting", distance, u, alone, v)


def average(choose: Choices) -> Story:
    """The last score, from two averages and one score that is known."""
    n, first = choose.between(3, 9), choose.between(50, 90)
    known, more = choose.between(30, 80), choose.between(1, 5)
    last = (n + 2) * (first + more) - n * first - known
    name = choose.one_of(NAMES)
    facts = (
        f"{name} has an average of {first} points in {n} games.",
        f"After two more games, the first of them with {known} points, it is {first + more}.",
    )
    asked = f"How many points does {name} get in the last game?"
    return _story(facts, asked, last, "average", n, first, known, more)


def workers(choose: Choices) -> Story:
    """What another crew packs in another time, less what is set aside."""
    a, b = choose.distinct(2, 2, 15)
    speed, hours, longer = choose.between(2, 9), choose.between(2, 9), choose.between(2, 9)
    packed, thing = b * speed * longer, choose.one_of(THINGS)
    aside = choose.between(1, min(20, packed - 1))
    facts = (
        f"{a} workers pack {a * speed * hours} {thing} in {hours} hours, all at the same speed.",
        f"{b} such workers pack {thing} for {longer} hours and set {aside} of them aside.",
    )
    key = (a, a * speed * hours, hours, b, longer, aside)
    asked = f"How many of their packed {thing} are not set aside?"
    return _story(facts, asked, packed - aside, "workers", *key)


LEVELS: dict[str, tuple[Teller, ...]] = {
    "one-step": (gain, loss, bags, shares),
    "two-step": (boxes, unit_price, change, give_and_share, times_as_many, ages),
    "three-step": (shopping, factory, discount, fence, filling, chain),
    "four-step": (long_chain, backwards, legs, age_ratio, meeting, average, workers),
}
LEVELS["distractors"] = LEVELS["two-step"] + LEVELS["three-step"] + LEVELS["four-step"]
