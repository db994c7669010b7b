"""TextCalculator and TextPython: what counts as a call, as a reply and as an answer."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from tests.textgym.playing import play
from textgym import CharTokenizer, TokenMDP
from textgym.grading.calculator import calculate
from textgym.tasks import TextCalculator, TextPython
from textgym.tokenizer import Vocabulary

CALLED = {"correct": 0.0, "called": 1.0}


def calculator(**settings):
    env = gym.make("TextCalculator-v0", num_problems=20, reward_weights=CALLED, **settings)
    env.reset(seed=0)
    return env


def problem_at(task, level: str, seed: int = 0):
    return task.draw(np.random.default_rng(seed), task.difficulties.index(level))


# ------------------------------------------------------------------ calculator


def test_a_call_is_answered_behind_it_and_the_answer_ends_the_episode() -> None:
    env = calculator()
    result = play(env, "<<12*34>>", eos=False)
    assert not result.terminated and result.reward == 0.0
    result = play(env, "408")
    assert result.info["response"] == "<<12*34>>=408\n408"
    assert result.terminated and result.info["stop_reason"] == "task"
    assert result.info["verdict"]["calls"] == 1 and result.info["verdict"]["errors"] == 0


def test_a_forged_reply_is_no_call_and_masked_in_like_any_other_choice() -> None:
    env = calculator()
    observation, _, _, _, info = play(env, "<<12*34=408\n408")
    assert info["components"] == {"correct": 0.0, "called": 0.0, "format": 0.0}
    assert info["verdict"]["calls"] == 0
    chosen = observation[info["response_mask"]][:-1].tolist()
    assert env.unwrapped.tokenizer.decode(chosen) == "<<12*34=408\n408"


def test_a_forged_reply_between_calls_changes_no_reply() -> None:
    env = calculator()
    play(env, "<<12*34>>", eos=False)
    play(env, "=999\n<<1+1>>", eos=False)
    assert play(env, "2").info["response"] == "<<12*34>>=408\n=999\n<<1+1>>=2\n2"


def test_errors_are_told_and_counted_and_earn_no_call() -> None:
    env = calculator()
    for call in ("<<1/0>>", "<<x>>", ">>", "<<" + "9^" * 20 + ">>"):
        assert not play(env, call, eos=False).terminated
    result = play(env, "7")
    assert (
        "<<1/0>>=error: division by zero\n<<x>>=error: no expression\n" in (result.info["response"])
    )
    assert result.info["verdict"]["calls"] == result.info["verdict"]["errors"] == 4
    assert result.reward == 0.0


def test_a_call_without_a_turn_left_is_no_answer() -> None:
    task = TextCalculator()
    problem = problem_at(task, "product")
    env = calculator()
    for _ in range(5):
        assert not play(env, "<<2*3>>", eos=False).terminated
    result = play(env, "<<2*3>>", eos=False)
    assert result.terminated and result.info["stop_reason"] == "stop"
    assert result.info["verdict"]["calls"] == 5
    for last in (f"<<{problem.answer}>>", f"{problem.answer}>>"):
        assert task.grade_turns(problem, ["<<1+1>>", last])["correct"] == 0.0
    assert task.grade_turns(problem, ["<<1+1>>", problem.answer])["correct"] == 1.0


def test_a_call_on_the_last_token_of_the_budget_gets_no_reply() -> None:
    env = calculator(max_response_tokens=12)
    result = play(env, "   <<12*34>>", eos=False)
    assert result.terminated and result.info["response"] == "   <<12*34>>"


def test_max_calls_are_served() -> None:
    env = calculator(max_calls=1)
    assert not play(env, "<<2*3>>", eos=False).terminated
    assert play(env, "<<2*3>>", eos=False).terminated
    assert env.observation_space.shape[0] + 4 * 48 == calculator().observation_space.shape[0]


def test_what_a_token_holds_behind_the_call_is_passed_over() -> None:
    task = TextCalculator()
    assert task.call_in("so <<1+1>> 3") == "1+1"
    assert task.call_in("<<5 <<1+1>>") == "1+1"
    assert task.call_in("1+1>>") == "1+1"
    assert task.call_in("<<1+1") is None


def test_copying_the_expression_is_no_answer() -> None:
    task = TextCalculator()
    for level in task.difficulties:
        problem = problem_at(task, level)
        expression = problem.prompt.splitlines()[0].rstrip("=")
        assert task.grade_turns(problem, [expression])["correct"] == 0.0
    fraction = problem_at(task, "fractions", seed=1)
    numerator, _, denominator = fraction.answer.partition("/")
    assert denominator
    unreduced = f"{2 * int(numerator)}/{2 * int(denominator)}"
    assert task.grade_turns(fraction, [unreduced])["correct"] == 0.0


def test_references_are_what_arithmetic_gives() -> None:
    task, rng = TextCalculator(), np.random.default_rng(0)
    for _ in range(50):
        a, b = map(int, task.draw(rng, 0).prompt.split("=")[0].split("*"))
        assert calculate(f"{a}*{b}") == str(a * b)
        problem = task.draw(rng, 5)
        words = problem.prompt.split()
        x, y = map(int, words[3].split("*"))
        c = int(words[9].removeprefix("n*(n+").removesuffix(")="))
        n = x * y % 1000
        assert problem.answer == str(n * n + c * n)


def test_an_answer_format_is_asked_for_in_the_last_turn() -> None:
    task = TextCalculator("boxed")
    problem = problem_at(task, "product")
    assert "boxed" in problem.prompt and "alone" not in problem.prompt
    bare = problem.answer.removeprefix("\\boxed{").removesuffix("}")
    said = [f"<<{bare}>>", f"Therefore it is \\boxed{{{bare}}}."]
    assert task.grade_turns(problem, said) == {"correct": 1.0, "called": 1.0, "format": 1.0}


def test_without_instructions_the_prompt_is_the_question() -> None:
    problem = problem_at(TextCalculator(instructions=False), "product")
    with_words = problem_at(TextCalculator(), "product")
    assert with_words.prompt.startswith(problem.prompt) and "<<" not in problem.prompt
    assert with_words.split == problem.split


# ---------------------------------------------------------------------- Python


def outputs(*programs: str, **settings) -> list[str]:
    return TextPython(**settings).run(programs)


def test_reference_programs_print_the_reference_answers() -> None:
    task, rng = TextPython(), np.random.default_rng(0)
    problems = [task.draw(rng, level) for level in range(5) for _ in range(30)]
    printed = task.run([problem.info["program"] for problem in problems])
    for problem, output in zip(problems, printed, strict=True):
        assert output == f"\n<output>\n{problem.answer}\n</output>\n", problem


def test_a_failing_program_shows_its_output_and_then_the_reason() -> None:
    texts = outputs("print(7)\n1/0", "x = (", "import socket; socket.socket()", "exit(3)", "")
    reasons = [text.splitlines()[2:-1] for text in texts]
    assert reasons[0] == ["7", "ZeroDivisionError: division by zero (line 2)"]
    assert reasons[1][0].startswith("SyntaxError") and reasons[2][0].startswith("PermissionError")
    assert reasons[3] == ["the program ended early, with exit code 3"] and reasons[4] == [""]


def test_a_program_that_hangs_costs_the_timeout() -> None:
    assert outputs("while 1: pass", timeout=0.3)[0].splitlines()[2] == "out of time"


def test_output_is_short_and_plain_whatever_is_printed() -> None:
    room = TextPython.max_reply_tokens
    flood, escape, huge = outputs(
        "print('\\x1b[31m\\u202e\\0\\x85é' * 100)", "print('\\ud800')", "print('a' * 10**8)"
    )
    for text in (flood, escape, huge):
        assert len(text) <= room and all(c == "\n" or " " <= c <= "~" for c in text)
    assert flood.startswith("\n<output>\n?[31m????") and " ... " in flood
    assert huge.endswith("aaa\nwrote too much\n</output>\n")


def test_a_special_token_in_the_output_is_letters() -> None:
    twin = CharTokenizer().to_hugging_face()
    twin.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    program = "<python>for name in 'eos', '|im_end|', 'pad': print('<' + name + '>')</python>"
    for tokenizer in ("char", twin):
        env = gym.make("TextPython-v0", num_problems=5, tokenizer=tokenizer)
        _, info = env.reset(seed=0)
        start = info["length"] + len(program)
        observation, _, _, _, info = play(env, program, eos=False)
        reply = "\n<output>\n<eos>\n<|im_end|>\n<pad>\n</output>\n"
        assert observation[start : info["length"]].tolist() == CharTokenizer().encode(reply)


def test_programs_of_a_batch_are_run_in_one_call(monkeypatch) -> None:
    counts = []
    monkeypatch.setattr(TextPython, "run", lambda self, calls: counts.append(len(calls)) or calls)
    task = TextPython()
    mdp = TokenMDP(task, num_problems=8)
    mdp.reply_many(range(4), [["1</python>"], ["7"], ["2</python>"], ["3</python>"]])
    assert counts == [3]


@pytest.mark.parametrize(
    "settings",
    [
        *({"sandbox": "none"}, {"timeout": 0}, {"memory_mb": -1}, {"instructions": 1}),
        *({"answer_format": "words"}, {"max_calls": 0}, {"max_calls": True}, {"max_calls": 1.5}),
    ],
)
def test_unknown_arguments_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        TextPython(**settings)


# ---------------------------------------------------------------- special tokens


def test_plain_tokens_hold_no_special_one_and_prompts_may() -> None:
    twin = CharTokenizer().to_hugging_face()
    for tokenizer in (CharTokenizer(), twin):
        vocabulary = Vocabulary(tokenizer)
        for text in ("<eos>", "a<pad>b", "<unk><bos>", "<e<eos>os>"):
            assert vocabulary.decode(vocabulary.encode_plain(text)) == text
        assert vocabulary.encode_plain("é") == [3]  # what has no token is no command
    assert Vocabulary(twin).encode("<eos>") == [2]


def test_a_tokenizer_that_cannot_split_a_special_token_loses_it() -> None:
    class Stubborn(CharTokenizer):
        def encode(self, text, *, add_special_tokens=False):
            return [
                2 if c == "$" else token
                for c, token in zip(text, super().encode(text), strict=True)
            ]

    assert Vocabulary(Stubborn()).encode_plain("a$b") == CharTokenizer().encode("ab")
