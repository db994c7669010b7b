"""Preferences: judging pairs of responses, and writing what is preferred."""

from __future__ import annotations

from textgym.tasks.preference.text_preference import TextPreference
from textgym.tasks.preference.text_review import TextReview

__all__ = ["TextPreference", "TextReview"]
