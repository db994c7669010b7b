"""Programming: problems made or read, and the task that has the responses run."""

from __future__ import annotations

from textgym.tasks.code.text_code import TextCode

__all__ = ["TextCode"]
