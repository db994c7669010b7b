"""Preferences: judging pairs of responses, and writing what is preferred."""

from __future__ import annotations

from textgym.tasks.preference.text_preference import TextPreference

__all__ = ["TextPreference"]
