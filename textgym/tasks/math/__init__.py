"""Mathematics: one file per family of problems, all graded by `textgym.grading.math`."""

from __future__ import annotations

from textgym.tasks.math.text_math import TextMath

__all__ = ["TextMath"]
