"""TextMath: arithmetic and linear equations at nine levels, or the problems of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from textgym.grading.exact import equal_rationals, parse_rational
from textgym.grading.forms import is_computed, is_number
from textgym.grading.math import extract_answer
from textgym.registration import register_task
from textgym.task import Grade, Problem
from textgym.tasks.math.arithmetic import GENERATORS
from textgym.tasks.math.base import AnswerFormat, MathTask
from textgym.tasks.math.data_set import MathRows

PHRASES = ("What is {}? ", "Calculate {}: ", "{} equals ")
EQUATION_PHRASES = ("Solve {} for x: ", "What is x if {}? ", "Find x in {}: ")
SPOKEN = (("+", " plus "), ("-", " minus "), ("*", " times "), ("÷", " divided by "))

DATA_SET_TOKENS = 256
"""Least budget for a response to a data set's problem: bare answers leave no room to reason."""

_NUM_FORMS = 2 * len(PHRASES)
_NUM_SPOKEN_FORMS = {"symbols": 0, "both": len(PHRASES), "words": _NUM_FORMS}


@register_task("TextMath-v0")
class TextMath(MathTask):
    r"""Answer a question of arithmetic, or one of a data set.

    ## Description
    The prompt is a question such as `12+34=` or `3x+5=20;x=`, and the response is the bare answer:
    `46`, `5`, or, where the answer is no integer, a fraction such as `-3/4`. Questions are made by
    `textgym.tasks.math.arithmetic`. All ways to write the same question (in symbols or words, as
    12+34 or 34+12) have the same key, so they all fall into the same split.

    With `dataset`, the problems are a data set's instead, such as GSM8K's or MATH's, and responses
    are solutions that end in their answer.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. A bare answer of any worth holds only digits,
    `+`, `-`, `/` and spaces. The budget is 10 tokens, eos included; no reference answer has more
    than 8 characters. (With another answer format or a data set, any text may be worth something,
    and the budget follows from the reference answers.)

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. A prompt has at most 17
    characters in symbols and 45 in words.

    ## Starting State
    A question of the level, at random; `textgym.tasks.math.arithmetic` says how each is made.

    ## Rewards
    `correct`, weight 1: 1 if the response denotes the number of the reference answer, else 0. Bare
    answers are read by `textgym.grading.exact`, so `07` is 7 and `6/4` is 3/2; others by
    `textgym.grading.math`. An integer has to be written as one, though: were 84/7 an answer to
    `84/7=`, copying would be division. So has a number of a data set: `9*2` is no answer where 18
    is one, while `9*2=18` and `2^{10}` are. `format`, weight 0: 1 if the answer stands where the
    answer format asks for it. Other weights: `reward_weights={"format": 0.1}`. The reward comes at
    the end of the episode.

    ## Episode End
    The episode terminates with eos or after 10 tokens. A response cut off there is graded as it
    stands. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`. Unless a bare answer is asked for, `verdict` has the `rule` by
    which it was judged.

    ## Arguments
    `wording`: "symbols" (`12+34=`), "words" (`What is 12 plus 34? `) or "both", half and half. It
    changes nothing but the words: the same generator state gives the same question. `difficulty`: a
    level of the table; "no-carry" unless told otherwise.

    `answer_format`: "bare", "boxed" (`\boxed{46}`), "hash" (`#### 46`) or "any"; see MathTask.
    None: bare, or what the data set's own solutions do.

    `dataset`: a file (.jsonl, .json, .csv, .parquet), a folder with files of train, validation and
    test, or a name on the Hugging Face hub (`openai/gsm8k`, with `subset` for a configuration).
    Columns as in GSM8K (question, answer) and MATH (problem, solution, level) are known, others
    are named by `fields={"prompt": COLUMN, "answer": COLUMN, "level": COLUMN}`. Levels are
    difficulties. Official splits are kept; a single file is split by a hash of the question.

    ## Difficulties
    Questions are counted by their key, exactly. Answers may be negative, except in `no-carry`,
    `product` and `division`.

    | level       | questions | what is asked                                      | example      |
    |-------------|-----------|----------------------------------------------------|--------------|
    | digit       |     2,475 | sums, differences of 2 (half) or 3 one-digit terms | `3-9+4=`     |
    | no-carry    |     3,475 | two-digit a+b without carry, a-b without borrow    | `12+34=`     |
    | two-digit   |    12,195 | any two-digit a+b, a-b                             | `24-71=`     |
    | three-digit | 2,807,130 | three-digit a+b, a-b (half); 3 two-digit terms     | `571-683=`   |
    | product     |     4,815 | two-digit times two-digit (half) or one-digit      | `7*12=`      |
    | division    |    41,536 | exact; dividends of 2, 3, 4 digits (a third each)  | `84/7=`      |
    | order       |    96,261 | `+ - *` and brackets; 3 or 4 numbers from 2 to 12  | `(3+4)*5-2=` |
    | fraction    |     6,120 | `+ - * /` of proper fractions, denominators to 12  | `3/4+5/6=`   |
    | equation    |   708,964 | ax+b=d, ax+b=cx+d (half); half or more integer x  | `3x+5=20;x=` |

    In sums of three terms, neighbours of one sign commute: 4+3-5 is the question 3+4-5, while
    3-5+4, whose steps are others, is one of its own.

    ## References
    Brown et al. 2020, "Language Models are Few-Shot Learners", section 3.9.1, asks for sums,
    differences and products of such sizes. Saxton et al. 2019, "Analysing Mathematical Reasoning
    Abilities of Neural Models", generates questions in many wordings.

    ## Version History
    * v0: initial version.
    """

    difficulties = tuple(GENERATORS)
    default_difficulty = "no-carry"
    max_response_tokens = 10
    alphabet = "0123456789+-/ "

    _generators = tuple(GENERATORS.values())

    def __init__(
        self,
        wording: Literal["symbols", "words", "both"] = "symbols",
        *,
        answer_format: AnswerFormat | None = None,
        dataset: str | None = None,
        subset: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        if wording not in list(_NUM_SPOKEN_FORMS):
            raise ValueError(f"wording is {wording!r}, expected one of {sorted(_NUM_SPOKEN_FORMS)}")
        self.wording = wording
        self._num_spoken_forms = _NUM_SPOKEN_FORMS[wording]
        self._rows: MathRows | None = None
        if dataset is not None:
            self._rows = MathRows(
                dataset, subset=subset, fields=fields, answer_format=answer_format
            )
            self.difficulties, self.default_difficulty = self._rows.levels, None
            answer_format = self._rows.answer_format
        elif subset is not None or fields is not None:
            raise ValueError("subset and fields say how to read a data set, and dataset is None")
        super().__init__(answer_format or "bare")
        if self._rows is not None or self.answer_format != "bare":
            self.alphabet = self.max_response_tokens = None
        if self._rows is not None:
            self.least_response_tokens = DATA_SET_TOKENS

    def sample(self, rng: np.random.Generator, difficulty: str | None = None) -> Problem:
        """Draw a question of a level and a way to put it, or a row of the data set."""
        if self._rows is not None:
            problems = self._rows.problems(difficulty)
            return problems[int(rng.random() * len(problems))]
        generate = self._generators[self.difficulty_index(difficulty)]
        # random() has 53 bits, twice what any level needs, and takes half the time of integers().
        number, form = divmod(int(rng.random() * 2**53), _NUM_FORMS)
        expression, answer, key = generate(number)
        if form < self._num_spoken_forms:
            return Problem(_spoken(expression, form % len(PHRASES)), answer, key=key)
        ending = ";x=" if "x" in expression else "="
        return Problem(expression.replace("÷", "/") + ending, answer, key=key)

    def list_problems(self, difficulty: str | None = None) -> Sequence[Problem] | None:
        """The rows of the data set, if there is one."""
        return None if self._rows is None else self._rows.problems(difficulty)

    def draw(self, rng: np.random.Generator, difficulty: int = 0) -> Problem:
        """A problem; the rows of a data set have the answer format's words already."""
        if self._rows is not None:
            return self.sample(rng, *self.difficulties[difficulty : difficulty + 1])
        return super().draw(rng, difficulty)

    def accepts(self, problem: Problem, answer: str) -> bool:
        """Whether a number is worked out where the reference is one."""
        reference = extract_answer(problem.answer).text
        if self._rows is not None:
            return not is_number(reference) or is_computed(answer)
        return is_number(answer) and ("/" in reference or "/" not in answer)

    def grade(self, problem: Problem, response: str) -> Grade | dict[str, float]:
        """1 for the reference's number, an integer written as one."""
        if self._rows is not None or self.answer_format != "bare":
            return super().grade(problem, response)
        answer = problem.answer
        correct = equal_rationals(answer, response) and ("/" in answer or "/" not in response)
        in_format = correct or parse_rational(response) is not None
        return {"correct": 1.0 if correct else 0.0, "format": 1.0 if in_format else 0.0}


def _spoken(expression: str, phrase: int) -> str:
    if "x" in expression:
        return EQUATION_PHRASES[phrase].format(expression)
    for symbol, words in SPOKEN:
        expression = expression.replace(symbol, words)
    return PHRASES[phrase].format(expression)
