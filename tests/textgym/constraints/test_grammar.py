"""Patterns of grammars against the texts that the rules derive."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from textgym.constraints import grammar_pattern, matches

RULES = {"sum": ["<digit>", "(<sum>+<sum>)"], "digit": ["1", "2"]}


def derived(name: str, depth: int) -> set[str]:
    """What a rule of RULES derives, by deriving it."""
    if not depth:
        return set()
    found = set()
    for alternative in RULES[name]:
        parts = re.split("<(.*?)>", alternative)
        options = [derived(part, depth - 1) if i % 2 else {part} for i, part in enumerate(parts)]
        found |= {"".join(choice) for choice in itertools.product(*options)}
    return found


@pytest.mark.parametrize(("depth", "count"), [(2, 2), (3, 6), (4, 38)])
def test_a_pattern_matches_what_is_derived_up_to_its_depth(depth: int, count: int) -> None:
    pattern, texts = grammar_pattern(RULES, "sum", depth), derived("sum", depth)
    assert len(texts) == count and all(matches(pattern, text) for text in texts)
    deeper = derived("sum", 5) - texts
    assert len(deeper) == 1446 - count
    assert not any(matches(pattern, text) for text in [*deeper, "", "3", "(1+1", "1+1"])


def test_the_first_rule_is_the_start_and_text_is_only_text() -> None:
    pattern = grammar_pattern({"a": ["<b>.*", "<", "<b"], "b": ["[x]"]})
    assert [t for t in ("[x].*", "x", "[x]ab", "<", "<b", "<b>") if matches(pattern, t)] == [
        *("[x].*", "<", "<b"),
    ]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((5,), "grammar is 5"),
        (({},), "grammar is {}"),
        (({"a": "x"},), r"grammar\['a'\] is 'x'"),
        (({"a": []},), r"grammar\['a'\] is \[\]"),
        (({"a": [1]},), r"grammar\['a'\] is \[1\]"),
        (({"a": ["<b>"]},), "refers to <b>"),
        ((RULES, "x", 3), "start is 'x'"),
        ((RULES, [], 3), r"start is \[\]"),
        ((RULES, "sum", 0), "depth is 0"),
        ((RULES, "sum", "3"), "depth is '3'"),
        ((RULES, "sum", 10**9), "depth is 1000000000"),
        ((RULES, "sum", 1), "too few for any text of <sum>"),
        (({"a": ["<a>"]}, "a", 9), "too few for any text of <a>"),
        ((RULES, "sum", 30), "more than 200000 characters"),
    ],
)
def test_what_is_no_grammar_is_named(arguments: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        grammar_pattern(*arguments)
