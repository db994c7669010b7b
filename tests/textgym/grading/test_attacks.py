"""The attack corpus against the public API, on every rung that this machine offers.

A trainer (benchmarks/attack_run.py) grades in a process of its own, because what it grades tries to
kill it. As root it runs as an unused user too. The first run meets every form of every attack; the
others meet the classes that depend on rung and user whole, in one form each, and of the rest a
share. Runs marked slow complete the table of rungs and users.
"""

import json
import os
import subprocess
from collections import Counter
from functools import cache

import pytest

from benchmarks import attacks
from benchmarks.attack_table import lacking
from benchmarks.cage import UID
from benchmarks.interpreters import command_for
from textgym.grading.sandbox import LADDER

SECONDS = 100
SHARES = 6
USERS = ["root", "user"] if os.geteuid() == 0 else ["user"]
RUNS = [(rung, user) for rung in (*LADDER, "bubblewrap") for user in USERS]
SLOW = [("landlock", "root"), ("seccomp", "root"), ("bubblewrap", "root")]
PARAMETERS = [
    pytest.param(run, id="-".join(run), marks=[pytest.mark.slow] if run in SLOW else [])
    for run in RUNS
]


@cache
def trainer(rung, user):
    """All rows that a trainer printed, and "" or why there are no more."""
    if (why := lacking(rung)) is not None:
        return None, why
    place = RUNS.index((rung, user))
    uid = UID if user == "user" and os.geteuid() == 0 else None
    with command_for(uid) as (command, environment):
        arguments = [*command, "-m", "benchmarks.attack_run", rung]
        arguments += ["--uid", str(uid)] if uid is not None else []
        arguments += ["--share", str(place % SHARES), str(SHARES)] if place else []
        try:
            done = subprocess.run(
                arguments, env=environment, cwd="/", capture_output=True, timeout=SECONDS
            )
            text, problem = done.stdout, done.stderr.decode(errors="replace")[-2000:]
        except subprocess.TimeoutExpired as error:
            text, problem = error.stdout or b"", f"no end after {SECONDS} s"
    rows = [json.loads(line) for line in text.splitlines() if line.endswith(b"}")]
    return rows, "" if rows and rows[-1] == {"what": "end"} else problem or "it was killed"


@pytest.fixture(params=PARAMETERS)
def rows(request):
    found, problem = trainer(*request.param)
    if found is None:
        pytest.skip(f"this machine does not offer the rung {request.param[0]}: {problem}")
    return found


@pytest.mark.parametrize("run", PARAMETERS)
def test_the_trainer_lives_to_the_end(run):
    found, problem = trainer(*run)
    if found is None:
        pytest.skip(f"this machine does not offer the rung {run[0]}: {problem}")
    assert problem == "", f"after {found[-1:]}"


def verdicts(rows, *kinds):
    return [row for row in rows if row["what"] == "verdict" and row["class"] in kinds]


def names(rows):
    return sorted({f"{row['attack']} ({row['form']}): {row['reason']}" for row in rows})


def test_no_attack_passes_even_one_test(rows):
    hostile = verdicts(rows, *attacks.CLASSES)
    assert len(hostile) > 250
    assert names(row for row in hostile if row["passed"] or row["tests_passed"]) == []


def test_no_program_makes_the_grader_raise(rows):
    raised = [row for row in rows if row["what"] == "raised"]
    assert [(row["attack"], row["form"], row["error"]) for row in raised] == []


def test_nothing_of_the_host_is_damaged(rows):
    assert [f"{row['class']}: {row['how']}" for row in rows if row["what"] == "damage"] == []


def test_no_program_withholds_its_verdict(rows):
    withheld = [row for row in rows if row["what"] == "verdict" and row["error"]]
    assert [(row["attack"], row["form"], row["error"]) for row in withheld] == []


def test_honest_programs_pass_before_between_and_after_the_attacks(rows):
    honest = verdicts(rows, "honest")
    assert Counter(row["attack"] for row in honest)["neighbour"] > 25
    assert names(row for row in honest if not row["passed"]) == []


def test_wrong_programs_fail(rows):
    wrong = verdicts(rows, "wrong")
    assert len(wrong) > 50
    assert names(row for row in wrong if row["passed"]) == []


def test_verdicts_come_within_a_second_of_the_deadline(rows):
    # Of a batch, that is a second for each program that a worker runs one after the other.
    late = [row for row in rows if row["what"] == "batch" and row["late"] > row["size"]]
    assert late == []


def test_the_corpus_is_as_large_as_it_claims():
    programs = attacks.all_attacks()
    assert len({program.name for program in programs}) == len(programs) >= 400
    assert len(attacks.examples("honest")) >= 45
    assert {program.kind for program in programs} == set(attacks.CLASSES)
