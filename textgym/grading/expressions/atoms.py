"""The inner half of the parser: numbers, names, brackets, commands and functions."""

from __future__ import annotations

from fractions import Fraction

from textgym.grading.expressions.tokens import Token
from textgym.grading.expressions.tree import (
    Braces,
    Bracketed,
    Call,
    Constant,
    Degrees,
    Listing,
    Matrix,
    Mixed,
    NamedSet,
    Negative,
    Node,
    Number,
    OutOfBounds,
    Percent,
    Power,
    Product,
    Quotient,
    Relation,
    Symbol,
)

MAX_DEPTH = 30
"""Levels of brackets. One takes a dozen of the 1,000 calls that Python's stack has room for."""

MAX_POSTFIXES = 8
MAX_CHAIN = 40
"""Divisions in one term, or set operations in one answer: each is a level of the tree."""

END = Token("end", "", False)
CLOSING = {"(": ")]", "[": ")]", "{": "}", "\\{": ("\\}", "}"), "⟨": "⟩", "⌊": "⌋", "⌈": "⌉"}
MATRICES = ("matrix", "pmatrix", "bmatrix", "Bmatrix", "array", "smallmatrix")
INVERTIBLE = frozenset("sin cos tan cot sec csc sinh cosh tanh".split())
BINARY, VARIADIC = frozenset(("binomial", "mod")), frozenset(("max", "min", "gcd", "lcm"))


class AtomParser:
    """Reads one factor at a time from tokens; `listing` and `sum` are the outer half's."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.position = [*tokens, END], 0
        self.depth, self.bars, self.num_signs = 0, 0, 0

    def listing(self) -> Node:
        """Everything up to a closing bracket or the end."""
        raise NotImplementedError

    def sum(self) -> Node:
        """Terms up to anything that a sum does not contain."""
        raise NotImplementedError

    # ------------------------------------------------------------------ tokens

    @property
    def next(self) -> Token:
        """The token that comes next."""
        return self.tokens[self.position]

    def take(self) -> Token:
        """The next token, left behind."""
        token = self.tokens[self.position]
        if token is END:
            raise ValueError("the text ends too early")
        self.position += 1
        return token

    def at(self, *operators: str) -> bool:
        """Whether one of these operators comes next."""
        token = self.tokens[self.position]
        return token.kind == "op" and token.value in operators

    def accept(self, *operators: str) -> str | None:
        """Take the next token if it is one of these operators."""
        return self.take().value if self.at(*operators) else None

    def expect(self, *operators: str) -> str:
        """Take an operator that has to be there."""
        if not self.at(*operators):
            raise ValueError(f"{self.next.value[:20]!r} stands where {operators[0]!r} is expected")
        return self.take().value

    # ----------------------------------------------------------------- factors

    def power(self) -> Node:
        """An atom with what stands behind it: factorials, exponents, percent, degrees."""
        node = self.atom()
        for _ in range(MAX_POSTFIXES):
            if self.accept("!"):
                node = Call("factorial2" if self.accept("!") else "factorial", (node,))
            elif self.accept("%"):
                node = Percent(node)
            elif self.accept("°"):
                node = Degrees(node)
            elif self.accept("^"):
                node = Degrees(node) if self._takes_circle() else Power(node, self.exponent())
            else:
                return node
        raise OutOfBounds(f"more than {MAX_POSTFIXES} signs behind one number")

    def _takes_circle(self) -> bool:
        r"""Read the circle of `^\circ` or `^{\circ}`."""
        if self.accept("°"):
            return True
        after = self.tokens[self.position + 1 : self.position + 3]
        if self.at("{") and [token.value for token in after] == ["°", "}"]:
            self.position += 3
            return True
        return False

    def exponent(self) -> Node:
        """What stands behind ^; a tower is read from the right."""
        if self.accept("-"):
            return Negative(self.exponent())
        self.accept("+")
        self.depth += 1
        self._check_depth()
        node = self.atom()
        if self.at("^"):
            self.take()
            node = Power(node, self.exponent())
        elif self.at("!"):
            self.take()
            node = Call("factorial", (node,))
        self.depth -= 1
        return node

    def atom(self) -> Node:
        """One number, name, bracket, command or function with its arguments."""
        token = self.take()
        match token.kind:
            case "number":
                return self.number(token)
            case "symbol":
                return self.symbol(token.value)
            case "constant":
                return self.symbol(token.value) if self.at("_") else Constant(token.value)
            case "function":
                return self.function(token.value)
            case "command":
                return self.command(token.value)
            case "begin":
                return self.matrix(token.value)
            case "empty":
                return Braces(())
            case "set":
                return NamedSet(token.value)
            case "op" if token.value in CLOSING or token.value == "|":
                return self.bracket(token.value)
        raise ValueError(f"{token.value[:20]!r} stands where a number or name is expected")

    def number(self, token: Token) -> Node:
        """A literal, with its repeating decimals, or a mixed number."""
        before = self.tokens[self.position - 2] if self.position > 1 else END
        number = Number(token.number, token.value)
        following = self.next
        if following.kind == "command" and following.value == "repeating":
            self.take()
            return self.repeating(token)
        if token.number.denominator != 1 or "." in token.value or before.value in ("/", "^"):
            return number
        if following.kind == "command" and following.value == "frac":
            fraction = self.argument()
            return (Mixed if _is_proper(fraction) else _product)(number, fraction)
        elif following.kind == "number" and following.spaced:
            numbers = self.tokens[self.position : self.position + 3]
            if [t.kind for t in numbers] == ["number", "op", "number"] and numbers[1].value == "/":
                fraction = Quotient(*(Number(t.number, t.value) for t in numbers[::2]))
                if _is_proper(fraction):
                    self.position += 3
                    return Mixed(number, fraction)
        return number

    def repeating(self, token: Token) -> Number:
        r"""`0.1\overline{6}`: 0.1 plus 6/90."""
        self.expect("{")
        period = self.take()
        self.expect("}")
        decimals = len(token.value.partition(".")[2])
        tail = Fraction(int(period.value), (10 ** len(period.value) - 1) * 10**decimals)
        return Number(token.number + tail, f"{token.value}({period.value})")

    def symbol(self, name: str) -> Symbol:
        """A variable with its subscript and primes."""
        if self.accept("_"):
            name += "_" + self.subscript()
        while self.accept("'"):
            name += "'"
        return Symbol(name)

    def subscript(self) -> str:
        """The text of a subscript: one token or a group of plain ones."""
        if not self.accept("{"):
            return self.take().value
        parts = []
        while not self.at("}"):
            token = self.take()
            if len(parts) > 8:
                raise ValueError("a subscript without an end")
            parts.append(token.value)
        self.take()
        return "".join(parts)

    # ---------------------------------------------------------------- brackets

    def _check_depth(self) -> None:
        if self.depth > MAX_DEPTH:
            raise OutOfBounds(f"brackets more than {MAX_DEPTH} deep")

    def bracket(self, left: str) -> Node:
        """What stands between two brackets: a group, a tuple, a set, an absolute value."""
        self.depth += 1
        self._check_depth()
        if left == "|":
            self.bars += 1
            inner = self.sum()
            self.expect("|")
            self.bars -= 1
            self.depth -= 1
            return Call("abs", (inner,))
        bars, self.bars = self.bars, int(left == "\\{")  # where x | y is no product with |y|
        inner = None if self.at(*CLOSING[left]) else self.listing()
        if left == "{" and (operator := self.accept("over", "choose")):
            pair = (inner, self.listing())
            inner = Quotient(*pair) if operator == "over" else Call("binomial", pair)
        if left in ("\\{", "{") and self.at("|", ":") and inner is not None:
            self.take()
            condition = self.listing()
            self.expect(*CLOSING[left])
            # {x | x > 3} says what x > 3 says; {n pi | n in Z} is kept as it is.
            is_plain = isinstance(inner, Symbol | Relation)
            inner = condition if is_plain else Bracketed("{", (inner, condition), "}")
            right = "condition"
        else:
            right = self.expect(*CLOSING[left])
        self.bars = bars
        self.depth -= 1
        return _bracketed(left, inner, right)

    def arguments(self) -> tuple[Node, ...]:
        """The items of a bracket that comes next."""
        left = self.take().value
        node = self.bracket(left)
        return node.items if isinstance(node, Bracketed | Braces) else (node,)

    def argument(self) -> Node:
        """The argument of a command: a group, or a single atom."""
        self.depth += 1
        self._check_depth()
        node = self.atom()
        self.depth -= 1
        return node

    # --------------------------------------------------- commands and functions

    def command(self, name: str) -> Node:
        """A LaTeX command with its arguments."""
        if name == "sqrt":
            degree: Node | None = None
            if self.accept("["):
                degree = self.sum()
                self.expect("]")
            return _root(self.argument(), degree)
        if name == "cbrt":
            return _root(self.argument(), Number(Fraction(3), "3"))
        first = self.argument()
        if name == "frac":
            return Quotient(first, self.argument())
        if name == "binom":
            return Call("binomial", (first, self.argument()))
        return first  # an accent

    def function(self, name: str) -> Node:
        """A function's name with its power, base and argument."""
        if name in ("sqrt", "cbrt"):
            return self.command(name)
        base: Node | None = {"log10": Number(Fraction(10)), "log2": Number(Fraction(2))}.get(name)
        if name in ("log10", "log2"):
            name = "log"
        power: Node | None = None
        for _ in range(2):
            if self.at("^") and power is None:
                self.take()
                power = self.exponent()
            elif self.at("_") and name == "log":
                self.take()
                base = self.argument()
        if power == Negative(Number(Fraction(1), "1")) and name in INVERTIBLE:
            name, power = f"arc{name}", None
        arguments = self.function_arguments()
        if name not in VARIADIC and len(arguments) != 1 + (name in BINARY):
            raise ValueError(f"{name} has {len(arguments)} arguments")
        if name == "log" and base is not None:
            arguments = (base, *arguments)
        node = Power(Constant("e"), arguments[0]) if name == "exp" else Call(name, arguments)
        return Power(node, power) if power is not None else node

    def function_arguments(self) -> tuple[Node, ...]:
        """The bracket behind a function's name, or the product that stands there without one."""
        if self.at("(", "{", "["):
            return self.arguments()  # sin(x)^2 is (sin x)^2: what follows is left to `power`
        self.depth += 1
        self._check_depth()
        negative = self.accept("-")
        factors = [self.power()]
        while self._continues_argument():
            factors.append(self.power())
        self.depth -= 1
        node = factors[0] if len(factors) == 1 else Product(tuple(factors))
        return (Negative(node) if negative else node,)

    def _continues_argument(self) -> bool:
        token = self.next
        return token.kind in ("symbol", "constant") or (
            token.kind == "command" and token.value in ("frac", "sqrt")
        )

    def matrix(self, name: str) -> Node:
        """The rows of a matrix up to its end; a vmatrix is the number that it has."""
        if name not in (*MATRICES, "vmatrix"):
            raise ValueError(f"no answer has the environment {name[:20]}")
        self.depth += 1
        self._check_depth()
        rows: list[list[Node]] = [[]]
        while self.next.kind != "end":
            rows[-1].append(self.sum())
            if self.next.kind == "row":
                self.take()
                rows.append([])
            elif not self.accept("&"):
                break
        if self.take().value != name:
            raise ValueError("a matrix without an end")
        self.depth -= 1
        rows = rows if rows[-1] else rows[:-1]
        if not rows or len({len(row) for row in rows}) != 1:
            raise ValueError("a matrix with rows of different lengths")
        matrix = Matrix(tuple(tuple(row) for row in rows))
        return Call("det", (matrix,)) if name == "vmatrix" else matrix


def _bracketed(left: str, inner: Node | None, right: str) -> Node:
    items = inner.items if isinstance(inner, Listing) and not inner.spaced else (inner,)
    if right == "condition":
        return inner
    if left in ("\\{", "{"):
        if inner is None:
            return Braces(())
        return inner if left == "{" and len(items) == 1 else Braces(items)
    if inner is None:
        raise ValueError("brackets around nothing")
    if left in "⌊⌈":
        return Call("floor" if left == "⌊" else "ceil", (inner,))
    rows = [item.items for item in items if isinstance(item, Bracketed)]
    if left == "[" and len(rows) == len(items) and {item.left for item in items} == {"["}:
        if len({len(row) for row in rows}) == 1:
            return Matrix(tuple(rows))
    if len(items) == 1 and left != "⟨" and (left, right) in (("(", ")"), ("[", "]")):
        return inner
    return Bracketed(left, tuple(items), right)


def _is_proper(node: Node) -> bool:
    """Whether a fraction is one of a mixed number: 0 < a/b < 1, in digits."""
    if not isinstance(node, Quotient):
        return False
    over, under = node.numerator, node.denominator
    return (
        isinstance(over, Number)
        and isinstance(under, Number)
        and over.digits.isdigit()
        and under.digits.isdigit()
        and 0 < over.value < under.value
    )


def _product(*factors: Node) -> Product:
    return Product(factors)


def _root(radicand: Node, degree: Node | None) -> Call:
    return Call("root", (degree or Number(Fraction(2), "2"), radicand))
