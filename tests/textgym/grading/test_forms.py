"""Which texts have which form."""

from __future__ import annotations

import pytest

from textgym.grading.forms import is_computed, is_expanded, is_lowest_terms, is_number, is_product


@pytest.mark.parametrize(
    ("text", "number", "lowest"),
    [
        *(("46", 1, 1), ("-3/4", 1, 1), ("7 3/4", 1, 1), ("x=3", 1, 1), ("(1,2)", 1, 1)),
        *(("{2,3}", 1, 1), ("50%", 1, 1), ("5 cm", 1, 1), ("0.50", 1, 1), ("\\frac12", 1, 1)),
        *(("4/8", 1, 0), ("x=1/2, y=4/6", 1, 0), ("8/1", 1, 0), ("1 2/4", 1, 0)),
        *(
            ("12+34", 0, 0),
            ("--5", 0, 0),
            ("2*3", 0, 0),
            ("sqrt(4)", 0, 0),
            ("x", 0, 0),
            ("", 0, 0),
        ),
        *(("1/2/3", 0, 0), ("2^3", 0, 0), ("no", 0, 0), ("1.5/3", 0, 0)),
    ],
)
def test_numbers_and_lowest_terms(text: str, number: int, lowest: int) -> None:
    assert (is_number(text), is_lowest_terms(text)) == (bool(number), bool(lowest))


@pytest.mark.parametrize(
    ("text", "computed"),
    [
        *(("18", True), ("9*2=18", True), ("2^{10}", True), ("3\\times10^5", True)),
        *(("9*2", False), ("18=9*2", False), ("2^{2*5}", False)),
    ],
)
def test_a_calculation_counts_by_what_it_ends_in(text: str, computed: bool) -> None:
    assert is_computed(text) is computed


@pytest.mark.parametrize(
    ("text", "expanded", "product"),
    [
        *(("x^2+3x-1", 1, 0), ("-x^2/2+1/2", 1, 0), ("2xy+x", 1, 0), ("5", 1, 0), ("y=x+1", 1, 0)),
        *(("(x+1)x", 0, 1), ("(x+1)^2", 0, 1), ("x(x+1)", 0, 1), ("-3x(x+2)", 0, 1)),
        *(("3x+2x", 0, 0), ("2*3x", 0, 0), ("2(x+1)", 0, 0), ("(x+1)(x-1)+0", 0, 0)),
    ],
)
def test_sums_and_products(text: str, expanded: int, product: int) -> None:
    assert (is_expanded(text), is_product(text)) == (bool(expanded), bool(product))
