r"""What a response has to match, and the tokens with which it still can.

A constraint is a regular expression of Python's `re`, and the whole of a valid response matches it,
as by `re.fullmatch`. Whatever is regular is supported: literals, sets, `.`, `\d \w \s`, groups,
alternatives, repetitions. Lookarounds, backreferences, possessive repetitions, `\b`, `^` and `$`
inside, and the flag i are not. `schema_pattern` and `grammar_pattern` make such an expression from
a JSON schema and from a grammar.

How masks come about: the pattern becomes the smallest automaton over the bytes of UTF-8
(`machine`, by the derivatives of `expressions`), the tokens' texts (`token_texts`) become a tree of
bytes (`prefix_tree`), and walking the tree through the automaton says where each token leads
(`token_automaton`). States and the tokens between them are a graph, in which the shortest
completion from each state is known, and so is which tokens a budget still allows.
"""

from __future__ import annotations

from textgym.constraints.grammar import grammar_pattern
from textgym.constraints.json_schema import schema_pattern
from textgym.constraints.machine import compiled, matches
from textgym.constraints.token_automaton import NEVER, TokenAutomaton, automaton

__all__ = [
    "NEVER",
    "TokenAutomaton",
    "automaton",
    "compiled",
    "grammar_pattern",
    "matches",
    "schema_pattern",
]
