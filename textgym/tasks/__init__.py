"""The built-in tasks. Importing this package registers their ids."""

from __future__ import annotations

from textgym.tasks.math import TextMath

__all__ = ["TextMath"]
