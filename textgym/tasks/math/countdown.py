"""TextCountdown: reach a target from given numbers; any valid expression is right."""

from __future__ import annotations

import numpy as np

from textgym.grading.countdown import reaches_target
from textgym.grading.math import Verdict
from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.math.base import AnswerFormat, MathTask
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.writing import listed

# Level -> how many numbers, the largest of them, the largest value on the way.
LEVELS = {
    "two": (2, 99, 999),
    "three": (3, 50, 500),
    "four": (4, 50, 999),
    "five": (5, 75, 999),
    "six": (6, 99, 9999),
}

SUM, PRODUCT, NUMBER = range(3)
Term = tuple[int, str, int]
"""The value of an expression, its text, and what it is outermost."""


def joined(left: Term, right: Term, operator: str) -> Term:
    """Two expressions joined, with the brackets that are needed."""
    (a, first, outer), (b, second, inner) = left, right
    if operator in "+-":
        if operator == "-" and inner == SUM:
            second = f"({second})"
        return (a + b if operator == "+" else a - b), f"{first}{operator}{second}", SUM
    first = f"({first})" if outer == SUM else first
    second = f"({second})" if inner == SUM or (operator == "/" and inner == PRODUCT) else second
    return (a * b if operator == "*" else a // b), f"{first}{operator}{second}", PRODUCT


def compose(choose: Choices, numbers: list[int], highest: int) -> Term:
    """An expression of all numbers, each value on the way a whole number from 1 to `highest`."""
    terms: list[Term] = [(n, str(n), NUMBER) for n in numbers]
    while len(terms) > 1:
        left = terms.pop(choose.below(len(terms)))
        right = terms.pop(choose.below(len(terms)))
        if left[0] < right[0]:
            left, right = right, left
        a, b = left[0], right[0]
        taken = numbers if not terms else ()  # a target that is given needs no expression
        results = {"+": a + b, "-": a - b, "*": a * b, "/": a // b if a % b == 0 < b - 1 else 0}
        if b == 1:
            del results["*"]
        operators = [o for o, v in results.items() if 0 < v <= highest and v not in taken]
        if not operators:
            return sum(numbers), "+".join(map(str, numbers)), SUM
        terms.append(joined(left, right, choose.one_of(operators)))
    return terms[0]


@register_task("TextCountdown-v0")
class TextCountdown(MathTask):
    """Reach a target from given numbers; any valid expression is right.

    ## Description
    The prompt is a target and some numbers, such as
    `Make 70 from 3, 39 and 28 using each at most once: `, and the response an expression:
    `39+28+3`. The reference is one of perhaps many; it uses all of the numbers, and each value on
    the way to its own is a positive integer. No target is among the numbers.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. A bare answer holds digits, brackets and
    `+ - * / =`. The budget is 40 tokens, eos included, and no reference answer in 20,000 of a level
    has more than 25 characters; give `max_response_tokens` where there is to be reasoning before
    the answer.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. Prompts have up to 25
    characters at the first level and 66 at the longest, without the words of an `answer_format`.

    ## Starting State
    Numbers and a target of the level, at random, made backwards from its answer where it has to be.

    ## Rewards
    `correct`, weight 1: 1 if the expression has the target's value, exactly, and uses each number
    at most as often as it is given, with `+ - * /` and brackets alone (`×`, `÷`, LaTeX's commands
    and `= target` at the end are read too). `textgym.grading.countdown` says what is no expression.
    The reward comes at the end of the episode.

    `format`, weight 0: 1 if the answer stands where `answer_format` wants it.

    ## Episode End
    The episode terminates with eos or after 40 tokens. A response cut off there is graded as it
    stands. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`; `verdict` has the `rule` by which the response was judged.

    ## Arguments
    `difficulty`: a level of the table, the first one unless told otherwise. `answer_format`:
    "bare", "boxed", "hash" or "any"; see `textgym.tasks.math.base.MathTask`. `exactly_once`:
    whether each number has to be used; the prompt says so.

    ## Difficulties
    Questions are counted by their key, exactly where no `>` says that there are more. Repeats are
    the share of 20,000 draws whose question came before. Numbers are different. Numbers in another
    order are the same question.

    | level |       questions | repeats | what is asked                            |
    |-------|-----------------|---------|------------------------------------------|
    | two   |          11,208 |  54.3 % | 2 numbers from 2 to 99                   |
    | three |        > 70,000 |   7.4 % | 3 numbers from 2 to 50, targets to 500   |
    | four  |       > 200,000 |   0.2 % | 4 numbers from 2 to 50, targets to 999   |
    | five  |    > 10,000,000 |   0.0 % | 5 numbers from 2 to 75, targets to 999   |
    | six   | > 1,000,000,000 |   0.0 % | 6 numbers from 2 to 99, targets to 9,999 |

    An example of each:

    * two: `Make 147 from 52 and 95:`
    * three: `Make 70 from 3, 39 and 28 ...`
    * four: `Make 640 from 40, 16, 24 and 8 ...`
    * five: `Make 38 from 39, 72, 12, 71 ...`
    * six: `Make 6708 from 52, 95, 15 ...`

    ## References
    Gandhi et al. 2024, "Stream of Search (SoS): Learning to Search in Language". Pan et al. 2025,
    TinyZero, trains on it by reinforcement.

    ## Version History
    * v0: initial version.
    """

    difficulties = tuple(LEVELS)
    max_response_tokens = 40

    def __init__(self, answer_format: AnswerFormat = "bare", exactly_once: bool = False) -> None:
        super().__init__(answer_format)
        if not isinstance(exactly_once, bool):
            raise ValueError(f"exactly_once is {exactly_once!r}, expected True or False")
        self.exactly_once = exactly_once

    def sample(self, rng: np.random.Generator, difficulty: str | None = None) -> Problem:
        """Draw numbers, and a target that an expression of all of them has as its value."""
        level = self.difficulties[self.difficulty_index(difficulty)]
        return self.ask(Choices(rng), level)

    def ask(self, choose: Choices, level: str) -> Problem:
        """Numbers and a target of the level."""
        count, largest, highest = LEVELS[level]
        numbers = choose.distinct(count, 2, largest)
        target, expression, _ = compose(choose, numbers, highest)
        how = ""
        if self.exactly_once:
            how = " using each once"
        elif count > 2:
            how = " using each at most once"
        prompt = f"Make {target} from {listed(numbers)}{how}: "
        key = f"countdown {target} {sorted(numbers)}"
        return Problem(prompt, expression, {"numbers": tuple(numbers), "target": target}, key)

    def verdict(self, problem: Problem, answer: str) -> Verdict:
        """Whether an expression reaches the target, whatever the reference is."""
        numbers, target = problem.info["numbers"], problem.info["target"]
        return reaches_target(answer, numbers, target, exactly_once=self.exactly_once)
