"""TextPython: questions that a short program answers, and a sandbox that runs it."""

from __future__ import annotations

from collections.abc import Sequence

from textgym.grading.sandbox import RunResult, default_sandbox
from textgym.registration import register_task
from textgym.tasks.dialogue import programs
from textgym.tasks.dialogue.tools import ToolTask
from textgym.tasks.math.base import AnswerFormat

MAX_OUTPUT = 160
"""Characters of what a program wrote that the policy is shown."""

OUTPUT_BYTES = 2**16
"""What a program may write before it is ended: more than is shown, and no load."""


@register_task("TextPython-v0")
class TextPython(ToolTask):
    """Answer questions that a short program answers; a sandbox runs what the policy writes.

    ## Description
    The prompt is a question and a line that says how to run Python. What the response holds between
    `<python>` and `</python>` is run as a script, and what it prints is appended. Then the response
    goes on, with another program or with the answer alone:

        How many integers from 12 to 1500 leave the remainder 2 when divided by 7 and contain ...?
        What stands between <python> and </python> is run, and its output follows. End with the ...
        <python>
        print(sum(n % 7 == 2 and '3' in str(n) for n in range(12, 1501)))
        </python>
        <output>
        63
        </output>
        63

    Of an output of more than 160 characters, the beginning and the end are shown. If the program
    fails, the reason comes last, as in `NameError: name 'm' is not defined (line 1)`. Each program
    runs by itself, in the sandbox of `textgym.grading.sandbox`; a batch's run side by side.

    What a program prints may be meant to deceive. It is plain text to the environment: characters
    other than printable ASCII and newlines are shown as `?`, and where it spells a special token
    (`<eos>`), the observation holds the letters, not that token.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. The budget is 384 tokens in all turns together,
    eos and programs included, outputs not; a reference takes at most 170 characters. A dialogue has
    at most 3 turns: two programs and the answer. Give `max_response_tokens` and `max_calls` where
    there is to be reasoning.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far with the outputs (of at most 184
    tokens each), padding. A prompt has up to 260 characters, 160 without the line on Python.

    ## Starting State
    A question of the level, at random. Each has a program that answers it,
    `Problem.info["program"]`, which the policy is not shown.

    ## Rewards
    * `correct`, weight 1: 1 if the last turn is the answer, which is an integer.
    * `called`, weight 0: 1 if at least one program was run.
    * `format`, weight 0: 1 if the answer stands where `answer_format` wants it.

    The reward comes at the end of the episode. What looks like an output but was written by the
    policy is part of its turn, so it is neither a call nor an answer.

    ## Episode End
    A turn ends with `</python>`, and the program is run; with eos, or when the budget or the turns
    are spent, the episode terminates. What was cut off is graded as it stands; a program that was
    not run is no answer. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`: `response` holds the outputs, `response_mask` leaves them out.
    `verdict` has the `rule` by which the answer was judged, and `calls` (how many programs ran).

    ## Arguments
    `difficulty`: a level of the table, the first one unless told otherwise. `answer_format`:
    "bare", "boxed", "hash" or "any"; see `textgym.tasks.math.base.MathTask`. `instructions=False`
    leaves out the line on Python. `max_calls` (2): how many programs are run. `timeout` (2 seconds)
    and `memory_mb` (512): what a program may use. `sandbox`: "auto", the strongest isolation that
    this machine offers; see `textgym.grading.sandbox` for the others. Making the environment fails
    where there is none.

    The same program prints the same, unless it asks for the time or for random numbers, or runs so
    long that the load of the machine decides.

    ## Difficulties
    | level    | questions | what is asked                                                       |
    |----------|-----------|---------------------------------------------------------------------|
    | sums     |    > 10^7 | sums over a range: of a polynomial, of remainders, of multiples     |
    | counting |    > 10^9 | how many numbers of a range have a remainder and another property   |
    | strings  |    > 10^9 | neighbours, positions and repetitions in a text of 25 to 60 letters |
    | search   |    > 10^6 | the next prime of a remainder, the next multiple with a digit sum   |
    | steps    |    > 10^9 | a recurrence after up to 200 steps, a walk by Collatz's rule        |

    ## References
    Gao et al. 2023, "PAL: Program-aided Language Models". Feng et al. 2025, "ReTool: Reinforcement
    Learning for Strategic Tool Use in LLMs".

    ## Version History
    * v0: initial version.
    """

    levels = {
        "sums": (programs.polynomial_sum, programs.remainder_sum, programs.multiples_sum),
        "counting": (programs.counting,),
        "strings": (programs.neighbours, programs.positions, programs.shared_places),
        "search": (programs.next_prime, programs.next_multiple),
        "steps": (programs.iteration, programs.halving),
    }
    difficulties = tuple(levels)
    max_response_tokens = 384
    max_turns = 3
    max_reply_tokens = MAX_OUTPUT + 24
    opening, closing = "<python>", "</python>"
    stop_strings = (closing,)
    instruction = "What stands between <python> and </python> is run, and its output follows."

    def __init__(
        self,
        answer_format: AnswerFormat = "bare",
        *,
        instructions: bool = True,
        max_calls: int | None = None,
        sandbox: str = "auto",
        timeout: float = 2.0,
        memory_mb: int = 512,
    ) -> None:
        super().__init__(answer_format, instructions=instructions, max_calls=max_calls)
        if timeout <= 0 or memory_mb <= 0:
            raise ValueError(
                f"timeout is {timeout} and memory_mb {memory_mb}, expected positive numbers"
            )
        default_sandbox(sandbox)  # whatever makes this impossible is said here, not in training
        self.sandbox, self.timeout, self.memory_mb = sandbox, timeout, memory_mb

    def run(self, calls: Sequence[str]) -> list[str]:
        """What each program wrote, and why it failed if it did."""
        if not calls:
            return []
        results = default_sandbox(self.sandbox).run_many(
            calls, timeout=self.timeout, memory_mb=self.memory_mb, output_bytes=OUTPUT_BYTES
        )
        return [f"\n<output>\n{_shown(result)}\n</output>\n" for result in results]


def _shown(result: RunResult) -> str:
    """A result as the policy reads it: short, and plain."""
    if result.error is not None:
        return "error: the program was not run"
    text = f"{result.stdout.strip()}\n{result.reason.strip()}".strip()
    if len(text) > MAX_OUTPUT:
        half = MAX_OUTPUT // 2
        text = f"{text[: half - 3]} ... {text[-half + 2 :]}"
    return "".join(c if " " <= c <= "~" or c == "\n" else "?" for c in text)
