"""The built-in tasks. Importing this package registers their ids."""

from __future__ import annotations

from textgym.tasks.code import TextCode
from textgym.tasks.dialogue import TextCalculator, TextGuess, TextPython
from textgym.tasks.math import (
    TextCalculus,
    TextCombinatorics,
    TextCountdown,
    TextEquation,
    TextFraction,
    TextMath,
    TextNumberTheory,
    TextPolynomial,
    TextProbability,
    TextSequence,
    TextUnits,
    TextWordProblem,
)

__all__ = [
    "TextCalculator",
    "TextCalculus",
    "TextCode",
    "TextCombinatorics",
    "TextCountdown",
    "TextEquation",
    "TextFraction",
    "TextGuess",
    "TextMath",
    "TextNumberTheory",
    "TextPolynomial",
    "TextProbability",
    "TextPython",
    "TextSequence",
    "TextUnits",
    "TextWordProblem",
]
