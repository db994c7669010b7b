"""TextReview: the utility by hand, drafts of middling quality, and labels as noisy as asked."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import textgym  # noqa: F401
from textgym import Problem
from textgym.rewards import batched
from textgym.tasks.preference.text_review import APT, TextReview, draft, utility


@pytest.mark.parametrize(
    ("response", "worth"),
    [
        ("", 0),
        (" , ,", 0),
        ("bold", 1),
        ("bold,wild  deep", 3),
        ("bold bold", 0),  # the second one is one item too many
        ("bold rich", 0),  # apt for meals
        ("dull", -1),
        ("boldwild", -1),
        ("Bold", -1),
        (" ".join(APT["film"]), 8),
        ("x " * 100, -8),
    ],
)
def test_the_utility_is_distinct_apt_words_less_everything_else(response: str, worth: int) -> None:
    assert utility("film", response) == worth


def test_no_word_praises_two_kinds() -> None:
    words = [word for kind in APT.values() for word in kind]
    assert len(set(words)) == 32 and {len(word) for word in words} == {4}


def test_drafts_are_of_middling_quality() -> None:
    rng = np.random.default_rng(0)
    worth = np.array([utility("walk", draft("walk", rng)) for _ in range(4000)])
    assert 0.2 < worth.mean() < 0.6 and worth.max() <= 6 and 1.5 < worth.std() < 2.5


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
def test_preferences_are_turned_around_as_often_as_noise_says(noise: float) -> None:
    env = gymnasium.make("TextReview-v0", noise=noise)
    pairs = env.unwrapped.preferences(2000, seed=1)
    gaps = [
        utility(pair.prompt[:4], pair.chosen) - utility(pair.prompt[:4], pair.rejected)
        for pair in pairs
    ]
    wrong = np.mean([gap < 0 for gap in gaps])
    assert all(gaps) and abs(wrong - noise) < 4 * np.sqrt(noise * (1 - noise) / 2000) + 1e-9


def test_with_a_learned_reward_the_truth_is_told_beside_it() -> None:
    @batched
    def length(prompts, generated, full_texts):
        return [float(len(text)) for text in generated]

    task = TextReview(reward_fn=length)
    problem = Problem("meal 1234: ", info={"kind": "meal"})
    assert task.rewards == {"learned": 1.0, "utility": 0.0}
    assert dict(task.grade(problem, "rich ripe")) == {"learned": 9.0, "utility": 2.0}


@pytest.mark.parametrize(
    ("arguments", "told"), [({"noise": 0.5}, "noise is 0.5"), ({"beta": 0}, "beta is 0")]
)
def test_bad_arguments_are_refused(arguments: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TextReview(**arguments)
