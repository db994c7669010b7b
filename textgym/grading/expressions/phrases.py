"""Numbers and signs in words: `1.5 million`, `2 to 3`, `about 5`, `twenty-one`, `72 degrees F`."""

from __future__ import annotations

import re
from fractions import Fraction

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_PARTS = {
    **{"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8},
    **{"tenth": 10, "hundredth": 100},
}
_MULTIPLES = {
    **{"dozen": "12", "hundred": "10^2", "thousand": "10^3", "million": "10^6"},
    **{"billion": "10^9", "trillion": "10^12"},
}
_WORD = r"(?:\\text\s*\{{\s*)?{}\b(?:\s*\}})?"

_opening = re.compile(
    r"^(?:(?:so|thus|hence|therefore|then|ok|okay|well|now|i think|i get|we get|we have|it is"
    r"|this is|that is|=)(?![a-zA-Z])[,:]?\s*)+",
    re.I,
)
_approximately = re.compile(r"^(?:about|approximately|approx\.?|roughly|\\approx|\\sim|~)\s+", re.I)
_multiple = re.compile(r"(?<=\d)\s*" + _WORD.format(f"({'|'.join(_MULTIPLES)})"), re.I)
_odds = re.compile(r"(\d+)\s*" + _WORD.format("to") + r"\s*(\d+)")
_times = re.compile(r"(?<=\d) +[xX] +(?=\d)")
_union = re.compile(r"(?<=[\])])\s*[Uu]\s*(?=[\[(])")
_ordinal = re.compile(r"\b(\d+)(?:st|nd|rd|th)\b")
_half_of_day = re.compile(r"\b([ap])\.\s?m\b\.?", re.I)
_temperature = re.compile(
    r"(?:\^\s*\{?\s*\\circ\s*\}?|degrees?)\s*(?:\\(?:text|mathrm)\s*\{\s*)?"
    r"(?:(F)(?:ahrenheit)?|(C)(?:elsius)?)\b(?:\s*\})?",
    re.I,
)
_log = re.compile(r"\\?log_?(2|10)\s*(?=\()")
_choose = re.compile(r"(?:\{\})?[_^]?\{?(\d+)\}?\s*(?:C\s*_?|choose)\s*\{?(\d+)\}?")


def written_out(text: str) -> str:
    """A text with its words for signs and sizes turned into signs and numbers."""
    text = _approximately.sub("", _opening.sub("", text.replace("`", "")))
    if "log" in text:
        text = _log.sub(r"\\log_{\1}", text)
    if ("C" in text or "choose" in text) and (match := _choose.fullmatch(text)):
        return f"\\binom{{{match[1]}}}{{{match[2]}}}"
    if " " in text or "\\" in text:
        text = _temperature.sub(_degrees, text)
        text = _times.sub("*", text)
        text = _union.sub(r"\\cup ", text)
    text = _multiple.sub(lambda match: f"*{_MULTIPLES[match[1].lower()]}", text)
    if match := _odds.fullmatch(text):
        return f"{match[1]}:{match[2]}"
    text = _ordinal.sub(r"\1", text)
    return _half_of_day.sub(r"\1m", text) if "." in text else text


def _degrees(match: re.Match[str]) -> str:
    return " \\text{fahrenheit}" if match[1] else " \\text{celsius}"


def number_in_words(words: str) -> Fraction | None:
    """The number that some words name: `seven`, `twenty-one`, `two thirds`, `a half`."""
    parts = words.replace("-", " ").split()
    if not 0 < len(parts) <= 3:
        return None
    if len(parts) > 1 and (divisor := _PARTS.get(parts[-1].removesuffix("s"))):
        count = Fraction(1) if parts[0] == "a" else _whole(parts[:-1])
        return None if count is None else count / divisor
    return _whole(parts)


def _whole(parts: list[str]) -> Fraction | None:
    if len(parts) == 1 and parts[0] in _ONES:
        return Fraction(_ONES.index(parts[0]))
    if parts[0] not in _TENS or len(parts) > 2:
        return None
    tens = 10 * (_TENS.index(parts[0]) + 2)
    if len(parts) == 1:
        return Fraction(tens)
    return Fraction(tens + _ONES.index(parts[1])) if parts[1] in _ONES[1:10] else None
