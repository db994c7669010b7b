"""The rules of Nim and Kuhn poker: who wins, what is optimal, what players see."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from textgym.games import Kuhn, Nim, expected_payoff
from textgym.games.kuhn import ENDS, KuhnState
from textgym.games.nim import LEVELS, LIMITS, NimState, nim_sum

NIM, KUHN = Nim(), Kuhn()
DEALS = [KuhnState(cards) for cards in itertools.permutations((1, 2, 3), 2)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ------------------------------------------------------------------ Nim


@cache
def wins(heaps: tuple[int, ...], limit: int) -> bool:
    """By trying everything: whether the player to move can win."""
    return any(not wins(left, limit) for left in after(heaps, limit))


@cache
def after(heaps: tuple[int, ...], limit: int) -> list[tuple[int, ...]]:
    return [
        tuple(sorted((*heaps[:i], heap - taken, *heaps[i + 1 :])))
        for i, heap in enumerate(heaps)
        for taken in range(1, min(heap, limit) + 1)
    ]


@pytest.mark.parametrize(("num_heaps", "most"), [(1, 30), (2, 12), (3, 6)])
def test_the_nim_sum_tells_who_can_win(num_heaps: int, most: int) -> None:
    for limit in range(LIMITS[0], LIMITS[1] + 1):
        for heaps in itertools.combinations_with_replacement(range(most + 1), num_heaps):
            assert bool(nim_sum(NimState(heaps, limit))) == wins(heaps, limit)


def test_a_move_takes_from_the_heap_of_its_letter() -> None:
    state = NimState((5, 7, 1), 3)
    assert NIM.moves(state) == ("a1", "a2", "a3", "b1", "b2", "b3", "c1")
    assert NIM.play(state, "b3") == NimState((5, 4, 1), 3, 1)
    assert NIM.moves(NimState((2,), 3)) == ("1", "2")
    assert NIM.play(NimState((12,), 9), "9") == NimState((3,), 9, 1)


def test_whoever_takes_the_last_object_wins() -> None:
    assert NIM.payoff(NIM.play(NimState((2,), 3, 0), "2")) == 1.0
    assert NIM.payoff(NIM.play(NimState((2,), 3, 1), "2")) == -1.0


def test_optimal_moves_are_all_those_that_win() -> None:
    assert NIM.optimal(NimState((3, 4, 5), 9)) == {"a2": 1.0}  # 3 ^ 4 ^ 5 = 2
    assert NIM.optimal(NimState((13,), 3)) == {"1": 1.0}
    assert set(NIM.optimal(NimState((3, 3), 9))) == {"a1", "a2", "a3", "b1", "b2", "b3"}


@pytest.mark.parametrize("level", LEVELS)
def test_games_begin_where_the_first_player_wins_but_not_at_once(level: str) -> None:
    num_heaps, most = LEVELS[level]
    value = expected_payoff(NIM, NIM.optimal, NIM.random)
    generator = rng()
    for _ in range(40):
        state = NIM.initial(generator, level)
        assert len(state.heaps) == num_heaps and 1 <= min(state.heaps) <= max(state.heaps) <= most
        assert wins(tuple(sorted(state.heaps)), state.limit)
        assert not any(NIM.moves(NIM.play(state, move)) == () for move in NIM.moves(state))
        if num_heaps < 3:
            assert value(state) == pytest.approx(1.0)


def starts(level: str) -> list[NimState]:
    """All states that a level can begin with."""
    num_heaps, most = LEVELS[level]
    every = itertools.product(
        itertools.product(range(1, most + 1), repeat=num_heaps), range(LIMITS[0], LIMITS[1] + 1)
    )
    states = [NimState(heaps, limit) for heaps, limit in every]
    return [s for s in states if nim_sum(s) and (len(s.heaps) > 1 or s.heaps[0] > s.limit)]


def test_texts_have_the_lengths_that_are_stated() -> None:
    states = [state for level in LEVELS for state in starts(level)]
    assert max(len(NIM.rules(s) + NIM.show(s, 0)) for s in states) == NIM.max_prompt
    assert max(len(NIM.show(s, 0)) for s in states) == NIM.max_reply
    assert max(len(move) for s in states for move in NIM.moves(s)[-1:]) == NIM.max_move
    assert max(-(-sum(s.heaps) // 2) for s in states) == NIM.max_turns
    texts = [NIM.show(NIM.play(s, move), 1) for s in starts("two")[::50] for move in NIM.moves(s)]
    assert max(map(len, texts)) <= NIM.max_reply


# ------------------------------------------------------------------ the table in TextNim


def table() -> dict[str, list[str]]:
    from textgym.games import TextNim

    lines = [line.split("|")[1:-1] for line in TextNim.__doc__.splitlines() if "|" in line]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


@cache
def random_wins(heaps: tuple[int, ...], limit: int, share: float, is_ours: bool) -> float:
    """How often random moves win against an opponent that is optimal with probability `share`."""
    moves = after(heaps, limit)
    if not moves:
        return float(not is_ours)
    chances = [random_wins(left, limit, share, not is_ours) for left in moves]
    mean = sum(chances) / len(chances)
    if is_ours or not share:
        return mean
    good = [p for p, left in zip(chances, moves, strict=True) if not wins(left, limit)] or chances
    return share * sum(good) / len(good) + (1 - share) * mean


@pytest.mark.parametrize("level", LEVELS)
def test_the_figures_of_the_levels_are_exact(level: str) -> None:
    questions = Counter((tuple(sorted(s.heaps)), s.limit) for s in starts(level))
    num, *_, against_random, against_mixed, against_optimal = table()[level]
    assert int(num.replace(",", "")) == len(questions)
    for share, stated in ((0.0, against_random), (0.5, against_mixed), (1.0, against_optimal)):
        total = sum(n * random_wins(*question, share, True) for question, n in questions.items())
        assert f"{total / questions.total():.3f}" == stated


def test_expected_payoff_agrees_with_the_recursion_above() -> None:
    value = expected_payoff(NIM, NIM.random, NIM.mixed(0.5))
    for state in starts("two")[::40]:
        share = random_wins(tuple(sorted(state.heaps)), state.limit, 0.5, True)
        assert (1 + value(state)) / 2 == pytest.approx(share)


def test_best_play_wins_every_game() -> None:
    for second in (NIM.optimal, NIM.random, None):
        value = expected_payoff(NIM, None, second)
        assert all(value(state) == pytest.approx(1.0) for state in starts("two")[::20])


# ------------------------------------------------------------------ Kuhn poker


@pytest.mark.parametrize(
    ("said", "higher", "lower"),
    [
        *(("pass pass", 1, -1), ("bet pass", 1, 1), ("bet bet", 2, -2)),
        *(("pass bet pass", -1, -1), ("pass bet bet", 2, -2)),
    ],
)
def test_payoffs_of_poker(said: str, higher: float, lower: float) -> None:
    assert tuple(said.split()) in ENDS
    assert KUHN.payoff(KuhnState((3, 1), tuple(said.split()))) == higher
    assert KUHN.payoff(KuhnState((1, 2), tuple(said.split()))) == lower


def test_equilibrium_play_costs_the_first_player_an_eighteenth() -> None:
    value = expected_payoff(KUHN, KUHN.optimal, KUHN.optimal)
    assert sum(map(value, DEALS)) / 6 == pytest.approx(-1 / 18)


def pure_strategies(player: int):
    """All ways to choose a move by the own card and what was said."""
    heard = [("",), ("", "pass bet")] if player == 0 else None
    situations = list(
        itertools.product(
            (1, 2, 3), ((), ("pass", "bet")) if heard is not None else (("pass",), ("bet",))
        )
    )
    for moves in itertools.product(("pass", "bet"), repeat=len(situations)):
        chosen = dict(zip(situations, moves, strict=True))
        yield lambda state, chosen=chosen, player=player: {
            chosen[state.cards[player], state.said]: 1.0
        }


def test_no_strategy_does_better_against_the_equilibrium() -> None:
    def mean(first, second) -> float:
        return sum(map(expected_payoff(KUHN, first, second), DEALS)) / 6

    best_first = max(mean(strategy, KUHN.optimal) for strategy in pure_strategies(0))
    best_second = min(mean(KUHN.optimal, strategy) for strategy in pure_strategies(1))
    assert best_first == pytest.approx(float(Fraction(-1, 18)))
    assert best_second == pytest.approx(float(Fraction(-1, 18)))


def test_a_player_sees_its_own_card_alone() -> None:
    state = KuhnState((3, 1), ("pass",))
    assert KUHN.show(state, 1) == "Card 1, said: pass: "
    assert KUHN.show(state, 1) == KUHN.show(KuhnState((2, 1), ("pass",)), 1)
    assert KUHN.show(KuhnState((3, 1)), 0) == "Card 3, said: nothing: "


def test_deals_are_all_six_alike() -> None:
    generator = rng()
    dealt = Counter(KUHN.initial(generator) for _ in range(6000))
    assert set(dealt) == set(DEALS) and all(abs(n - 1000) < 4 * 29 for n in dealt.values())
