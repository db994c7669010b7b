"""Which program a response stands for."""

from __future__ import annotations

import time

import pytest

from textgym.tasks.code.programs import Target, program_of

ONE_LINE = Target(None, "f", "def f(a, b): return ")
BODY = Target(None, "f", "def f(xs):\n")
NOTHING = Target(None)
WHOLE = "def f(a, b):\n    return a\n"
PROMPT = "import math\n\n\ndef g():\n    ...\n\n\ndef f(x):\n    '''Doc.'''\n"
HUMAN_EVAL = Target(None, "f", PROMPT, preamble=PROMPT + "\n")


@pytest.mark.parametrize(
    ("response", "program"),
    [
        ("a*b", "def f(a, b): return a*b"),
        ("", "def f(a, b): return "),
        ("return a*b", "def f(a, b): return a*b"),
        (" return a*b", "def f(a, b): return a*b"),
        ("returned", "def f(a, b): return returned"),
        (WHOLE, WHOLE),
        ("import math\n" + WHOLE, "import math\n" + WHOLE),
        ("def g(a, b): return 1", "def f(a, b): return def g(a, b): return 1"),
    ],
)
def test_a_response_goes_on_from_the_header_or_defines_the_function(response, program) -> None:
    assert program_of(response, ONE_LINE) == program


@pytest.mark.parametrize(
    ("response", "program"),
    [
        (f"```python\n{WHOLE}```", WHOLE),
        (f"Here it is:\n```py\n{WHOLE}```\nIt returns a.", WHOLE),
        (f"```\n{WHOLE}", WHOLE),  # cut off by the budget
        ("```python\na*b\n```", "def f(a, b): return a*b\n"),
        (f"```\nx\n```\n```python\n{WHOLE}```", WHOLE),  # the last block
        (
            f"```python\n{WHOLE}```\n```python\nprint(f(1, 2))\n```",
            WHOLE,
        ),  # or the one that defines
        (f"  ```python\n{WHOLE}  ```", WHOLE),
    ],
)
def test_a_fenced_block_is_taken_out(response: str, program: str) -> None:
    assert program_of(response, ONE_LINE) == program


def test_a_body_goes_on_from_its_header() -> None:
    assert program_of("    return xs", BODY) == "def f(xs):\n    return xs"
    assert program_of("```\n    return xs\n```", BODY) == "def f(xs):\n    return xs\n"


def test_without_a_header_the_response_is_the_program() -> None:
    assert program_of("print(input())", NOTHING) == "print(input())"
    assert program_of("```\nprint(1)\n```", NOTHING) == "print(1)\n"


def test_what_precedes_a_function_stays_where_the_response_defines_it_anew() -> None:
    body, whole = "    return math.pi", "def f(x):\n    return math.pi"
    assert program_of(body, HUMAN_EVAL) == PROMPT + body
    assert program_of(whole, HUMAN_EVAL) == PROMPT + "\n" + whole


@pytest.mark.parametrize("filler", ["`", "```\n", " ", "def f(", "def  ", "\n", "``` " * 3 + "\n"])
def test_long_nonsense_takes_no_time(filler: str) -> None:
    start = time.process_time()
    program_of(filler * (1_000_000 // len(filler)), ONE_LINE)
    assert time.process_time() - start < 5
