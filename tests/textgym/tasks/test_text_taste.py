"""TextTaste: the utility by hand, drafts of middling quality, and labels as noisy as asked."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import textgym  # noqa: F401
from textgym import Problem
from textgym.rewards import batched
from textgym.tasks.preference.text_taste import LIKED, TextTaste, draft, utility


@pytest.mark.parametrize(
    ("response", "worth"),
    [
        ("", 0),
        (" \n ", 0),
        ("a", 1),
        ("a h\td", 3),
        ("aa", 0),  # the second one is one letter too many
        ("ae", 0),  # Bob would like it
        ("x", -1),
        ("A", -1),
        ("adhkortw", 8),
        ("x" * 100, -8),
    ],
)
def test_the_utility_is_distinct_liked_letters_less_everything_else(
    response: str, worth: int
) -> None:
    assert utility("Ann", response) == worth


def test_every_guest_likes_eight_letters_and_no_two_the_same() -> None:
    assert {len(set(letters)) for letters in LIKED.values()} == {8}
    assert len({frozenset(letters) for letters in LIKED.values()}) == 2


def test_drafts_are_of_middling_quality() -> None:
    rng = np.random.default_rng(0)
    worth = np.array([utility("Bob", draft("Bob", rng)) for _ in range(4000)])
    assert 0.2 < worth.mean() < 0.7 and worth.max() <= 6 and 1.5 < worth.std() < 2.5


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
def test_preferences_are_turned_around_as_often_as_noise_says(noise: float) -> None:
    env = gymnasium.make("TextTaste-v0", noise=noise)
    pairs = env.unwrapped.preferences(2000, seed=1)
    gaps = [
        utility(pair.prompt[:3], pair.chosen) - utility(pair.prompt[:3], pair.rejected)
        for pair in pairs
    ]
    wrong = np.mean([gap < 0 for gap in gaps])
    assert all(gaps) and abs(wrong - noise) < 4 * np.sqrt(noise * (1 - noise) / 2000) + 1e-9


def test_with_a_learned_reward_the_truth_is_told_beside_it() -> None:
    @batched
    def length(prompts, generated, full_texts):
        return [float(len(text)) for text in generated]

    task = TextTaste(reward_fn=length)
    problem = Problem("Ann 1234: ", info={"guest": "Ann"})
    assert task.rewards == {"learned": 1.0, "utility": 0.0}
    assert dict(task.grade(problem, "ad")) == {"learned": 2.0, "utility": 2.0}


@pytest.mark.parametrize(
    ("arguments", "told"), [({"noise": 0.5}, "noise is 0.5"), ({"beta": 0}, "beta is 0")]
)
def test_bad_arguments_are_refused(arguments: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TextTaste(**arguments)
