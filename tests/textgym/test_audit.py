"""The audit of every task that comes with textgym: none of them can be earned by a trick.

What is looked at, in `textgym.checking`: the reference answer earns the highest reward; nothing,
one constant, the prompt itself, lists of numbers, "I don't know" and many words earn no more than
the stated floor; grading many at once gives the same verdicts; train and test are disjoint.
"""

from __future__ import annotations

import math

import pytest

import textgym
from textgym.checking import baselines
from textgym.registration import find_spec, task_specs

IDS = [spec.id for spec in task_specs() if spec.kwargs["task"].startswith("textgym.")]

NUM_PROBLEMS = 30
"""Of each level; `python -m textgym check ID` looks at 500."""

FEWER = {"TextCode-v0": 6}
"""Where grading runs programs."""

NO_REFERENCES = {"TextNim-v0"}
"""No single turn wins a game; its own tests play it to the end."""

KINDS = {"empty", "echo", "don't know", "verbose", "its numbers", "0 to 100", "constant"}


def test_the_audit_covers_every_built_in_task():
    assert "TextMath-v0" in IDS and len(IDS) == len(set(IDS)) > 5


@pytest.mark.parametrize("id", IDS)
def test_a_task_keeps_its_contract_and_pays_for_nothing_but_answers(id):
    task = textgym.load_task(id)
    report = textgym.check_task(task, num_problems=FEWER.get(id, NUM_PROBLEMS))
    assert report.ok, str(report)
    floor = baselines.FLOOR if task.floor is None else task.floor
    levels, kinds = report.levels.values(), KINDS | {"all answers"}
    if id in NO_REFERENCES:
        kinds -= {"constant", "all answers"}
    else:
        assert all(level["reference"] == 1.0 for level in levels)
    assert all(kinds <= level.keys() for level in levels)
    num_graded = len(levels) * FEWER.get(id, NUM_PROBLEMS)
    chance = 1.5 / math.sqrt(num_graded)  # three standard errors of a fair coin
    for kind in kinds:
        mean = sum(level[kind] for level in levels) / len(levels)
        assert mean <= floor + chance, f"{kind} earns {mean:.2f} of the highest reward"


@pytest.mark.parametrize("id", IDS)
def test_what_is_trained_on_is_never_tested(id):
    task = textgym.load_task(id)
    settings = {k: v for k, v in find_spec(id).kwargs.items() if k == "max_response_tokens"}
    asked = {}
    for split in ("train", "test"):
        mdp = textgym.TokenMDP(task, split=split, num_problems=20, **settings)
        problems = [mdp.bank.problem(row) for row in range(mdp.bank.num_rows)]
        assert {problem.split for problem in problems} == {split}
        asked[split] = {text for p in problems for text in (p.prompt, p.key or p.prompt)}
    assert not asked["train"] & asked["test"]
