"""A match token by token: masks, ends of turns, and what each player sees."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from tests.textgym.games.race import Race
from tests.textgym.playing import BOS, CHAR, EOS, PAD, UNK
from textgym.games import Kuhn, Nim
from textgym.games.nim import LEVELS
from textgym.games.tokens import TokenMatch


def started(game=None, seed: int = 0, **settings) -> TokenMatch:
    play = TokenMatch(game or Nim(), **settings)
    play.start(np.random.default_rng(seed))
    return play


def say(play: TokenMatch, text: str) -> None:
    for token in [*CHAR.encode(text), EOS]:
        play.step(token)


def text(play: TokenMatch, player: int) -> str:
    return CHAR.decode(play.observe(player)["observation"][: play.lengths[player]].tolist())


def allowed(play: TokenMatch, player: int) -> str:
    return CHAR.decode(np.flatnonzero(play.mask(player)).tolist())


@pytest.mark.parametrize(("game", "level"), [*((Nim(), name) for name in LEVELS), (Kuhn(), None)])
def test_under_masks_random_tokens_make_legal_moves(game, level: str | None) -> None:
    rng, play = np.random.default_rng(0), TokenMatch(game, difficulty=level)
    for _ in range(40):
        play.start(rng)
        while not play.match.is_over:
            play.step(rng.choice(np.flatnonzero(play.mask(play.match.player))))
        assert play.match.forfeiter is None
        assert play.match.payoff(0) == -play.match.payoff(1) != 0


def test_masks_spell_moves() -> None:
    play = started(Race())
    assert allowed(play, 0) == "12"
    say(play, "2"), say(play, "4"), say(play, "6"), say(play, "8")
    assert allowed(play, 0) == "19"
    play.step(CHAR.encode("1")[0])
    assert allowed(play, 0) == "0"
    play.step(CHAR.encode("0")[0])
    assert allowed(play, 0) == "<eos>"


def test_whoever_waits_can_say_eos_alone() -> None:
    play = started()
    assert allowed(play, 1) == "<eos>" != allowed(play, 0)
    say(play, "1")
    assert allowed(play, 0) == "<eos>" != allowed(play, 1)
    say(play, "nonsense"[:1])
    assert allowed(play, 0) == allowed(play, 1) == "<eos>"


def test_a_long_token_may_be_several_characters_of_a_move() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    from transformers import PreTrainedTokenizerFast

    backend = tokenizers.ByteLevelBPETokenizer()
    backend.train_from_iterator(
        ["bet pass"] * 9, vocab_size=400, show_progress=False, special_tokens=["<end>"]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, eos_token="<end>")
    play = started(Kuhn(), tokenizer=tokenizer)
    words = {tokenizer.decode([i]) for i in np.flatnonzero(play.mask(0))}
    assert words == {"b", "be", "bet", "p", "pas"}  # its merges
    rng = np.random.default_rng(0)
    for _ in range(20):
        play.start(rng)
        while not play.match.is_over:
            play.step(rng.choice(np.flatnonzero(play.mask(play.match.player))))
        assert play.match.forfeiter is None


def test_each_player_sees_its_own_side() -> None:
    play = started(Kuhn())
    cards = play.match.state.cards
    rules = "Poker: cards 1 2 3, ante 1, one bet of 1. Say bet or pass. "
    say(play, "pass"), say(play, "bet")
    said = "pass<eos>\nCard {}, said: pass bet: "
    assert text(play, 0) == f"{rules}Card {cards[0]}, said: nothing: " + said.format(cards[0])
    assert text(play, 1) == f"{rules}Card {cards[1]}, said: pass: bet<eos>"
    assert (play.observe(1)["observation"][play.lengths[1] :] == PAD).all()


def test_the_first_player_sees_what_the_single_agent_view_shows() -> None:
    env = gym.make("TextNim-v0", opponent=lambda transcripts: ["1"] * len(transcripts))
    observation, info = env.reset(seed=0)
    play = started()
    play.match.state = env.unwrapped.mdp.bank.problem(env.unwrapped._row).info["state"]
    play.match.transcripts[0].clear()
    play.match._tell()
    play.lengths[0] = 0
    play._tell()
    for _ in range(3):
        assert (
            observation[: info["length"]] == play.observe(0)["observation"][: play.lengths[0]]
        ).all()
        for token in [*CHAR.encode("1"), EOS]:
            observation, *_, info = env.step(token)
        say(play, "1"), say(play, "1")


@pytest.mark.parametrize("token", [PAD, BOS, UNK])
def test_a_special_token_loses_whatever_was_said_before(token: int) -> None:
    play = started()
    play.step(CHAR.encode("1")[0])
    play.step(token)
    assert play.match.outcome(0) == "illegal move" and play.match.payoff(1) == 1.0


def test_a_turn_without_room_for_more_is_a_move_as_it_stands() -> None:
    play = started(max_move_tokens=4)
    before = play.match.state.heaps[0]
    for token in CHAR.encode("  1 "):
        assert play.match.player == 0
        play.step(token)
    assert play.match.player == 1 and play.match.state.heaps[0] == before - 1


def test_the_longest_game_has_room() -> None:
    play = TokenMatch(Race())
    for _ in range(3):
        play.start(np.random.default_rng(0))
        number = 0
        while not play.match.is_over:
            number += 1
            say(play, str(number))
        assert max(play.lengths) <= play.length


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="nim has no difficulty 'five', expected one of"):
        TokenMatch(Nim(), difficulty="five")
    with pytest.raises(ValueError, match="kuhn has one level"):
        TokenMatch(Kuhn(), difficulty="one")
    for value in (2, 0, -1, 3.5, "4", True):
        with pytest.raises(ValueError, match="max_move_tokens is .* at least 3"):
            TokenMatch(Nim(), max_move_tokens=value)


def test_wrong_steps_are_refused() -> None:
    with pytest.raises(gym.error.ResetNeeded):
        TokenMatch(Nim()).step(5)
    play = started()
    for action in (-1, 100, 2.0, "1", None, True):
        with pytest.raises(gym.error.InvalidAction, match="expected a token id from 0 to 99"):
            play.step(action)
    play.step(PAD)
    with pytest.raises(gym.error.ResetNeeded):
        play.step(5)


def test_the_picture_shows_both_sides() -> None:
    play = TokenMatch(Race())
    assert play.render() == ""
    play.start(np.random.default_rng(0))
    say(play, "1")
    play.step(CHAR.encode("3")[0])
    rules = "Add 1 or 2; who says 10 wins. "
    assert play.render() == f"player_0: {rules}0: 1\nplayer_1: {rules}1: 3"


def test_without_pettingzoo_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    for name in ("textgym.games.zoo", "textgym.games.nim_v0"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("textgym.games.nim_v0", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'textgym\[games\]'"):
        from textgym.games import nim_v0  # noqa: F401
