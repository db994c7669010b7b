"""The automaton of a pattern, against Python's `re`."""

from __future__ import annotations

import itertools
import re

import pytest

from textgym.constraints import compiled, matches

TEXTS = ["".join(text) for n in range(5) for text in itertools.product("abcé1 \n", repeat=n)]
TEXTS += ["\u07ff", "\u0800", "\uffff", "\U00010000", "\U0010ffff", "١"]

PATTERNS = [
    *("", "a", "abc", "a|ab", "a*", "a*?", "(a|ab)(c|bc)", "a??b?", "^a$", r"\Aa\Z"),
    *("é|1", "[^a]", ".", "(?s:.)", "(?s).b", r"\d", r"\D+", r"\w*", r"\W", r"\s+", r"\S"),
    *(r"(?a:\w)", r"(?a)\d", r"[^\W\d]", "[a-cé]{2}", r"[\s\S]", "[à-ü]+", "[^\x00-\U0000ffff]"),
    *("(?:a|b){2,3}", "a{0}", "(a?){3}", "a{2,}", "(ab?|b){1,2}c", "(a{0,2}){2}", "(a*)*b"),
    *("((a|b)*c)*", "(?:)|b", "(a|b|ab)*?1", "(?x) a  b # c", "(?P<name>a)b", "a{1,3}a{2}"),
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_it_accepts_what_fullmatch_accepts(pattern: str) -> None:
    expected = [text for text in TEXTS if re.fullmatch(pattern, text)]
    assert [text for text in TEXTS if matches(pattern, text)] == expected


@pytest.mark.parametrize("pattern", [r"\w", r"\s", "[^é]", "[\u0100-\ud7ff\U00012345]"])
def test_it_agrees_with_re_on_characters_of_all_lengths(pattern: str) -> None:
    codes = [*range(0x900), *range(0x900, 0x110000, 97), 0xD7FF, 0xE000, 0xFFFF, 0x12345, 0x10FFFF]
    texts = [chr(code) for code in codes if not 0xD800 <= code < 0xE000]
    expected = [text for text in texts if re.fullmatch(pattern, text)]
    assert [text for text in texts if matches(pattern, text)] == expected


def test_half_a_surrogate_pair_is_no_text() -> None:
    assert not matches(".*", "a\ud800") and not matches(".", "\udfff")


@pytest.mark.parametrize(
    ("pattern", "num_states"),
    [
        ("abc", 4),
        ("[ab]{2}|aa|ba", 3),
        ("(a|b)*abb", 4),  # the textbook's
        ("a{0,100}", 101),
        ("(?:foo|bar)(?:foo|bar)", 11),
    ],
)
def test_it_is_minimal(pattern: str, num_states: int) -> None:
    assert compiled(pattern).dead == num_states


def test_its_shortest_text_is_known() -> None:
    assert [compiled(p).shortest for p in ("", "a+b|cccc", "é{2}", "a{3,}b{2}")] == [0, 2, 4, 5]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "missing"),
        ("a(?=b)", "lookaround"),
        ("(?<!b)a", "lookaround"),
        (r"(a)\1", "backreference"),
        (r"a\b", r"\\b inside"),
        ("a^b", r"\^"),
        ("(?:a$|b)", r"\$"),
        ("a++", "possessive"),
        ("(?>a)", "atomic"),
        ("(?i)a", "flag i"),
        ("b(?i:a)", "flag i"),
        (r"[^\s\S]", "no text matches"),
        ("\ud800", "no text matches"),
        ("a{99999}", "states"),
        ("(a|b)*a(a|b){20}", "states"),
        ("((a{1,1000}){1,1000}){1,100}", "steps"),
        ("(" * 2000 + ")" * 2000, "nested too deeply"),
        ("a?" * 3000, "nested too deeply"),
        (5, "expected a text"),
        (None, "expected a text"),
    ],
)
def test_what_is_not_supported_is_named(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        compiled(pattern)


def test_matching_takes_time_in_proportion_to_the_text() -> None:
    assert not matches("(a|a)*(a*)*b", "a" * 10**5)  # re would need 2^100000 steps
