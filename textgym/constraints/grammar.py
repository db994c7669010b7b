"""From a small context-free grammar to a pattern of its texts up to a depth."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MAX_PATTERN = 200_000
"""Characters of a pattern that is made here or from a schema."""

MAX_DEPTH = 200

_REFERENCE = re.compile(r"<([A-Za-z][A-Za-z0-9_-]*)>")


def grammar_pattern(
    rules: Mapping[str, Sequence[str]], start: str | None = None, depth: int = 6
) -> str:
    r"""A pattern of what a rule derives in at most `depth` rules, one in another.

    Example:
        >>> rules = {"sum": ["<digit>", "(<sum>+<sum>)"], "digit": ["1", "2"]}
        >>> grammar_pattern(rules, "sum", 3)  # 1, 2, (1+1), ... (2+2)
        '(?:(?:1|2)|\\((?:(?:1|2))\\+(?:(?:1|2))\\))'

    Args:
        rules: name -> alternatives. An alternative is text, in which `<name>` stands for a rule.
        start: the rule that derives the whole; None: the first one.
        depth: how many rules may be open at a time, the first one included.

    Raises:
        ValueError: for an argument of another kind, a name without a rule, a depth in which nothing
            can be derived, or a pattern of more than MAX_PATTERN characters, which a recursive rule
            soon gives: each occurrence of a rule multiplies what it holds.
    """
    _check(rules, depth)
    start = next(iter(rules)) if start is None else start
    if not isinstance(start, str) or start not in rules:
        raise ValueError(f"start is {start!r}, expected one of the rules {list(rules)}")
    pattern = _Derivations(rules).of(start, depth)
    if pattern is None:
        raise ValueError(f"depth is {depth}: too few for any text of <{start}>; raise it")
    return pattern


class _Derivations:
    """What the rules derive, as patterns."""

    def __init__(self, rules: Mapping[str, Sequence[str]]) -> None:
        self._rules = rules
        self._known: dict[tuple[str, int], str | None] = {}

    def of(self, name: str, depth: int) -> str | None:
        """What a rule derives up to a depth; None if that is nothing."""
        if not depth:
            return None
        if (name, depth) not in self._known:
            written = [self._written(option, depth - 1) for option in self._rules[name]]
            found = [pattern for pattern in written if pattern is not None]
            self._known[name, depth] = f"(?:{'|'.join(found)})" if found else None
        return self._known[name, depth]

    def _written(self, alternative: str, depth: int) -> str | None:
        pattern = ""
        # A split by a group gives text, name, text, name, ..., text.
        for i, part in enumerate(_REFERENCE.split(alternative)):
            derived = self.of(part, depth) if i % 2 else re.escape(part)
            if derived is None:
                return None
            pattern += derived
            if len(pattern) > MAX_PATTERN:
                raise ValueError(
                    f"grammar: the pattern of {alternative!r} has more than {MAX_PATTERN} "
                    "characters; lower depth"
                )
        return pattern


def _check(rules: Mapping[str, Sequence[str]], depth: int) -> None:
    if not isinstance(rules, Mapping) or not rules:
        raise ValueError(f"grammar is {rules!r:.80}, expected a mapping of names to alternatives")
    for name, alternatives in rules.items():
        is_list = isinstance(alternatives, Sequence) and not isinstance(alternatives, str | bytes)
        if not is_list or not alternatives or not all(isinstance(a, str) for a in alternatives):
            raise ValueError(
                f"grammar[{name!r}] is {alternatives!r:.80}, expected a list of at least one text"
            )
        for alternative in alternatives:
            for reference in _REFERENCE.findall(alternative):
                if reference not in rules:
                    raise ValueError(
                        f"grammar[{name!r}] refers to <{reference}>, but the rules are "
                        f"{list(rules)}"
                    )
    if not isinstance(depth, int) or not 1 <= depth <= MAX_DEPTH:
        raise ValueError(f"depth is {depth!r}, expected an integer from 1 to {MAX_DEPTH}")
