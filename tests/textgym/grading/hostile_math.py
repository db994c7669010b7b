"""Texts that try to run code, to hang or to break a mathematics grader, and what to try them on.

`python hostile_math.py` (see `main`) feeds them to every public grader under an audit hook.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "tests" / "data"
REFERENCES = ("7", r"\frac{1}{2}", "x+1", r"(-\infty,3]", r"\{1,2\}", r"\text{Monday}", "B")
MAX_SECONDS = 2.4  # a verdict's deadline of 2 seconds, and 20 %


def rows(name: str) -> list[dict[str, Any]]:
    """The objects of a file of tests/data."""
    with open(DATA / name, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def attacks(*kinds: str, canary: str = "canary") -> list[str]:
    """The attacks of some kinds: "code", "runaway", "broken", "huge" (to two million characters).

    canary: the file that "code" tries to write.
    """
    chosen = [row for row in rows("math_attacks.jsonl") if row["kind"] in kinds]
    texts = (
        row["text"] if "text" in row else "".join(piece * count for piece, count in row["pieces"])
        for row in chosen
    )
    return [text.replace("{canary}", canary) for text in texts]


@cache
def graders() -> dict[str, Callable[[str], object]]:
    """Every public grader of mathematics as a function of one text."""
    from textgym.grading import exact, forms
    from textgym.grading.countdown import reaches_target
    from textgym.grading.math import equivalent, equivalent_many, extract_answer

    found: dict[str, Callable[[str], object]] = {
        "extract_answer": extract_answer,
        "equivalent": lambda text: [equivalent(reference, text) for reference in REFERENCES],
        "equivalent, reversed": lambda text: [equivalent(text, answer) for answer in REFERENCES],
        "equivalent to itself": lambda text: equivalent(text, text),
        "equivalent_many": lambda text: equivalent_many([("7", text), (text, "7")]),
        "equal_rationals": lambda text: exact.equal_rationals("7", text),
        "equal_rationals, reversed": lambda text: exact.equal_rationals(text, "7"),
        "parse_rational": exact.parse_rational,
        "reaches_target": lambda text: reaches_target(text, [1, 2, 3, 4], 7),
    }
    for name, function in inspect.getmembers(forms, inspect.isfunction):
        if name.startswith("is_") and function.__module__ == forms.__name__:
            found[f"forms.{name}"] = function
    return found


def outcomes(texts: list[str]) -> dict[str, list[str]]:
    """What went wrong: under "raised" and "late" the grader and the text's beginning."""
    wrong: dict[str, list[str]] = {"raised": [], "late": []}
    for text in texts:
        for name, grade in graders().items():
            call = f"{name}({text[:60]!r}), {len(text)} characters"
            start = time.thread_time()
            try:
                verdicts = grade(text)
            except BaseException as error:  # SystemExit and RecursionError too
                wrong["raised"].append(f"{call}: {type(error).__name__}: {error}"[:300])
                continue
            num_verdicts = len(verdicts) if isinstance(verdicts, list) else 1
            if time.thread_time() - start > MAX_SECONDS * num_verdicts:
                wrong["late"].append(call)
    return wrong


def main() -> None:
    """Grade every attack and every labelled answer in an empty folder.

    Prints one JSON object: what Python's auditing saw meanwhile ("events"), what raised or was
    late, and which files came to be ("files").
    """
    canary = os.path.join(os.getcwd(), "canary")
    texts = attacks("code", "runaway", "broken", canary=canary)
    texts += [rf"\boxed{{{text}}}" for text in attacks("code", canary=canary)]
    texts += [row["answer"] for row in rows("math_cases.jsonl")]
    outcomes([r"\sqrt{2}+\sin 1", "x+1", "(1,2]"])  # what is imported on first use
    seen: list[str] = []
    watching = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching:
            seen.append(f"{event} {arguments!r}"[:200])

    sys.addaudithook(hook)
    wrong = outcomes(texts)
    watching = False
    print(json.dumps({"events": seen, **wrong, "num_texts": len(texts), "files": os.listdir()}))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
