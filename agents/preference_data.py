"""Pairs of responses from wherever they come: lists, records, files and environments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import gymnasium

from agents.batch import PreferenceBatch
from agents.text_data import TextData, TooLong, check_columns, tokenise
from textgym.dialogues import Render
from textgym.preferences import load_preferences
from textgym.preferences.drawing import draw_preferences
from textgym.task import Preference
from textgym.tokenizer import Tokenizer
from textgym.vector import TokenVectorEnv

PreferenceSource = str | os.PathLike[str] | gymnasium.Env | TokenVectorEnv | Sequence[Preference]
"""A file, a folder or a data set's name on the hub (see `textgym.load_preferences`); an environment
or its id, whose `preferences` are drawn; or records."""


def read_preferences(
    source: PreferenceSource,
    *,
    num_pairs: int = 2048,
    seed: int = 0,
    render: Render | None = None,
    **kwargs: Any,
) -> list[Preference]:
    """The pairs of a source.

    Args:
        source: see `PreferenceSource`. A text is an environment's id if it is registered, or names
            the module that registers it, as in "my_module:MyTask-v0".
        num_pairs: how many to draw from an environment.
        seed: of that drawing.
        render: of a file, how prompts of messages are written; see `text_data.chat_render`.
        **kwargs: for an id as in `gym.make`; for a file as in `textgym.load_preferences`.

    Raises:
        TypeError: if it is none of these, or the environment draws no preferences.
        ValueError, FileNotFoundError: as `load_preferences` and `preferences` do.
    """
    if isinstance(source, str) and is_environment(source):
        source = gymnasium.make(source, **kwargs)
    elif isinstance(source, str | os.PathLike):
        return load_preferences(source, render=render, **kwargs)
    if isinstance(source, TokenVectorEnv):
        return list(draw_preferences(source.mdp, source.difficulty, num_pairs, seed))
    if isinstance(source, gymnasium.Env):
        draw = getattr(source.unwrapped, "preferences", None)
        if draw is None:
            raise TypeError(f"{source} has no preferences(n, seed): a textgym environment has it")
        return draw(num_pairs, seed)
    if isinstance(source, Sequence) and all(isinstance(pair, Preference) for pair in source):
        return list(source)
    raise TypeError(
        f"the pairs are a {type(source).__name__}, expected Preferences, a file, an environment, "
        "or the id of one; three lists of texts are for train_on_preferences"
    )


def is_environment(name: str) -> bool:
    """Whether a text is an environment's id."""
    import textgym  # noqa: F401 - registers its own

    module, _, _ = name.rpartition(":")
    return name in gymnasium.registry or (module != "" and not os.path.exists(name))


def pairs_of_lists(
    prompts: Sequence[str], chosen: Sequence[str], rejected: Sequence[str]
) -> list[Preference]:
    """Three lists as records.

    Raises:
        TypeError: if one is no list of texts.
        ValueError: if they are empty, or not equally long.
    """
    check_columns(prompts=prompts, chosen=chosen, rejected=rejected)
    return [Preference(*texts) for texts in zip(prompts, chosen, rejected, strict=True)]


def tokenise_preferences(
    pairs: Sequence[Preference],
    tokenizer: str | Tokenizer,
    *,
    max_length: int | None = None,
    too_long: TooLong = "drop",
) -> TextData:
    """Pairs as tokens, the chosen response first; see `text_data.tokenise`, also for errors."""
    return tokenise(
        [pair.prompt for pair in pairs],
        [(pair.chosen, pair.rejected) for pair in pairs],
        tokenizer,
        max_length=max_length,
        too_long=too_long,
    )


def preference_batch(data: TextData, rows: Sequence[int]) -> PreferenceBatch:
    """These rows of tokenised pairs, padded to the longest."""
    tokens, mask = data.batch(rows)
    return PreferenceBatch(
        chosen_tokens=tokens[0::2],
        rejected_tokens=tokens[1::2],
        chosen_mask=mask[0::2],
        rejected_mask=mask[1::2],
    )
