"""The numbered problems: equal spaces in every split, threads, memory, what is refused."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.textgym.playing import Echo
from textgym import CharTokenizer, Problem, RLEnvironment, TokenMDP, TokenVectorEnv
from textgym.tasks import TextMath

ROOT = Path(__file__).resolve().parents[2]


class Sized(Echo):
    """Prompts of 1 to 40 characters, of which the longest are rare."""

    max_response_tokens = None

    def sample(self, rng):
        return Problem(prompt="x" * int(1 + 40 * rng.random() ** 3), answer="y" * rng.integers(9))


@pytest.mark.parametrize("task", [TextMath(wording="both"), Sized()])
def test_the_spaces_depend_on_neither_split_nor_number_of_problems(task) -> None:
    settings = [("train", 2**14), ("validation", 300), ("test", 5), ("all", 1)]
    mdps = [TokenMDP(task, split=split, num_problems=n) for split, n in settings]
    assert len({mdp.observation_length for mdp in mdps}) == 1
    assert len({mdp.budget for mdp in mdps}) == 1


class Slow(CharTokenizer):
    """Lets other threads run while it encodes."""

    def encode(self, text, *, add_special_tokens=False):
        time.sleep(random.random() / 1000)
        return super().encode(text)

    def get_vocab(self):
        return {}  # the built-in tokenizer would take its place


def test_threads_that_share_a_bank_see_whole_rows() -> None:
    settings = {"tokenizer": Slow(), "num_problems": 100}
    bank, twin = (TokenMDP(Echo(), **settings).bank for _ in range(2))
    torn = []

    def read() -> None:
        for row in range(100):
            bank.problem(row)
            seen = [bank.prompts[row], bank.references[row], bank.facts[row]]
            seen = [part.copy() for part in seen]
            expected = twin.prompts[row], twin.references[row], twin.facts[row]
            if not all(map(np.array_equal, seen, expected)):
                torn.append(row)

    twin.ensure(np.arange(100))
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torn


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages are kept out on Linux alone")
def test_problems_that_nobody_asks_for_take_up_no_memory() -> None:
    """With huge pages, 640 rows of tables of 12 GB took up more than 1 GB."""
    program = """
import resource, textgym
class Long(textgym.Task):
    max_response_tokens = 1000
    def sample(self, rng):
        return textgym.Problem("x" * 990 + str(rng.integers(10**9)), "y")
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
envs = textgym.TokenVectorEnv(Long(), 64, num_problems=2**20)
for seed in range(10):
    envs.reset(seed=64 * seed)
print(peak() - before)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert resource.getpagesize() > 2**14 or float(result.stdout) < 100  # MB


def test_tables_without_room_are_one_clear_line() -> None:
    with pytest.raises(MemoryError, match="num_problems=1099511627776 .*; lower num_problems"):
        TokenMDP(Echo(), num_problems=2**40)


def test_a_prompt_without_tokens_is_refused() -> None:
    class Deaf(CharTokenizer):
        def encode(self, text, *, add_special_tokens=False):
            return super().encode(text.strip())

        def get_vocab(self):
            return {}

    class Blank(Echo):
        def sample(self, rng):
            return Problem(prompt="  \n", answer="a")

    with pytest.raises(ValueError, match=r"Blank has the prompt '  \\n', in which the tokenizer"):
        RLEnvironment(Blank(), tokenizer=Deaf(), split="all")


@pytest.mark.parametrize("value", [0, -1, 2.5, "8", True])
@pytest.mark.parametrize("name", ["num_problems", "max_prompt_tokens", "max_response_tokens"])
def test_what_is_no_count_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value!r}, expected an integer of at least 1"):
        TokenMDP(TextMath(), **{name: value})


@pytest.mark.parametrize(("name", "value"), [("answer", 5), ("answer", None), ("key", ("a", "b"))])
def test_a_problem_is_made_of_texts(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"Problem.{name} is .*, expected a text"):
        Problem("2+3=", **{name: value})


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("stop_strings", "END", "stop_strings is 'END', expected a tuple of texts"),
        ("stop_strings", ("",), "stop_strings has '', expected texts that are not empty"),
        ("difficulties", "easy", "difficulties is 'easy', expected a tuple of names"),
        ("rewards", {}, "rewards is {}, expected a mapping"),
        ("rewards", {"correct": float("inf")}, "is inf, expected a finite weight"),
        ("max_turns", 0, "max_turns is 0, expected an integer of at least 1"),
        ("max_response_tokens", 0, "max_response_tokens is 0, expected an integer of at least 1"),
    ],
)
@pytest.mark.parametrize("make", [RLEnvironment, TokenVectorEnv])
def test_a_task_that_cannot_be_played_is_refused(make, attribute, value, message) -> None:
    task = type("Broken", (Echo,), {attribute: value})()
    with pytest.raises(ValueError, match=message):
        make(task)


class Foreign(Echo):
    """Prompts in letters that the built-in tokenizer does not have."""

    def sample(self, rng):
        return Problem(prompt=f"Grüße {rng.integers(10**6)}", answer="hi")


def test_a_prompt_that_the_tokenizer_cannot_read_is_told_once() -> None:
    with pytest.warns(UserWarning, match="prompt 'Grüße .*keeps 'Gre .*another tokenizer") as told:
        env = RLEnvironment(Foreign())
        for seed in range(3):
            env.reset(seed=seed)
    assert len(told) == 1
