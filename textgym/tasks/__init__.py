"""The built-in tasks. Importing this package registers their ids."""

from __future__ import annotations

from textgym.games import TextNim
from textgym.tasks.code import TextCode
from textgym.tasks.dialogue import TextCalculator, TextGuess, TextPython
from textgym.tasks.generation import TextGeneration
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
from textgym.tasks.objectives import TextConcise, TextMultiObjective
from textgym.tasks.preference import TextPreference, TextTaste
from textgym.tasks.probes import (
    TextProbeConstant,
    TextProbeDelay,
    TextProbeDiscount,
    TextProbeExplore,
    TextProbePrompt,
)
from textgym.tasks.structured import TextStructured

__all__ = [
    "TextCalculator",
    "TextCalculus",
    "TextCode",
    "TextConcise",
    "TextCombinatorics",
    "TextCountdown",
    "TextEquation",
    "TextFraction",
    "TextGeneration",
    "TextGuess",
    "TextMath",
    "TextMultiObjective",
    "TextNim",
    "TextNumberTheory",
    "TextPolynomial",
    "TextPreference",
    "TextProbability",
    "TextProbeConstant",
    "TextProbeDelay",
    "TextProbeDiscount",
    "TextProbeExplore",
    "TextProbePrompt",
    "TextPython",
    "TextSequence",
    "TextStructured",
    "TextTaste",
    "TextUnits",
    "TextWordProblem",
]
