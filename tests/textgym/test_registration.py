"""From an id to an environment: specifications, keywords, and who shares the problems."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

import textgym
from tests.textgym.playing import Echo, assert_same, problem_of
from tests.textgym.sample_tasks import Sort
from textgym import CharTokenizer, Problem
from textgym.tasks import TextMath

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: gym.make("TextMath-v0", group_size=4), TypeError, r"got \['group_size'\]"),
        (
            lambda: gym.make("TextMath-v0", wordnig="words"),
            TypeError,
            r"TextMath got \['wordnig'\]: .* the task's keywords are \[.*'wording'\], the env",
        ),
        (lambda: gym.make("TextMth-v0"), gym.error.NameNotFound, "Did you mean: `TextMath`"),
        (lambda: textgym.load_task("CartPole-v1"), ValueError, "CartPole-v1 is no text task"),
        (lambda: textgym.load_task("TextMath"), gym.error.Error, "id: TextMath"),
        (lambda: textgym.load_task(TextMath()), TypeError, "expected an id or a 'module:Class'"),
        (lambda: textgym.load_task("textgym.tasks:Nil"), ValueError, "no Task class 'Nil'"),
        (lambda: gym.make("TextMath-v0", tokenizer="/no/folder"), ValueError, "tokenizer is '/no"),
    ],
)
def test_a_wrong_id_or_keyword_is_one_clear_line(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as info:
        make()
    assert "\n" not in str(info.value)


def test_a_spec_survives_json() -> None:
    env = gym.make("TextMath-v0", difficulty="digit", wording="both", split="test")
    spec = EnvSpec.from_json(env.spec.to_json())
    assert json.loads(env.spec.to_json())["kwargs"]["wording"] == "both"
    twin = gym.make(spec)
    assert_same(env.reset(seed=5), twin.reset(seed=5))
    assert twin.unwrapped.task.wording == "both" and twin.unwrapped.mdp.bank.split == "test"


def test_an_id_with_its_module_works_in_a_fresh_interpreter() -> None:
    program = (
        "import gymnasium; env = gymnasium.make('textgym:TextMath-v0'); env.reset(seed=0); "
        "envs = gymnasium.make_vec('textgym:TextMath-v0', num_envs=3); envs.reset(seed=0); "
        "print(env.unwrapped.task.alphabet, type(envs).__name__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout == f"{TextMath.alphabet} TokenVectorEnv\n" and result.stderr == ""


def test_load_task_leaves_the_environments_keywords_out() -> None:
    task = textgym.load_task("tests.textgym.sample_tasks:Sort-test-v0")
    assert type(task) is Sort
    assert textgym.load_task("textgym:TextMath-v0", wording="words").wording == "words"


def test_equal_keywords_share_the_problems_and_others_do_not() -> None:
    envs = [gym.make("TextMath-v0", wording=w).unwrapped for w in ("words", "words", "both")]
    assert envs[0].mdp is envs[1].mdp is not envs[2].mdp
    built_in = [gym.make("TextMath-v0", tokenizer=CharTokenizer()).unwrapped for _ in range(2)]
    assert built_in[0].mdp is built_in[1].mdp


def test_keywords_that_only_print_the_same_do_not_share_problems() -> None:
    class Words(Echo):
        def __init__(self, words):
            self.words = words

        def sample(self, rng):
            return Problem(prompt=f"{rng.integers(1000)} {self.words[2000]}", answer="a")

    textgym.register_task("Words-test-v0")(Words)
    first, second = np.zeros(5000), np.zeros(5000)
    second[2000] = 1  # numpy prints neither
    assert repr(first) == repr(second)
    envs = [gym.make("Words-test-v0", words=words).unwrapped for words in (first, second)]
    prompts = [problem_of(env, env.reset(seed=0)[1]).prompt for env in envs]
    assert prompts[0].endswith(" 0.0") and prompts[1].endswith(" 1.0")


def test_a_class_registered_again_takes_the_place_of_the_earlier_one() -> None:
    """As in a notebook whose cell runs twice while an environment of the first run is alive."""

    def define(text: str) -> gym.Env:
        class Again(Echo):
            def sample(self, rng):
                return Problem(prompt=f"{text} {rng.integers(1000)}", answer="a")

        gym.registry.pop("Again-test-v0", None)
        textgym.register_task("Again-test-v0")(Again)
        return gym.make("Again-test-v0").unwrapped

    envs = [define("first"), define("second")]
    prompts = [problem_of(env, env.reset(seed=0)[1]).prompt for env in envs]
    assert prompts[0].startswith("first") and prompts[1].startswith("second")
