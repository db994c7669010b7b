"""TextCalculus against sympy's derivatives, limits and integrals."""

from __future__ import annotations

import re

import pytest
import sympy

from tests.textgym.tasks.drawing import draw, parsed
from textgym.task import Problem
from textgym.tasks.math.calculus import TextCalculus, increment

ID = "TextCalculus-v0"
X = sympy.Symbol("x")
POINTS = (sympy.Rational(7, 5), sympy.Rational(23, 10), sympy.Rational(-31, 10))

PATTERNS = {
    r"(?:d/dx \((.*)\)=|Differentiate (.*): )": lambda f: sympy.diff(f, X),
    r"What is the second derivative of (.*)\? ": lambda f: sympy.diff(f, X, 2),
}


def same(f: sympy.Expr, g: sympy.Expr) -> bool:
    """Whether two functions agree at three points, in 30 digits."""
    differences = [(f - g).subs(X, point).evalf(30) for point in POINTS]
    return all(abs(d) < 1e-20 for d in differences)


@pytest.mark.parametrize("level", ["power", "polynomial", "rules", "hard"])
def test_the_reference_is_the_derivative(level: str) -> None:
    num_checked = 0
    for problem in draw(ID, level, 60):
        for pattern, derive in PATTERNS.items():
            if match := re.fullmatch(pattern, problem.prompt):
                function = parsed(next(filter(None, match.groups())))
                assert same(derive(function), parsed(problem.answer)), problem
                num_checked += 1
        if match := re.fullmatch(r"f\(x\)=(.*)\. What is .* at x=(.*)\? ", problem.prompt):
            slope = sympy.diff(parsed(match[1]), X).subs(X, int(match[2]))
            assert str(slope) == problem.answer
    assert num_checked >= 15


@pytest.mark.parametrize("level", ["integral", "hard"])
def test_the_reference_s_derivative_is_the_integrand(level: str) -> None:
    num_checked = 0
    for problem in draw(ID, level, 60):
        if match := re.fullmatch(r"Integrate (.*) with respect to x: ", problem.prompt):
            assert same(sympy.diff(parsed(problem.answer), X), parsed(match[1])), problem
            num_checked += 1
    assert num_checked >= 30


def test_the_reference_is_the_definite_integral() -> None:
    for problem in draw(ID, "definite", 60):
        f, low, high = re.fullmatch(
            r"Integral of (.*) from x=(.*) to x=(.*): ", problem.prompt
        ).groups()
        assert str(sympy.integrate(sympy.expand(parsed(f)), (X, low, high))) == problem.answer


def test_the_reference_is_the_limit() -> None:
    pattern = r"(?:Limit of|What does) (.*?) (?:as|tend to as) x->(.*)[:?] "
    for problem in draw(ID, "limit", 40):
        f, at = re.fullmatch(pattern, problem.prompt).groups()
        at = sympy.oo if at == "infinity" else int(at)
        assert sympy.limit(parsed(f), X, at) == parsed(problem.answer), problem


@pytest.mark.parametrize(
    ("reference", "right", "wrong"),
    [
        (
            "-cos(2x)/2",
            ["-1/2 cos(2x) + C", "sin(x)^2", r"-\frac{1}{2}\cos(2x)+c", "F(x)=-0.5cos(2x)+7"],
            [
                "cos(2x)/2",
                "sin(2x)",
                "-cos(2x)/2+x",
                "C",
                "x",
                "",
                "-cos(2x)/2)+(1",
                "-cos(2x)/2*C",
            ],
        ),
        (
            "2ln(3x-1)/3",
            ["2/3 ln|3x-1| + C", r"\frac{2}{3}\ln\left|3x-1\right|+C", "2ln(x-1/3)/3"],
            ["ln(3x-1)", "2/(3x-1)", "2ln(3x-1)"],
        ),
        (
            "(x/2-1/4)*e^(2x)",
            ["e^{2x}(2x-1)/4", "xe^(2x)/2-e^(2x)/4+K", "x*exp(2x)/2-exp(2x)/4"],
            ["x*e^(2x)", "xe^(2x)/2"],
        ),
        ("x^3*ln(x)/3-x^3/9", ["(x^3/9)(3ln(x)-1)+C"], ["x^3ln(x)/3", "x^2ln(x)"]),
    ],
)
def test_an_antiderivative_is_right_up_to_a_constant(reference, right, wrong) -> None:
    task, problem = TextCalculus(), Problem("?", reference, {"form": "integral"})
    assert [task.grade(problem, answer)["correct"] for answer in right] == [1.0] * len(right)
    assert [task.grade(problem, answer)["correct"] for answer in wrong] == [0.0] * len(wrong)


def test_an_integral_in_a_box_is_compared_with_the_reference_in_its_box() -> None:
    task = TextCalculus(answer_format="boxed")
    problem = Problem("?", r"\boxed{x^2/2}", {"form": "integral"})
    assert task.grade(problem, r"So \boxed{\frac{x^2}{2}+C}.")["correct"] == 1.0
    assert task.grade(problem, r"So \boxed{x^2+C}.")["correct"] == 0.0


def test_names_of_functions_keep_their_x() -> None:
    assert increment("F(x)=exp(x)+\\max x+C") == "(exp(x)+\\max x+C)-(exp(y)+\\max y+C)"


def test_no_function_is_its_own_derivative_or_antiderivative() -> None:
    task = TextCalculus()
    for level in ("power", "rules", "integral", "hard"):
        for problem in draw(ID, level, 60, seed=5):
            function = re.sub(
                r"^(d/dx|Differentiate|Integrate|What .* of) | with .*$|[:=?] ?$",
                "",
                problem.prompt,
            )
            assert task.grade(problem, function)["correct"] == 0.0, problem
