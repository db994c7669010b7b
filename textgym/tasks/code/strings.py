"""What the functions of the level "strings" are made of."""

from __future__ import annotations

import random
from collections.abc import Iterator

from textgym.tasks.code.exercise import Arguments, Signature
from textgym.tasks.code.pipelines import Kit, Step

WORDS = ["apple", "Bob", "cat", "Data", "level", "noon", "no", "Tree", "zoo", "x", "42", "7up"]


def _draw(rng: random.Random) -> Arguments:
    kind = rng.randrange(8)
    if kind == 0:
        return (rng.choice(("", "a", "A b", " ", "racecar")),)
    if kind < 4:
        letters = "aabceeiosttABET 019"
        return ("".join(rng.choice(letters) for _ in range(rng.randint(4, 12))),)
    return (" ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 4))),)


def _kept() -> Iterator[Step]:
    """Steps that keep or remove characters."""
    vowels = "aeiouAEIOU"
    keep = [
        ("remove the vowels", f"c not in {vowels!r}", lambda c: c not in vowels),
        ("keep the vowels", f"c in {vowels!r}", lambda c: c in vowels),
        ("remove the spaces", "c != ' '", lambda c: c != " "),
        ("remove the digits", "not c.isdigit()", lambda c: not c.isdigit()),
        ("keep the letters", "c.isalpha()", str.isalpha),
        ("keep the uppercase letters", "c.isupper()", str.isupper),
        ("keep the lowercase letters", "c.islower()", str.islower),
        *((f"remove every {k!r}", f"c != {k!r}", lambda c, k=k: c != k) for k in "aeot"),
    ]
    for words, code, condition in keep:
        yield Step(
            words,
            f"''.join(c for c in s if {code})",
            lambda s, condition=condition: "".join(c for c in s if condition(c)),
            "keep",
        )


def _replaced() -> Iterator[Step]:
    for old in "aeo ":
        for new in "x-o_":
            if old != new:
                yield Step(
                    f"replace every {old!r} by {new!r}",
                    f"s.replace({old!r}, {new!r})",
                    lambda s, old=old, new=new: s.replace(old, new),
                    "replace",
                )


STEPS = [
    *_kept(),
    *_replaced(),
    Step("put it in uppercase", "s.upper()", str.upper, "case"),
    Step("put it in lowercase", "s.lower()", str.lower, "case"),
    Step("swap the case of each letter", "s.swapcase()", str.swapcase, "case"),
    Step("reverse it", "s[::-1]", lambda s: s[::-1], "order"),
    Step("sort its characters", "''.join(sorted(s))", lambda s: "".join(sorted(s)), "order"),
    Step(
        "reverse the order of its words",
        "' '.join(s.split()[::-1])",
        lambda s: " ".join(s.split()[::-1]),
        "order",
    ),
    Step(
        "sort its words",
        "' '.join(sorted(s.split()))",
        lambda s: " ".join(sorted(s.split())),
        "order",
    ),
    Step(
        "keep the first of equal characters",
        "''.join(dict.fromkeys(s))",
        lambda s: "".join(dict.fromkeys(s)),
        "order",
    ),
    Step("drop the first character", "s[1:]", lambda s: s[1:], "part"),
    Step("drop the last character", "s[:-1]", lambda s: s[:-1], "part"),
    Step("keep every second character, from the first on", "s[::2]", lambda s: s[::2], "part"),
    Step("keep every second character, from the second on", "s[1::2]", lambda s: s[1::2], "part"),
    *(
        Step(f"keep the first {k} characters", f"s[:{k}]", lambda s, k=k: s[:k], "part")
        for k in (3, 4, 5)
    ),
    *(
        Step(f"keep the last {k} characters", f"s[-{k}:]", lambda s, k=k: s[-k:], "part")
        for k in (3, 4, 5)
    ),
    Step(
        "double each character",
        "''.join(2 * c for c in s)",
        lambda s: "".join(2 * c for c in s),
        "grow",
    ),
    Step("write it twice", "2 * s", lambda s: 2 * s, "grow"),
    Step("append its reverse", "s + s[::-1]", lambda s: s + s[::-1], "grow"),
    Step("put a '*' in front and behind", "'*' + s + '*'", lambda s: "*" + s + "*", "grow"),
]

ENDS = [
    Step("the text", "s", lambda s: s, "text"),
    Step("its length", "len(s)", len, "number"),
    Step("how many words it has", "len(s.split())", lambda s: len(s.split()), "number"),
    Step(
        "how many different characters it has",
        "len(set(s))",
        lambda s: len(set(s)),
        "number",
    ),
    *(
        Step(f"how often it has {k!r}", f"s.count({k!r})", lambda s, k=k: s.count(k), "number")
        for k in "aeo"
    ),
]

STRINGS = Kit(Signature("s", _draw), STEPS, ENDS)
