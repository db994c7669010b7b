"""A text as an answer: its tree, its words, and the other ways in which it may be meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from textgym.grading.expressions.cleaning import clean
from textgym.grading.expressions.fields import Budget, OutOfTime
from textgym.grading.expressions.parser import parse
from textgym.grading.expressions.phrases import number_in_words
from textgym.grading.expressions.rewriting import without_signs
from textgym.grading.expressions.scalars import real_value
from textgym.grading.expressions.tree import (
    Based,
    Braces,
    Bracketed,
    Listing,
    Node,
    Number,
    OutOfBounds,
    Relation,
    Text,
    symbols,
)

APPROXIMATION = 0.01
"""How far the decimals behind `≈` may be off, relatively."""

APPROXIMATION_SECONDS = 0.5

_based = re.compile(
    r"[({]?([0-9A-F]+)[)}]?(?:\s*_\s*|\s+(?:in )?base )"
    r"[{(]*(?:\\text\{)?\s*(\d{1,2}|[a-z]{3,8})[\s})]*\.?"
)
_choice = re.compile(r"\W*([A-J])\s*(?:[).:}]\s*(.*)|)|\(([a-j])\)", re.DOTALL)
_another_choice = re.compile(r"\([A-J]\)|^[\s,;/&{]*(?:and|or|,|;|/)[\s{]*[A-J](?![a-zA-Z])")
_unread_left = re.compile(r"\\(?:int|sum|lim|prod|oint)(?![a-zA-Z])")
_date = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[/-]\d{1,2}[/-]\d{4}")
_thousands = re.compile(r"\d,\d{3}(?!\d)")
_zeros_in_front = re.compile(r"(?<![\d.])0\d")
_fonts = re.compile(r"\\(?:text|mathrm|mathbf|mathit|operatorname|mbox)[a-z]{0,2}(?![a-z])")
_punctuation = re.compile(r"[\s.,;:!?\"'{}$()\\\x02\x03]+")
_strange = re.compile(r"[\\=^_]")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says.

    node: its tree, a Text if it does not follow the grammar. words: the text in lower case without
    punctuation, empty for what is longer than any answer. choice: its letter if it is the answer to
    a multiple-choice question. lists: its tree if commas separate instead of grouping digits.
    exact: its tree without the decimals that `≈` puts behind an exact value. is_strange: whether it
    looks like mathematics, though the grammar does not know it.
    """

    node: Node
    words: str
    choice: str = ""
    lists: Node | None = None
    exact: Node | None = None
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
        if self.exact is not None or reference.exact is not None:
            yield reference.exact or reference.node, self.exact or self.node


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
    match = _based.fullmatch(_fonts.sub("", cleaned))
    base = match and (match[2] if match[2].isdigit() else number_in_words(match[2]))
    if base:
        return Reading(Based(match[1], str(base)), words)
    letter = _letter(cleaned)
    number = number_in_words(words)
    if number is not None:
        return Reading(Number(number), words)
    if "=" in cleaned and _unread_left.search(cleaned):
        cleaned = cleaned.rpartition("=")[2]  # an integral's value, say
    try:
        node = parse(cleaned)
        if "±" in cleaned or "\\pm" in cleaned:
            node = without_signs(node)
    except OutOfBounds:
        return Reading(Text(words), words)
    except (ValueError, RecursionError):
        is_strange = bool(_strange.search(_fonts.sub("", cleaned)))
        if is_strange:
            words = "".join(cleaned.split())
        return Reading(Text(words), words, letter, is_strange=is_strange)
    lists = None
    # 1,000 is no list: who would write 000?
    if _thousands.search(cleaned) and not _zeros_in_front.search(cleaned):
        try:
            lists = parse(cleaned, thousands=False)
        except ValueError:
            lists = None
    return Reading(node, words, letter, lists, _exact_part(node))


def _exact_part(node: Node) -> Node | None:
    """What stands before `≈` in `sqrt(13) ≈ 3.61` or `x = sqrt(13) ≈ 3.61`, if that is right."""
    if not isinstance(node, Relation) or "≈" not in node.operators:
        return None
    place = node.operators.index("≈")
    before, after = node.sides[place : place + 2]
    budget = Budget(APPROXIMATION_SECONDS)
    try:
        values = [None if symbols(side) else real_value(side, budget) for side in (before, after)]
    except OutOfTime:
        return None
    if None in values or abs(values[0] - values[1]) > APPROXIMATION * abs(values[0]):
        return None
    return Relation(node.sides[: place + 1], node.operators[:place]) if place else before


def _letter(cleaned: str) -> str:
    """The choice that a text is: `B` for `B`, `(B)`, `(b)`, `B. because ...`."""
    match = _choice.fullmatch(_fonts.sub("", cleaned))
    if match is None or len(match[2] or "") > 200 or _another_choice.search(match[2] or ""):
        return ""
    return match[1] or match[3].upper()


def _words(cleaned: str) -> str:
    return _punctuation.sub(" ", _fonts.sub(" ", cleaned)).strip().lower()
