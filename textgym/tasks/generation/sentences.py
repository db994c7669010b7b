"""Sentences with given words and of a given length: prompts, references and their reward."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np

from textgym.rewards import Distinct, Keywords, Length
from textgym.rewards.texts import words_of
from textgym.task import Problem

NOUNS = (
    "boat bridge candle castle cloud crow dog door farmer field fire forest fox garden ghost "
    "harbor horse island king lake lamp letter mill moon mountain night owl path piper queen river "
    "road sailor sea ship singer star storm tower train tree valley village wind winter wolf"
).split()
ADJECTIVES = (
    "ancient blue bright broken calm cold dark deep distant early empty gentle golden green grey "
    "hidden hungry last little lonely long lost old pale quiet red secret silver sleepy slow small "
    "strange tall tired warm white wild young"
).split()
VERBS = (
    "arrives burns calls changes dances drifts dreams falls glows grows hides hums laughs leaves "
    "listens moves rests returns rises runs shines sings sleeps smiles speaks stays trembles turns "
    "vanishes waits wakes wanders watches whispers"
).split()
PLACES = "above across behind below beside beyond by near past toward under".split()

LEVELS = {"two": (2, False), "three": (3, True), "four": (4, True)}
"""Level -> how many words are given, and whether the reference also says where."""

SLACK = 4
"""Words too many or too few at which a sentence earns nothing."""

_ASKED = re.compile(r"Write a sentence of (\d+) words, with the words (.+) in it: ")


def ask(rng: np.random.Generator, level: str) -> Problem:
    """Some of the words of a sentence, and how many words it has; the sentence is the reference."""
    num_words, with_place = LEVELS[level]
    first, second = (str(word) for word in rng.choice(NOUNS, 2, replace=False))
    adjective, other = (str(word) for word in rng.choice(ADJECTIVES, 2, replace=False))
    verb, then = (str(word) for word in rng.choice(VERBS, 2, replace=False))
    flags = rng.random(3) < 0.5
    subject = [adjective, first] if flags[0] else [first]
    verbs = [verb, "and", then] if flags[1] or level == "four" else [verb]
    place = [other, second] if flags[2] else [second]
    sentence = ["the", *subject, *verbs]
    if with_place:
        sentence += [str(rng.choice(PLACES)), "the", *place]
    content = [word for word in sentence if word not in ("the", "and", *PLACES)]
    given = sorted(str(word) for word in rng.choice(content, num_words, replace=False))
    listed = f"{', '.join(given[:-1])} and {given[-1]}"
    prompt = f"Write a sentence of {len(sentence)} words, with the words {listed} in it: "
    return Problem(prompt, " ".join(sentence))


def sentence_reward(prompt: str, generated: str, full_text: str) -> float:
    """The share of the given words that occur x how near the length is x distinct pairs of words.

    In [0, 1]; see `textgym.rewards` for `Keywords`, `Length` (0 at a distance of four words) and
    `Distinct` (of neighbouring words). What is copied from the prompt, or is a single word, earns
    0: of its neighbouring words, more than half are neighbours in the prompt. (Of a reference's, at
    most half are, as in "the crow dances and hums" where dances and hums are given.)
    """
    found = _ASKED.fullmatch(prompt)
    told, said = set(pairwise(words_of(prompt))), list(pairwise(words_of(generated)))
    if not said or 2 * sum(pair in told for pair in said) > len(said):
        return 0.0
    given, texts = re.split(r", | and ", found[2]), (prompt, generated, full_text)
    parts = (Keywords(given), Length(int(found[1]), slack=SLACK), Distinct(2))
    return float(np.prod([part(*texts) for part in parts]))


sentence_reward.range = (0.0, 1.0)
