"""Tokens -> the tree of an answer, by recursive descent over a bounded grammar.

    listing   = part { ("," | ";" | "and" | "or") part }      numbers side by side are one too
    part      = relation [ words of a unit ]
    relation  = union { ("=" | "<" | "<=" | ">" | ">=" | "!=" | "in" | ...) union }
    union     = ratio { ("∪" | "∩" | "∖") ratio }
    ratio     = sum { ":" sum }
    sum       = [sign] term { ("+" | "-" | "±" | "∓") term }
    term      = power { ["*" | "/"] power }                   nothing between factors: a product
    power     = atom { "!" | "%" | "°" | "^" exponent }

Nothing is evaluated: the parser knows which names are functions and makes nodes of them.
"""

from __future__ import annotations

from textgym.grading.expressions.atoms import END, MAX_CHAIN, AtomParser
from textgym.grading.expressions.tokens import WORD_OPERATORS, tokenize
from textgym.grading.expressions.tree import (
    Listing,
    Negative,
    Node,
    OutOfBounds,
    PlusMinus,
    Product,
    Quantity,
    Quotient,
    Ratio,
    Relation,
    SetOperation,
    Sum,
)

RELATIONS = ("=", "<", "<=", ">", ">=", "!=", "∈", "≈", "≡")
MAX_UNIT_WORDS = 6
INTRODUCTIONS = frozenset("is are equals equal be was were".split())
FILLERS = frozenset("at to equal exactly simply just located given by therefore then thus".split())
DENIALS = frozenset(
    "not no never isn't aren't wrong incorrect cannot can't don't doesn't unknown neither nor "
    "either maybe perhaps if unless except but than".split()
)
"""Words with which a number is no answer any more."""

_UNIT_OPERATORS = ("/", "^", "*", "{", "}", "-", ".", "'")
_STARTS = frozenset(("symbol", "constant", "function", "command", "begin", "empty", "set"))


def parse(text: str, *, thousands: bool = True) -> Node:
    """The tree of a cleaned text.

    Raises:
        OutOfBounds: if it is longer or deeper than any answer.
        ValueError: if it does not follow the grammar.
    """
    parser = Parser(tokenize(text, thousands=thousands))
    node = parser.listing()
    while parser.at("."):
        parser.take()
    if parser.next is not END:
        raise ValueError(f"{parser.next.value[:20]!r} stands behind the end")
    return node


class Parser(AtomParser):
    """The outer half: from listings down to products."""

    def listing(self) -> Node:
        """Parts with separators between them."""
        items, spaced = [self.part()], False
        while True:
            if self.at(",", ";") or (
                self.next.kind == "word" and self.next.value in WORD_OPERATORS
            ):
                self.separator()
                if self.next is END or self.at(")", "]", "}", "\\}", "."):
                    break
            elif self.next.kind == "number" and self.next.spaced and not self.bars:
                spaced = True
            else:
                break
            items.append(self.part())
        return items[0] if len(items) == 1 else Listing(tuple(items), spaced)

    def separator(self) -> None:
        """`,` or `and` or `, and`."""
        self.take()
        while self.next.kind == "word" and self.next.value in WORD_OPERATORS:
            self.take()

    def part(self) -> Node:
        """A relation, with what introduces it left out."""
        self.introduction()
        node = self.side()
        sides, operators = [node], []
        while self.at(*RELATIONS):
            operators.append(self.take().value)
            sides.append(self.side())
        return Relation(tuple(sides), tuple(operators)) if operators else node

    def introduction(self) -> None:
        """Leave out words such as `the probability is`; what denies something stays and fails."""
        start = self.position
        words: list[str] = []
        while self.next.kind in ("word", "symbol", "constant") and len(words) < 20:
            is_word = self.next.kind == "word"
            words.append(self.take().value.lower())
            if is_word and self.at("=") and DENIALS.isdisjoint(words):
                self.take()  # Area = 12
                return
            if words[-1] in INTRODUCTIONS and not self.at("="):
                while self.next.kind == "word" and self.next.value.lower() in FILLERS:
                    self.take()
                if DENIALS.isdisjoint(words):
                    self.accept(":")
                    return
                break
            if self.at(":") and len(words[-1]) > 2 and DENIALS.isdisjoint(words):
                self.take()
                return
        self.position = start

    def side(self) -> Node:
        """One side of a relation, with its unit."""
        negative = self.at("-") and self.tokens[self.position + 1].kind == "currency"
        if negative:
            self.take()
        unit = self.take().value if self.next.kind == "currency" else ""
        node = self.union()
        if self.next.kind == "currency":  # 5$
            unit = self.take().value
        if self.next.kind == "word" and self.next.value not in WORD_OPERATORS:
            words = self.unit()
            unit = words if not unit or words.lower().startswith(unit[:6]) else f"{unit} {words}"
        node = Negative(node) if negative else node
        return Quantity(node, unit) if unit else node

    def unit(self) -> str:
        """The words behind a number."""
        words: list[str] = []
        while True:
            token = self.next
            if token.kind in ("word", "symbol", "constant") and token.value not in WORD_OPERATORS:
                if token.value.lower() in DENIALS:
                    raise ValueError(f"{token.value!r} stands behind a number")
                words.append(token.value)
            elif token.kind == "number" and words and words[-1] in ("^", "{"):
                words.append(token.value)
            elif self.at(*_UNIT_OPERATORS) and words:
                if token.value == "." and self.tokens[self.position + 1] is END:
                    break
                words.append(token.value)
            else:
                break
            self.take()
        if len(words) > 2 * MAX_UNIT_WORDS:
            raise ValueError("more words behind a number than any unit has")
        return " ".join(words)

    def union(self) -> Node:
        """Sets joined by operators, from the left."""
        node = self.ratio()
        for _ in range(MAX_CHAIN):
            operator = self.accept("∪", "∩", "∖")
            if operator is None:
                return node
            node = SetOperation(operator, node, self.ratio())
        raise OutOfBounds(f"more than {MAX_CHAIN} sets")

    def ratio(self) -> Node:
        """Two or more sums, a : b : c."""
        items = [self.sum()]
        while self.at(":") and self.depth == 0:
            self.take()
            items.append(self.sum())
        return Ratio(tuple(items)) if len(items) > 1 else items[0]

    def sum(self) -> Node:
        """Terms with signs."""
        sign = self.accept("+", "-", "±", "∓")
        node: Node = self.term()
        if sign == "-":
            node = Negative(node)
        elif sign in ("±", "∓"):
            node = PlusMinus(None, node, sign == "∓")
        terms = [node]
        while sign := self.accept("+", "-", "±", "∓"):
            term = self.term()
            if sign in "±∓":
                self._check_signs()
                left = terms[0] if len(terms) == 1 else Sum(tuple(terms))
                terms = [PlusMinus(left, term, sign == "∓")]
            else:
                terms.append(Negative(term) if sign == "-" else term)
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))

    def _check_signs(self) -> None:
        self.num_signs += 1
        if self.num_signs > 2:
            raise OutOfBounds("more than two signs ±")

    def term(self) -> Node:
        """Factors with * and / between them, or nothing; read from the left."""
        node, divisions = self.factor(), 0
        while divisions < MAX_CHAIN:
            if self.accept("*"):
                node = _times(node, self.factor())
            elif self.accept("/"):
                node, divisions = Quotient(node, self.factor()), divisions + 1
            elif self.starts_factor():
                node = _times(node, self.power())
            else:
                return node
        raise OutOfBounds(f"more than {MAX_CHAIN} divisions in one term")

    def factor(self) -> Node:
        """A power with any signs in front."""
        if self.accept("-"):
            self.depth += 1
            self._check_depth()
            node = Negative(self.factor())
            self.depth -= 1
            return node
        self.accept("+")
        return self.power()

    def starts_factor(self) -> bool:
        """Whether what comes next multiplies what came before without a sign."""
        token = self.next
        if token.kind in _STARTS:
            return True
        if token.kind == "number":
            return not token.spaced and self.tokens[self.position - 1].kind != "number"
        if token.kind != "op":
            return False
        return token.value in ("(", "{", "[", "⌊", "⌈") or (token.value == "|" and not self.bars)


def _times(left: Node, right: Node) -> Node:
    factors = left.factors if isinstance(left, Product) else (left,)
    return Product((*factors, right))
