"""TextGuess: how guesses are read and answered, and what the best strategies are worth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.textgym import dialogues
from tests.textgym.playing import play
from textgym import RLEnvironment
from textgym.tasks import TextGuess
from textgym.tasks.dialogue.text_guess import GAMES, compare

TASK = TextGuess()


def problem_at(level: str, seed: int = 0):
    return TASK.sample(np.random.default_rng(seed), level)


def guesses_needed(level: str) -> list[int]:
    """How many guesses the expert takes for each secret of one prompt, by `reply` alone."""
    problem = problem_at(level)
    if GAMES[level].length:
        names = dict(zip("ABCDEF", problem.info["letters"], strict=True))
        secrets = ["".join(map(names.get, code)) for code in dialogues.all_codes(level)]
    else:
        secrets = list(map(str, range(problem.info["low"], problem.info["high"] + 1)))
    counts = []
    for secret in secrets:
        asked = type(problem)(problem.prompt, secret, problem.info)
        expert = dialogues.guess(asked)
        turns = [next(expert)]
        while (reply := TASK.reply(asked, turns)) is not None:
            turns.append(expert.send(reply))
        assert TASK.grade_turns(asked, turns)["correct"] == 1.0
        counts.append(len(turns))
    return counts


@pytest.mark.parametrize(
    ("level", "mean_guesses", "mean_speed"),
    [
        *(("number-15", 3.267, 0.433), ("number-100", 5.8, 0.314), ("number-1000", 8.987, 0.201)),
        *(("code-3", 3.642, 0.472), ("code-4", 4.058, 0.490)),
    ],
)
def test_the_expert_finds_every_secret_as_fast_as_stated(
    level: str, mean_guesses: float, mean_speed: float
) -> None:
    counts, turns = np.array(guesses_needed(level)), GAMES[level].turns
    assert counts.max() <= turns
    assert np.mean(counts) == pytest.approx(mean_guesses, abs=5e-4)
    assert np.mean((turns - counts + 1) / turns) == pytest.approx(mean_speed, abs=5e-4)


@pytest.mark.parametrize("level", ["number-15", "number-100", "number-1000"])
def test_no_strategy_finds_numbers_faster_than_halving(level: str) -> None:
    size = GAMES[level].size
    best = [g for g in range(1, 20) for _ in range(2 ** (g - 1))][:size]
    assert sorted(guesses_needed(level)) == best


def test_right_and_misplaced_letters_are_those_of_the_definition() -> None:
    codes = ["".join(code) for code in itertools.permutations("ABCDE", 3)]
    for guess, secret in itertools.product(codes, codes):
        right = sum(guess[i] == secret[i] for i in range(3))
        common = sum(min(guess.count(c), secret.count(c)) for c in "ABCDE")
        assert compare(guess, secret) == (right, common - right)


def test_guesses_are_answered_until_the_secret_is_found() -> None:
    env = RLEnvironment(TextGuess(), difficulty="number-100", num_problems=5)
    _, info = env.reset(seed=0)
    problem = env.mdp.bank.problem(env.mdp.row(info["difficulty"], info["problem"]))
    secret, low, high = int(problem.answer), problem.info["low"], problem.info["high"]
    assert low < secret < high
    play(env, str(high))
    play(env, f"I think it is {low}.")
    result = play(env, str(secret))
    assert result.info["response"] == f"{high}\nlower\nI think it is {low}.\nhigher\n{secret}"
    assert result.reward == 1.0 and result.info["components"]["speed"] == 5 / 7
    assert result.info["verdict"]["guesses"] == 3


@pytest.mark.parametrize("level", GAMES)
def test_what_could_not_be_the_secret_costs_a_guess(level: str) -> None:
    problem = problem_at(level)
    wrong = ["", "I don't know", "0", "AA", "9" * 10**6, "1 2 3", "é", "٣٧١٢", problem.prompt]
    for turn in wrong:
        assert TASK.reply(problem, [turn]) == f"\nsay {problem.info['wanted']}\n"
        assert len(TASK.reply(problem, [turn])) <= TASK.max_reply_tokens
    turns = GAMES[level].turns
    assert TASK.reply(problem, [""] * turns) is None
    assert TASK.grade_turns(problem, [""] * (turns - 1) + [problem.answer])["correct"] == 1.0
    assert not any(TASK.grade_turns(problem, [""] * turns + [problem.answer]).values())


def test_the_last_of_several_guesses_counts() -> None:
    problem = problem_at("number-15")
    everything = " ".join(map(str, range(problem.info["low"], problem.info["high"] + 1)))
    assert TASK.grade(problem, f"{everything} {problem.answer}")["correct"] == 1.0
    assert TASK.grade(problem, f"{problem.answer} {problem.info['low'] - 1}")["correct"] == 0.0
    code = problem_at("code-3")
    assert TASK.grade(code, f"my guess: {code.answer.lower()}")["correct"] == 1.0
    assert TASK.grade(code, f"{code.answer}{code.answer}")["correct"] == 0.0


def test_a_prompt_leaves_every_secret_possible_and_decides_the_split() -> None:
    rng, secrets, splits = np.random.default_rng(0), {}, {}
    for _ in range(20000):
        problem = TASK.sample(rng, "number-15")
        offset = int(problem.answer) - problem.info["low"]
        secrets[offset] = secrets.get(offset, 0) + 1
        assert splits.setdefault(problem.prompt, problem.split) == problem.split
    assert set(secrets) == set(range(15)) and min(secrets.values()) > 20000 / 15 * 0.85
