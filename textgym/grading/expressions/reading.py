"""A text as an answer: its tree, its words, and the other ways in which it may be meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from textgym.grading.expressions.cleaning import clean
from textgym.grading.expressions.parser import parse
from textgym.grading.expressions.tree import (
    Based,
    Braces,
    Bracketed,
    Listing,
    Node,
    Number,
    OutOfBounds,
    Text,
)

_based = re.compile(r"\(?([0-9A-F]+)\)?_\{?(\d{1,2})\}?")
_choice = re.compile(r"\W*([A-J])\s*(?:[).:}]\s*(.*)|)", re.DOTALL)
_date = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[/-]\d{1,2}[/-]\d{4}")
_thousands = re.compile(r"\d,\d{3}(?!\d)")
_fonts = re.compile(r"\\(?:text|mathrm|mathbf|mathit|operatorname|mbox)[a-z]{0,2}(?![a-z])")
_punctuation = re.compile(r"[\s.,;:!?\"'{}$()\\\x02\x03]+")
_strange = re.compile(r"[\\=^_]")
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says.

    node: its tree, a Text if it does not follow the grammar. words: the text in lower case without
    punctuation, empty for what is longer than any answer. choice: its letter if it is the answer to
    a multiple-choice question. lists: its tree if commas separate instead of grouping digits.
    is_strange: whether it looks like mathematics, though the grammar does not know it.
    """

    node: Node
    words: str
    choice: str = ""
    lists: Node | None = None
    is_strange: bool = False

    @property
    def is_text(self) -> bool:
        """Whether it is words rather than mathematics."""
        return isinstance(self.node, Text)

    def pairs(self, reference: Reading) -> Iterator[tuple[Node, Node]]:
        """(reference, answer) in the ways that they may be meant, the likeliest first."""
        yield reference.node, self.node
        if self.lists is not None and _is_several(reference.node):
            yield reference.node, self.lists
        if reference.lists is not None and _is_several(self.node):
            yield reference.lists, self.node


def _is_several(node: Node) -> bool:
    return isinstance(node, Listing | Braces | Bracketed)


@lru_cache(maxsize=4096)
def read(text: str) -> Reading:
    """The reading of a text. Never raises for a text. Cached: a group gives the same answers."""
    try:
        cleaned = clean(text)
    except OutOfBounds:
        return Reading(Text(""), "")
    words = _words(cleaned)
    if _date.fullmatch(words):
        return Reading(Text(words), words)
    match = _based.fullmatch(cleaned)
    if match:
        return Reading(Based(match[1], match[2]), words)
    choice = _choice.fullmatch(_fonts.sub("", cleaned))
    letter = choice[1] if choice and (choice[2] is None or len(choice[2]) < 200) else ""
    if words in _NUMBER_WORDS:
        return Reading(Number(Fraction(_NUMBER_WORDS.index(words))), words)
    try:
        node = parse(cleaned)
    except OutOfBounds:
        return Reading(Text(words), words)
    except (ValueError, RecursionError):
        is_strange = bool(_strange.search(_fonts.sub("", cleaned)))
        if is_strange:
            words = "".join(cleaned.split())
        return Reading(Text(words), words, letter, is_strange=is_strange)
    lists = None
    if _thousands.search(cleaned):
        try:
            lists = parse(cleaned, thousands=False)
        except ValueError:
            lists = None
    return Reading(node, words, letter, lists)


def _words(cleaned: str) -> str:
    return _punctuation.sub(" ", _fonts.sub(" ", cleaned)).strip().lower()
