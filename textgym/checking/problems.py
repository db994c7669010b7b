"""Checks of a task's attributes and of the problems that it draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from textgym import attributes
from textgym.bank import MAX_DRAWS
from textgym.checking.report import Flaw, Report, shown, undisturbed
from textgym.scoring import Scoring
from textgym.task import SPLITS, Problem, Task
from textgym.tokenizer import Tokenizer, Vocabulary

FEW_PROBLEMS = 100
"""A level with fewer distinct problems can be learnt by heart."""


class Sample:
    """A task and the problems of each level that all checks look at, drawn once.

    Args:
        task: the task.
        tokenizer: what prompts and answers are counted in.
        num_problems: how many problems of each level.
        seed: for the generators that draw them.
    """

    def __init__(self, task: Task, tokenizer: Tokenizer, num_problems: int, seed: int) -> None:
        self.task, self.vocabulary = task, Vocabulary(tokenizer)
        self.num_problems, self.seed = num_problems, seed
        self.levels: dict[str, list[Problem]] = {}

    def draw(self, level: int, task: Task | None = None) -> list[Problem]:
        """The problems of a level given by position: the same ones from equal tasks.

        Of a level that is a finite list, as many of its problems, none twice, in the list's order.
        """
        task = task or self.task
        rng = np.random.Generator(np.random.PCG64([self.seed, level]))
        listed = task.listed(level)
        if listed is None:
            return [task.draw(rng, level) for _ in range(self.num_problems)]
        count = min(self.num_problems, len(listed))
        return [listed[i] for i in sorted(rng.choice(len(listed), count, replace=False).tolist())]

    def all(self) -> list[Problem]:
        """The problems of all levels."""
        return [problem for problems in self.levels.values() for problem in problems]

    def some(self, count: int) -> list[Problem]:
        """`count` problems of each level, for checks that are slow or need no more."""
        return [problem for problems in self.levels.values() for problem in problems[:count]]

    def grade(self, problem: Problem, response: str) -> Mapping[str, float]:
        """The task's own verdict on a response (the first and only turn of a dialogue)."""
        if self.task.max_turns == 1:
            return self.task.grade(problem, response)
        return self.task.grade_turns(problem, [response])

    def grades(
        self, problems: Sequence[Problem], responses: Sequence[str]
    ) -> Sequence[Mapping[str, float]]:
        """The task's own verdicts, all at once."""
        if self.task.max_turns == 1:
            return self.task.grade_many(problems, responses) if problems else []
        return [self.grade(*pair) for pair in zip(problems, responses, strict=True)]

    def shares(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[float]:
        """What each response earns in an environment, as a share of the highest reward.

        Of objectives that are at odds, and of components without an upper limit, no response has
        the highest values: there, of what the reference answer earns.
        """
        rewards, high = self.rewards(problems, responses), self.task.reward_range[1]
        highest = [high] * len(rewards)
        if self.task.multi_objective or not math.isfinite(high):
            highest = self.rewards(problems, [problem.answer for problem in problems])
        return [r / h if h > 0 else 0.0 for r, h in zip(rewards, highest, strict=True)]

    def rewards(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[float]:
        """What each response earns in an environment; 0 where there is no verdict."""
        alphabet, scoring = self.task.alphabet, Scoring(self.task, None)
        legal = [alphabet is None or set(alphabet).issuperset(text) for text in responses]
        triples = zip(problems, responses, legal, strict=True)
        pairs = [(problem, text) for problem, text, ok in triples if ok]
        grades = iter(self.grades([p for p, _ in pairs], [text for _, text in pairs]))
        found = []
        for problem, ok in zip(problems, legal, strict=True):
            grade = next(grades) if ok else None
            if grade is None or error_of(grade) is not None:
                found.append(0.0)
            else:
                values = [float(grade[name]) for name in scoring.components]
                found.append(scoring.total(values, scoring.weights(problem).tolist()))
        return found


def error_of(grade: Mapping[str, float]) -> str | None:
    """Why this is no verdict; None if it is one."""
    return getattr(grade, "error", None)


# ------------------------------------------------------------------ attributes


def check_rewards(sample: Sample, report: Report) -> str:
    """`rewards` maps at least one name to a finite weight, one of them positive."""
    _declared(attributes.check_rewards, sample.task)
    low, high = sample.task.reward_range
    if high <= 0:
        raise Flaw(f"the highest reward is {high}, expected a component with a positive weight")
    return f"{', '.join(sample.task.rewards)}: rewards from {low:g} to {high:g}"


def check_difficulties(sample: Sample, report: Report) -> str:
    """`difficulties` is a tuple of unique names, and `default_difficulty` one of them or None."""
    _declared(attributes.check_difficulties, sample.task)
    names = sample.task.difficulties
    return f"{len(names)} levels: {', '.join(names)}" if names else "one level"


def check_limits(sample: Sample, report: Report) -> str:
    """Budgets are positive, and a task has room for replies if and only if it is a dialogue."""
    task = sample.task
    _declared(attributes.check_limits, task)
    budget = "any number of" if task.max_response_tokens is None else task.max_response_tokens
    return f"{budget} response tokens, turns: {task.max_turns}"


def check_texts(sample: Sample, report: Report) -> str:
    """`stop_strings` and `alphabet` are made of texts that are not empty."""
    _declared(attributes.check_texts, sample.task)
    stops, alphabet = sample.task.stop_strings, sample.task.alphabet
    return f"stop strings: {list(stops)}, alphabet: {shown(alphabet)}"


def _declared(check: Callable[[Task], None], task: Task) -> None:
    """Run a check that every environment makes when it is made."""
    try:
        check(task)
    except ValueError as error:
        raise Flaw(str(error)) from None


# -------------------------------------------------------------------- problems


def check_sampling(sample: Sample, report: Report) -> str:
    """`sample` gives Problems made of texts, at every level."""
    names = sample.task.difficulties or ("all",)
    for level, name in enumerate(names):
        sample.levels[name] = sample.draw(level)
        report.levels[name] = {}
        for problem in sample.levels[name]:
            for attribute in ("prompt", "answer", "key"):
                text = getattr(problem, attribute)
                if not isinstance(text, str):
                    raise Flaw(f"Problem.{attribute} is {shown(text)}, expected a text")
                if text.encode("utf-8", "ignore") != text.encode("utf-8", "surrogatepass"):
                    raise Flaw(f"Problem.{attribute} {shown(text)} has a lone surrogate")
    if not any(sample.task.listed(level) for level in range(len(names))):
        return f"{sample.num_problems} problems at each of {len(names)} levels"
    return f"up to {sample.num_problems} problems at each of {len(names)} levels"


def check_purity_of_sample(sample: Sample, report: Report) -> str:
    """`sample` is a function of its generator's state and leaves nothing changed."""
    with undisturbed("sample", sample.task):
        for level, problems in enumerate(sample.levels.values()):
            for first, second in zip(problems, sample.draw(level), strict=True):
                if content(first) != content(second):
                    raise Flaw(
                        f"sample gives {shown(first.prompt)} and {shown(second.prompt)} for "
                        "one state of the generator, expected the same problem"
                    )
    return "one state of the generator gives one problem"


def content(problem: Problem) -> tuple[str, ...]:
    """A problem as texts that can be compared."""
    # The info may hold arrays, of which == says nothing definite.
    return problem.prompt, problem.answer, problem.key, repr(problem.info)


def check_variety(sample: Sample, report: Report) -> str:
    """A level has enough distinct problems that learning them by heart is no solution."""
    least = min(FEW_PROBLEMS, sample.num_problems // 2)
    poor = []
    for level, (name, problems) in enumerate(sample.levels.items()):
        listed = sample.task.listed(level)
        if listed is not None and len(set(map(_question, listed))) < len(listed):
            raise Flaw(
                f"level {name!r} lists {len(listed)} problems, of which "
                f"{len(set(map(_question, listed)))} are distinct, expected no problem twice"
            )
        distinct = len(set(map(_question, problems)))
        report.levels[name]["distinct"] = distinct
        report.levels[name]["duplicates"] = 1 - distinct / len(problems)
        if distinct < least:
            poor.append(f"{name!r} has {distinct}")
    if poor:
        raise Flaw(
            f"{', '.join(poor)} distinct problems among {sample.num_problems} draws, expected "
            f"{least}: a policy can learn them by heart",
            "warning",
        )
    return f"at least {least} distinct problems at every level"


def _question(problem: Problem) -> str:
    """What two problems agree in if they are the same."""
    return problem.key or problem.prompt


def check_splits(sample: Sample, report: Report) -> str:
    """Every split has problems at every level, and no two splits share a question.

    Where the problems are a list, all of it is looked at, and a data set with splits of its own may
    lack some of ours.
    """
    split_of: dict[str, str] = {}
    missing: dict[str, list[str]] = {}
    for level, (name, problems) in enumerate(sample.levels.items()):
        listed = sample.task.listed(level)
        found = {problem.split for problem in problems if listed is None}
        for problem in problems if listed is None else listed:
            for text in {problem.prompt, problem.key} - {""}:
                split = split_of.setdefault(text, problem.split)
                if split != problem.split:
                    raise Flaw(
                        f"the prompt {shown(problem.prompt)} is in the splits {split!r} and "
                        f"{problem.split!r}: the same question has several keys"
                    )
            found.add(problem.split)
        rng = np.random.Generator(np.random.PCG64([sample.seed, level, 1]))
        for _ in range(0 if listed is not None else MAX_DRAWS):
            if len(found) == len(SPLITS):
                break
            found.add(sample.task.draw(rng, level).split)
        if len(found) < len(SPLITS):
            missing[name] = sorted(set(SPLITS) - found)
            has_its_own = listed is not None and any(p.fixed_split for p in listed)
            if not has_its_own:
                draws = f"among {MAX_DRAWS} draws" if listed is None else f"of {len(listed)}"
                raise Flaw(
                    f"level {name!r} has no problem in {missing[name]} {draws}: too few distinct "
                    "problems to be split",
                    "error" if listed is None else "warning",
                )
    lacking = "; ".join(f"level {name!r} lacks {splits}" for name, splits in missing.items())
    return f"{', '.join(SPLITS)}: {lacking or 'none empty'}, and no question in two of them"


def check_room(sample: Sample, report: Report) -> str:
    """Reference answers fit in the budget and can be written with the tokenizer."""
    budget, vocabulary = sample.task.max_response_tokens, sample.vocabulary
    longest_prompt = longest_answer = 0
    unknown: set[str] = set()
    for problem in sample.all():
        prompt, answer = vocabulary.encode(problem.prompt), vocabulary.encode(problem.answer)
        longest_prompt = max(longest_prompt, len(prompt))
        longest_answer = max(longest_answer, len(answer))
        if problem.answer and budget is not None and len(answer) >= budget:
            raise Flaw(
                f"the reference answer {shown(problem.answer)} needs {len(answer) + 1} tokens with "
                f"eos, max_response_tokens is {budget}"
            )
        for stop in sample.task.stop_strings:
            _, found, after = problem.answer.partition(stop)
            if found and after:
                raise Flaw(
                    f"the reference answer {shown(problem.answer)} contains the stop string "
                    f"{stop!r}: a response would end there"
                )
        if vocabulary.illegal[[*prompt, *answer]].any():
            unknown |= {c for c in problem.prompt + problem.answer if _is_unknown(vocabulary, c)}
    if unknown:
        raise Flaw(
            f"the tokenizer ({type(vocabulary.tokenizer).__name__}) has no token for "
            f"{shown(''.join(sorted(unknown)))}, which prompts or reference answers contain",
            "warning",
        )
    return f"prompts up to {longest_prompt} tokens, reference answers up to {longest_answer}"


def _is_unknown(vocabulary: Vocabulary, character: str) -> bool:
    return bool(vocabulary.illegal[vocabulary.encode(character)].any())
