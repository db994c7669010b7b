"""equivalent and extract_answer, rule by rule; test_math_cases.py holds them to a large corpus."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from textgym.grading.math import Verdict, equivalent, equivalent_many, extract_answer

EQUAL = {
    "numbers": [
        *(("12", "+012"), ("1/2", "0.50"), ("1000", "1,000"), ("1000", "10^3"), ("7", "seven")),
        *(("0.0015", "1.5\\times10^{-3}"), ("3\\frac12", "3 1/2"), ("3½", "3.5"), ("1/3", "2/6")),
        *(("0.1\\overline{6}", "1/6"), ("2^{64}", "18446744073709551616"), ("5", "10/2")),
        *(("12345", "12\\,345"), ("12345", "12{,}345"), ("-7", "−7"), ("4", "2+2=4")),
    ],
    "expressions": [
        *(("x^2-1", "(x-1)(x+1)"), ("2^{n+1}", "2*2^n"), ("|x|", "\\sqrt{x^2}"), ("2x", "x+x")),
        *(("\\tan x", "\\frac{\\sin x}{\\cos x}"), ("\\ln x^2", "2\\ln x"), ("10", "\\binom52")),
        *(("\\sqrt{50}", "5\\sqrt2"), ("sqrt(3)/2", "\\sin 60^\\circ"), ("-1", "e^{i\\pi}")),
        *(("(-1)^n", "\\cos(n\\pi)"), ("2", "\\log 100"), ("120", "5!"), ("u+at", "at+u")),
        *(
            ("\\sqrt[3]{-8}", "-2"),
            ("|x-500|", "|500-x|"),
            ("\\begin{vmatrix}1&2\\\\3&4\\end{vmatrix}", "-2"),
        ),
    ],
    "sets and tuples": [
        *(("\\{1,2\\}", "2 and 1"), ("1,2", "x=2 or x=1"), ("\\pm2", "2,-2"), ("(1,2)", "x=1,y=2")),
        *(("(1,2)", "\\langle1,2\\rangle"), ("\\emptyset", "no solution"), ("1,2,2", "2,1,2")),
        *(
            ("x>5", "(5,\\infty)"),
            ("[0,1)", "0\\le x<1"),
            ("x\\ne3", "\\mathbb{R}\\setminus\\{3\\}"),
        ),
        *(("(-\\infty,-2)\\cup(2,\\infty)", "x<-2 or x>2"), ("x>2 and x<5", "(2,5)")),
        *(("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "(1,2)"), ("[[1,2],[3,4]]", "[[1, 2], [3, 4]]")),
    ],
    "equations": [
        *(("x=3", "3"), ("3", "x=3"), ("x=3", "3=x"), ("y=2x+1", "2x-y+1=0"), ("f(x)=2x", "y=2x")),
        *(("x^2+y^2=25", "2x^2+2y^2=50"), ("x>5", "-x<-5"), ("A=\\pi r^2", "\\pi r^2")),
    ],
    "quantities": [
        *(
            ("5\\text{ cm}", "5"),
            ("5", "5 apples"),
            ("5 cm", "50 mm"),
            ("60 mph", "60 miles per hour"),
        ),
        *(("15 cm^2", "15 square centimeters"), ("\\$3.50", "3.5"), ("90^\\circ", "90 degrees")),
        *(
            ("50\\%", "0.5"),
            ("50\\%", "50"),
            ("18", "$18"),
            ("10 m/s", "36 km/h"),
            ("€5", "5 euros"),
        ),
    ],
    "texts": [
        *(
            ("\\text{Evelyn}", "evelyn"),
            ("(C)", "C"),
            ("C", "\\textbf{(C)} 12"),
            ("yes", "Yes, it is."),
        ),
        *(("undefined", "DNE"), ("10:30", "10 : 30"), ("3:4", "6:8"), ("204_5", "204_{5}")),
    ],
}

UNEQUAL = {
    "numbers": [
        *(("1/3", "0.333"), ("\\pi", "3.14159265358979"), ("\\sqrt2", "1.4142135623730951")),
        *(
            ("123456789012345678", "123456789012345679"),
            ("0", "1e-300"),
            ("42", "4 2"),
            ("2", "2i"),
        ),
        *(("5\\sqrt[3]{6}", "5\\sqrt[5]{6}"), ("204_5", "204"), ("4", "2+3=4"), ("0.5", "0.5\\%")),
    ],
    "expressions": [
        *(("|x-2|", "2-x"), ("|x-500|", "500-x"), ("\\sqrt{x^2}", "x"), ("\\sin^2x", "\\sin x^2")),
        *(
            ("4^n", "2^{n+1}"),
            ("x^2-4", "x2-4"),
            ("a/b", "ab"),
            ("x+1", "quit()"),
            ("1", "1^\\infty"),
        ),
        *(("e^{-200}", "2e^{-200}"), ("1/2", "0/0"), ("\\infty", "-\\infty")),
    ],
    "several answers": [
        *(("3", "3 or 4"), ("3", "3\\text{ or }4"), ("42", "1, 2, 3, 42"), ("1/2", "1/2 1/3 1/4")),
        *(
            ("\\pm2", "2"),
            ("1,2", "1,2,3"),
            ("3", "\\boxed{3} or \\boxed{4}"),
            ("42", "either 42 or 43"),
        ),
    ],
    "sets and tuples": [
        *(("(1,2)", "(2,1)"), ("\\{1,2\\}", "(1,2)"), ("[0,1)", "[0,1]"), ("x=1,y=2", "x=2,y=1")),
        *(("0", "\\emptyset"), ("(0,0),(1,2)", "(0,0),(2,1)"), ("(-\\infty,3]", "(-\\infty,3)")),
    ],
    "equations": [
        *(("x^2+50=0", "x^2+53=0"), ("6x^2-7x-5=0", "0"), ("x=3", "2x=6"), ("x=3", "y=3")),
        *(("x^2+y^2=25", "x+y=5"), ("x^2+y^2=25", "x^2+y^2"), ("x>5", "x\\ge5"), ("x>5", "-x>-5")),
    ],
    "quantities": [
        *(("5 cm", "5 km"), ("5 cm", "50 cm"), ("15 cm^2", "225"), ("60 mph", "60 km/h")),
        *(("5 cm", "5 apples"), ("\\$3.50", "350"), ("50\\%", "5\\%")),
    ],
    "opposites": [
        *(
            ("5 north", "5 south"),
            ("20\\%\\text{ increase}", "20\\%\\text{ decrease}"),
            ("8 cm", "8%"),
        ),
        *(("72^\\circ", "72 cm"), ("(B)", "(B), (C)"), ("B", "(B) and (C)"), ("1,000", "1,0000")),
    ],
    "texts": [
        *(("\\text{odd}", "odd or even"), ("yes", "no"), ("yes", "yes and no"), ("C", "D")),
        *(("January 5", "March 5"), ("10:30", "10:03"), ("2024-02-29", "1993"), ("ABC", "ACB")),
    ],
}


def pairs(table: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str]]:
    return [pair for rows in table.values() for pair in rows]


@pytest.mark.parametrize(("reference", "answer"), pairs(EQUAL))
def test_equal(reference: str, answer: str) -> None:
    assert equivalent(reference, answer).equal is True


@pytest.mark.parametrize(("reference", "answer"), pairs(UNEQUAL))
def test_unequal(reference: str, answer: str) -> None:
    assert equivalent(reference, answer).equal is False


@pytest.mark.parametrize("text", dict.fromkeys(text for pair in pairs(EQUAL) for text in pair))
def test_every_answer_is_equal_to_itself(text: str) -> None:
    assert equivalent(text, text).equal is True


@pytest.mark.parametrize(
    ("response", "text", "rule"),
    [
        ("\\boxed{41} so \\boxed{42}", "42", "boxed"),
        ("<think>\\boxed{7}</think> \\boxed{\\frac{1}{2}}", "\\frac{1}{2}", "boxed"),
        ("\\boxed{3}, \\boxed{4}", "3, 4", "boxed"),
        ("\\boxed{\\frac{1}{\\boxed{2}}}", "\\frac{1}{{2}}", "boxed"),
        ("2+2=4\n#### 4", "4", "hash"),
        ("The answer is 42. I hope so.", "42", "says"),
        ("**Final Answer:** $x=3$", "$x=3$", "says"),
        ("so <answer>7</answer>", "7", "tag"),
        ("x^2+1", "x^2+1", "whole"),
        ("Evelyn", "Evelyn", "whole"),
        ("So she has 1,200 apples left.", "1,200", "last"),
        ("After some work\n\\[\nx=\\frac12\n\\]", "x=\\frac12", "last"),
        ("It may be 3, 4 or 5, who knows", "3, 4 or 5", "last"),
        ("", "", "none"),
        ("<think>it is \\boxed{7}", "", "none"),
        ("What is 3+4?", "", "none"),
        ("It is certainly not 42", "", "none"),
    ],
)
def test_extraction(response: str, text: str, rule: str) -> None:
    found = extract_answer(response)
    assert (found.text, found.rule) == (text, rule)


def test_the_rule_that_decided_is_told() -> None:
    assert equivalent("1/2", "2/4").rule == "rational"
    assert equivalent("\\sin 2x", "2\\sin x\\cos x").rule == "digits"
    assert equivalent("5 cm", "5 km").rule == "conversion"
    assert equivalent("7", "I do not know.") == Verdict(False, "text")


def test_many_verdicts_are_those_one_by_one() -> None:
    rows = pairs(EQUAL) + pairs(UNEQUAL)
    assert equivalent_many(rows) == [equivalent(*row) for row in rows]


def test_threads_reach_the_same_verdicts() -> None:
    rows = (pairs(EQUAL) + pairs(UNEQUAL)) * 2
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda row: equivalent(*row), rows))
    assert verdicts == equivalent_many(rows)


def test_a_reference_beyond_the_grammar_gives_no_verdict_and_says_so() -> None:
    verdict = equivalent("\\int_0^1 f(x)\\,dx", "3")
    assert verdict.equal is None and "not understood" in verdict.error
    assert equivalent("\\int_0^1 f(x)\\,dx", "\\int_0^1 f(x) dx").equal is True


def test_a_deadline_that_has_passed_gives_no_verdict() -> None:
    verdict = equivalent("\\sin x+\\cos(x+1)", "\\cos(x+1)+\\sin x", timeout=1e-9)
    assert (verdict.equal, verdict.rule) == (None, "deadline") and verdict.error


@pytest.mark.parametrize("arguments", [(7, "7"), ("7", None), (b"7", "7")])
def test_what_is_no_text_is_refused(arguments: tuple) -> None:
    with pytest.raises(TypeError, match="expected two texts"):
        equivalent(*arguments)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_has_to_be_positive(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout is"):
        equivalent("1", "1", timeout=timeout)
