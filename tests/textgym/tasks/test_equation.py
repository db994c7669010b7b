"""TextEquation against sympy, which puts the reference into the prompt's equations."""

from __future__ import annotations

import re
from itertools import permutations

import pytest
import sympy

from tests.textgym.tasks.drawing import draw, parsed
from textgym.task import Problem
from textgym.tasks.math.equation import _PATTERNS_3, TextEquation, surd_root

ID = "TextEquation-v0"
X, Y, Z = sympy.symbols("x y z")


def equations(prompt: str) -> list[sympy.Expr]:
    """left - right of each equation of a prompt."""
    text = re.search(r"(?:Solve (?:for x: )?)?(\S*=\S*(?:, \S*=\S*)*?)(?:;x=|\.| exactly)", prompt)[
        1
    ]
    sides = [equation.split("=") for equation in text.split(", ")]
    return [parsed(left) - parsed(right) for left, right in sides]


def solutions(problem: Problem) -> list[sympy.Expr]:
    return [parsed(part) for part in problem.answer.strip("{}()").split(",")]


@pytest.mark.parametrize("level", ["one-step", "linear"])
def test_the_reference_is_the_only_solution_of_a_linear_equation(level: str) -> None:
    for problem in draw(ID, level, 60):
        (difference,) = equations(problem.prompt)
        (slope, constant) = sympy.Poly(difference, X).all_coeffs()
        assert str(-constant / slope) == problem.answer


@pytest.mark.parametrize("level", ["quadratic", "surd"])
def test_the_reference_is_the_set_of_roots(level: str) -> None:
    kinds = set()
    for problem in draw(ID, level, 60):
        (difference,) = equations(problem.prompt)
        polynomial, roots = sympy.Poly(difference, X), [parsed(part) for part in _items(problem)]
        assert polynomial.degree() == 2 and len(set(roots)) == len(roots)
        product = sympy.prod((X - root) for root in (roots if len(roots) == 2 else roots * 2))
        assert sympy.expand(difference - polynomial.LC() * product) == 0, problem
        kinds.add((len(roots), all(root.is_rational for root in roots)))
    assert kinds - {(1, True)} == {(2, level == "quadratic")}


def _items(problem: Problem) -> list[str]:
    return problem.answer.strip("{}").split(",")


@pytest.mark.parametrize(("level", "names"), [("system-2", (X, Y)), ("system-3", (X, Y, Z))])
def test_the_reference_is_the_only_solution_of_a_system(level: str, names) -> None:
    for problem in draw(ID, level, 40):
        rows = equations(problem.prompt)
        values = dict(zip(names, solutions(problem), strict=True))
        assert all(row.subs(values) == 0 for row in rows), problem
        assert sympy.Matrix([[row.coeff(name) for name in names] for row in rows]).det() != 0


def test_every_pattern_of_three_equations_has_one_solution() -> None:
    assert all(sympy.Matrix(pattern).det() != 0 for pattern in _PATTERNS_3)


def test_a_quadratic_equation_has_one_key_wherever_its_terms_stand() -> None:
    seen: dict[str, set[str]] = {}
    for problem in draw(ID, "quadratic", 20_000):
        seen.setdefault(problem.key, set()).add(problem.prompt)
    assert max(map(len, seen.values())) == 3


def test_roots_are_written_in_lowest_terms() -> None:
    assert surd_root(2, 4, 3, 2) == "1+2sqrt(3)"
    assert surd_root(1, -1, 5, 2) == "(1-sqrt(5))/2"
    assert surd_root(0, -3, 7, 6) == "-sqrt(7)/2"


@pytest.mark.parametrize(
    ("form", "reference", "right", "wrong"),
    [
        ("number", "7", ["7", "x=7", "7.0"], ["x+5=12", "12-5", "x=12-5", "x"]),
        ("number", "7/3", ["7/3", "x=7/3", "14/6", "2 1/3"], ["3x=7", "2.33", "(8-1)/3"]),
        (
            "roots",
            "{-1,3/2}",
            ["{3/2,-1}", "x=-1 or x=1.5", r"\{-1, \frac{3}{2}\}", r"x \in \{-1, 3/2\}"],
            ["{-1}", "{-1,3/2,2}", "(2x-3)(x+1)=0", "2x^2-x-3=0", "2x^2=x+3"],
        ),
        ("roots", "{2}", ["{2}", "x=2", "2"], ["{2,3}", "(x-2)^2=0", "x^2=4x-4"]),
        (
            "solved",
            "{1-sqrt(2),1+sqrt(2)}",
            ["{1+sqrt(2),1-sqrt(2)}", r"x=1\pm\sqrt{2}", "{(2-sqrt(8))/2,(2+sqrt(8))/2}"],
            ["{1,2}", "1+sqrt(2)", "x^2-2x-1=0", "x^2-2x=1", "{-0.414,2.414}"],
        ),
        ("number", "(3,-2)", ["(3, -2)", "x=3, y=-2", "(x,y)=(3,-2)"], ["(-2,3)", "x+y=1, x-y=5"]),
        ("number", "(1,-9,5)", ["x=1, y=-9, z=5", "(1,-9,5)"], ["(1,5,-9)", "(1,-9)"]),
    ],
)
def test_an_answer_has_to_be_solved(form, reference, right, wrong) -> None:
    task, problem = TextEquation(), Problem("?", reference, {"form": form})
    assert [task.grade(problem, answer)["correct"] for answer in right] == [1.0] * len(right)
    assert [task.grade(problem, answer)["correct"] for answer in wrong] == [0.0] * len(wrong)


def test_a_system_has_one_key_for_any_order_of_its_equations() -> None:
    for problem in draw(ID, "system-3", 50):
        first, second, third = re.findall(r"[^ ]+=[^ .,]+", problem.prompt)
        assert problem.key in {", ".join(order) for order in permutations((first, second, third))}
        assert problem.key == ", ".join(sorted((first, second, third)))
