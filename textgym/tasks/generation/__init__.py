"""Prompts and reward functions of one's own, and a task of writing without any."""

from __future__ import annotations

from textgym.tasks.generation.scored import ScoredObjectives, ScoredTexts
from textgym.tasks.generation.text_generation import TextGeneration

__all__ = ["ScoredObjectives", "ScoredTexts", "TextGeneration"]
