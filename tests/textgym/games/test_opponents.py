"""Opponents: scripted ones draw as they should, and functions are asked once, for all games."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest

from textgym.games import Match, Nim
from textgym.games import opponents as module
from textgym.games.nim import NimState
from textgym.games.opponents import load_opponent

NIM = Nim()
STATE = NimState((6,), 4)  # only 1 wins


def moves(opponent: str, num_games: int = 4000) -> Counter[str]:
    matches = [Match(NIM, STATE)] * num_games
    return Counter(load_opponent(opponent, NIM).moves(matches, range(num_games)))


@pytest.mark.parametrize(
    ("opponent", "best"),
    [("random", 0.25), ("mixed:0.5", 0.625), ("mixed:0", 0.25), ("optimal", 1)],
)
def test_moves_are_drawn_with_the_strategys_probabilities(opponent: str, best: float) -> None:
    counts = moves(opponent)
    for move in "1234":
        expected = best if move == "1" else (1 - best) / 3
        assert (
            abs(counts[move] / 4000 - expected)
            < 4 * (expected * (1 - expected) / 4000) ** 0.5 + 1e-9
        )


def test_a_move_is_a_function_of_seed_and_game() -> None:
    opponent = load_opponent("random", NIM)
    matches, seeds = [Match(NIM, NimState((20 + i,), 9)) for i in range(9)], list(range(9))
    together = opponent.moves(matches, seeds)
    alone = [opponent.moves([m], [s])[0] for m, s in zip(matches, seeds, strict=True)]
    assert together == alone == pickle.loads(pickle.dumps(opponent)).moves(matches, seeds)


@pytest.mark.parametrize(
    "opponent", ["", "perfect", "mixed", "mixed:", "mixed:2", "mixed:nan", "mixed:x", "random:1"]
)
def test_an_unknown_name_is_refused_with_those_known(opponent: str) -> None:
    with pytest.raises(ValueError, match="expected 'random', 'optimal', or 'mixed:SHARE'"):
        load_opponent(opponent, NIM)


@pytest.mark.parametrize("opponent", [None, 0.3, ["random"], b"random"])
def test_what_is_no_opponent_is_refused(opponent: object) -> None:
    with pytest.raises(
        TypeError, match="expected 'random', 'optimal', 'mixed:SHARE' or a function"
    ):
        load_opponent(opponent, NIM)


def test_a_function_is_asked_about_each_transcript_once() -> None:
    asked = []

    def respond(transcripts: list[tuple[str, ...]]) -> list[str]:
        asked.append(transcripts)
        return ["1"] * len(transcripts)

    opponent = load_opponent(respond, NIM)
    match, other = Match(NIM, STATE), Match(NIM, NimState((7,), 4))
    assert opponent.moves([match, other, match], [1, 2, 3]) == ["1", "1", "1"]
    assert opponent.moves([other], [4]) == ["1"]
    rules = "Nim: take 1 to 4, taking the last one wins. "
    assert asked == [[(rules + "6: ",), (rules + "7: ",)]]


def test_of_answers_only_the_latest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY", 2)
    asked = []
    opponent = load_opponent(lambda texts: asked.extend(texts) or ["1"] * len(texts), NIM)
    matches = [Match(NIM, NimState((n,), 4)) for n in (6, 7, 8)]
    opponent.moves(matches, [0, 0, 0])
    opponent.moves(matches[1:], [0, 0])
    assert len(asked) == 3
    opponent.moves(matches[:1], [0])
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ("1", ValueError),
        ([], ValueError),
        (["1", "2"], ValueError),
        ([1], TypeError),
        ([None], TypeError),
    ],
)
def test_a_function_that_does_not_answer_is_told(answers: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="the opponent"):
        load_opponent(lambda texts: answers, NIM).moves([Match(NIM, STATE)], [0])
