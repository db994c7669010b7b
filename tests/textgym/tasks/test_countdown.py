"""TextCountdown and its grader, `textgym.grading.countdown`."""

from __future__ import annotations

import ast
import operator
import re
from collections import Counter
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.textgym.tasks.drawing import draw
from textgym import load_task
from textgym.grading.countdown import MAX_DEPTH, reaches_target
from textgym.tasks.math.countdown import LEVELS, NUMBER, TextCountdown, joined

ID = "TextCountdown-v0"
OPERATORS = {
    **{ast.Add: operator.add, ast.Sub: operator.sub},
    **{ast.Mult: operator.mul, ast.Div: operator.truediv},
}


def value_of(text: str) -> tuple[Fraction, list[int]]:
    """The value and the numbers of an expression, read by Python's own parser."""

    def walk(node: ast.AST) -> Fraction:
        if isinstance(node, ast.Constant):
            numbers.append(node.value)
            return Fraction(node.value)
        if isinstance(node, ast.UnaryOp):
            assert isinstance(node.op, ast.USub)
            return -walk(node.operand)
        left, right = walk(node.left), walk(node.right)
        return (
            left / right if isinstance(node.op, ast.Div) else OPERATORS[type(node.op)](left, right)
        )

    numbers: list[int] = []
    return walk(ast.parse(text, mode="eval").body), numbers


@pytest.mark.parametrize("level", LEVELS)
def test_the_reference_reaches_the_target_with_all_numbers(level: str) -> None:
    count, largest, highest = LEVELS[level]
    for problem in draw(ID, level, 500):
        numbers, target = problem.info["numbers"], problem.info["target"]
        value, used = value_of(problem.answer)
        assert value == target and sorted(used) == sorted(numbers)
        assert len(set(numbers)) == count and 2 <= min(numbers) <= max(numbers) <= largest
        assert target not in numbers and 1 <= target <= max(highest, sum(numbers))
        assert [int(n) for n in re.findall("[0-9]+", problem.prompt)] == [target, *numbers]


@pytest.mark.parametrize(
    "answer",
    [
        *("(3+7)*2", "2*(3+7)", "(3+7)×2=20", "(3+7)*2 = 20", r"$(3+7)\times 2$", "2x(3+7)"),
        *(
            "(3+7)·2",
            "-(-3-7)*2",
            "((3)+(7))*((2))",
            r"\frac{(3+7)*2}{7-2*3}".replace("7-2*3", "5"),
        ),
    ],
)
def test_any_expression_with_the_value_is_right(answer: str) -> None:
    numbers = (3, 7, 2, 5, 100) if "frac" in answer else (3, 7, 2, 5)
    verdict = reaches_target(answer, numbers, 4 if "frac" in answer else 20)
    assert verdict.equal is True and verdict.rule == "value"


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ("3+7+2+5", "value"),
        ("(3+7)*(5-3)", "numbers"),  # 3 twice
        ("20", "numbers"),
        ("37-2*5", "numbers"),  # 37 out of 3 and 7
        ("(3+7)*2*1", "numbers"),
        ("3+7+2+5+3", "numbers"),
        ("7/(5-3-2)", "division by zero"),
        ("(3+7)*2=21", "syntax"),
        ("(3+7)*2=10+10", "syntax"),
        ("(3+7)*2, (7+3)*2", "syntax"),
        ("(3+7)2", "syntax"),
        ("(3+7)**2", "syntax"),
        ("2^3", "syntax"),
        ("3!", "syntax"),
        ("3.0+7", "syntax"),
        ("3_0", "syntax"),
        ("٣+7", "syntax"),
        ("", "syntax"),
        ("(", "syntax"),
        ("--3", "syntax"),
        ("__import__('os')", "syntax"),
        ("9**9**9**9", "syntax"),
        ("(" * 300 + "3" + ")" * 300, "syntax"),
        ("3" * 10**6, "syntax"),
        ("-" * 300, "syntax"),
    ],
)
def test_what_is_no_such_expression_is_wrong_and_the_rule_says_why(answer: str, rule: str) -> None:
    verdict = reaches_target(answer, (3, 7, 2, 5), 20)
    assert verdict.equal is False and verdict.rule == rule


def test_each_number_may_be_used_as_often_as_it_is_given() -> None:
    assert reaches_target("4*4+4", (4, 4, 4), 20).equal
    assert reaches_target("4*4+4", (4, 4, 5), 20).rule == "numbers"


def test_with_exactly_once_every_number_has_to_be_used() -> None:
    assert reaches_target("(3+7)*2", (3, 7, 2), 20, exactly_once=True).equal
    assert reaches_target("(3+7)*2", (3, 7, 2, 5), 20, exactly_once=True).rule == "numbers"
    task = load_task(ID, exactly_once=True)
    for problem in draw(ID, "four", 20, exactly_once=True):
        assert "using each once" in problem.prompt
        assert task.grade(problem, problem.answer)["correct"] == 1.0


def test_values_on_the_way_are_exact() -> None:
    assert reaches_target("8/(3-8/3)", (8, 3, 8, 3), 24).equal  # the classic one: 8/(1/3)
    assert not reaches_target("8/(3-8/3)", (8, 3, 8, 3), 23).equal


def test_brackets_may_be_as_deep_as_the_bound_and_no_deeper() -> None:
    for depth, equal in ((MAX_DEPTH - 1, True), (MAX_DEPTH, False)):
        assert reaches_target("(" * depth + "3" + ")" * depth, (3,), 3).equal is equal


EXPRESSIONS = st.recursive(
    st.integers(1, 30).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(
        lambda parts: f"({parts[0]}){parts[1]}({parts[2]})"
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS)
def test_values_agree_with_python_s_parser(text: str) -> None:
    try:
        value, used = value_of(text)
    except ZeroDivisionError:
        assert reaches_target(text, [1] * 64, 1).rule == "division by zero"
        return
    assert reaches_target(text, used, value).equal is True
    assert reaches_target(text, used, value + 1).equal is False


@settings(max_examples=1000, deadline=None)
@given(st.text(alphabet="0123456789+-*/()= x÷\\{}frac.", max_size=40) | st.text(max_size=40))
def test_no_text_raises_and_none_reaches_a_target_that_cannot_be_reached(text: str) -> None:
    assert reaches_target(text, (3, 7, 2, 5), 10**9).equal is False


def test_joining_puts_brackets_where_they_are_needed() -> None:
    a, b, c, d = ((n, str(n), NUMBER) for n in (840, 7, 5, 3))
    for first, second, third in product("+-*", repeat=3):
        left, right = joined(a, b, first), joined(c, d, second)
        for one, other in ((left, right), (c, left), (left, c)):
            value, text, _ = joined(one, other, third)
            assert value == value_of(text)[0], text
    assert joined(joined(a, b, "*"), joined(c, d, "*"), "/")[1] == "840*7/(5*3)"
    assert joined(a, joined(b, c, "/"), "/")[1] == "840/(7/5)"


def test_other_expressions_than_the_reference_earn_full_marks() -> None:
    task = TextCountdown()
    for problem in draw(ID, "three", 100):
        swapped = f"({problem.answer})"
        assert task.grade(problem, swapped)["correct"] == 1.0
        assert task.grade(problem, str(problem.info["target"]))["correct"] == 0.0


def test_an_expression_in_a_box_is_found() -> None:
    task = load_task(ID, answer_format="boxed")
    problem = draw(ID, "two", 1)[0]
    assert task.grade(problem, f"I try: \\boxed{{{problem.answer}}}") == {"correct": 1, "format": 1}
    assert task.grade(problem, problem.answer) == {"correct": 1.0, "format": 0.0}


def test_every_operator_is_used() -> None:
    signs = Counter(sign for p in draw(ID, "six", 500) for sign in p.answer if sign in "+-*/")
    assert set(signs) == set("+-*/") and min(signs.values()) > 20


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_exactly_once_is_true_or_false(value: object) -> None:
    with pytest.raises(ValueError, match="exactly_once is .*, expected True or False"):
        TextCountdown(exactly_once=value)
