"""Ready reward functions against numbers worked out by hand, and against any text."""

from __future__ import annotations

import pickle
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgym.checking.grades import HOSTILE
from textgym.rewards import Distinct, ExactMatch, Keywords, Length, Readability, Regex
from textgym.rewards.texts import num_syllables_of, words_of

ALL = (
    ExactMatch("a word", ignore_case=True),
    Regex("[a-z ]+"),
    Regex("7{3}", whole=False),
    Length(2, 5, slack=3),
    Length(10, unit="characters"),
    Distinct(2),
    Readability(),
    Keywords(["sea", "C++", "of the"]),
)


def says(reward, generated: str, prompt: str = "prompt ") -> float:
    return reward(prompt, generated, prompt + generated)


def test_words_are_runs_of_letters_with_apostrophes_and_hyphens_inside():
    assert words_of("Don't re-do x_1, 2 — it’s 'quoted'!") == [
        *("don't", "re-do", "x_1", "2", "it’s", "quoted")
    ]


@pytest.mark.parametrize(
    ("reward", "generated", "value"),
    [
        (ExactMatch("Yes"), " Yes\n", 1),
        (ExactMatch("Yes"), "yes", 0),
        (ExactMatch("STRASSE", ignore_case=True), "straße", 1),
        (ExactMatch({"prompt ": "a", "other": "b"}), "a", 1),
        (ExactMatch({"prompt ": "a", "other": "b"}), "b", 0),
        (Regex(r"a+b?"), " aab ", 1),
        (Regex(r"a+b?"), "aab!", 0),
        (Regex(r"a+b?", whole=False), "!aab!", 1),
        (Length(2, 4), "one two three", 1),
        (Length(2, 4), "one", 0),
        (Length(2), "one two three", 0),
        (Length(2, 4, slack=4), "1 2 3 4 5 6 7", 0.25),  # three too many of four
        (Length(3, slack=4), "", 0.25),
        (Length(3, slack=3), "", 0),
        (Length(3, 5, unit="characters"), "a b", 1),
        (Distinct(1), "a b a b", 0.5),
        (Distinct(2), "a b a b", 2 / 3),  # ab ba ab
        (Distinct(2), "A a a", 0.5),
        (Distinct(3), "a b", 1),
        (Distinct(2), "...", 0),
        (Keywords("sea, wind,sun,C++"), "SEA and (C++)", 0.5),
        (Keywords(["sea"]), "seaside oversea", 0),
        (Keywords(["sea", "wind"], how="all"), "sea", 0),
        (Keywords(["sea", "wind"], how="all"), "windy wind sea", 1),
        (Keywords(["sea", "wind"], how="any"), "sea", 1),
        (Keywords(["sea", "wind"], how="any"), "", 0),
        (Keywords(["of the", "sea"]), "of the sea", 1),
    ],
)
def test_a_ready_reward_is_what_its_formula_says(reward, generated, value):
    assert says(reward, generated) == pytest.approx(value)


def test_readability_is_flesch_reading_ease():
    # 4 words, 1 sentence, 8 syllables: 206.835 - 1.015 * 4 - 84.6 * 2 = 33.575.
    assert says(Readability(), "Little apple paper tiger.") == pytest.approx(0.33575)
    # The same in two sentences: 206.835 - 1.015 * 2 - 84.6 * 2 = 35.605.
    assert says(Readability(), 'Little apple. "Paper tiger!"') == pytest.approx(0.35605)
    assert says(Readability(), "Little apple. Paper tiger") == pytest.approx(0.35605)
    assert says(Readability(), "The cat sat on the mat.") == 1
    assert says(Readability(), "Notwithstanding institutional opposition") == 0
    assert says(Readability(), " ?! ") == 0


@pytest.mark.parametrize(
    ("word", "count"),
    [
        *(("the", 1), ("make", 1), ("mile", 1), ("see", 1), ("little", 2), ("movie", 2)),
        *(("syllable", 3), ("readability", 5), ("rhythm", 1), ("42", 1), ("é", 1), ("hmm", 1)),
    ],
)
def test_syllables_are_groups_of_vowels_without_a_silent_e(word, count):
    assert num_syllables_of(word) == count


@pytest.mark.parametrize("reward", ALL, ids=repr)
def test_a_ready_reward_stays_in_its_range_for_any_text(reward):
    @settings(max_examples=30, deadline=None)
    @given(st.text(st.characters(), max_size=60))
    def check(text):
        value = says(reward, text)
        assert isinstance(value, float) and 0 <= value <= 1 == reward.range[1]

    check()


@pytest.mark.parametrize("reward", ALL, ids=repr)
def test_a_ready_reward_takes_time_in_proportion_to_the_text(reward):
    hostile = [*HOSTILE.values(), *(c * 200_000 for c in ("!", "a'", "a-", "e", " a", "a.b ", "é"))]
    start = time.process_time()
    assert all(0 <= says(reward, text) <= 1 for text in hostile)
    assert time.process_time() - start < 10  # quadratic time would be hours


@pytest.mark.parametrize("reward", ALL, ids=repr)
def test_a_ready_reward_pickles_and_compares_by_its_settings(reward):
    assert pickle.loads(pickle.dumps(reward)) == reward
    assert repr(pickle.loads(pickle.dumps(reward))) == repr(reward)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExactMatch(3), "target is 3, expected a text"),
        (lambda: ExactMatch({"a": None}), "target is None"),
        (lambda: Regex("("), r"pattern is '\(': missing \)"),
        (lambda: ExactMatch("a", ignore_case=1), "ignore_case is 1, expected True or False"),
        (lambda: Regex(None), "pattern is None, expected a regular expression"),
        (lambda: Regex("a", whole="no"), "whole is 'no', expected True or False"),
        (lambda: Length(-1), "low is -1, expected an integer of at least 0"),
        (lambda: Length(5, 4), "high is 4, expected None or an integer of at least low=5"),
        (lambda: Length(5, unit="tokens"), "unit is 'tokens', expected 'words' or 'characters'"),
        (lambda: Length(5, slack=-1), "slack is -1, expected at least 0"),
        (lambda: Distinct(0), "n is 0, expected an integer of at least 1"),
        (lambda: Keywords([]), r"words is \[\], expected at least one word"),
        (lambda: Keywords("a,,b"), "words is 'a,,b'"),
        (lambda: Keywords(["a", 3]), "expected at least one word"),
        (lambda: Keywords("a", how="most"), "how is 'most', expected 'share', 'all' or 'any'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()
