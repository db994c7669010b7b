"""TextMath: arithmetic and linear equations at nine levels, graded by exact rational equality."""

from __future__ import annotations

from typing import Literal

import numpy as np

from textgym.grading.exact import equal_rationals
from textgym.registration import register_task
from textgym.task import Problem, Task
from textgym.tasks.math.arithmetic import GENERATORS

PHRASES = ("What is {}? ", "Calculate {}: ", "{} equals ")
EQUATION_PHRASES = ("Solve {} for x: ", "What is x if {}? ", "Find x in {}: ")
SPOKEN = (("+", " plus "), ("-", " minus "), ("*", " times "), ("÷", " divided by "))

_NUM_FORMS = 2 * len(PHRASES)
_NUM_SPOKEN_FORMS = {"symbols": 0, "both": len(PHRASES), "words": _NUM_FORMS}


@register_task("TextMath-v0")
class TextMath(Task):
    """Answer an arithmetic question with an integer or a fraction.

    ## Description
    The prompt is a question such as `12+34=` or `3x+5=20;x=`, and the response is the bare answer:
    `46`, `5`, or, where the answer is no integer, a fraction such as `-3/4`. Questions are made by
    `textgym.tasks.math.arithmetic`. All ways to write the same question (in symbols or words, as 12+34
    or 34+12) have the same key, so they all fall into the same split.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. A response of any worth holds only digits, `+`,
    `-`, `/` and spaces. The budget is 10 tokens, eos included; no reference answer has more than 8
    characters.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. A prompt has at most 17
    characters in symbols and 45 in words.

    ## Starting State
    A question of the level, at random; `textgym.tasks.math.arithmetic` says how each is made.

    ## Rewards
    `correct`, weight 1: 1 if the response denotes the number of the reference answer, else 0. Both
    are read by `textgym.grading.exact`, so `07` is 7 and `6/4` is 3/2. An integer has to be written
    as one, though: were 84/7 an answer to `84/7=`, copying would be division. The reward comes
    at the end of the episode.

    ## Episode End
    The episode terminates with eos or after 10 tokens. A response cut off there is graded as it
    stands. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`.

    ## Arguments
    `wording`: "symbols" (`12+34=`), "words" (`What is 12 plus 34? `) or "both", half and half. It
    changes nothing but the words: the same generator state gives the same question. `difficulty`: a
    level of the table; "no-carry" unless told otherwise.

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

    rewards = {"correct": 1.0}
    difficulties = tuple(GENERATORS)
    default_difficulty = "no-carry"
    max_response_tokens = 10
    alphabet = "0123456789+-/ "

    _generators = tuple(GENERATORS.values())

    def __init__(self, wording: Literal["symbols", "words", "both"] = "symbols") -> None:
        if wording not in list(_NUM_SPOKEN_FORMS):
            raise ValueError(f"wording is {wording!r}, expected one of {sorted(_NUM_SPOKEN_FORMS)}")
        self.wording = wording
        self._num_spoken_forms = _NUM_SPOKEN_FORMS[wording]

    def sample(self, rng: np.random.Generator, difficulty: str | None = None) -> Problem:
        """Draw a question of a level and a way to put it."""
        generate = self._generators[self.difficulty_index(difficulty)]
        # random() has 53 bits, twice what any level needs, and takes half the time of integers().
        number, form = divmod(int(rng.random() * 2**53), _NUM_FORMS)
        expression, answer, key = generate(number)
        if form < self._num_spoken_forms:
            return Problem(_spoken(expression, form % len(PHRASES)), answer, key=key)
        ending = ";x=" if "x" in expression else "="
        return Problem(expression.replace("÷", "/") + ending, answer, key=key)

    def grade(self, problem: Problem, response: str) -> dict[str, float]:
        """1 for the reference's number, an integer written as one."""
        answer = problem.answer
        correct = equal_rationals(answer, response) and ("/" in answer or "/" not in response)
        return {"correct": 1.0 if correct else 0.0}


def _spoken(expression: str, phrase: int) -> str:
    if "x" in expression:
        return EQUATION_PHRASES[phrase].format(expression)
    for symbol, words in SPOKEN:
        expression = expression.replace(symbol, words)
    return PHRASES[phrase].format(expression)
