"""Cleaned text -> tokens, in linear time."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from textgym.grading.expressions.tree import OutOfBounds
from textgym.grading.expressions.units import UNITS, find_unit

MAX_TOKENS = 1500
MAX_DIGITS = 600
"""Digits of one literal."""

MAX_POWER_OF_TEN = 400
"""Largest exponent that a literal such as 1e300 may have."""

FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth sech "
    "csch arcsinh arccosh arctanh ln log lg exp sqrt cbrt abs floor ceil max min gcd lcm det Re Im "
    "re im sign sgn conj binomial factorial mod".split()
)
_ALIASES = {
    **{f"a{name}": f"arc{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "sec")},
    **{"asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh", "arsinh": "arcsinh"},
    **{"tg": "tan", "ctg": "cot", "cosec": "csc", "ceiling": "ceil", "choose": "binom"},
    **{"lg": "log10", "log10": "log10", "log2": "log2"},
}
GREEK = frozenset(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi "
    "omicron rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma "
    "Upsilon Phi Psi Omega ell".split()
)
_COMMANDS: dict[str, tuple[str, str]] = {
    **{name: ("op", "*") for name in ("cdot", "times", "ast", "star", "bullet")},
    **{
        "div": ("op", "/"),
        "pm": ("op", "±"),
        "mp": ("op", "∓"),
        "choose": ("op", "choose"),
        "over": ("op", "over"),
    },
    **{name: ("op", "<=") for name in ("le", "leq", "leqslant")},
    **{name: ("op", ">=") for name in ("ge", "geq", "geqslant")},
    **{"lt": ("op", "<"), "gt": ("op", ">"), "ne": ("op", "!="), "neq": ("op", "!=")},
    **{"approx": ("op", "≈"), "equiv": ("op", "≡"), "sim": ("op", "≈"), "mid": ("op", "|")},
    **{"cup": ("op", "∪"), "cap": ("op", "∩"), "setminus": ("op", "∖"), "backslash": ("op", "∖")},
    **{"in": ("op", "∈"), "colon": ("op", ":"), "land": ("word", "and"), "lor": ("word", "or")},
    **{"wedge": ("word", "and"), "vee": ("word", "or"), "dollar": ("currency", "dollars")},
    **{"euro": ("currency", "euros"), "sterling": ("currency", "sterling")},
    **{"rupee": ("currency", "rupees"), "yen": ("currency", "yen")},
    **{"infty": ("constant", "inf"), "pi": ("constant", "pi"), "circ": ("op", "°")},
    **{"degree": ("op", "°"), "imath": ("constant", "i"), "exp": ("function", "exp")},
    **{"emptyset": ("empty", ""), "varnothing": ("empty", ""), "{": ("op", "\\{")},
    **{"}": ("op", "\\}"), "lbrace": ("op", "\\{"), "rbrace": ("op", "\\}"), "|": ("op", "|")},
    **{"lvert": ("op", "|"), "rvert": ("op", "|"), "vert": ("op", "|"), "Vert": ("op", "|")},
    **{"lfloor": ("op", "⌊"), "rfloor": ("op", "⌋"), "lceil": ("op", "⌈"), "rceil": ("op", "⌉")},
    **{"langle": ("op", "⟨"), "rangle": ("op", "⟩"), "lbrack": ("op", "["), "rbrack": ("op", "]")},
    **{"\\": ("row", ""), "ldots": ("dots", ""), "dots": ("dots", ""), "cdots": ("dots", "")},
    **{"R": ("set", "R"), "Z": ("set", "Z"), "N": ("set", "N"), "Q": ("set", "Q")},
    **{"angle": ("skip", ""), "to": ("op", "→"), "prime": ("op", "'"), "bmod": ("op", "mod")},
    **{name: ("command", name) for name in ("frac", "sqrt", "cbrt", "binom", "repeating")},
    **{name: ("command", "accent") for name in ("vec", "overrightarrow", "bar", "tilde")},
    **{
        "overline": ("command", "accent"),
        "hat": ("command", "accent"),
        "dbinom": ("command", "binom"),
    },
    "tbinom": ("command", "binom"),
}
_TEXT = frozenset(
    "text textbf textit textrm textsf texttt mbox operatorname mathrm mathbf mathit mathsf "
    "mathtt emph underline fbox hbox textnormal rm bf".split()
)
_MATHS_FONTS = frozenset("mathrm mathbf mathit mathsf operatorname".split())
WORD_OPERATORS = frozenset(("and", "or"))
_NO_PRODUCT = frozenset(
    "per the no yes odd all any not red zero one two six ten day man boy dog cat sun mon "
    "tue wed thu fri sat jan feb mar apr may jun jul aug sep oct nov dec am pm none is of "
    "in we she has her his him for was had are you but can get got how its out own say "
    "see use way who why yet new now old our too let put ran did pay buy big few".split()
)
UNIT_RUNS = frozenset(
    "cm mm km nm dm kg mg ml mL kL ft yd mi oz lb lbs hr sq cu mph kph deg rad mol gal cal".split()
)
_PREPOSITIONS = frozenset(("at", "by", "to", "on", "an", "as"))
"""Words, unless signs stand beside them: u + at is a product."""

_SIGNS = frozenset("+-*/=^)<>")
_UNITS_AFTER_NUMBERS = frozenset(("min", "sec"))

_token = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>(?:\d{1,3}(?:,\d{3})+(?![\d,]*\d)(?:\.\d+)?|\d+(?:\.(?!\.)\d*)?|\.\d+))(?P<exponent>[eE][+-]?\d+(?![a-zA-Z0-9]))?"
    r"|\\(?P<command>[a-zA-Z]+|.)"
    r"|(?P<run>[a-zA-Z]+)"
    r"|(?P<op><=|>=|!=|=<|==|<>|->|[-+*/^_!()\[\]{}|,;:=<>%'&\x02\x03.?\"])",
    re.DOTALL,
)
_letters = re.compile("[a-zA-Z]+")
_font = re.compile(rf"\\({'|'.join(sorted(_TEXT))})\s*\{{([^{{}}]*)\}}")
_number_set = re.compile(r"\\(?:mathbb|Bbb|mathbf)\s*\{?([RZNQC])\}?(?![a-zA-Z])")


class Token(NamedTuple):
    """`kind` says what `value` is; `spaced`: a blank stands before it."""

    kind: str
    value: str
    spaced: bool
    number: Fraction | None = None


def tokenize(text: str, *, thousands: bool = True) -> list[Token]:
    """The tokens of a cleaned text.

    Args:
        text: what `cleaning.clean` gave.
        thousands: whether `1,234` outside of brackets is a number rather than two.

    Raises:
        OutOfBounds: for too many tokens or digits.
        ValueError: for a character or command that no answer has.
    """
    if "\\" in text:
        text = _number_set.sub(r"\\numberset \1 ", text)
        text = _font.sub(_mark_text, text)
        text = _font.sub(_mark_text, text)  # \textbf{\text{...}}
    tokens: list[Token] = []
    position, depth, in_text, spaced = 0, 0, False, False
    braces: list[int] = []  # 1 for those of a set, 0 for those of a command's argument
    while position < len(text):
        match = _token.match(text, position)
        if match is None:
            raise ValueError(f"no answer has the character {text[position]!r}")
        kind = match.lastgroup
        start, position = position, match.end()
        if kind == "space":
            spaced = True
            continue
        if kind in ("number", "exponent"):
            digits = match["number"]
            if "," in digits and (depth or not thousands):
                digits = digits[: digits.index(",")]
                position = start + len(digits)
                tokens.append(_number(digits, None, spaced))
            else:
                tokens.append(_number(digits, match["exponent"], spaced))
        elif kind == "command":
            position = _command(match["command"], text, position, spaced, tokens)
            depth += {"{": 1, "}": -1, "langle": 1, "rangle": -1}.get(match["command"], 0)
        elif kind == "run":
            run = match["run"]
            beside = text[position : position + 2].strip()[:1]
            before = tokens[-1].value if tokens and tokens[-1].kind == "op" else ""
            follows_number = tokens and (tokens[-1].kind == "number" or tokens[-1].value in ")}")
            if spaced and follows_number and len(run) > 1 and find_unit(run):
                tokens.append(Token("word", run, spaced))
            elif run in _PREPOSITIONS and not (beside in _SIGNS or before in _SIGNS):
                tokens.append(Token("word", run, spaced))
            else:
                _run(run, spaced, in_text, tokens)
        else:
            op = match["op"]
            if op in "\x02\x03":
                in_text = op == "\x02"
                spaced = True
                continue
            if op == "{":
                braces.append(int(not tokens or not _takes_argument(tokens[-1])))
                depth += braces[-1]
            elif op == "}" and braces:
                depth -= braces.pop()
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(op, 0)
            tokens.append(
                Token("op", {"=<": "<=", "==": "=", "<>": "!=", "->": "→"}.get(op, op), spaced)
            )
        spaced = False
        if len(tokens) > MAX_TOKENS:
            raise OutOfBounds(f"more than {MAX_TOKENS} symbols")
    return tokens


def _takes_argument(token: Token) -> bool:
    return token.kind in ("command", "function") or token.value in ("^", "_", "}", "]")


def _mark_text(match: re.Match[str]) -> str:
    r"""Mark the words of \text{...}; a font around one letter or a function changes nothing."""
    font, content = match.groups()
    name = content.strip()
    if font in _MATHS_FONTS:
        if name in FUNCTIONS:
            return f" \\{name} "
        first = _letters.match(name)
        if len(name) == 1 or not name.isalpha() and not (first and first[0] in UNITS):
            return f" {content} "
    return f"\x02{content}\x03"


def _number(digits: str, exponent: str | None, spaced: bool) -> Token:
    digits = digits.replace(",", "")
    if len(digits) > MAX_DIGITS:
        raise OutOfBounds(f"a number of more than {MAX_DIGITS} digits")
    whole, _, decimals = digits.partition(".")
    value = Fraction(int(whole + decimals or "0"))
    if decimals:
        value /= 10 ** len(decimals)
    if exponent:
        power = int(exponent[1:]) if len(exponent) < 8 else MAX_POWER_OF_TEN + 1
        if abs(power) > MAX_POWER_OF_TEN:
            raise OutOfBounds(f"a number with the exponent {exponent[:20]}")
        value *= Fraction(10) ** power
    return Token("number", digits + (exponent or ""), spaced, value)


def _command(name: str, text: str, position: int, spaced: bool, tokens: list[Token]) -> int:
    """Append a LaTeX command's token; return where reading goes on."""
    if name in _COMMANDS:
        kind, value = _COMMANDS[name]
        if kind != "skip":
            tokens.append(Token(kind, value, spaced))
    elif name in GREEK:
        tokens.append(Token("symbol", name.removeprefix("var"), spaced))
    elif name in FUNCTIONS or name in _ALIASES:
        tokens.append(Token("function", _ALIASES.get(name, name), spaced))
    elif name in ("begin", "end"):
        match = re.compile(r"\s*\{([a-zA-Z]*)\*?\}(?:\{[clr|]*\})?").match(text, position)
        if match is None:
            raise ValueError(f"\\{name} without a name")
        tokens.append(Token(name, match[1], spaced))
        return match.end()
    elif name == "numberset":
        tokens.append(Token("set", text[position + 1], spaced))
        return position + 2
    else:
        raise ValueError(f"no answer has the command \\{name[:20]}")
    return position


def _run(run: str, spaced: bool, in_text: bool, tokens: list[Token]) -> None:
    """Append what a run of letters stands for: a word, a function, a constant, or variables."""
    lower = run.lower()
    if lower in WORD_OPERATORS:
        tokens.append(Token("word", lower, True))
    elif run in _UNITS_AFTER_NUMBERS and tokens and tokens[-1].kind == "number":
        tokens.append(Token("word", run, spaced))
    elif lower in ("infinity", "oo"):
        tokens.append(Token("constant", "inf", spaced))
    elif in_text and (run not in FUNCTIONS or run in _UNITS_AFTER_NUMBERS):
        tokens.append(Token("word", run, spaced))
    elif run in FUNCTIONS or run in _ALIASES:
        tokens.append(Token("function", _ALIASES.get(run, run), spaced))
    elif lower in ("pi", "inf"):
        tokens.append(Token("constant", "pi" if lower == "pi" else "inf", spaced))
    elif run in GREEK:
        tokens.append(Token("symbol", run, spaced))
    elif len(run) == 1:
        kind = "constant" if run in "ei" else "symbol"
        tokens.append(Token(kind, run, spaced))
    elif (prefix := _function_prefix(run)) is not None:
        _run(prefix, spaced, in_text, tokens)
        _run(run[len(prefix) :], False, in_text, tokens)
    elif len(run) > 3 or lower in _NO_PRODUCT or run in UNIT_RUNS or not run.islower():
        tokens.append(Token("word", run, spaced))
    else:
        for position, letter in enumerate(run):
            _run(letter, spaced and not position, in_text, tokens)


def _function_prefix(run: str) -> str | None:
    """`sin` for `sinx`, `pi` for `pir`: a name with one or two variables stuck to it."""
    for length in (6, 5, 4, 3, 2):
        prefix, rest = run[:length], run[length:]
        if 0 < len(rest) <= 2 and rest.islower() and rest not in _NO_PRODUCT:
            if prefix in ("pi",) or (length > 1 and prefix in FUNCTIONS - {"re", "im", "Re", "Im"}):
                return prefix
    return None
