"""The built-in tasks. Importing this package registers their ids."""

from __future__ import annotations

from textgym.tasks.code import TextCode
from textgym.tasks.math import TextMath

__all__ = ["TextCode", "TextMath"]
