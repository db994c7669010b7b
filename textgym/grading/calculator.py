"""A calculator: exact arithmetic of rational numbers. Total and bounded; no code is evaluated."""

from __future__ import annotations

import math
import re

from textgym.grading.expressions.fields import Budget, Exact, Undefined, evaluate
from textgym.grading.expressions.parser import parse
from textgym.grading.expressions.tree import OutOfBounds

MAX_CHARACTERS = 100
MAX_RESULT = 40
"""Characters of a result; with more, numbers are no longer read but copied at best."""

ERROR = "error: "
"""How what `calculate` says begins where it has no value."""

_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-"})
_allowed = re.compile(r"[-0-9.+*/^() ]*").fullmatch
_two_numbers = re.compile(r"[0-9.)] +[0-9.(]").search


def calculate(expression: str) -> str:
    """The value of an expression such as `12*(3+4)/5-2^10`, as an integer or a fraction.

    Literals are integers and decimals (0.25 is 1/4); the operators are `+ - * / ^` (also × · ÷ −
    and, for a power, `**`), and brackets. Values are exact.

    Args:
        expression: any text.

    Returns:
        "-2/3", "408", or what is wrong, such as "error: division by zero": at most MAX_RESULT
        characters. It raises for no text.
    """
    if len(expression) > MAX_CHARACTERS:
        return f"{ERROR}more than {MAX_CHARACTERS} characters"
    expression = expression.replace("**", "^").translate(_SIGNS).strip()
    if not _allowed(expression) or _two_numbers(expression):
        return f"{ERROR}no expression"
    try:
        # The bounds on text and numbers are limits enough: a verdict must not depend on a clock.
        value = evaluate(parse(expression), Exact(Budget(math.inf)))
    except Undefined:
        return f"{ERROR}division by zero"
    except OutOfBounds:
        return f"{ERROR}too large"
    except ArithmeticError:
        return f"{ERROR}no rational number"
    except ValueError:
        return f"{ERROR}no expression"
    # A digit has more than three bits. Writing out thousands of digits is slow, or refused.
    is_long = value.numerator.bit_length() + value.denominator.bit_length() > 4 * MAX_RESULT
    if is_long or len(result := str(value)) > MAX_RESULT:
        return f"{ERROR}too large"
    return result
