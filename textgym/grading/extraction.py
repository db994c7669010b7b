"""Finds the final answer in a response, and says by which rule. Linear in the response's length."""

from __future__ import annotations

import re
from dataclasses import dataclass

from textgym.grading.expressions.parser import DENIALS

WINDOW = 4000
"""Characters at the end of a response in which an answer in words is looked for."""

MAX_BOXES = 32
"""Boxes at the end of a response that are looked at."""

_box = re.compile(r"\\f?boxed(?![a-zA-Z])\s*(?:\{|(\d+|[a-zA-Z]))")
_joint = re.compile(
    r"[\s$,;.]*(?:(?:\\text\s*\{\s*)?(?:and|or|,|;)(?:\s*\})?)?[\s$,;]*(?:[a-zA-Z]\s*=\s*)?"
)
_tag = re.compile(r"<answer>(.{0,4000}?)</answer>", re.DOTALL | re.IGNORECASE)
_display = re.compile(r"\\\[.{1,1000}?\\\]|\$\$[^$]{1,1000}\$\$", re.DOTALL)
_hash = re.compile(r"####[ \t]*([^\n]*)")
_says = re.compile(
    r"\b(?:final |correct |right )?(?:answers?|result|solution|option|choice)\b"
    r"[ \t]*(?:\([^()\n]{0,40}\))?[ \t]*"
    r"(?:(?:(?:is|are|would be|will be|must be|comes out to|equals)\b|=)[ \t]*:?|:)\s{0,4}",
    re.IGNORECASE,
)
_end_of_sentence = re.compile(
    r"[.!?](?=\s|$)|,? (?:because|since|which|so that|as required|where)\b"
)
_maths = re.compile(r"\$\$?([^$\n]+)\$\$?|\\\(([^\n]+?)\\\)|\\\[([^\n]+?)\\\]")
_word = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3}")
_number = (
    r"(?<![^\s(\[{:=,;$*~≈\"'—–])[-+−]?(?:[$£€]|\\\$)?\d++(?:,\d{3})*+(?:\.\d+)?+(?: ?/ ?\d+)?+"
    r"(?:\s?%|\\%)?+(?![^\x00-\x7f°—–])"
)
_joints = r"(?:\s{0,3},\s{0,3}|,?\s{1,3}(?:and|or)\s{1,3})"
_numbers = re.compile(rf"{_number}(?:{_joints}{_number})*")


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a response gives as its answer.

    text: the answer, empty if there is none. rule: "boxed", "hash" (`#### x`), "tag"
    (`<answer>x</answer>`), "says" ("the answer
    is x"), "whole" (the response is the answer and nothing else), "last" (the last expression of
    its last sentence) or "none".
    """

    text: str
    rule: str


NONE = Extraction("", "none")


def marked_answer(response: str) -> Extraction | None:
    """The answer that a response marks as such; None if it marks none.

    The last mark counts, boxes side by side count as one list, and what stands before `</think>`
    does not count.
    """
    if "</think>" in response:
        response = response.rpartition("</think>")[2]
    elif "<think>" in response:
        return NONE
    if "boxed" in response:
        text = _boxed(response)
        if text is not None:
            return Extraction(text, "boxed")
    if "####" in response:
        last = response.rfind("####")
        text = _hash.match(response, last)[1].strip()
        if text:
            return Extraction(text, "hash")
    tags = _tag.findall(response[-2 * WINDOW :])
    if tags:
        return Extraction(tags[-1].strip(), "tag")
    tail = _on_one_line(response[-WINDOW:])
    tail = tail.replace("**", "").replace("__", "")
    sayings = list(_says.finditer(tail))
    if sayings:
        text = _sentence(tail[sayings[-1].end() :].partition("\n")[0])
        if text:
            return Extraction(text, "says")
    return None


def last_expression(response: str) -> Extraction:
    """The last formula, or else the last numbers, of a response's last sentence."""
    if "</think>" in response:
        response = response.rpartition("</think>")[2]
    lines = [line for line in _on_one_line(response[-WINDOW:]).split("\n") if line.strip()]
    if not lines:
        return NONE
    if len(lines) == 1 and not _word.search(lines[0]) and not _maths.search(lines[0]):
        return Extraction(lines[0].strip(), "whole")  # no sentence about a number: take none out
    line = lines[-1].replace("**", "").strip()
    if line.endswith("?"):
        return NONE
    formulas = [next(filter(None, groups)) for groups in _maths.findall(line)]
    if formulas:
        before = line[: line.rfind(formulas[-1])].lower().split()[-4:]
        return NONE if DENIALS.intersection(before) else Extraction(formulas[-1].strip(), "last")
    found = list(_numbers.finditer(line))
    if not found:
        return NONE
    numbers = found[-1]
    before = re.findall(r"[a-z']+", line[: numbers.start()].lower())[-3:]
    after = re.findall(r"[a-z']+", line[numbers.end() :].lower())[:4]
    if DENIALS.intersection(before) or DENIALS.intersection(after):
        return NONE
    return Extraction(numbers[0].strip(), "last")


def _on_one_line(text: str) -> str:
    """A text in which displayed formulas have no line breaks."""
    return _display.sub(lambda match: " ".join(match[0].split()), text)


def _sentence(text: str) -> str:
    """The beginning of a text up to the end of its sentence, without quotes around it."""
    end = _end_of_sentence.search(text)
    return (text[: end.start()] if end else text).strip().strip("*_`\"'").strip()


def _boxed(response: str) -> str | None:
    """What the last box holds, with those right beside it; a box inside a box is opened."""
    boxes: list[tuple[int, int, str]] = []
    starts = list(_box.finditer(response))[-MAX_BOXES:]
    closings, closed = _closings(response), 0
    for match in starts:
        if match.start() < closed:
            continue  # a box inside of a box
        if match[1] is not None:
            closed, text = match.end(), match[1]
        else:
            end = closings.get(match.end())
            if end is None:
                continue  # a box that is never closed is none
            closed, text = end + 1, response[match.end() : end]
        boxes.append((match.start(), closed, text))
    if not boxes:
        return None
    texts = [boxes[-1][2]]
    for (_, end, text), (start, _, _) in zip(boxes[-2::-1], boxes[:0:-1], strict=True):
        if not _joint.fullmatch(response[end:start]):
            break
        texts.append(text)
    opened = [_box.sub("{", text) if "boxed" in text else text for text in reversed(texts)]
    return ", ".join(text.strip() for text in dict.fromkeys(opened))


_brace = re.compile(r"\\.|[{}]", re.DOTALL)


def _closings(text: str) -> dict[int, int]:
    """Where the brace that was opened before a position is closed: one pass for all boxes."""
    opened: list[int] = []
    closings = {}
    for match in _brace.finditer(text):
        if match[0] == "{":
            opened.append(match.end())
        elif match[0] == "}" and opened:
            closings[opened.pop()] = match.start()
    return closings
