"""Ready reward functions that look at the text alone.

Each is 1 at best and 0 at worst, defined for any text, and takes time in proportion to its length,
which an environment's token budget bounds. (`Regex` takes what its pattern takes.) A word is a run
of letters, digits and underscores, inner apostrophes and hyphens included; case never matters
unless a setting says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from textgym.task import as_index

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_VOWELS = re.compile(r"[aeiouy]+")
_SILENT_E = re.compile(r"[aeiouy]le\Z|[^aeiouyl]e\Z")  # as in mile and make, not in little and see


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class ExactMatch:
    """1 if the response is the wanted text, blanks around both aside; else 0.

    Args:
        target: the text, or a mapping from prompts to each one's own.
        ignore_case: whether upper and lower case are the same.
    """

    target: str | Mapping[str, str]
    ignore_case: bool = False
    range = (0.0, 1.0)

    def __post_init__(self) -> None:
        targets = self.target.values() if isinstance(self.target, Mapping) else [self.target]
        for target in targets:
            _expect(isinstance(target, str), "target", target, "a text, or prompts -> texts")
        _expect_flag("ignore_case", self.ignore_case)

    def __call__(self, prompt: str, generated: str, full_text: str) -> float:
        """1.0 or 0.0."""
        target = self.target if isinstance(self.target, str) else self.target[prompt]
        pair = [target.strip(), generated.strip()]
        if self.ignore_case:
            pair = [text.casefold() for text in pair]
        return float(pair[0] == pair[1])


@dataclass(frozen=True)
class Regex:
    """1 if a regular expression matches the response, else 0.

    The pattern is trusted: one such as `(a+)+b` takes exponential time on texts that a policy soon
    finds.

    Args:
        pattern: for Python's `re`; `(?i)` at its beginning ignores case, `(?s)` lets `.` match
            newlines.
        whole: whether it has to match the whole response, blanks around it aside, or any part.
    """

    pattern: str
    whole: bool = True
    range = (0.0, 1.0)

    def __post_init__(self) -> None:
        _expect(isinstance(self.pattern, str), "pattern", self.pattern, "a regular expression")
        _expect_flag("whole", self.whole)
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern is {self.pattern!r}: {error}") from None

    def __call__(self, prompt: str, generated: str, full_text: str) -> float:
        """1.0 or 0.0."""
        match = re.fullmatch if self.whole else re.search
        return float(
            match(self.pattern, generated.strip() if self.whole else generated) is not None
        )


@dataclass(frozen=True)
class Length:
    """max(0, 1 - d / slack), where d is how far the length is outside of [low, high].

    Args:
        low: the least length that earns 1.
        high: the largest; None: `low` exactly.
        unit: what is counted, "words" or "characters".
        slack: the distance at which nothing is earned any more; 0: right outside.
    """

    low: int
    high: int | None = None
    unit: Literal["words", "characters"] = "words"
    slack: float = 0.0
    range = (0.0, 1.0)

    def __post_init__(self) -> None:
        _expect(as_index(self.low) is not None, "low", self.low, "an integer of at least 0")
        fits = self.high is None or (as_index(self.high) is not None and self.high >= self.low)
        _expect(fits, "high", self.high, f"None or an integer of at least low={self.low}")
        _expect(self.unit in ("words", "characters"), "unit", self.unit, "'words' or 'characters'")
        _expect(_is_number(self.slack) and self.slack >= 0, "slack", self.slack, "at least 0")

    def __call__(self, prompt: str, generated: str, full_text: str) -> float:
        """The formula above, of the response's length."""
        length = len(words_of(generated) if self.unit == "words" else generated)
        high = self.low if self.high is None else self.high
        distance = max(self.low - length, length - high, 0)
        if not distance:
            return 1.0
        return max(0.0, 1.0 - distance / self.slack) if self.slack else 0.0


@dataclass(frozen=True)
class Distinct:
    """The share of distinct ones among all runs of n words: 1 if none is repeated.

    Distinct-n of Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation
    Models", section 5.2. A text with fewer than n words repeats nothing and earns 1, one without
    words 0; `Length` beside it rules out the former.

    Args:
        n: words in a run.
    """

    n: int = 2
    range = (0.0, 1.0)

    def __post_init__(self) -> None:
        _expect(bool(as_index(self.n)), "n", self.n, "an integer of at least 1")

    def __call__(self, prompt: str, generated: str, full_text: str) -> float:
        """The share, in [0, 1]."""
        words = words_of(generated)
        runs = list(zip(*(words[i:] for i in range(self.n)), strict=False))
        if not runs:
            return float(bool(words))
        return len(set(runs)) / len(runs)


@dataclass(frozen=True)
class Readability:
    """Flesch's reading ease, a hundredth of it, cut to [0, 1]. No words: 0.

    2.06835 - 0.01015 words / sentences - 0.846 syllables / words. Flesch 1948, "A new readability
    yardstick". Plain English has 0.6 to 0.7, law 0.3 and less, short words in short sentences reach
    1. A sentence ends with a word that has one of `.!?` behind it, or with the text. Syllables are
    groups of vowels, without a silent e at the end, and at least one a word.
    """

    range = (0.0, 1.0)

    def __call__(self, prompt: str, generated: str, full_text: str) -> float:
        """The response's reading ease, in [0, 1]."""
        words = words_of(generated)
        if not words:
            return 0.0
        pieces = [piece.rstrip("\"')]}»”’") for piece in generated.split()]
        ends = [piece.endswith((".", "!", "?")) for piece in pieces]
        num_sentences = max(1, sum(ends) + (not ends[-1]))
        num_syllables = sum(map(num_syllables_of, words))
        ease = 2.06835 - 0.01015 * len(words) / num_sentences - 0.846 * num_syllables / len(words)
        return min(1.0, max(0.0, ease))


def num_syllables_of(word: str) -> int:
    """How many syllables an English word in lower case has, by its letters."""
    return max(1, len(_VOWELS.findall(word)) - bool(_SILENT_E.search(word[-3:])))


@dataclass(frozen=True)
class Keywords:
    """How many of the given words the response has: as words of their own, in any case.

    Args:
        words: the words, or phrases; a text holds them between commas.
        how: "share": the number of them that occur divided by the number of all; "all": 1 if every
            one does, else 0; "any": 1 if one does, else 0.
    """

    words: Sequence[str]
    how: Literal["share", "all", "any"] = "share"
    range = (0.0, 1.0)

    def __post_init__(self) -> None:
        words = self.words.split(",") if isinstance(self.words, str) else self.words
        fits = isinstance(words, Sequence) and all(isinstance(w, str) and w.strip() for w in words)
        _expect(fits and len(words) > 0, "words", self.words, "at least one word")
        object.__setattr__(self, "words", tuple(word.strip() for word in words))
        _expect(self.how in ("share", "all", "any"), "how", self.how, "'share', 'all' or 'any'")

    def __call__(self, prompt: str, generated: str, full_text: str) -> float:
        """A share in [0, 1], or 1.0 or 0.0."""
        patterns = [rf"(?<!\w){re.escape(word)}(?!\w)" for word in self.words]
        found = [re.search(pattern, generated, re.IGNORECASE) is not None for pattern in patterns]
        share = sum(found) / len(found)
        if self.how == "share":
            return share
        return float(share == 1.0 if self.how == "all" else share > 0.0)


def _expect(fits: bool, name: str, value: Any, expected: str) -> None:
    if not fits:
        raise ValueError(f"{name} is {value!r}, expected {expected}")


def _expect_flag(name: str, value: Any) -> None:
    _expect(isinstance(value, bool), name, value, "True or False")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
