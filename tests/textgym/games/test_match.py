"""A match: who is told what, and what ends it."""

from __future__ import annotations

import pytest

from textgym.games import Kuhn, Match, Nim
from textgym.games.kuhn import KuhnState
from textgym.games.nim import NimState


def nim(*moves: str, heaps: tuple[int, ...] = (5,)) -> Match:
    match = Match(Nim(), NimState(heaps, 3))
    for move in moves:
        match.take(move)
    return match


def test_a_player_is_told_the_rules_once_and_the_position_each_time() -> None:
    match = nim("1", "2", "1")
    first, second = match.transcripts
    rules = "Nim: take 1 to 3, taking the last one wins. "
    assert first == [rules + "5: ", "1", "\n2: ", "1"]
    assert second == [rules + "4: ", "2", "\n1: "]


def test_the_last_move_ends_it_and_what_one_wins_the_other_loses() -> None:
    match = nim("2", "3")
    assert match.is_over and match.forfeiter is None
    assert [match.payoff(player) for player in (0, 1)] == [-1.0, 1.0]
    assert [match.outcome(player) for player in (0, 1)] == ["lost", "won"]
    assert match.transcripts[0][-1] == "2"  # nobody is told anything any more


@pytest.mark.parametrize(
    "text",
    ["", "4", "0", "-1", "03", "3.0", "a1", "1 2", "\u0661", "1\0", "one", "<eos>", "\ud800"],
)
def test_what_is_no_legal_move_loses_at_once(text: str) -> None:
    match = nim("1", text)
    assert match.is_over and match.forfeiter == 1
    assert [match.outcome(player) for player in (0, 1)] == ["won", "illegal move"]
    assert match.payoff(0) == 1.0 == -match.payoff(1)


def test_white_space_around_a_move_is_no_mistake() -> None:
    assert nim(" b2\n", heaps=(3, 4)).state == NimState((3, 2), 3, 1)


def test_a_game_that_goes_on_has_no_payoff() -> None:
    match = nim("1")
    assert not match.is_over and match.payoff(0) == 0.0 and match.outcome(0) == "unfinished"


def test_an_illegal_move_costs_the_highest_stake() -> None:
    match = Match(Kuhn(), KuhnState((1, 2)))
    match.take("fold")
    assert match.payoff(0) == -2.0 and match.payoff(1) == 2.0
