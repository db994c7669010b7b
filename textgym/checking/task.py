"""check_task: whether a task is what every environment and learner takes it to be."""

from __future__ import annotations

from collections.abc import Callable

from textgym.checking import baselines, grades, problems
from textgym.checking.problems import Sample
from textgym.checking.report import Report, shown
from textgym.task import Task, as_index
from textgym.tokenizer import Tokenizer, load_tokenizer

STEPS: tuple[tuple[Callable[[Sample, Report], str], ...], ...] = (
    (
        problems.check_rewards,
        problems.check_difficulties,
        problems.check_limits,
        problems.check_texts,
    ),
    (problems.check_sampling,),
    (
        problems.check_purity_of_sample,
        problems.check_variety,
        problems.check_splits,
        problems.check_room,
        grades.check_grades,
        grades.check_purity_of_grade,
        grades.check_grade_many,
        grades.check_hostile_responses,
        grades.check_replies,
        grades.check_reference_answers,
        baselines.check_baselines,
        grades.check_alphabet,
        grades.check_pickling,
    ),
)
"""The checks of a task, in order; what comes after a step can rely on it."""


def check_task(
    task: Task, *, num_problems: int = 500, seed: int = 0, tokenizer: str | Tokenizer = "char"
) -> Report:
    """Check that a task keeps its contract; see `textgym.Task` for what that is.

    What is checked comes in three steps: the attributes, whether problems can be drawn at all, and
    what they and their grades are like. A step with errors is the last one.

    Args:
        task: the task.
        num_problems: problems drawn at each level. Each is graded a dozen times, some of them more
            often: give fewer where a grade is slow.
        seed: another seed draws other problems.
        tokenizer: what `max_response_tokens` is counted in; see `textgym.load_tokenizer`.

    Returns:
        A Report whose `levels` hold for each level the number of distinct problems, the share of
        the draws that repeat an earlier one, and mean rewards as shares of the highest one.

    Raises:
        TypeError: if `task` is no Task.
        ValueError: if `num_problems` is below one.
    """
    if not isinstance(task, Task):
        raise TypeError(f"task is {shown(task)}, expected an instance of textgym.Task")
    if not as_index(num_problems):
        raise ValueError(f"num_problems is {num_problems!r}, expected an integer of at least 1")
    report = Report(f"check_task({type(task).__name__})")
    sample = Sample(task, load_tokenizer(tokenizer), num_problems, seed)
    for step in STEPS:
        for check in step:
            # check_reference_answers -> reference answers
            name = check.__name__.removeprefix("check_").replace("_", " ")
            report.run(name, check, sample, report)
        if not report.ok:
            break
    return report
