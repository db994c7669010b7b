"""Requests, drafts and utilities: what is asked for, what a response is worth, by other means."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import numpy as np
import pytest

from textgym.tasks.math.choices import Choices
from textgym.tasks.preference import drafts
from textgym.tasks.preference.requests import LEVELS
from textgym.tasks.preference.utility import MAX_ITEMS, Features, Request, features_of

NUM_POINTS = {"letters": 4, "facts": 2, "sort": 4, "menu": 2, "changes": 4, "ranked": 4}


def requests(level: str, count: int, seed: int = 0) -> list[Request]:
    rng = np.random.default_rng(seed)
    return [LEVELS[level](Choices(rng)) for _ in range(count)]


def abcd(*, ordered: bool) -> Request:
    return Request("?", ("a", "b", "c", "d"), ("w", "x", "y", "z"), ordered, "?")


# ------------------------------------------------------------------- requests


def solve_letters(prompt: str) -> list[str]:
    return re.findall(r"\+(\w)", prompt)


def solve_facts(prompt: str) -> list[str]:
    name, first, second = re.search(r"(\w+)'s (\w+) and (\w+)\?$", prompt).groups()
    (told,) = re.findall(rf"{name}: ([^.]*)\.", prompt)
    return [re.search(rf"\w+ {thing}\b", told)[0] for thing in (first, second)]


def solve_sort(prompt: str) -> list[str]:
    numbers = sorted(map(int, re.findall(r"\d+", prompt)))
    return [str(n) for n in (numbers if "smallest" in prompt else numbers[::-1])]


def offers(prompt: str) -> list[tuple[str, str, int]]:
    return [(f, t, int(p)) for f, t, p in re.findall(r"(\w+) (hot|cold) (\d+)", prompt)]


def solve_menu(prompt: str) -> list[str]:
    kind, limit = re.search(r"(Hot|Cold), up to (\d):$", prompt).groups()
    return [f for f, t, price in offers(prompt) if t == kind.lower() and price <= int(limit)]


def solve_ranked(prompt: str) -> list[str]:
    kind, order = re.search(r"(Hot|Cold), (cheapest|dearest) first:$", prompt).groups()
    fitting = [offer for offer in offers(prompt) if offer[1] == kind.lower()]
    fitting.sort(key=lambda offer: offer[2] if order == "cheapest" else -offer[2])
    return [food for food, _, _ in fitting]


def solve_changes(prompt: str) -> list[str]:
    items, *steps = prompt.removesuffix(". Now:").split(". ")
    items = set(items.split(", "))
    for step in steps:
        words = step.split()
        if words[0] != "Add":
            items.remove(words[1])
        if words[0] != "Drop":
            items.add(words[-1])
    return sorted(items)


SOLVERS: dict[str, Callable[[str], list[str]]] = {
    "letters": solve_letters,
    "facts": solve_facts,
    "sort": solve_sort,
    "menu": solve_menu,
    "changes": solve_changes,
    "ranked": solve_ranked,
}


@pytest.mark.parametrize("level", LEVELS)
def test_the_points_are_what_the_prompt_asks_for(level: str) -> None:
    for request in requests(level, 150):
        solution = SOLVERS[level](request.prompt)
        assert features_of(request, ", ".join(solution)).utility == 1.0, request
        assert len(request.points) == len(set(request.points)) == NUM_POINTS[level]
        assert len(set(request.wrong)) == len(request.wrong) >= NUM_POINTS[level]
        assert not set(request.wrong) & set(request.points)
        assert len(request.prompt) <= 109


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_has_thousands_of_requests_and_one_key_one_question(level: str) -> None:
    drawn = requests(level, 2100)
    points = {}
    for request in drawn:
        known = points.setdefault(request.key, request)
        assert sorted(known.points) == sorted(request.points)
    assert len(points) >= 2050


def test_every_kind_of_near_miss_is_on_the_menu() -> None:
    for request in requests("menu", 50):
        kind, limit = re.search(r"(Hot|Cold), up to (\d):$", request.prompt).groups()
        misses = {
            (t == kind.lower(), price <= int(limit))
            for food, t, price in offers(request.prompt)
            if food not in request.points
        }
        assert misses == {(True, False), (False, True), (False, False)}


# -------------------------------------------------------------------- utility


@pytest.mark.parametrize(
    ("response", "covered", "false"),
    [
        ("a, b, c, d", 1, 0),
        ("d,c,b,a", 1, 0),
        ("A;  b\nc and d.", 1, 0),
        ("- a\n- b\n- c\n- d\n", 1, 0),
        ("a, b", 1 / 2, 0),
        ("a, b, x, y", 1 / 2, 1 / 2),
        ("a, b, c, d, x, y, z, w", 1, 1 / 2),
        ("a, a, a", 1 / 4, 2 / 3),
        ("a b c d", 0, 1),
        ("x", 0, 1),
        ("", 0, 0),
        (" , ;\n ... and", 0, 0),
    ],
)
def test_features_by_hand(response: str, covered: float, false: float) -> None:
    features = features_of(abcd(ordered=False), response)
    assert features == pytest.approx(Features(covered, false))
    assert features.utility == pytest.approx(covered - false)


def test_order_counts_where_it_is_asked_for() -> None:
    request = abcd(ordered=True)
    assert features_of(request, "a, b, c, d").utility == 1
    assert features_of(request, "b, a, c, d") == (3 / 4, 1 / 4)
    assert features_of(request, "d, c, b, a") == (1 / 4, 3 / 4)


def test_points_in_order_are_counted_as_by_trying_all_subsequences() -> None:
    request, rng = abcd(ordered=True), np.random.default_rng(0)
    for _ in range(200):
        items = rng.choice(list("abcdx"), size=rng.integers(1, 7)).tolist()
        made = max(
            len(kept)
            for length in range(len(items) + 1)
            for kept in itertools.combinations(items, length)
            if "".join(kept)
            in {"".join(c) for n in range(5) for c in itertools.combinations("abcd", n)}
        )
        assert features_of(request, ",".join(items)).covered == made / 4


def test_items_behind_the_last_that_is_looked_at_count_as_false() -> None:
    request = abcd(ordered=False)
    text = ",".join(["x"] * MAX_ITEMS + list("abcd"))
    assert features_of(request, text) == (0.0, 1.0)
    assert features_of(request, "a" * 10**6) == (0.0, 1.0)


# --------------------------------------------------------------------- drafts


@pytest.mark.parametrize("level", LEVELS)
def test_a_draft_has_the_quality_that_it_is_written_with(level: str) -> None:
    rng = np.random.default_rng(1)
    num_points = NUM_POINTS[level]
    for request in requests(level, 10):
        for quality in {*drafts.qualities(num_points), *drafts.reference_qualities(num_points)}:
            text = drafts.write(request, quality, Choices(rng))
            made, false = quality
            expected = Features(made / num_points, 1 - made / (made + false))
            assert features_of(request, text) == expected, (request, quality, text)


def test_points_in_the_wrong_place_are_among_the_mistakes() -> None:
    rng, num_misplaced = np.random.default_rng(0), 0
    for request in requests("sort", 100):
        items = drafts.write(request, (3, 1), Choices(rng)).split(", ")
        num_misplaced += sorted(items) == sorted(request.points)
    assert 5 < num_misplaced < 50


@pytest.mark.parametrize("level", LEVELS)
def test_two_drafts_are_never_worth_the_same(level: str) -> None:
    rng = np.random.default_rng(2)
    for request in requests(level, 200):
        first, second = (features_of(request, text) for text in _pair(request, rng))
        assert first.utility != second.utility


def _pair(request: Request, rng: np.random.Generator) -> tuple[str, str]:
    return drafts.write_pair(request, Choices(rng))


def test_pairs_are_of_graded_quality() -> None:
    rng = np.random.default_rng(3)
    gaps = []
    for request in requests("letters", 2000):
        first, second = (features_of(request, text) for text in _pair(request, rng))
        assert min(first.covered, second.covered) > 0  # no garbage
        gaps.append(round(abs(first.utility - second.utility), 9))
    low, high = np.quantile(gaps, [0.2, 0.8])
    assert len(set(gaps)) > 20 and low < 0.25 and high > 0.7


@pytest.mark.parametrize("level", LEVELS)
def test_the_reference_policy_is_always_worth_a_half(level: str) -> None:
    rng = np.random.default_rng(4)
    texts = [drafts.write_reference(request, Choices(rng)) for request in requests(level, 100)]
    values = {
        features_of(request, text).utility
        for request, text in zip(requests(level, 100), texts, strict=True)
    }
    assert values == {0.5}
    assert len({text.count(",") for text in texts}) > 1  # in more ways than one
