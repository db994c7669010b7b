"""Tasks of several objectives at odds, whose Pareto fronts are known."""

from __future__ import annotations

from textgym.tasks.objectives.front import FrontTask
from textgym.tasks.objectives.text_concise import TextConcise
from textgym.tasks.objectives.text_multi_objective import TextMultiObjective

__all__ = ["FrontTask", "TextConcise", "TextMultiObjective"]
