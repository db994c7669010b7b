"""Prompts from anywhere, graded by reward functions: what custom environments play."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from textgym.attributes import check_weight
from textgym.data_sets import Layout, load_rows
from textgym.rewards import Score, check_reward, range_of, score_many
from textgym.task import SPLITS, Grade, Problem, Task

Prompts = str | os.PathLike[str] | Sequence[str] | Mapping[str, Sequence[str]]
"""A list of texts, a mapping from splits to such lists, or a data set: a file, folder or name."""

LAYOUTS = (Layout("prompts", prompt="prompt"),)


class ScoredTexts(Task):
    """Respond to a prompt; each component of the reward is a reward function's.

    A list of prompts is trained on as a whole: all of them are in the split "train", be they many
    or one. A mapping says what is in which split, as in `{"train": [...], "test": [...]}`. A data
    set's official splits are kept, and a single file is split by a hash of the prompts. A prompt
    that comes twice is asked once.

    A reward function gets the response up to the first stop sequence. Where it raises, or returns
    what is no finite number, the episode has no verdict: `info["verifier_error"]` says why, there
    is a warning, and learners leave the episode out.

    Args:
        prompts: a list of texts; a mapping from splits to such lists; a file, a folder or the name
            of a data set (see `textgym.data_sets.load_rows`); None: a subclass draws them, by a
            `sample` of its own.
        rewards: component -> reward function; see `textgym.rewards`.
        weights: component -> weight.
        fields: `{"prompt": COLUMN}`, where a data set's column of prompts is called otherwise.
        subset: the configuration of a data set on the hub.
        stop_sequences: texts at which a response ends.

    Raises:
        TypeError: for an argument of another kind.
        ValueError: for no or an empty prompt, or other weights than for each component one.
        FileNotFoundError, ImportError, ValueError: as `load_rows` does.
    """

    def __init__(
        self,
        prompts: Prompts | None,
        rewards: Mapping[str, Any],
        weights: Mapping[str, float],
        *,
        fields: Mapping[str, str] | None = None,
        subset: str | None = None,
        stop_sequences: Sequence[str] = (),
    ) -> None:
        for name, reward in rewards.items():
            check_reward(reward, f"the reward function of {name!r}")
        if not isinstance(weights, Mapping) or weights.keys() != rewards.keys():
            raise ValueError(
                f"reward_weights is {weights!r}, expected a weight for each of {list(rewards)}"
            )
        for name, weight in weights.items():
            check_weight("reward_weights", name, weight)
        self._functions, self.rewards = dict(rewards), {name: weights[name] for name in rewards}
        self.component_ranges = {name: range_of(function) for name, function in rewards.items()}
        self.stop_strings = as_stops(stop_sequences)
        draws = prompts is None and type(self).sample is not ScoredTexts.sample
        self._problems = None if draws else read_prompts(prompts, fields, subset)

    def sample(self, rng: np.random.Generator, *difficulty: str) -> Problem:
        """Draw one of the prompts."""
        return self._problems[int(rng.integers(len(self._problems)))]

    def list_problems(self, *difficulty: str) -> Sequence[Problem] | None:
        """All prompts, each once."""
        return self._problems

    def grade(self, problem: Problem, response: str) -> Grade:
        """What the reward functions say of a response, or why one of them says nothing."""
        return self.grade_many([problem], [response])[0]

    def grade_many(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Grade]:
        """The same of many, each batched reward function asked once about all."""
        prompts = [problem.prompt for problem in problems]
        texts = [before_stop(response, self.stop_strings) for response in responses]
        columns = [score_many(function, prompts, texts) for function in self._functions.values()]
        return [self._verdict(scores) for scores in zip(*columns, strict=True)]

    def _verdict(self, scores: Sequence[Score]) -> Grade:
        components = dict(zip(self._functions, scores, strict=True))
        errors = [f"{name}: {score.error}" for name, score in components.items() if score.error]
        if errors:
            return Grade(error="; ".join(errors))
        return Grade({name: score.value for name, score in components.items()})


class ScoredObjectives(ScoredTexts):
    """The same where the components are objectives: info tells their vector, see `Task`."""

    multi_objective = True


def as_stops(stop_sequences: Sequence[str]) -> tuple[str, ...]:
    """Stop sequences as a tuple; a single text is one."""
    if isinstance(stop_sequences, str):
        return (stop_sequences,)
    if not isinstance(stop_sequences, Sequence):
        raise TypeError(f"stop_sequences is {stop_sequences!r}, expected a list of texts")
    for stop in stop_sequences:
        if not isinstance(stop, str) or not stop:
            raise ValueError(f"stop_sequences has {stop!r}, expected texts that are not empty")
    return tuple(stop_sequences)


def before_stop(response: str, stop_strings: Sequence[str]) -> str:
    """A response up to the first stop string in it."""
    ends = [response.find(stop) for stop in stop_strings]
    return response[: min((end for end in ends if end >= 0), default=len(response))]


def read_prompts(
    prompts: Prompts, fields: Mapping[str, str] | None, subset: str | None
) -> list[Problem]:
    """The problems that prompts are; see `ScoredTexts`."""
    if isinstance(prompts, str | os.PathLike):
        rows = load_rows(prompts, layouts=LAYOUTS, fields=fields, name=subset)
        return [Problem(row["prompt"], fixed_split=row.split) for row in rows]
    if fields is not None or subset is not None:
        raise ValueError("fields and subset say how to read a data set, and prompts is none")
    by_split = prompts if isinstance(prompts, Mapping) else {"train": prompts}
    unknown = [split for split in by_split if split not in SPLITS]
    if unknown:
        raise ValueError(f"prompts has the splits {unknown}, expected some of {list(SPLITS)}")
    found: dict[str, Problem] = {}
    for split, texts in by_split.items():
        for text in _checked(texts):
            if found.setdefault(text, Problem(text, fixed_split=split)).split != split:
                raise ValueError(f"prompts has {text!r} in two splits, {split!r} is one of them")
    if not found:
        raise ValueError("prompts is empty, expected at least one split with a text")
    return list(found.values())


def _checked(texts: Any) -> Sequence[str]:
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
        raise TypeError(
            f"prompts is {texts!r:.80}, expected a list of texts, a mapping from splits to such "
            "lists, or the file, folder or name of a data set"
        )
    if not texts:
        raise ValueError("prompts is empty, expected at least one text")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"prompts[{i}] is {text!r:.80}, expected a text")
        if not text:
            raise ValueError(f"prompts[{i}] is empty, expected a text")
    return texts
