"""python -m textgym, as a person uses it: each test is one run of the program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import textgym

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = "tests.textgym.sample_tasks"


def run(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-m", "textgym", *arguments],
        cwd=ROOT,
        env=environment,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_list_shows_the_built_in_ids_their_levels_and_rewards() -> None:
    result = run("list")
    assert result.returncode == 0, result.stderr
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["id", "what", "tokens", "rewards", "levels"]
    row = next(row for row in rows if row.split()[0] == "TextMath-v0")
    assert "Answer a question of arithmetic" in row and "correct 1, format 0" in row
    assert row.endswith(", ".join(textgym.tasks.TextMath.difficulties))


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_tells_the_commands(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode == 0
    for command in ("list", "play", "check"):
        assert f"\n    {command} " in result.stdout
    assert "python -m textgym play TextMath-v0" in result.stdout


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("play", ["--difficulty", "--split", "--seed", "--episodes"]),
        ("check", ["--problems", "--seed"]),
    ],
)
def test_help_tells_the_options(command: str, options: list[str]) -> None:
    result = run(command, "--help")
    assert result.returncode == 0 and all(option in result.stdout for option in options)


def test_play_pays_right_answers_and_tells_the_reference_answer() -> None:
    env = textgym.RLEnvironment(textgym.load_task("TextMath-v0"), difficulty="digit")
    answers = []
    for seed in (5, None):
        _, info = env.reset(seed=seed)
        answers.append(env.mdp.bank.problem(env.mdp.row(0, info["problem"])))
    right, wrong = answers[0].answer, "99"
    result = run(
        *("play", "TextMath-v0", "--difficulty", "digit", "--seed", "5", "--episodes", "2"),
        typed=f"{right}\n{wrong}\n",
    )
    assert result.returncode == 0, result.stderr
    first, second, score = result.stdout.split("\n\n")
    assert (
        answers[0].prompt in first
        and "reward 1 (correct 1, format 1); a complete response" in first
    )
    assert answers[1].prompt in second and "reward 0 (correct 0, format 1)" in second
    assert f"reference answer: {answers[1].answer}" in second
    assert score == "score: 1 of 2 in 2 episodes\n"


def test_play_ends_politely_where_the_input_ends() -> None:
    result = run("play", "TextMath-v0", typed="\n")
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout.endswith("\nscore: 0 of 1 in 1 episodes\n")


def test_play_sends_the_answer_token_by_token() -> None:
    result = run("play", "TextMath-v0", "--episodes", "2", typed="12345678901234567890\n\u00e9\n")
    assert "the token budget is spent" in result.stdout
    assert "the tokenizer lacks one of the characters" in result.stdout


def test_play_holds_a_dialogue() -> None:
    task = textgym.load_task(f"{SAMPLES}:Guess-test-v0")
    env = textgym.RLEnvironment(task, max_response_tokens=8)
    _, info = env.reset(seed=3)
    secret = int(env.mdp.bank.problem(info["problem"]).answer)
    wrong = secret - 1 if secret else 1
    result = run(
        *("play", f"{SAMPLES}:Guess-test-v0", "--seed", "3", "--episodes", "1"),
        typed=f"{wrong}!\n{secret}\n",
    )
    assert result.returncode == 0, result.stderr
    assert (" up" if secret else " low") in result.stdout
    assert "reward 1 (correct 1); the task has ended" in result.stdout


def test_check_prints_both_reports_and_exits_with_0_for_a_sound_id() -> None:
    result = run("check", "TextMath-v0", "--problems", "100")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "check_task(TextMath): errors: 0, warnings: 0" in result.stdout
    assert "check_env(TextMath-v0): errors: 0, warnings: 0" in result.stdout


def test_check_exits_with_1_for_a_broken_task() -> None:
    # Its reference answer is not short, so it never earns the highest reward.
    result = run("check", f"{SAMPLES}:Sort-test-v0", "--problems", "100")
    assert result.returncode == 1
    assert "earns 1, expected the highest reward, 1.5" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("play", "TextMth-v0"), "no environment 'TextMth-v0'; did you mean TextMath-v0?"),
        (("check", "textgym:TextMath-v7"), "no environment 'TextMath-v7'; did you mean TextMath"),
        (("check", "zzz"), "no environment 'zzz'; known: "),
        (("check", "no_such_module:X-v0"), "cannot import 'no_such_module'"),
        (("check", "CartPole-v1"), "CartPole-v1 is no text task"),
        (("play", "TextMath-v0", "--difficulty", "hard"), "no difficulty 'hard'; expected one of"),
        (("play", "TextMath-v0", "--difficulty", "9"), "no difficulty 9; expected one of"),
        (("play", "TextMath-v0", "--split", "dev"), "split is 'dev', expected one of ['train'"),
        (("play", "TextMath-v0", "--seed", "-1"), "seed is -1, expected an integer of at least 0"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_a_wrong_number_of_episodes_is_refused() -> None:
    result = run("play", "TextMath-v0", "--episodes", "0")
    assert result.returncode == 2 and "expected an integer of at least 1" in result.stderr


def test_the_program_starts_in_a_second_and_loads_nothing_heavy() -> None:
    program = (
        "import sys, time, textgym.__main__ as m; m.main(['list']); "
        "assert not {'torch', 'transformers', 'sympy', 'rich', 'tyro'} & set(sys.modules); "
        "print(time.process_time())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(result.stdout.splitlines()[-1]) < 1.0
