"""Checks of how a task grades: what it promises, what it withstands and what it rewards."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from textgym.checking.problems import Sample, content, error_of
from textgym.checking.report import Flaw, Report, shown, undisturbed
from textgym.task import Problem, Task

SLOW_SECONDS = 1.0
"""A response whose grading takes longer holds up every other one."""

HOSTILE = {
    "null bytes": "\0" * 50,
    "lone surrogates": "\ud800\udfff7\udc80",
    "a megabyte of digits": "7" * 10**6,
    "deep brackets": "(" * 10**5 + "7" + ")" * 10**5,
    "a deep list": "[" * 10**5,
    "dunder names": "().__class__.__mro__[-1].__subclasses__()",
    "an import": "__import__('os').getcwd()",
    "marks from right to left": "\u202e7\u200f\ufeff",
    "digits of another script": "\u0667\u00b2\U0001d7d7",
    "combining marks": "7" + "\u0301" * 1000,
    "not a number": "nan",
    "a huge number": "1e999999999",
    "a division by zero": "1/0",
    "format characters": "%s %n {0} {} \\ $x",
    "blanks": " \t\r\n\v\f\u00a0\u2028" * 100,
    "random bytes": np.random.Generator(np.random.PCG64(0)).bytes(2000).decode("latin-1"),
}
"""What a policy may emit and no grade may stumble over."""

FOREIGN = "x \n.+;_\0\u0663\u00e9\ud800"
"""Characters of which those outside a task's `alphabet` are tried in its reference answers."""


def check_grades(sample: Sample, report: Report) -> str:
    """`grade` gives exactly the components of `rewards`, as floats in their ranges."""
    ranges = _ranges(sample.task)
    for problems in sample.levels.values():
        others = [problem.answer for problem in problems[1:] + problems[:1]]
        for responses in ([problem.answer for problem in problems], others):
            for response, grade in zip(responses, sample.grades(problems, responses), strict=True):
                _check_grade(grade, ranges, shown(response))
    told = [f"{name} in [{low:g}, {high:g}]" for name, (low, high) in sorted(ranges.items())]
    return f"one number for each of: {', '.join(told)}"


def _ranges(task: Task) -> dict[str, tuple[float, float]]:
    return {name: task.component_ranges.get(name, (0.0, 1.0)) for name in task.rewards}


def _check_grade(grade: Any, ranges: Mapping[str, tuple[float, float]], response: str) -> None:
    if error_of(grade) is not None:
        return  # no verdict: its components are not read
    if not isinstance(grade, Mapping) or set(grade) != set(ranges):
        got = sorted(grade) if isinstance(grade, Mapping) else shown(grade)
        raise Flaw(f"grade gave {got} for {response}, expected the components {sorted(ranges)}")
    for name, value in grade.items():
        low, high = ranges[name]
        if not isinstance(value, float) or not low <= value <= high:
            raise Flaw(
                f"grade gave {name}={shown(value)} for {response}, expected a float in "
                f"[{low:g}, {high:g}]"
            )


def check_purity_of_grade(sample: Sample, report: Report) -> str:
    """`grade` gives one verdict, whatever was graded before, and leaves nothing changed."""
    pairs = [(p, text) for p in sample.some(20) for text in (p.answer, "", p.prompt)]
    with undisturbed("grade", sample.task):
        forth = [sample.grade(*pair) for pair in pairs]
        back = [sample.grade(*pair) for pair in reversed(pairs)][::-1]
    for (_, response), first, second in zip(pairs, forth, back, strict=True):
        if told(first) != told(second):
            raise Flaw(
                f"grade gave {_shown(first)} and then {_shown(second)} for {shown(response)}, "
                "expected the same verdict each time"
            )
    return "the same verdict each time, in any order"


def check_grade_many(sample: Sample, report: Report) -> str:
    """`grade_many` gives the verdicts of `grade`, each in its place and whatever is beside it."""
    task = sample.task
    if task.max_turns > 1:
        return "a dialogue's episodes are graded one by one"
    pairs = [(p, text) for p in sample.some(20) for text in (p.answer, "", p.prompt)]
    alone = [task.grade(*pair) for pair in pairs]
    with undisturbed("grade_many", task):
        together = task.grade_many(*map(list, zip(*pairs, strict=True)))
        back = task.grade_many(*map(list, zip(*reversed(pairs), strict=True)))
    for grades in (together, back):
        if not isinstance(grades, Sequence) or len(grades) != len(pairs):
            raise Flaw(f"grade_many gave {shown(grades)} for {len(pairs)} responses, expected each")
    for (_, response), one, first, second in zip(pairs, alone, together, back[::-1], strict=True):
        for many in (first, second):
            if told(one) != told(many):
                raise Flaw(
                    f"grade_many gave {_shown(many)} for {shown(response)} where grade gave "
                    f"{_shown(one)}, expected the same verdict"
                )
    return f"the same verdicts on {len(pairs)} responses at once"


def told(grade: Mapping[str, float]) -> tuple[Any, ...]:
    """All that a verdict says, to be compared."""
    return dict(grade), dict(getattr(grade, "facts", {})), error_of(grade)


def _shown(grade: Mapping[str, float]) -> str:
    values, facts, error = told(grade)
    return f"{values}" + f" {shown(facts)}" * bool(facts) + f" {shown(error)}" * bool(error)


def check_hostile_responses(sample: Sample, report: Report) -> str:
    """`grade` and `reply` neither raise nor dawdle for anything that a policy may emit."""
    ranges, slowest = _ranges(sample.task), (0.0, "")
    with undisturbed("grade", sample.task):
        for problem in sample.some(3):
            for kind, response in HOSTILE.items():
                start = time.perf_counter()
                try:
                    _check_grade(sample.grade(problem, response), ranges, kind)
                    if sample.task.max_turns > 1:
                        _reply(sample, problem, response)
                except Flaw:
                    raise
                except Exception as error:
                    raise Flaw(
                        f"grading {kind} raised {type(error).__name__} ({shown(str(error))}), "
                        "expected a verdict for any text whatsoever"
                    ) from None
                slowest = max(slowest, (time.perf_counter() - start, kind))
    if slowest[0] > SLOW_SECONDS:
        raise Flaw(f"grading {slowest[1]} took {slowest[0]:.1f} s, expected an instant", "warning")
    return f"{len(HOSTILE)} kinds are graded like any other text"


def check_replies(sample: Sample, report: Report) -> str:
    """`reply` gives a text that has room, or None, and the same each time."""
    if sample.task.max_turns == 1:
        return "not a dialogue"
    longest = 0
    with undisturbed("reply", sample.task):
        for problem in sample.some(20):
            for turn in (problem.answer, "", "7"):
                first, second = (_reply(sample, problem, turn) for _ in range(2))
                if first != second:
                    raise Flaw(
                        f"reply gave {shown(first)} and then {shown(second)} to {shown(turn)}, "
                        "expected the same each time"
                    )
                longest = max(longest, len(sample.vocabulary.encode(first or "")))
    room = sample.task.max_reply_tokens
    if longest > room:
        raise Flaw(f"a reply of {longest} tokens is cut to max_reply_tokens={room}", "warning")
    return f"replies of up to {longest} tokens, the same each time"


def _reply(sample: Sample, problem: Problem, turn: str) -> str | None:
    reply = sample.task.reply(problem, [turn])
    if reply is not None and not isinstance(reply, str):
        raise Flaw(f"reply gave {shown(reply)} to {shown(turn)}, expected a text or None")
    return reply


def check_reference_answers(sample: Sample, report: Report) -> str:
    """The reference answer, where there is one, earns the highest reward.

    Of objectives that are at odds there is no such thing, and `check_baselines` is what is left: no
    answer to another question earns more.
    """
    high, num_references = sample.task.reward_range[1], 0
    for name, problems in sample.levels.items():
        asked = [problem for problem in problems if problem.answer]
        answers = [problem.answer for problem in asked]
        for problem, grade in zip(asked, sample.grades(asked, answers), strict=True):
            if error_of(grade) is not None:
                raise Flaw(
                    f"the verifier failed on the reference answer {shown(problem.answer)} of "
                    f"{shown(problem.prompt)}: {shown(error_of(grade))}"
                )
        shares = sample.shares(asked, answers)
        for problem, share in zip(asked, shares, strict=True):
            if abs(share - 1) > 1e-9:
                raise Flaw(
                    f"the reference answer {shown(problem.answer)} of {shown(problem.prompt)} "
                    f"earns {share * high:g}, expected the highest reward, {high:g}"
                )
        report.levels[name]["reference"] = _mean(shares)
        num_references += len(shares)
    if sample.task.multi_objective:
        return f"{num_references} reference answers, which are what others are measured by"
    return f"{num_references} reference answers, each earns {high:g}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def check_alphabet(sample: Sample, report: Report) -> str:
    """A response with a character outside of `alphabet` earns nothing, and no reference has one."""
    alphabet = sample.task.alphabet
    if alphabet is None:
        return "none: every response is graded"
    foreign = [c for c in FOREIGN if c not in alphabet]
    for problem in sample.some(20):
        outside = set(problem.answer) - set(alphabet)
        if outside:
            raise Flaw(
                f"the reference answer {shown(problem.answer)} contains {sorted(outside)}, which "
                f"the alphabet {shown(alphabet)} lacks: it could never earn anything"
            )
        for c in foreign:
            for response in (c, c + problem.answer, problem.answer + c):
                if any(sample.grade(problem, response).values()):
                    raise Flaw(
                        f"{shown(response)} is graded above 0 though the alphabet "
                        f"{shown(alphabet)} lacks {c!r}: an environment gives it nothing"
                    )
    return f"a response with any character but {shown(alphabet)} earns nothing"


def check_pickling(sample: Sample, report: Report) -> str:
    """The task survives pickling, as worker processes need."""
    copy = pickle.loads(pickle.dumps(sample.task))
    for level, problems in enumerate(sample.levels.values()):
        for original, copied in zip(problems, sample.draw(level, copy), strict=True):
            if content(original) != content(copied):
                raise Flaw(
                    f"its copy gives {shown(copied.prompt)} where the task gives "
                    f"{shown(original.prompt)}, expected the same problems"
                )
    return "a pickled copy gives the same problems"
