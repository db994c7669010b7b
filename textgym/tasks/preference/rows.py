"""The pairs of a data set as the problems of TextPreference."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from textgym.data_sets import Layout, load_rows
from textgym.preferences.data import LAYOUTS, pairs_of, read_pairs, split_of
from textgym.task import Preference, Problem

Source = str | os.PathLike[str] | Sequence[Preference]
"""A file, a folder, a name on the hub, or the pairs themselves."""

RESPONSES = Layout("responses", prompt="prompt", response="response")
"""What the policy may be held against instead of pairs: somebody's responses."""


def to_judge(
    dataset: Source, fields: Mapping[str, str] | None, subset: str | None
) -> list[Problem]:
    """A problem for each pair: which one of the two is preferred.

    Which comes first depends on the texts, as by a coin. Pairs of one prompt are in one split.
    """
    problems = []
    if isinstance(dataset, str | os.PathLike):
        pairs = read_pairs(dataset, fields=fields, subset=subset)
    else:
        pairs = _given(dataset)
    for pair, official in pairs:
        coin = Problem(pair.prompt, f"{pair.chosen}\0{pair.rejected}").id & 1
        first, second = (pair.chosen, pair.rejected) if coin else (pair.rejected, pair.chosen)
        problems.append(
            Problem(
                judge_prompt(pair.prompt, first, second),
                "A" if coin else "B",
                {"pair": pair},
                fixed_split=split_of(pair.prompt, official),
            )
        )
    return list({problem.prompt: problem for problem in problems}.values())


def to_answer(
    dataset: Source, fields: Mapping[str, str] | None, subset: str | None
) -> list[Problem]:
    """A problem for each prompt, with the first response to it (the chosen one) as reference."""
    if isinstance(dataset, str | os.PathLike):
        rows = load_rows(dataset, layouts=(*LAYOUTS, RESPONSES), fields=fields, name=subset)
        if rows[0].layout == RESPONSES.name:
            return [
                Problem(row["prompt"], info={"reference": row["response"]}, fixed_split=row.split)
                for row in rows
            ]
        pairs = pairs_of(rows, dataset)
    else:
        pairs = _given(dataset)
    found: dict[str, Problem] = {}
    for pair, official in pairs:
        info = {"reference": pair.chosen, "pair": pair}
        found.setdefault(pair.prompt, Problem(pair.prompt, info=info, fixed_split=official))
    return list(found.values())


def _given(pairs: Sequence[Preference]) -> list[tuple[Preference, str]]:
    """Pairs that are given as objects, checked."""
    if not isinstance(pairs, Sequence) or not pairs:
        raise TypeError(
            f"dataset is {pairs!r:.80}, expected a file, a folder, a name on the hub, or at least "
            "one Preference in a list"
        )
    for i, pair in enumerate(pairs):
        if not isinstance(pair, Preference):
            raise TypeError(f"dataset[{i}] is {pair!r:.80}, expected a Preference")
        if not all(isinstance(text, str) for text in (pair.prompt, pair.chosen, pair.rejected)):
            raise TypeError(f"dataset[{i}] is {pair!r:.80}, expected three texts")
        if not pair.prompt or pair.chosen == pair.rejected:
            raise ValueError(
                f"dataset[{i}] is {pair!r:.80}, expected a prompt and two different responses"
            )
    return [(pair, "") for pair in pairs]


def judge_prompt(prompt: str, first: str, second: str) -> str:
    """How a judge is asked."""
    return f"{prompt}\nA: {first}\nB: {second}\nBetter: "
