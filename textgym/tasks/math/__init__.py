"""Mathematics: one file per family of problems, all graded by `textgym.grading.math`."""

from __future__ import annotations

from textgym.tasks.math.calculus import TextCalculus
from textgym.tasks.math.combinatorics import TextCombinatorics
from textgym.tasks.math.countdown import TextCountdown
from textgym.tasks.math.equation import TextEquation
from textgym.tasks.math.fraction import TextFraction
from textgym.tasks.math.number_theory import TextNumberTheory
from textgym.tasks.math.polynomial import TextPolynomial
from textgym.tasks.math.probability import TextProbability
from textgym.tasks.math.sequence import TextSequence
from textgym.tasks.math.text_math import TextMath
from textgym.tasks.math.units import TextUnits
from textgym.tasks.math.word_problem import TextWordProblem

__all__ = [
    "TextCalculus",
    "TextCombinatorics",
    "TextCountdown",
    "TextEquation",
    "TextFraction",
    "TextMath",
    "TextNumberTheory",
    "TextPolynomial",
    "TextProbability",
    "TextSequence",
    "TextUnits",
    "TextWordProblem",
]
