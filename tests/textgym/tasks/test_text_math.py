"""TextMath against an evaluator of its prompts that shares no line with the generators."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from textgym import load_task
from textgym.task import Problem
from textgym.tasks.math.arithmetic import GENERATORS
from textgym.tasks.math.text_math import EQUATION_PHRASES, PHRASES, SPOKEN, TextMath

LEVELS = TextMath.difficulties
ANSWERED = re.compile(r"-?[0-9]+(/[1-9][0-9]*)?")
REWORDED = [phrase.split("{}") for phrase in (*EQUATION_PHRASES, *PHRASES)]

# Level -> numbers after which a generator repeats itself, and how many keys it has met by then.
COUNTS = {
    "digit": (2 * 10**3 * 4, 2_475),
    "no-carry": (2 * 55 * 45 * 4, 3_475),
    "two-digit": (2 * 90**2, 12_195),
    "product": (4 * 90**2 * 4, 4_815),
    "fraction": (4 * 45**2, 6_120),
}

# At most so many of 20,000 draws repeat an earlier key.
DUPLICATES = {
    "digit": 17_700,
    "no-carry": 16_700,
    "two-digit": 10_700,
    "three-digit": 200,
    "product": 15_700,
    "division": 12_200,
    "order": 7_500,
    "fraction": 14_400,
    "equation": 1_600,
}


class Evaluator:
    """Recursive descent: sum = term (("+" | "-") term)*, term = atom (("*" | "/") atom)*."""

    def __init__(self, text: str, x: int = 0) -> None:
        self.tokens = [*re.findall(r"[0-9]+|\S", re.sub(r"([0-9])x", r"\1*x", text)), "end"]
        self.x = x

    def value(self) -> Fraction:
        value = self.sum()
        assert self.tokens == ["end"]
        return value

    def sum(self) -> Fraction:
        value = self.term()
        while self.tokens[0] in "+-":
            value += self.term() if self.tokens.pop(0) == "+" else -self.term()
        return value

    def term(self) -> Fraction:
        value = self.atom()
        while self.tokens[0] in "*/":
            value *= self.atom() if self.tokens.pop(0) == "*" else 1 / self.atom()
        return value

    def atom(self) -> Fraction:
        token = self.tokens.pop(0)
        if token == "-":
            return -self.atom()
        if token == "(":
            value = self.sum()
            assert self.tokens.pop(0) == ")"
            return value
        return Fraction(self.x if token == "x" else token)


def solve(prompt: str) -> Fraction:
    """The answer to a prompt in symbols; both sides of an equation are lines through x = 0, 1."""
    if not prompt.endswith(";x="):
        return Evaluator(prompt.removesuffix("=")).value()
    left, right = prompt.removesuffix(";x=").split("=")
    at_0, at_1 = (Evaluator(left, x).value() - Evaluator(right, x).value() for x in (0, 1))
    return at_0 / (at_0 - at_1)


def in_symbols(prompt: str) -> str:
    """A prompt in words, translated back."""
    before, after = next(
        parts for parts in REWORDED if prompt.startswith(parts[0]) and prompt.endswith(parts[1])
    )
    text = prompt.removeprefix(before).removesuffix(after)
    for symbol, words in SPOKEN:
        text = text.replace(words, symbol.replace("÷", "/"))
    return text + (";x=" if "x" in text else "=")


def draw(level: str, count: int = 2000, seed: int = 0, **kwargs: str) -> list[Problem]:
    task, rng = TextMath(**kwargs), np.random.default_rng(seed)
    return [task.sample(rng, level) for _ in range(count)]


@cache
def keys_of_prompts(level: str) -> dict[str, str]:
    return {problem.prompt: problem.key for problem in draw(level, 60_000)}


def mean_reward(problems: list[Problem], respond: Callable[[Problem], str]) -> float:
    task = TextMath()
    return sum(task.grade(p, respond(p))["correct"] for p in problems) / len(problems)


@pytest.mark.parametrize("level", LEVELS)
def test_the_reference_is_the_answer_in_lowest_terms(level: str) -> None:
    for problem in draw(level):
        assert problem.answer == str(solve(problem.prompt)), problem


@pytest.mark.parametrize("level", LEVELS)
def test_the_reference_earns_full_marks(level: str) -> None:
    assert mean_reward(draw(level, wording="both"), lambda p: p.answer) == 1.0


@pytest.mark.parametrize("level", LEVELS)
def test_the_wording_changes_nothing_but_the_words(level: str) -> None:
    symbols, words, both = (draw(level, wording=w) for w in ("symbols", "words", "both"))
    num_symbols = 0
    for a, b, c in zip(symbols, words, both, strict=True):
        assert (a.answer, a.key, a.split) == (b.answer, b.key, b.split)
        assert in_symbols(b.prompt) == a.prompt
        assert c in (a, b)
        num_symbols += c == a
    assert 0.45 < num_symbols / len(both) < 0.55
    endings = Counter(problem.prompt[-2:] for problem in words)
    assert len(endings) == 3 - (level == "equation") and min(endings.values()) > 600


@pytest.mark.parametrize("level", LEVELS)
def test_prompts_and_answers_are_short_and_plain(level: str) -> None:
    for wording, longest in (("symbols", 17), ("words", 45)):
        for problem in draw(level, wording=wording):
            assert len(problem.prompt) <= longest and problem.prompt.isascii()
            assert len(problem.answer) <= 8 and ANSWERED.fullmatch(problem.answer)


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_has_thousands_of_questions(level: str) -> None:
    keys = Counter(problem.key for problem in draw(level, 20_000))
    assert len(keys) >= 2_000
    num_duplicates = sum(count - 1 for count in keys.values())
    assert num_duplicates == 20_000 - len(keys) <= DUPLICATES[level]
    assert keys.most_common(1)[0][1] < 200  # no question is more than 1 % of a level


@pytest.mark.parametrize("level", COUNTS)
def test_the_docstring_states_the_exact_number_of_questions(level: str) -> None:
    period, count = COUNTS[level]
    generate = GENERATORS[level]
    assert len({generate(n)[2] for n in range(period)}) == count
    row = next(line for line in TextMath.__doc__.splitlines() if line.startswith(f"    | {level} "))
    assert f"{count:,} " in row


@pytest.mark.parametrize("level", LEVELS)
def test_one_key_means_one_answer_and_one_split(level: str) -> None:
    seen: dict[str, Problem] = {}
    for problem in draw(level, 10_000, wording="both"):
        first = seen.setdefault(problem.key, problem)
        assert (problem.answer, problem.split) == (first.answer, first.split)


@pytest.mark.parametrize(
    ("level", "one", "other"),
    [
        ("digit", "3+9=", "9+3="),
        ("digit", "1+2-4=", "2+1-4="),
        ("digit", "9-1-2=", "9-2-1="),
        ("digit", "3+1+2=", "2+3+1="),
        ("no-carry", "12+34=", "34+12="),
        ("product", "12*34=", "34*12="),
        ("order", "2+3*4=", "4*3+2="),
        ("order", "(2+3)*4=", "4*(3+2)="),
        ("fraction", "1/2+3/4=", "3/4+1/2="),
        ("fraction", "1/2*3/4=", "3/4*1/2="),
    ],
)
def test_commuted_questions_share_a_key(level: str, one: str, other: str) -> None:
    keys = keys_of_prompts(level)
    assert keys[one] == keys[other]


def test_questions_whose_terms_do_not_commute_differ() -> None:
    keys = keys_of_prompts("digit")
    assert len({keys["3-9="], keys["9-3="], keys["3+9="], keys["9+3-9="], keys["9-9+3="]}) == 5


def test_the_same_question_has_the_same_key_at_every_level() -> None:
    easy, hard = keys_of_prompts("no-carry"), keys_of_prompts("two-digit")
    shared = easy.keys() & hard.keys()
    assert len(shared) > 1000 and all(easy[prompt] == hard[prompt] for prompt in shared)


def test_no_carry_neither_carries_nor_borrows() -> None:
    for problem in draw("no-carry", 5000):
        (a, b), (c, d) = re.findall(r"\b([1-9])([0-9])\b", problem.prompt)
        if "+" in problem.prompt:
            assert int(a) + int(c) < 10 and int(b) + int(d) < 10
        else:
            assert a >= c and b >= d and int(problem.answer) >= 0


def test_division_is_exact_with_a_quotient_of_two_or_more() -> None:
    sizes = Counter()
    for problem in draw("division"):
        dividend, divisor = map(int, problem.prompt.removesuffix("=").split("/"))
        assert dividend % divisor == 0 and dividend // divisor >= 2 <= divisor <= 99
        sizes[len(str(dividend))] += 1
    assert set(sizes) == {2, 3, 4} and min(sizes.values()) > 600


def test_one_generator_state_gives_one_problem() -> None:
    for level in LEVELS:
        assert draw(level, 50, seed=7) == draw(level, 50, seed=7) != draw(level, 50, seed=8)
    default = TextMath().sample(np.random.default_rng(7))
    assert default == draw("no-carry", 1, seed=7)[0]


@pytest.mark.parametrize("wording", ["Symbols", "", None, ["words"]])
def test_an_unknown_wording_is_refused(wording: object) -> None:
    with pytest.raises(ValueError, match=r"wording is .*, expected one of \['both', 'symbols'"):
        TextMath(wording)


@pytest.mark.parametrize("level", ["hard", 9, -1, True])
def test_an_unknown_level_is_refused(level: object) -> None:
    with pytest.raises(ValueError, match=r"TextMath has no difficulty .* one of \['digit'"):
        TextMath().sample(np.random.default_rng(0), level)


@pytest.mark.parametrize("level", LEVELS)
def test_responses_that_answer_nothing_earn_next_to_nothing(level: str) -> None:
    problems = draw(level)
    assert mean_reward(problems, lambda p: "") == 0.0
    assert mean_reward(problems, lambda p: p.prompt) == 0.0
    assert mean_reward(problems, lambda p: p.prompt.rstrip("=")) == 0.0
    assert mean_reward(problems, lambda p: "0123456789") == 0.0
    assert mean_reward(problems, lambda p: "0") < 0.06
    answers = Counter(problem.answer for problem in problems)
    assert answers.most_common(1)[0][1] / len(problems) < 0.07  # the best constant


def test_any_number_of_the_prompt_is_seldom_the_answer() -> None:
    for level in LEVELS:
        problems = draw(level)
        for i in range(2):
            copied = mean_reward(problems, lambda p, i=i: re.findall("[0-9]+", p.prompt)[i])
            assert copied < 0.12, level


def test_an_integer_has_to_be_written_as_one_and_a_fraction_need_not_be_reduced() -> None:
    task = TextMath()
    grades = [("12", "84/7", 0), ("12", "012", 1), ("3/2", "6/4", 1), ("3/2", "1.5", 0)]
    for answer, response, grade in grades:
        assert task.grade(Problem("?", answer), response)["correct"] == grade


def test_levels_are_numbered_and_registered() -> None:
    task = load_task("TextMath-v0", wording="words")
    assert isinstance(task, TextMath) and task.wording == "words"
    assert [task.difficulty_index(level) for level in LEVELS] == list(range(9))
    assert LEVELS[task.difficulty_index(None)] == "no-carry"
