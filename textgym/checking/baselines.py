"""What can be said without an answer to the question, and what a task pays for it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

from textgym.checking.problems import Sample
from textgym.checking.report import Flaw, Report, shown
from textgym.task import Problem

HIGH_FLOOR, FLOOR = 0.5, 0.1
"""Shares of the highest reward: what answers nothing and earns more is an error, or a warning."""

VERBOSE = (
    "Let me think about this step by step. First, I read the question carefully. Then I consider "
    "every possibility in turn. There are several ways to see it, and each has its merits. In "
    "conclusion, the answer depends on the circumstances, and more information is needed."
)
"""Many words, no answer."""

Respond = Callable[[Problem], str]


def check_baselines(sample: Sample, report: Report) -> str:
    """What can be said without an answer earns next to nothing: at most the task's `floor`.

    A mean counts as above a limit if it is so by three standard errors of a fair coin.
    """
    worst, margin = (0.0, ""), 1.5 / math.sqrt(sample.num_problems)
    for name, problems in sample.levels.items():
        constant, responses = _responses(problems)
        for kind, respond in responses.items():
            mean = _mean(sample.shares(problems, [respond(problem) for problem in problems]))
            report.levels[name][kind] = mean
            text = f"{kind!r}" + (f" ({shown(constant)})" if kind == "constant" else "")
            worst = max(worst, (mean, f"{text} earns {mean:.2f} of the highest reward at {name!r}"))
    stated = sample.task.floor
    message = f"{worst[1]}, expected at most {FLOOR if stated is None else stated}"
    if worst[0] > (HIGH_FLOOR if stated is None else stated) + margin:
        raise Flaw(message)
    if stated is None and worst[0] > FLOOR:
        raise Flaw(message, "warning")
    return f"what answers nothing earns at most {worst[0]:.2f} of the highest reward"


def _responses(problems: Sequence[Problem]) -> tuple[str, dict[str, Respond]]:
    """The most common answer, and name -> response of each baseline."""
    numbers = " ".join(map(str, range(101)))
    responses: dict[str, Respond] = {
        "empty": lambda problem: "",
        "echo": lambda problem: problem.prompt,
        "don't know": lambda problem: "I don't know",
        "verbose": lambda problem: VERBOSE,
        "its numbers": lambda problem: " ".join(re.findall(r"\d+(?:[./]\d+)?", problem.prompt)),
        "0 to 100": lambda problem: numbers,
    }
    answers = Counter(problem.answer for problem in problems if problem.answer)
    if not answers:
        return "", responses
    constant, everything = answers.most_common(1)[0][0], " ".join(answers)
    responses["constant"] = lambda problem: constant
    responses["all answers"] = lambda problem: everything
    return constant, responses


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
