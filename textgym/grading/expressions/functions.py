"""The functions of complex numbers that an answer may name, in mpmath, each within its bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textgym.grading.expressions.fields import MAX_ANGLE, MAX_FACTORIAL, Undefined
from textgym.grading.expressions.tree import OutOfBounds

_TRIGONOMETRIC = frozenset("sin cos tan cot sec csc sinh cosh tanh coth sech csch".split())
_MPMATH_NAMES = {f"arc{name}": f"a{name}" for name in (*_TRIGONOMETRIC,)}
_UNBOUNDED = frozenset("sinh cosh tanh coth sech csch".split())
MAX_HYPERBOLIC = 1e4


def precise(context: Any, name: str, arguments: list[Any]) -> Any:
    """The value of a function at a point.

    Raises:
        Undefined: where it has no value.
        OutOfBounds: for an argument that is too large.
    """
    try:
        if name in _TRIGONOMETRIC:
            limit = MAX_HYPERBOLIC if name in _UNBOUNDED else MAX_ANGLE
            if abs(arguments[0]) > limit or abs(context.im(arguments[0])) > MAX_HYPERBOLIC:
                raise OutOfBounds(f"{name} of a number beyond {limit:g}")
            return getattr(context, name)(arguments[0])
        if name in _MPMATH_NAMES:
            return getattr(context, _MPMATH_NAMES[name])(arguments[0])
        return _OTHERS[name](context, *arguments)
    except (ZeroDivisionError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, OutOfBounds):
            raise
        raise Undefined(f"{name} has no value there") from None


def _log(context: Any, *arguments: Any) -> Any:
    """log(x), natural, or log(base, x)."""
    if not arguments[-1]:
        raise Undefined("the logarithm of zero")
    value = context.log(arguments[-1])
    return value if len(arguments) == 1 else value / context.log(arguments[0])


def _real(context: Any, value: Any) -> Any:
    if abs(context.im(value)) > abs(value) * context.mpf(10) ** (5 - context.dps):
        raise Undefined("not a real number")
    return context.re(value)


def _near_integer(context: Any, value: Any) -> Any:
    """A value that rounding has moved off an integer, moved back."""
    nearest = context.nint(value)
    return nearest if abs(value - nearest) < context.mpf(10) ** (8 - context.dps) else value


def _rounding(name: str) -> Callable[..., Any]:
    def round_(context: Any, value: Any) -> Any:
        return getattr(context, name)(_near_integer(context, _real(context, value)))

    return round_


def _factorial(context: Any, value: Any) -> Any:
    if abs(value) > MAX_FACTORIAL:
        raise OutOfBounds(f"a factorial of more than {MAX_FACTORIAL}")
    return context.factorial(value)


def _binomial(context: Any, n: Any, k: Any) -> Any:
    if max(abs(n), abs(k)) > MAX_FACTORIAL:
        raise OutOfBounds(f"a binomial of more than {MAX_FACTORIAL}")
    return context.binomial(n, k)


def _double_factorial(context: Any, value: Any) -> Any:
    if abs(value) > MAX_FACTORIAL:
        raise OutOfBounds(f"a factorial of more than {MAX_FACTORIAL}")
    return context.fac2(value)


def _integers(context: Any, values: tuple[Any, ...]) -> list[int]:
    integers = [_near_integer(context, _real(context, value)) for value in values]
    if any(not context.isint(value) for value in integers):
        raise Undefined("not an integer")
    return [int(value) for value in integers]


def _gcd(context: Any, *values: Any) -> Any:
    import math

    return context.mpf(math.gcd(*_integers(context, values)))


def _lcm(context: Any, *values: Any) -> Any:
    import math

    return context.mpf(math.lcm(*_integers(context, values)))


_OTHERS: dict[str, Callable[..., Any]] = {
    "ln": _log,
    "log": _log,
    "abs": lambda context, x: abs(x),
    "floor": _rounding("floor"),
    "ceil": _rounding("ceil"),
    "factorial": _factorial,
    "factorial2": _double_factorial,
    "binomial": _binomial,
    "max": lambda context, *values: max(_real(context, value) for value in values),
    "min": lambda context, *values: min(_real(context, value) for value in values),
    "gcd": _gcd,
    "lcm": _lcm,
    "mod": lambda context, a, b: context.fmod(_real(context, a), _real(context, b)),
    "sgn": lambda context, x: context.sign(_real(context, x)),
    "sign": lambda context, x: context.sign(_real(context, x)),
    "Re": lambda context, x: context.re(x),
    "re": lambda context, x: context.re(x),
    "Im": lambda context, x: context.im(x),
    "im": lambda context, x: context.im(x),
    "conj": lambda context, x: context.conj(x),
}
