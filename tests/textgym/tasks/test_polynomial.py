"""TextPolynomial against sympy."""

from __future__ import annotations

import pytest
import sympy

from tests.textgym.tasks.drawing import check, draw, parsed
from textgym.task import Problem
from textgym.tasks.math.polynomial import TextPolynomial, factor_degrees

ID = "TextPolynomial-v0"
X, Y = sympy.symbols("x y")


def written(expression: sympy.Expr) -> str:
    """sympy's polynomial in our notation, in one variable."""
    text = ""
    for (k,), c in sympy.Poly(expression, X).terms():
        number = str(abs(c)) if abs(c) != 1 or not k else ""
        text += ("-" if c < 0 else "+") + number + ("", "x")[k > 0] + (f"^{k}" if k > 1 else "")
    return text.removeprefix("+")


def expanded(text: str) -> str:
    expression = sympy.expand(parsed(text))
    return "" if Y in expression.free_symbols else written(expression)


def divided(top: str, bottom: str) -> str:
    quotient, remainder = sympy.div(parsed(top), parsed(bottom), X)
    return f"({written(quotient)},{written(remainder)})"


SOLVERS = {
    "evaluate": {r"(.*), x=(.*):": lambda f, x: parsed(f).subs(X, int(x))},
    "collect": {r"([^(]*)=": expanded, r"(\(.*\))=": expanded},
    "expand": {r"Expand (.*):": expanded},
    "divide": {r"Divide (.*) by (.*)\. Give \(quotient,remainder\), as in \(x\+2,3\):": divided},
}


@pytest.mark.parametrize("level", SOLVERS)
def test_sympy_finds_the_reference(level: str) -> None:
    check(draw(ID, level, 60), SOLVERS[level], per_kind=20)


def test_sympy_finds_the_references_of_the_hard_level() -> None:
    solvers = {
        r"Factor (.*) completely:": lambda f: None,
        r"Expand (\([^()]*y\)\([^()]*\)):": lambda f: None,
        r"f\(x\)=(.*) and g\(x\)=(.*)\. Expand f\(g\(x\)\):": (
            lambda f, g: written(sympy.expand(parsed(f).subs(X, parsed(g))))
        ),
        r"What is the coefficient of x\^(\d) in the expansion of (.*)\?": (
            lambda k, f: sympy.expand(parsed(f)).coeff(X, int(k))
        ),
    }
    problems = draw(ID, "hard", 100)
    check(problems, solvers, per_kind=0)
    for problem in problems:
        if problem.prompt.startswith("Expand") and "y" in problem.prompt:
            product = sympy.expand(parsed(problem.prompt[7:-2]))
            assert product == parsed(problem.answer) and "(" not in problem.answer


@pytest.mark.parametrize("level", ["factor", "hard"])
def test_the_reference_has_as_many_factors_as_sympy_finds(level: str) -> None:
    for problem in draw(ID, level, 80):
        if not problem.prompt.startswith("Factor"):
            continue
        polynomial = parsed(problem.prompt.removeprefix("Factor ").partition(" ")[0])
        content, factors = sympy.factor_list(polynomial)
        degrees = sorted(sympy.degree(f, X) for f, k in factors for _ in range(k))
        assert content == 1 and degrees == factor_degrees(problem.answer), problem
        assert sympy.expand(parsed(problem.answer) - polynomial) == 0


@pytest.mark.parametrize(
    ("answer", "degrees"),
    [
        ("x(x+4)(x-3)", [1, 1, 1]),
        ("-2x*(x+1)^2(x^2+x+1)", [1, 1, 1, 2]),
        (r"\left(x+2\right)\left(x+3\right)", [1, 1]),
        ("(2+x)**2", [1, 1]),
        ("x^2+5x+6", [2]),
        ("1*(x^2+5x+6)", [2]),
        ("(x^2+5x+6)(x/x)", []),
        ("(x+2)^4/(x+2)^2", []),
        ("(x/2+1)(2x+6)", []),
        ("((x+2)^4)^(1/2)", []),
        ("sin(x)(x+1)", []),
        ("", []),
    ],
)
def test_degrees_of_factors(answer: str, degrees: list[int]) -> None:
    assert factor_degrees(answer) == degrees


@pytest.mark.parametrize(
    ("form", "reference", "right", "wrong"),
    [
        (
            "factored 1,1,1",
            "x(x+4)(x-3)",
            ["(x-3)x(x+4)", "-x(x+4)(3-x)", "x*(x+4)*(x-3)"],
            ["x^3+x^2-12x", "x(x^2+x-12)", "(x^2+4x)(x-3)", "x(x^2+x-12)(x/x)"],
        ),
        (
            "expanded",
            "x^2+5x+6",
            ["6+5x+x^2", "x^{2}+5x+6"],
            ["(x+2)(x+3)", "x^2+2x+3x+6", "x(x+5)+6", "x^2+5x+7"],
        ),
        ("expanded", "2x+7", ["2x+7", "7+2x"], ["3x+5-x+2", "2(x+3.5)"]),
        ("any", "(x+7,4x-1)", ["(x+7, 4x-1)"], ["(4x-1,x+7)", "(x+7)(4x-1)", "x+7"]),
    ],
)
def test_an_answer_has_to_have_the_form_that_is_asked_for(form, reference, right, wrong) -> None:
    task, problem = TextPolynomial(), Problem("?", reference, {"form": form})
    assert [task.grade(problem, answer)["correct"] for answer in right] == [1.0] * len(right)
    assert [task.grade(problem, answer)["correct"] for answer in wrong] == [0.0] * len(wrong)
