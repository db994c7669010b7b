"""Preferences between responses: functions that judge pairs, data sets of pairs, files, labels.

A preference function maps (prompt, a, b) to the probability that a is preferred to b. Any callable
will do; `BradleyTerry` makes one of a reward function, `Person` asks in the terminal.
"""

from __future__ import annotations

from textgym.preferences.data import load_preferences
from textgym.preferences.files import write_preferences
from textgym.preferences.functions import (
    BradleyTerry,
    Person,
    PreferenceFunction,
    bradley_terry,
    prefer_many,
)

__all__ = [
    "BradleyTerry",
    "Person",
    "PreferenceFunction",
    "bradley_terry",
    "load_preferences",
    "prefer_many",
    "write_preferences",
]
