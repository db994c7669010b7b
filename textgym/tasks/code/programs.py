"""From a response to a program: what is taken out of it, and what is put in front."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*$", re.MULTILINE)


@dataclass(frozen=True)
class Target:
    """What a response has to do.

    Attributes:
        tests: CallTests, AssertTests or StdioTests.
        entry_point: the function that a response may define itself; "" if it is not known.
        header: what a response continues that does not define that function itself; "" if nothing.
        reference: the reference program, "" if there is none.
        preamble: what stands in front of a response that defines the function itself.
    """

    tests: Any
    entry_point: str = ""
    header: str = ""
    reference: str = ""
    preamble: str = ""


def program_of(response: str, target: Target) -> str:
    """The program that a response stands for.

    Where the response has fenced blocks (```python), the program is the last one that defines the
    entry point, or else the last one; a block that is not closed, because the token budget cut it
    off, ends with the response. A program that does not define the entry point continues the
    header. Where the header ends in "return ", a second "return" is let pass.
    """
    code = _unfenced(response, target.entry_point)
    if not target.header or _defines(code, target.entry_point):
        return target.preamble + code
    if target.header.endswith("return ") and code.lstrip().startswith("return "):
        code = code.lstrip().removeprefix("return ")
    return target.header + code


def _defines(code: str, entry_point: str) -> bool:
    pattern = rf"^(async[ \t]+)?def[ \t]+{re.escape(entry_point)}[ \t]*\("
    return bool(entry_point) and re.search(pattern, code, re.MULTILINE) is not None


def _unfenced(response: str, entry_point: str) -> str:
    fences = list(_FENCE.finditer(response))
    blocks = []
    for opening, closing in zip(fences[::2], [*fences[1::2], None], strict=False):
        end = len(response) if closing is None else closing.start()
        blocks.append(response[opening.end() + 1 : end])
    defining = [block for block in blocks if _defines(block, entry_point)]
    return [response, *blocks, *defining][-1]
