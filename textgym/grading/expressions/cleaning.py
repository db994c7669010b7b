"""One notation for what LaTeX, plain text and Unicode write in many, in linear time."""

from __future__ import annotations

import re
import unicodedata

from textgym.grading.expressions.phrases import written_out
from textgym.grading.expressions.tree import OutOfBounds

MAX_CHARACTERS = 4000
"""No answer has to be longer."""

_CHARACTERS = {
    **dict.fromkeys("−–—‒﹣－‐‑", "-"),
    **dict.fromkeys("×✕⋅·∙•∗", "*"),
    **{"÷": "/", "∕": "/", "⁄": "/", "√": "\\sqrt ", "∛": "\\cbrt ", "∞": "\\infty "},
    **{"≤": "<=", "⩽": "<=", "≦": "<=", "≥": ">=", "⩾": ">=", "≧": ">=", "≠": "\\ne "},
    **{"±": "\\pm ", "∓": "\\mp ", "∪": "\\cup ", "∩": "\\cap ", "∖": "\\setminus ", "∈": "\\in "},
    **{"∅": "\\emptyset ", "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}", "ℕ": "\\mathbb{N}"},
    **{"ℚ": "\\mathbb{Q}", "ℂ": "\\mathbb{C}", "°": "^\\circ ", "º": "^\\circ ", "˚": "^\\circ "},
    **{"⌊": "\\lfloor ", "⌋": "\\rfloor ", "⌈": "\\lceil ", "⌉": "\\rceil "},
    **{"⟨": "\\langle ", "⟩": "\\rangle ", "〈": "\\langle ", "〉": "\\rangle "},
    **{"′": "'", "’": "'", "‘": "'", "“": '"', "”": '"', "≈": "\\approx ", "≡": "\\equiv "},
    **{"…": "\\ldots ", "⋯": "\\ldots ", "π": "\\pi ", "∠": "\\angle ", "。": ".", "，": ","},
    **{"¢": "\\text{ cents}", "€": "\\euro ", "£": "\\sterling ", "₹": "\\rupee ", "¥": "\\yen "},
}
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
    "varsigma sigma tau upsilon phi chi psi omega"
).split()
for _position, _name in enumerate(_GREEK):
    _CHARACTERS.setdefault(chr(0x3B1 + _position), f"\\{_name} ")
for _capital, _name in {"Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda"}.items():
    _CHARACTERS[_capital] = f"\\{_name} "
for _capital, _name in {"Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega"}.items():
    _CHARACTERS[_capital] = f"\\{_name} "
_CHARACTERS.update({"ϕ": "\\phi ", "ϑ": "\\theta ", "ϵ": "\\epsilon ", "µ": "\\mu "})
_TABLE = str.maketrans(_CHARACTERS)

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ⁽⁾", "0123456789+-ni()")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋ₙ", "0123456789+-n")
_superscript = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ⁽⁾]+")
_subscript = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋ₙ]+")
_root = re.compile(r"√\s*(\d+(?:\.\d+)?)")
_vulgar = re.compile("([0-9]?)([¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])")

_REMOVED = re.compile(
    r"\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits|mathstrut|"
    r"boldsymbol|bm|phantom|scriptstyle)(?![a-zA-Z])\.?|\\!|\\/|\u200b"
)
_blank = re.compile(
    r"(?<!\\)\\(?:(?:q?quad|thinspace|enspace|hspace\{[^{}]*\})(?![a-zA-Z])|[;:,>\s])|~"
)
_fraction = re.compile(r"\\(?:[dtcsx]|nice)frac(?![a-zA-Z])")
_row_space = re.compile(r"\\\\\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm)\s*\]")
_delimiter = re.compile(r"(?<!\\)\\[()\[\]]")
_currency_in_text = re.compile(r"\\text\s*\{\s*\\\$\s*\}")
_colour = re.compile(r"\\(?:text)?color\s*\{[a-zA-Z]+\}")
_old_font = re.compile(r"\\(?:bf|it|rm|tt|sf|em|bfseries)(?![a-zA-Z])")
_font_of_formula = re.compile(r"\\(?:math(?:bf|rm|it|sf|tt)|text(?:bf|it)|bm)\s*(?=\{\s*[\\(\d])")
_short_fraction = re.compile(r"\\(frac|binom)\s*(\d|[a-zA-Z](?![a-zA-Z]))\s*(\d|[a-zA-Z])")
_half_fraction = re.compile(r"\\(frac|binom)\s*(\d)\s*(?=[{\\])")
_late_fraction = re.compile(r"(\\(?:frac|binom)\{[^{}]*\})\s*(\d)")
_short_root = re.compile(r"\\sqrt\s*(\d)")
_spaced_thousands = re.compile(
    r"(?<![\d.,\w])(\d{1,3})((?:(?:\\[,!;:]|\{,\}|\{\\,\}|,\\!)\s?\d{3})+)(?!\d)"
)
_blank_thousands = re.compile(
    r"(?<![\d.,/^_\w] )(?<![\d.,/^_\w])(\d{1,3})((?: \d{3})+)(?![\d/]| \d|\\frac)"
)
_repeating = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{?(\d+)\}?")


_bold = re.compile(r"(?<![\w)}\]])\*\*([^*\n]+)\*\*(?![\w(])")
_named_figure = re.compile(
    r"\\(?:overline|overrightarrow|vec|widehat|angle|triangle|measuredangle)\s*\{?([A-Z]{2,4})\}?"
)
_unit_quotient = re.compile(
    r"(?<=[\d}]) ((?:k?m|c?m|k?g|mi|ft|L|mL)(?:\^\{?\d\}?)?"
    r"/(?:s|h|hr|min|sec|m|L|mL|k?g|c?m)(?:\^\{?\d\}?)?)$"
)


def clean(text: str) -> str:
    """The text in the one notation that `tokens` reads.

    Raises:
        OutOfBounds: if it is too long.
    """
    if len(text) > MAX_CHARACTERS:
        raise OutOfBounds(f"{len(text)} characters, at most {MAX_CHARACTERS} are read")
    if not text.isascii():
        text = _to_ascii(text)
    if "\\" in text or "{,}" in text:
        text = _clean_latex(text)
    if "**" in text:
        text = _bold.sub(r"\1", text).replace("**", "^")
    text = _without_delimiters(text)
    text = written_out(text.strip())
    if " " in text:
        text = _blank_thousands.sub(_join_digits, text)
        text = _unit_quotient.sub(r" \\text{\1}", text)
    return text.strip()


def _to_ascii(text: str) -> str:
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cs", "Co", "Cn"))
    text = _superscript.sub(lambda m: f"^{{{m[0].translate(_SUPERSCRIPTS)}}}", text)
    text = _subscript.sub(lambda m: f"_{{{m[0].translate(_SUBSCRIPTS)}}}", text)
    text = _vulgar.sub(_vulgar_fraction, text)
    text = _root.sub(r"\\sqrt{\1}", text)
    text = text.translate(_TABLE)
    return text if text.isascii() else unicodedata.normalize("NFKC", text).translate(_TABLE)


def _vulgar_fraction(match: re.Match[str]) -> str:
    numerator, _, denominator = unicodedata.normalize("NFKC", match[2]).partition("\u2044")
    return f"{match[1]}\\frac{{{numerator}}}{{{denominator}}}"


def _clean_latex(text: str) -> str:
    text = _colour.sub("", _currency_in_text.sub(r"\\$", text))
    text = (
        text.replace("+/-", "\\pm ")
        .replace("\\$", "\\dollar ")
        .replace("\\%", "%")
        .replace("\\&", " and ")
    )
    text = _row_space.sub(r"\\\\ ", text)
    text = _delimiter.sub("", text)
    text = _spaced_thousands.sub(_join_digits, text)
    if "\\overline" in text or "\\bar" in text or "\\dot" in text:
        text = _repeating.sub(r"\1.\2\\repeating{\3}", text)
    text = _named_figure.sub(r"\1", text)
    text = _REMOVED.sub("", text)
    text = _old_font.sub("", text)
    text = _font_of_formula.sub("", text)
    text = _blank.sub(" ", text)
    text = _fraction.sub(r"\\frac", text)
    text = _short_fraction.sub(r"\\\1{\2}{\3}", text)
    text = _half_fraction.sub(r"\\\1{\2}", text)
    text = _late_fraction.sub(r"\1{\2}", text)
    text = _short_root.sub(r"\\sqrt{\1}", text).strip()
    return text[:-1] if text.endswith("\\") and not text.endswith("\\\\") else text


def _join_digits(match: re.Match[str]) -> str:
    return match[1] + re.sub(r"\D", "", match[2])


def _without_delimiters(text: str) -> str:
    """Take off the dollar signs of mathematics; a single one is money."""
    count = text.count("$")
    if not count:
        return text
    if count % 2 == 0:
        return text.replace("$", " ")
    return text.replace("$", "\\dollar ")
