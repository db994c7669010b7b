"""TextCode: write a Python program, which a sandbox runs against tests that the prompt hides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from textgym.grading.code import CodeVerdict, grade_many
from textgym.grading.sandbox import default_sandbox
from textgym.registration import register_task
from textgym.task import Grade, Problem, Task
from textgym.tasks.code.generator import Generator
from textgym.tasks.code.programs import Target, program_of
from textgym.tasks.code.rows import Rows

MAX_TAIL = 400
"""Characters that info shows of what a program wrote."""

SYNTAX_ERRORS = ("SyntaxError", "IndentationError", "TabError", "ValueError: source code")
"""How the reason begins where Python cannot compile a program (the last: a null byte in it)."""


DATA_SET_TOKENS = 256
"""Least budget for a response to a data set's problem: another right program may be longer."""


@register_task("TextCode-v0")
class TextCode(Task):
    """Write a program that passes hidden tests.

    ## Description
    The prompt says what the function `f` shall do and ends with the head of its definition, as in
    `twice a minus b, times 7` and, below it, `def f(a, b): return `. The response goes on from
    there: `(2*a-b)*7`. It may also define the whole function, and it may put its program into a
    fence (```python), with words around it; `textgym.tasks.code.programs.program_of` has the rule.
    The program is run, in the sandbox of `textgym.grading.code`, on arguments that the prompt does
    not show, drawn from the problem's own generator, and what it returns is compared outside of the
    sandbox. What is expected comes from the reference solution, which each problem has by
    construction, and the hidden tests refute near-misses: a step left out, a number off by one.

    With `dataset`, the problems are those of a data set, in one of these layouts:

    | layout         | columns                                                | a response         |
    |----------------|--------------------------------------------------------|--------------------|
    | MBPP           | text, code, test_list, test_setup_code                 | is the program     |
    | sanitized MBPP | prompt, code, test_list, test_imports                  | is the program     |
    | HumanEval      | prompt, canonical_solution, test, entry_point          | goes on or defines |
    | APPS           | question, input_output (JSON), solutions, starter_code | is the program     |

    MBPP's prompt is the text and the first of the asserts, which tells the function's name; all
    asserts must hold. Programs of APPS read standard input and write standard output, or define the
    function that `fn_name` names.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. The budget is 320 tokens, eos included; the
    longest reference has 288 characters (13 at the level expression). With a data set it is twice
    the longest reference of a probe; `max_response_tokens` sets another.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. A prompt has at most 62
    characters at the level expression, and at most about 550 at bugfix.

    ## Starting State
    A problem of the level, at random. The same behaviour in other words has the same key, so no
    function is asked for in two splits. A data set's own splits are kept.

    ## Rewards
    * `correct`, weight 1: 1 if all hidden tests pass.
    * `tests_passed`, weight 0: the share of the hidden tests that pass.
    * `syntax`, weight 0: 1 if Python can compile the program.
    * `brevity`, weight 0: for a correct program, the reference's length divided by its own, at most
      1; else 0. Characters are counted, of the whole program.

    `gym.make("TextCode-v0", reward_weights={"tests_passed": 0.5})` gives other weights. The reward
    comes at the end of the episode.

    ## Episode End
    The episode terminates with eos or when the budget is spent. A response cut off there is graded
    as it stands. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`. `verdict` has `reason` (why the first test that failed did, ""
    if none failed), `tests` and `tests_passed` (how many), `stdout` and `stderr` (their last
    characters, as plain text). Where the sandbox failed, `verifier_error` says how: there is no
    verdict.

    ## Arguments
    `dataset`: a file, folder or name on the hub, see `textgym.data_sets`; `subset`: which
    configuration of one on the hub; `fields`: which column holds what, such as
    `{"prompt": "question"}`, where the columns have other names. `timeout` (seconds for all tests
    together; 3, or 10 with a data set) and `memory_mb` (512): what a program may use. `sandbox`:
    "auto", the strongest isolation that this machine offers; see `textgym.grading.sandbox` for the
    others. Making the environment fails where there is none. `difficulty`: a level of the table;
    "expression" unless told otherwise; a data set has no levels.

    ## Difficulties
    Questions are counted by what the function does: by its results for 16 fixed inputs. The last
    column counts the repeated ones among 1,000 draws. (Enumerating function, lists and strings
    takes minutes and was done once; a test confirms all other figures but the bound of bugfix.)

    | level      | questions | what is asked                                           | repeated |
    |------------|-----------|---------------------------------------------------------|----------|
    | expression |     3,796 | two or three terms in words, as one expression          |      277 |
    | function   | 1,387,758 | two or three cases by condition, of two whole numbers   |       26 |
    | examples   |     7,410 | the quadratic that takes six values shown               |      122 |
    | lists      |    75,361 | two or three steps with a list of numbers, and a result |       73 |
    | strings    |    38,737 | two or three steps with a text, and a result            |      104 |
    | algorithms |     1,363 | one of 28 small algorithms with numbers of its own      |      326 |
    | bugfix     | > 100,000 | a program of these kinds with one mistake, to be mended |       86 |

    ## References
    Chen et al. 2021, "Evaluating Large Language Models Trained on Code" (HumanEval); Austin et al.
    2021, "Program Synthesis with Large Language Models" (MBPP); Hendrycks et al. 2021, "Measuring
    Coding Challenge Competence With APPS".

    ## Version History
    * v0: initial version.
    """

    rewards = {"correct": 1.0, "tests_passed": 0.0, "syntax": 0.0, "brevity": 0.0}
    difficulties = Generator.levels
    default_difficulty = "expression"
    max_response_tokens = 320

    def __init__(
        self,
        dataset: str | None = None,
        *,
        subset: str | None = None,
        fields: Mapping[str, str] | None = None,
        sandbox: str = "auto",
        timeout: float | None = None,
        memory_mb: int = 512,
    ) -> None:
        if timeout is None:
            timeout = 3.0 if dataset is None else 10.0
        if timeout <= 0 or memory_mb <= 0:
            raise ValueError(
                f"timeout is {timeout} and memory_mb {memory_mb}, expected positive numbers"
            )
        if dataset is None and (subset is not None or fields is not None):
            raise ValueError("subset and fields say how to read a data set, and dataset is None")
        default_sandbox(sandbox)  # whatever makes this impossible is said here, not in training
        self.sandbox, self.timeout, self.memory_mb = sandbox, timeout, memory_mb
        self._source: Generator | Rows = Generator()
        if dataset is not None:
            self._source = Rows(dataset, subset=subset, fields=fields)
            self.difficulties, self.default_difficulty = (), None
            self.max_response_tokens, self.least_response_tokens = None, DATA_SET_TOKENS

    def sample(self, rng: np.random.Generator, *difficulty: str) -> Problem:
        """Draw a problem of a level, or a row of the data set."""
        return self._source.sample(rng, *difficulty)

    def list_problems(self, *difficulty: str) -> Sequence[Problem] | None:
        """The rows of the data set; None: problems are drawn."""
        return self._source.list_problems(*difficulty)

    def grade(self, problem: Problem, response: str) -> Grade:
        """Run the program that the response stands for."""
        return self.grade_many([problem], [response])[0]

    def grade_many(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Grade]:
        """Run the programs of all responses side by side."""
        targets = [self._source.target(problem) for problem in problems]
        programs = list(map(program_of, responses, targets))
        verdicts = grade_many(
            [(program, target.tests) for program, target in zip(programs, targets, strict=True)],
            timeout=self.timeout,
            memory_mb=self.memory_mb,
            sandbox=self.sandbox,
        )
        return list(map(_grade, programs, targets, verdicts))


def _grade(program: str, target: Target, verdict: CodeVerdict) -> Grade:
    if verdict.error is not None:
        return Grade(error=verdict.error)
    length = max(len(program.strip()), 1)
    shortness = min(1.0, len(target.reference.strip()) / length) if target.reference else 1.0
    components = {
        "correct": float(verdict.passed),
        "tests_passed": verdict.tests_passed,
        "syntax": float(not verdict.reason.startswith(SYNTAX_ERRORS)),
        "brevity": shortness if verdict.passed else 0.0,
    }
    reason = verdict.reason
    if reason.startswith("wrong"):
        reason += ": " + next(result.got for result in verdict.results if not result.passed)
    facts = {
        "reason": _plain(reason),
        "tests": len(verdict.results),
        "tests_passed": sum(result.passed for result in verdict.results),
        "stdout": _plain(verdict.stdout),
        "stderr": _plain(verdict.stderr),
    }
    return Grade(components, facts=facts)


def _plain(text: str) -> str:
    """The end of a text that a program wrote, without what a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text[-MAX_TAIL:])
