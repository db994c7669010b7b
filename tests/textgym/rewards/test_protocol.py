"""Reward functions that fail, and ready ones by name."""

from __future__ import annotations

import math
import warnings
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from textgym.rewards import (
    READY,
    Distinct,
    Keywords,
    Length,
    Regex,
    batched,
    check_reward,
    load_reward,
    range_of,
    score_many,
)

PROMPTS, TEXTS = ["p ", "q ", "r "], ["one", "two", "three"]


def scores_of(reward, texts=TEXTS):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return score_many(reward, PROMPTS[: len(texts)], texts)


def length(prompt: str, generated: str, full_text: str) -> float:
    assert full_text == prompt + generated
    return len(generated)


@batched
def lengths(prompts, generated, full_texts):
    assert full_texts == [p + g for p, g in zip(prompts, generated, strict=True)]
    return np.array([len(text) for text in generated])


class Lengths:
    @batched
    def __call__(self, prompts, generated, full_texts):
        return lengths(prompts, generated, full_texts)


@pytest.mark.parametrize(
    "reward", [length, lengths, batched(lambda p, g, f: map(len, g)), Lengths(), partial(lengths)]
)
def test_each_response_gets_the_functions_number(reward):
    assert scores_of(reward) == [(3.0, None), (3.0, None), (5.0, None)]


def test_a_batched_function_is_called_once_for_all():
    calls = []

    @batched
    def reward(prompts, generated, full_texts):
        calls.append(list(generated))
        return [0.0] * len(generated)

    scores_of(reward)
    assert calls == [TEXTS]


class Unshowable:
    def __repr__(self):
        raise RuntimeError("not to be shown")


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        None,
        "1.0",
        b"1",
        [1.0, 2.0],
        1j,
        {},
        10**400,
        1e39,
        Unshowable(),
    ],
    ids=lambda value: f"{value}" if isinstance(value, float) else type(value).__name__,
)
@pytest.mark.parametrize("is_batched", [False, True])
def test_what_is_no_finite_number_is_an_error_and_not_0(value, is_batched):
    def single(p, g, f):
        return value if g == "two" else 1.0

    many = batched(lambda ps, gs, fs: [single(None, g, None) for g in gs])
    first, second, third = scores_of(many if is_batched else single)
    assert first == third == (1.0, None)
    assert "returned" in second.error and "expected a finite number" in second.error


@pytest.mark.parametrize("value", [True, np.float32(1), np.array(1.0), np.int8(1), 1])
def test_any_kind_of_number_is_one(value):
    assert scores_of(lambda p, g, f: value) == [(1.0, None)] * 3


def test_one_response_that_a_batched_function_cannot_take_spoils_no_other():
    @batched
    def reward(prompts, generated, full_texts):
        if "two" in generated:
            raise RuntimeError("cannot read two")
        return [1.0] * len(generated)

    first, second, third = scores_of(reward)
    assert first == third == (1.0, None)
    assert second.error.endswith("raised RuntimeError: cannot read two")


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 4])
def test_a_wrong_number_of_numbers_is_an_error_for_all(values):
    scores = scores_of(batched(lambda p, g, f: values))
    assert all(f"returned {len(values)} numbers for 3 responses" in s.error for s in scores)


def test_a_number_outside_of_the_stated_range_is_an_error():
    def reward(prompt, generated, full_text):
        return len(generated)

    reward.range = (0, 4)
    assert range_of(reward) == (0.0, 4.0)
    first, _, third = scores_of(reward)
    assert first == (3.0, None) and "5.0, outside of its range from 0 to 4" in third.error


def test_an_error_is_one_short_line_and_names_the_function():
    class Nasty(Exception):
        def __str__(self):
            raise ValueError

    def reward(prompt, generated, full_text):
        raise Nasty if generated == "one" else ValueError("x\n" * 10_000)

    scores = scores_of(reward)
    for score in scores:
        assert "reward raised" in score.error
        assert len(score.error) < 400 and "\n" not in score.error


def test_a_failure_is_warned_about_once():
    def fails(prompt, generated, full_text):
        raise ValueError(f"about {generated}")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            score_many(fails, PROMPTS, TEXTS)
    assert [w.category for w in caught] == [RuntimeWarning]
    assert "fails raised ValueError" in str(caught[0].message)


def test_what_stops_the_program_is_not_caught():
    def stop(prompt, generated, full_text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_many(stop, ["p"], ["g"])


@pytest.mark.parametrize(
    ("reward", "error", "message"),
    [
        (3, TypeError, "reward_fn is 3, expected a reward function"),
        (None, TypeError, "reward_fn is None"),
        (lambda text: 1.0, TypeError, "takes other arguments than prompt, generated and full_text"),
        (Length, TypeError, None),  # the class instead of one of its kind: fine by its signature
    ],
)
def test_what_cannot_be_called_with_three_texts_is_refused(reward, error, message):
    if message is None:
        return check_reward(reward)
    with pytest.raises(error, match=message):
        check_reward(reward)


@pytest.mark.parametrize("ends", [(1, 0), (0, 0), (0,), "01", (math.nan, 1), (None, 1), 3])
def test_a_range_that_is_none_is_refused(ends):
    def reward(prompt, generated, full_text):
        return 0.0

    reward.range = ends
    with pytest.raises(ValueError, match="the range of .*reward is .* expected its lowest and"):
        check_reward(reward)


def test_a_silent_function_may_return_anything():
    assert range_of(length) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("name", "reward"),
    [
        ("distinct", Distinct()),
        ("regex:a:b", Regex("a:b")),
        ("keywords:sea,wind", Keywords(["sea", "wind"])),
        ({"name": "length", "low": 2, "high": 3}, Length(2, 3)),
        ({"name": "keywords", "words": ["sea"], "how": "any"}, Keywords(["sea"], how="any")),
    ],
)
def test_a_ready_reward_has_a_name(name, reward):
    assert load_reward(name) == reward


def test_a_function_is_loaded_as_itself():
    assert load_reward(length) is length and load_reward(lengths) is lengths


def test_a_function_of_a_module_has_a_name_too(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text("def longest(p, g, f): return len(g)\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    env = gym.make("TextGeneration-v0", prompts=["Say: "], reward_fn="my_rewards:longest")
    env = gym.make(EnvSpec.from_json(env.spec.to_json()), text_actions=True)
    env.reset(seed=0)
    assert env.step("four")[1] == 4.0


@pytest.mark.parametrize(
    ("reward", "error", "message"),
    [
        ("nope", ValueError, "reward_fn is 'nope', expected a function, .*exact_match"),
        ("", ValueError, "expected a function, 'module:function', or one of"),
        ({"low": 3}, ValueError, "expected a function, 'module:function', or one of"),
        ({"name": ["length"]}, ValueError, "expected a function, 'module:function', or one of"),
        ("length", TypeError, "missing a required argument: 'low'; the settings of 'length' are"),
        ({"name": "length", "lo": 3}, TypeError, r"the settings of 'length' are \['low', 'high'"),
        ({"name": "length", "low": "x"}, ValueError, "reward_fn is {.*}: low is 'x', expected"),
        (3, TypeError, "reward_fn is 3, expected a reward function"),
        ("nowhere:reward", ValueError, "no module and its function: No module named 'nowhere'"),
        ("json:nothing", ValueError, "module 'json' has no attribute 'nothing'"),
        ("math:pi", TypeError, "reward_fn is 3.14.*, expected a reward function"),
    ],
)
def test_a_name_that_means_nothing_is_refused_with_those_that_do(reward, error, message):
    with pytest.raises(error, match=message):
        load_reward(reward)


def test_a_number_behind_the_colon_is_one():
    assert load_reward("distinct:3") == Distinct(3) and load_reward("length:5") == Length(5)
    assert load_reward("regex:7") == Regex("7") and load_reward("keywords:7") == Keywords("7")


def test_a_reward_model_is_no_reward_function_but_has_one():
    class Judge:
        as_reward_fn = __call__ = lambda *texts: 1.0

    with pytest.raises(TypeError, match=r"is a Judge, expected a reward function: give as_reward"):
        load_reward(Judge())


def test_every_ready_reward_states_its_range_but_the_reward_model():
    assert {name for name, kind in READY.items() if not hasattr(kind, "range")} == {"reward_model"}
