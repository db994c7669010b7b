"""TextCalculator: arithmetic that takes a calculator, which is at hand."""

from __future__ import annotations

from collections.abc import Sequence

from textgym.grading.calculator import ERROR, MAX_RESULT, calculate
from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.dialogue.tools import ToolTask
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.family import question


def _value_of(expression: str, key: str = "") -> Problem:
    return question(f"{expression}=", calculate(expression), key, "lowest")


def product(choose: Choices) -> Problem:
    """Two numbers of four digits: 4817*3962."""
    a, b = choose.between(1000, 9999), choose.between(1000, 9999)
    return _value_of(f"{a}*{b}", f"{min(a, b)}*{max(a, b)}=")


def chain(choose: Choices) -> Problem:
    """Two products and a number: 481*396-208*17+5613."""
    a, b, c, d = (choose.between(12, 999) for _ in range(4))
    signs = [choose.one_of("+-") for _ in range(2)]
    return _value_of(f"{a}*{b}{signs[0]}{c}*{d}{signs[1]}{choose.between(1000, 9999)}")


def brackets(choose: Choices) -> Problem:
    """A product of two sums, and another product: (4817-396)*(208+17)-56*13."""
    a, b, c, d = (choose.between(100, 9999) for _ in range(4))
    e, f = choose.between(12, 99), choose.between(12, 99)
    signs = [choose.one_of("+-") for _ in range(3)]
    return _value_of(f"({a}{signs[0]}{b})*({c}{signs[1]}{d}){signs[2]}{e}*{f}")


def powers(choose: Choices) -> Problem:
    """A power and a product: 47^4-381*624."""
    power = f"{choose.between(12, 99)}^{choose.between(3, 5)}"
    sign = choose.one_of("+-")
    return _value_of(f"{power}{sign}{choose.between(100, 999)}*{choose.between(100, 999)}")


def fractions(choose: Choices) -> Problem:
    """A quotient, in lowest terms: (48*39+208)/(17*56)."""
    a, b, e, f = (choose.between(12, 99) for _ in range(4))
    return _value_of(f"({a}*{b}{choose.one_of('+-')}{choose.between(100, 999)})/({e}*{f})")


def two_steps(choose: Choices) -> Problem:
    """What no single expression gives: the calculator has no remainders."""
    a, b = choose.between(1000, 9999), choose.between(1000, 9999)
    n, c = a * b % 1000, choose.between(101, 999)
    text = f"n is what {a}*{b} leaves when divided by 1000. n*(n+{c})="
    return question(text, n * (n + c), f"{min(a, b)}*{max(a, b)} {c}", "lowest")


@register_task("TextCalculator-v0")
class TextCalculator(ToolTask):
    """Do arithmetic that takes a calculator, which is at hand.

    ## Description
    The prompt is an expression, `4817*3962=`, and a line that says how to use the calculator: what
    the response holds between `<<` and `>>` is computed, and `=19084954` and a newline are appended
    to it. Then the response goes on, with another call or with the answer alone:

        4817*3962=
        <<12*(3+4)>> asks a calculator, which knows + - * / ^ and brackets. End with the answer ...
        <<4817*3962>>=19084954
        19084954

    The calculator is `textgym.grading.calculator`: exact fractions, a bounded grammar. What it does
    not compute it answers in words: `=error: division by zero`, `no expression`, `too large` (a
    result of more than 40 characters), `no rational number`, `more than 100 characters`. The
    notation is that of GSM8K's solutions (Cobbe et al. 2021), which such a calculator completed.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. The budget is 128 tokens in all turns together,
    eos and calls included, replies not; a reference takes at most 50 characters. A dialogue has at
    most 6 turns: five calls and the answer. Give `max_response_tokens` where there is to be
    reasoning.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far with the calculator's replies (of
    at most 48 tokens each), padding. A prompt has up to 155 characters, 60 without the line on the
    calculator.

    ## Starting State
    A question of the level, at random.

    ## Rewards
    * `correct`, weight 1: 1 if the last turn is the value, as an integer or a fraction in lowest
      terms.
    * `called`, weight 0: 1 if the calculator gave at least one value.
    * `format`, weight 0: 1 if the answer stands where `answer_format` wants it.

    The reward comes at the end of the episode. What looks like a reply but was written by the
    policy is part of its turn, so it is neither a call nor an answer.

    ## Episode End
    A turn ends with `>>`, and the calculator replies; with eos, or when the budget or the turns are
    spent, the episode terminates. What was cut off is graded as it stands; a call that got no reply
    is no answer. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`: `response` holds the replies, `response_mask` leaves them out.
    `verdict` has the `rule` by which the answer was judged, `calls` (how many were served) and
    `errors` (how many of them gave no value).

    ## Arguments
    `difficulty`: a level of the table, the first one unless told otherwise. `answer_format`:
    "bare", "boxed", "hash" or "any"; see `textgym.tasks.math.base.MathTask`.
    `instructions=False` leaves out the line on the calculator. `max_calls` (5): how many calls are
    served.

    ## Difficulties
    Questions are counted by their key: factors in another order are the same question at `product`
    and `two-steps`.

    | level     |  questions | what is asked                              | example                |
    |-----------|------------|--------------------------------------------|------------------------|
    | product   | 40,504,500 | two factors of four digits                 | `4817*3962=`           |
    | chain     |     > 10^9 | two products of up to 999, and a number    | `481*39-20*17+5613=`   |
    | brackets  |     > 10^9 | a product of two sums, and another product | `(48-396)*(2+7)-5*61=` |
    | powers    |     > 10^8 | a third to fifth power, and a product      | `47^4-381*624=`        |
    | fractions |     > 10^9 | a quotient, in lowest terms                | `(48*39+208)/(17*56)=` |
    | two-steps |     > 10^9 | to go on with a remainder of a product     | see below              |

    At `two-steps`: `n is what 4817*3962 leaves when divided by 1000. n*(n+283)=` takes two calls,
    and what comes between them the policy has to read off the first.

    ## References
    Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems". Schick et al. 2023,
    "Toolformer: Language Models Can Teach Themselves to Use Tools".

    ## Version History
    * v0: initial version.
    """

    levels = {
        "product": (product,),
        "chain": (chain,),
        "brackets": (brackets,),
        "powers": (powers,),
        "fractions": (fractions,),
        "two-steps": (two_steps,),
    }
    difficulties = tuple(levels)
    max_response_tokens = 128
    max_turns = 6
    max_reply_tokens = MAX_RESULT + 8
    opening, closing = "<<", ">>"
    stop_strings = (closing,)
    instruction = "<<12*(3+4)>> asks a calculator, which knows + - * / ^ and brackets."

    def run(self, calls: Sequence[str]) -> list[str]:
        """The value of each expression, or what is wrong with it."""
        return [f"={calculate(call)}\n" for call in calls]

    def num_errors(self, calls: Sequence[str]) -> int:
        """How many expressions have no value."""
        return sum(calculate(call).startswith(ERROR) for call in calls)
