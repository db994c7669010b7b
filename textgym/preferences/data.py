"""Data sets of preferences: plain pairs, Anthropic HH, UltraFeedback, and our own labels."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from textgym.data_sets import MAX_ROWS, Layout, load_rows, read_text
from textgym.dialogues import (
    ASSISTANT,
    Messages,
    Render,
    as_messages,
    as_prompt,
    read_dialogue,
    read_filled_dialogue,
    split_last,
)
from textgym.row_files import Row
from textgym.task import SPLITS, Preference, Problem


def load_preferences(
    source: str | os.PathLike[str],
    *,
    split: str | None = None,
    fields: Mapping[str, str] | None = None,
    subset: str | None = None,
    max_rows: int = MAX_ROWS,
    render: Render | None = None,
) -> list[Preference]:
    r"""Pairs of responses, one preferred to the other, from a file, a folder or the hub.

    | layout | columns | what they hold |
    |---|---|---|
    | pairs | prompt, chosen, rejected | texts |
    | UltraFeedback, binarized | prompt, chosen, rejected | the latter two are lists of messages |
    | UltraFeedback | instruction, completions | responses with scores: the best and the worst |
    | Anthropic HH | chosen, rejected | whole dialogues, `\n\nHuman: ...\n\nAssistant: ...` |
    | TRL, prompt inside | chosen, rejected | whole dialogues as lists of messages |
    | labels | prompt, a, b, label | what `python -m textgym label` writes |

    A message is {"role": ..., "content": ...}. The last message is the response, those before it
    are the prompt: as `render` writes them, or without it a single user's as it stands and a longer
    dialogue in HH's form. Of HH's dialogues the prompt is what both share up to their last
    `Assistant:`; prompt + response is the dialogue.

    Rows whose two responses are the same, and ties, are left out; a warning says how many. Of a
    prompt that several official splits have, the pairs of test are kept before those of validation
    and train: no prompt is in two splits.

    Args:
        source: a file (.jsonl, .json, .csv, .parquet), a folder, or the name of a data set on the
            hub; see `textgym.data_sets.load_rows`.
        split: "train", "validation" or "test": the official split where the source has splits, else
            those of its rows that fall into it by a hash of the prompt, as environments split them.
            None: all.
        fields: which column holds what, where the columns have other names: `{"prompt": "q"}`.
        subset: the configuration of a data set on the hub.
        max_rows: how many rows there may be.
        render: function from the messages of a prompt to its text, such as a tokenizer's chat
            template with the beginning of the assistant's turn. Texts stay as they are, and the
            splits are those without it.

    Raises:
        FileNotFoundError, ImportError: as `load_rows` does.
        ValueError: for a bad row (the message names file, line and field), an unknown layout or
            split, a source without any pair, or messages that `render` refuses.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {list(SPLITS)} or None")
    rows = load_rows(source, layouts=LAYOUTS, fields=fields, name=subset, max_rows=max_rows)
    found = [
        pair if render is None else _rendered(pair, row, render)
        for pair, row in _kept(rows, source)
        if split in (None, split_of(pair.prompt, row.split))
    ]
    if not found:
        raise ValueError(f"{source} has no pair in the split {split!r}")
    return found


def split_of(prompt: str, official: str) -> str:
    """The split of a pair: the data set's own, or by a hash of the prompt."""
    return official or Problem(prompt).split


def read_pairs(
    source: str | os.PathLike[str],
    *,
    fields: Mapping[str, str] | None = None,
    subset: str | None = None,
    max_rows: int = MAX_ROWS,
) -> list[tuple[Preference, str]]:
    """Pairs with their official split ("": none); see `load_preferences`."""
    rows = load_rows(source, layouts=LAYOUTS, fields=fields, name=subset, max_rows=max_rows)
    return pairs_of(rows, source)


def pairs_of(rows: Sequence[Row], source: object) -> list[tuple[Preference, str]]:
    """What rows in one of LAYOUTS stand for, with their official splits; see `load_preferences`."""
    return [(pair, row.split) for pair, row in _kept(rows, source)]


def _kept(rows: Sequence[Row], source: object) -> list[tuple[Preference, Row]]:
    """Pairs that prefer one response, none of whose prompts is in two splits, with their rows."""
    found: list[tuple[Preference, Row]] = []
    splits: dict[str, str] = {}
    num_idle = 0
    for row in rows:
        pair = _READERS[row.layout](row)
        if pair is None or pair.chosen == pair.rejected:
            num_idle += 1
        elif splits.setdefault(pair.prompt, row.split) == row.split:  # test's rows come first
            found.append((pair, row))
    if num_idle:
        told = f"{num_idle} of {len(rows)} rows of {source} prefer neither response"
        if not found:
            raise ValueError(f"{told}, expected at least one that prefers one")
        warnings.warn(f"{told} (the same text twice, or a tie) and are left out", stacklevel=3)
    return found


# ----------------------------------------------------------------- what fields hold


def _completions(value: Any, where: str) -> list[tuple[float, str]]:
    """Scores and responses, at least one."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{where} is {value!r:.60}, expected a list of completions")
    found = []
    for completion in value:
        if not isinstance(completion, Mapping) or "response" not in completion:
            raise ValueError(f"{where} has {completion!r:.60}, expected an object with a response")
        score = completion.get("overall_score")
        is_number = isinstance(score, int | float) and not isinstance(score, bool)
        if not is_number or not math.isfinite(score):
            raise ValueError(f"{where} has the overall_score {score!r:.60}, expected a number")
        found.append((float(score), read_text(completion["response"], where)))
    return found


LAYOUTS = (
    Layout(
        "UltraFeedback",
        prompt="instruction",
        completions="completions",
        read={"completions": _completions},
    ),
    Layout(
        "labels",
        prompt="prompt",
        a="a",
        b="b",
        label="label",
        read={"a": read_text, "b": read_text},
        key=("prompt", "a", "b", "label"),
    ),
    Layout(
        "pairs",
        prompt="prompt",
        chosen="chosen",
        rejected="rejected",
        read=dict.fromkeys(("prompt", "chosen", "rejected"), read_dialogue),
        key=("prompt", "chosen", "rejected"),
    ),
    Layout(
        "Anthropic HH",
        chosen="chosen",
        rejected="rejected",
        read=dict.fromkeys(("chosen", "rejected"), read_filled_dialogue),
        key=("chosen", "rejected"),
    ),
)


# ------------------------------------------------------------------ rows to pairs


def _pair(row: Row) -> Preference:
    (prompt, chosen), (other, rejected) = (
        _prompt_and_response(row, side) for side in ("chosen", "rejected")
    )
    prompt, other = as_prompt(prompt, row.place), as_prompt(other, row.place)
    if prompt != other:
        raise ValueError(
            f"{row.place}: chosen and rejected answer different prompts, {prompt!r:.60} and "
            f"{other!r:.60}, expected the same"
        )
    if not prompt:
        raise ValueError(f"{row.place}: the prompt is empty, expected a text")
    return Preference(prompt, chosen, rejected)


def _prompt_and_response(row: Row, side: str) -> tuple[str | Messages, str]:
    """What one side of a row stands for."""
    prompt, response = row.get("prompt", ""), row[side]
    if isinstance(response, str):
        return prompt, response
    before, content = split_last(response, f"{row.place}, {side}")
    # Before it, the whole dialogue; then a prompt beside it only repeats its beginning.
    return before or as_messages(prompt), content


def _rendered(pair: Preference, row: Row, render: Render) -> Preference:
    """The pair with its prompt's messages as `render` writes them, if it has any."""
    for side in ("chosen", "rejected"):
        prompt = _prompt_and_response(row, side)[0] if side in row else ""
        if not isinstance(prompt, str):
            return replace(pair, prompt=as_prompt(prompt, row.place, render))
    return pair
    return pair


def _dialogues(row: Row) -> Preference:
    chosen, rejected = row["chosen"], row["rejected"]
    if not (isinstance(chosen, str) and isinstance(rejected, str)):
        return _pair(row)
    end = chosen.rfind(ASSISTANT, 0, len(os.path.commonprefix([chosen, rejected])))
    if end <= 0:
        raise ValueError(
            f"{row.place}: chosen and rejected share no turn up to {ASSISTANT!r}, expected two "
            "dialogues that begin alike (or a column with the prompt: fields={'prompt': COLUMN})"
        )
    end += len(ASSISTANT)
    return Preference(chosen[:end], chosen[end:], rejected[end:])


def _best_and_worst(row: Row) -> Preference | None:
    """The first of the best, and the first of the worst; None if all are as good."""
    ranked = sorted(row["completions"], key=lambda completion: completion[0])
    (low, rejected), (high, _) = ranked[0], ranked[-1]
    chosen = next(text for score, text in ranked if score == high)
    return None if low == high else Preference(row["prompt"], chosen, rejected)


def _label(row: Row) -> Preference | None:
    label = row["label"]
    if label not in ("a", "b", "tie", "skip"):
        raise ValueError(f"{row.place}: label is {label!r:.60}, expected a, b, tie or skip")
    if label in ("tie", "skip"):
        return None
    chosen, rejected = (row["a"], row["b"]) if label == "a" else (row["b"], row["a"])
    return Preference(row["prompt"], chosen, rejected)


_READERS = {
    "UltraFeedback": _best_and_worst,
    "labels": _label,
    "pairs": _pair,
    "Anthropic HH": _dialogues,
}
