"""Preferences: judging pairs of responses, and writing what is preferred."""

from __future__ import annotations

from textgym.tasks.preference.text_preference import TextPreference
from textgym.tasks.preference.text_taste import TextTaste

__all__ = ["TextPreference", "TextTaste"]
