"""TextNim: a game of one against an opponent, in every form of the environment."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest

import textgym
from tests.textgym.games.race import Race
from tests.textgym.playing import EOS, assert_same, play, problem_of
from textgym import Problem
from textgym.checking.report import difference
from textgym.games import GameTask, Match, Nim, TextNim
from textgym.games.nim import LEVELS, NimState

NIM = Nim()


def question(*heaps: int, limit: int = 3, seed: int = 0) -> Problem:
    state = NimState(heaps, limit)
    prompt = Match(NIM, state).transcripts[0][0]
    return Problem(prompt, info={"state": state, "seed": seed})


def outcome(task: TextNim, problem: Problem, choose: Callable[[NimState], str]) -> float:
    """Play a game through `reply`, as an environment does, and grade it."""
    turns: list[str] = []
    reply: str | None = ""
    while reply is not None:
        turns.append(choose(task.play([problem], [turns])[0].state))
        reply = task.reply(problem, turns)
    return task.grade_turns(problem, turns)["correct"]


def best(state: NimState) -> str:
    return next(iter(NIM.optimal(state)))


@pytest.mark.parametrize("opponent", ["random", "optimal", "mixed:0.5"])
@pytest.mark.parametrize("level", LEVELS)
def test_best_play_wins_every_game(level: str, opponent: str) -> None:
    task, rng = TextNim(opponent), np.random.default_rng(0)
    assert all(outcome(task, task.sample(rng, level), best) for _ in range(15))


@pytest.mark.parametrize(("opponent", "stated"), [("random", 0.504), ("mixed:0.5", 0.278)])
def test_random_moves_win_as_often_as_the_table_says(opponent: str, stated: float) -> None:
    task, rng, num_wins = TextNim(opponent), np.random.default_rng(0), 0
    for seed in range(2000):
        match = Match(NIM, NIM.initial(rng, "one"))
        while not match.is_over:
            is_ours, moves = match.player == 0, NIM.moves(match.state)
            match.take(rng.choice(moves) if is_ours else task.opponent.moves([match], [seed])[0])
        num_wins += match.payoff(0) > 0
    assert abs(num_wins / 2000 - stated) < 4 * (stated * (1 - stated) / 2000) ** 0.5


def test_a_game_as_the_environment_plays_it() -> None:
    env = gym.make("TextNim-v0", opponent=lambda transcripts: ["1"] * len(transcripts))
    env.reset(seed=0)
    env.unwrapped.mdp.bank._problems[env.unwrapped._row] = question(6, limit=3)
    result = play(env, "1")  # 6 -> 5, and the opponent leaves 4
    assert not result.terminated and result.reward == 0
    text = env.unwrapped.tokenizer.decode(result.observation[: result.info["length"]].tolist())
    assert text.endswith("1<eos>\n4: ")
    assert not play(env, "1").terminated  # 3, and 2
    result = play(env, "2")
    assert result.terminated and result.reward == 1.0 and result.info["stop_reason"] == "task"
    assert result.info["verdict"] == {"outcome": "won", "turns": 3}
    assert result.info["components"] == {"correct": 1.0, "legal": 1.0}
    said = result.observation[result.info["response_mask"]].tolist()
    assert env.unwrapped.tokenizer.decode(said) == "1<eos>1<eos>2<eos>"


@pytest.mark.parametrize(
    ("turns", "expected", "correct", "legal"),
    [
        *((("1", "4"), "illegal move", 0.0, 0.5), (("",), "illegal move", 0.0, 0.0)),
        *((("3", "2"), "lost", 0.0, 1.0), (("1",), "unfinished", 0.0, 1.0)),
        (("9" * 10**6,), "illegal move", 0.0, 0.0),
    ],
)
def test_what_is_not_won_earns_nothing(
    turns: tuple[str, ...], expected: str, correct: float, legal: float
) -> None:
    """From 9, against somebody who always takes one."""
    task = TextNim(lambda transcripts: ["1"] * len(transcripts))
    problem = question(9)
    if expected == "lost":
        problem = question(7)  # 7, 3 left, 3, 2, 1 left for the opponent
    grade = task.grade_turns(problem, turns)
    assert dict(grade) == {"correct": correct, "legal": legal}
    assert grade.facts == {"outcome": expected, "turns": len(turns)}


def test_an_opponent_without_a_legal_move_loses() -> None:
    task = TextNim(lambda transcripts: ["I resign."] * len(transcripts))
    assert task.reply(question(9), ["1"]) is None
    assert task.grade_turns(question(9), ["1"])["correct"] == 1.0


def test_a_function_is_asked_once_a_step_for_all_games_that_wait() -> None:
    sizes = []

    def respond(transcripts: list[tuple[str, ...]]) -> list[str]:
        sizes.append(len(transcripts))
        return ["1"] * len(transcripts)

    envs = gym.make_vec("TextNim-v0", 32, opponent=respond, autoreset_mode="Disabled")
    envs.reset(seed=0)
    one = envs.mdp.vocabulary.encode("1")[0]
    for _ in range(3):
        envs.step(np.full(32, one))
        envs.step(np.full(32, EOS))
    assert len(sizes) == 3 and max(sizes) > 20


def test_the_opponent_sees_games_in_the_form_in_which_the_policy_does() -> None:
    seen: list[tuple[str, ...]] = []

    def respond(transcripts: list[tuple[str, ...]]) -> list[str]:
        seen.extend(transcripts)
        return ["1"] * len(transcripts)

    task, problem = TextNim(respond), question(9)
    match = task.play([problem], [("2", "2")])[0]
    rules = "Nim: take 1 to 3, taking the last one wins. "
    assert seen == [(rules + "7: ",), (rules + "7: ", "1", "\n4: ")]
    assert match.transcripts[0] == [rules + "9: ", "2", "\n6: ", "2", "\n3: "]


def test_native_is_sync_against_a_function() -> None:
    def respond(transcripts: list[tuple[str, ...]]) -> list[str]:
        return [str(1 + len("".join(t)) % 3) for t in transcripts]

    kinds = [gym.make_vec("TextNim-v0", 4, mode, opponent=respond) for mode in (None, "sync")]
    tokens = [*kinds[0].mdp.vocabulary.encode("123"), EOS, EOS]
    rng = np.random.default_rng(0)
    assert_same(*[envs.reset(seed=1) for envs in kinds])
    for _ in range(60):
        actions = rng.choice(tokens, size=4)
        assert_same(*[envs.step(actions) for envs in kinds])


def test_one_prompt_meets_different_opponents() -> None:
    task = TextNim("random")
    replies = {task.reply(question(25, seed=seed), ["1"]) for seed in range(40)}
    assert replies == {"\n23: ", "\n22: ", "\n21: "}


def test_heaps_in_another_order_are_the_same_question() -> None:
    task = TextNim()
    assert task.key(NimState((3, 5), 4)) == task.key(NimState((5, 3), 4))
    assert task.key(NimState((3, 5), 4)) != task.key(NimState((3, 5), 6))


def test_wrong_opponents_are_refused_by_make() -> None:
    with pytest.raises(ValueError, match="opponent is 'best'"):
        gym.make("TextNim-v0", opponent="best")
    with pytest.raises(ValueError, match="no difficulty 'five'"):
        gym.make("TextNim-v0", difficulty="five")


def test_the_contract_holds_against_each_kind_of_opponent() -> None:
    for opponent in ("optimal", "mixed:0.3", respond_one):
        report = textgym.check_task(TextNim(opponent), num_problems=60)
        assert report.ok and not report.of("warning"), str(report)
    report = textgym.check_env("TextNim-v0", num_steps=60, opponent="optimal", difficulty="three")
    assert report.ok and not report.of("warning"), str(report)


def respond_one(transcripts: list[tuple[str, ...]]) -> list[str]:
    return ["1"] * len(transcripts)


class TextRace(GameTask):
    """A game of one's own as a task."""

    game = Race()
    max_turns, max_reply_tokens, max_response_tokens = Race.max_turns, Race.max_reply + 1, 24


def test_a_game_of_ones_own_is_a_task() -> None:
    task = TextRace("optimal")
    problem = task.sample(np.random.default_rng(0))
    assert problem.prompt == "Add 1 or 2; who says 10 wins. 0: "
    turns = ["1", "4", "7", "10"]
    assert task.grade_turns(problem, turns)["correct"] == 1.0
    assert task.grade_turns(problem, ["2", "4", "7", "10"])["correct"] == 0.0
    env = textgym.RLEnvironment(task)
    first = env.reset(seed=0, options={"problem": 0})
    assert not difference(first, env.reset(seed=0, options={"problem": 0}), "reset")
    assert problem_of(env, first[1]).prompt == problem.prompt
