"""Dialogues: questions with a tool at hand, and games with feedback."""

from __future__ import annotations

from textgym.tasks.dialogue.text_calculator import TextCalculator
from textgym.tasks.dialogue.text_guess import TextGuess
from textgym.tasks.dialogue.text_python import TextPython

__all__ = ["TextCalculator", "TextGuess", "TextPython"]
