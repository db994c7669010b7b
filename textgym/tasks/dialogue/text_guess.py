"""TextGuess: find a secret by guesses, each of which is answered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from textgym.registration import register_task
from textgym.task import Grade, Problem, Task
from textgym.tasks.math.choices import Choices

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

WINDOW = 200
"""Characters at the end of a turn in which its guess is looked for."""

_digits = re.compile(r"[0-9]+")
_letters = re.compile(r"[A-Z]+")


class Game(NamedTuple):
    """A level: what the secret is made of, and how many guesses there are.

    A number out of `size` consecutive ones, or, where there is a `length`, a code of so many
    different ones out of `size` letters.
    """

    size: int
    turns: int
    length: int = 0


GAMES = {
    "number-15": Game(15, 4),
    "number-100": Game(100, 7),
    "number-1000": Game(1000, 10),
    "code-3": Game(6, 5, length=3),
    "code-4": Game(6, 6, length=4),
}


@register_task("TextGuess-v0")
class TextGuess(Task):
    """Find a secret number or code by guesses, each of which is answered.

    ## Description
    The prompt says where the secret is from, as in
    `A number from 3712 to 3726. You have 4 guesses.` Each turn is a guess, and the environment says
    `higher` or `lower` on a line of its own, until the secret is found or the guesses are spent. A
    code is of different letters, as in
    `A code of 3 different letters of BDKMRT. You have 5 guesses.`; the answer to a guess is how
    many letters are right, and how many are misplaced: `1 right, 2 misplaced` (Mastermind without
    repeated colours, also known as bulls and cows).

    A turn's guess is its last number, or its last word, in capitals or not, so there may be
    thoughts before it. What could not be the secret is answered by what is asked for, and is a
    guess spent.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V; eos ends a guess. The budget is 64 tokens in all
    turns together, eos included, the environment's answers not: ten guesses of four characters.
    Give `max_response_tokens` where there is to be reasoning.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the guesses so far, each with its answer (of at most
    48 tokens), padding. A prompt has up to 61 characters.

    ## Starting State
    A range or letters, and a secret from them, each at random. There are as many as the table says,
    the prompt tells nothing of the secret, and the split is by the prompt.

    ## Rewards
    * `correct`, weight 1: 1 if the secret is found within the guesses.
    * `speed`, weight 0: if it is found by guess g of n, (n - g + 1) / n; else 0.

    The reward comes at the end of the episode. For every level a strategy is known that always
    finds the secret, so the optimal return is 1. Of numbers, it is to halve the range: g guesses
    can tell 2^g - 1 numbers apart, and halving does. Of codes, it is to guess, among those that
    fit all answers so far, the one after which the sum of the squares of the numbers of codes left
    by each answer is smallest. The table has these strategies' mean number of guesses and mean
    `speed`; for numbers no strategy has better ones.

    ## Episode End
    The episode terminates when the secret is found or the guesses or the budget are spent; what was
    cut off is taken as it stands. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`: `response` holds the answers, `response_mask` leaves them out.
    `verdict` has the number of `guesses`.

    ## Arguments
    `difficulty`: a level of the table, the first one unless told otherwise.

    ## Difficulties
    | level       | prompts | secrets | guesses | mean guesses | mean speed |
    |-------------|---------|---------|---------|--------------|------------|
    | number-15   |   8,985 |      15 |       4 |        3.267 |      0.433 |
    | number-100  |   8,900 |     100 |       7 |        5.800 |      0.314 |
    | number-1000 |   8,000 |   1,000 |      10 |        8.987 |      0.201 |
    | code-3      | 230,230 |     120 |       5 |        3.642 |      0.472 |
    | code-4      | 230,230 |     360 |       6 |        4.058 |      0.490 |

    ## References
    Knuth 1977, "The Computer as Master Mind", Journal of Recreational Mathematics 9.

    ## Version History
    * v0: initial version.
    """

    rewards = {"correct": 1.0, "speed": 0.0}
    difficulties = tuple(GAMES)
    max_response_tokens = 64
    max_turns = max(game.turns for game in GAMES.values())
    max_reply_tokens = 48

    def sample(self, rng: np.random.Generator, difficulty: str | None = None) -> Problem:
        """Draw a range or letters, and a secret from them."""
        level = self.difficulties[self.difficulty_index(difficulty)]
        game, choose = GAMES[level], Choices(rng)
        if game.length:
            letters = "".join(sorted(choose.shuffled(LETTERS)[: game.size]))
            secret = "".join(choose.shuffled(letters)[: game.length])
            wanted = f"{game.length} different letters of {letters}"
            text, info = f"A code of {wanted}", {"letters": letters}
        else:
            low = choose.between(1000, 9999 - game.size)
            high = low + game.size - 1
            secret = str(choose.between(low, high))
            wanted = f"a number from {low} to {high}"
            text, info = wanted.capitalize(), {"low": low, "high": high}
        prompt = f"{text}. You have {game.turns} guesses.\n"
        return Problem(prompt, secret, {"level": level, "wanted": wanted, **info}, prompt)

    def reply(self, problem: Problem, turns: Sequence[str]) -> str | None:
        """How the last guess compares to the secret; None if it is found or was the last one."""
        game, secret = GAMES[problem.info["level"]], problem.answer
        guess = guess_in(problem, turns[-1])
        if guess == secret or len(turns) >= game.turns:
            return None
        if guess is None:
            return f"\nsay {problem.info['wanted']}\n"
        if not game.length:
            return "\nhigher\n" if int(secret) > int(guess) else "\nlower\n"
        right, misplaced = compare(guess, secret)
        return f"\n{right} right, {misplaced} misplaced\n"

    def grade(self, problem: Problem, response: str) -> Grade:
        """The verdict on a single guess."""
        return self.grade_turns(problem, [response])

    def grade_turns(self, problem: Problem, turns: Sequence[str]) -> Grade:
        """Whether the last guess is the secret, and how early it came."""
        most = GAMES[problem.info["level"]].turns
        found = guess_in(problem, turns[-1]) == problem.answer and len(turns) <= most
        speed = (most - len(turns) + 1) / most if found else 0.0
        return Grade({"correct": float(found), "speed": speed}, facts={"guesses": len(turns)})


def guess_in(problem: Problem, turn: str) -> str | None:
    """The guess of a turn, its last number or word; None if it could not be the secret."""
    length, tail = GAMES[problem.info["level"]].length, turn[-WINDOW:]
    found = (_letters.findall(tail.upper()) if length else _digits.findall(tail)) or [""]
    guess, info = found[-1], problem.info
    if length:
        is_code = len(set(guess)) == len(guess) == length and set(guess) <= set(info["letters"])
        return guess if is_code else None
    is_number = len(guess) == 4 and info["low"] <= int(guess) <= info["high"]
    return guess if is_number else None


def compare(guess: str, secret: str) -> tuple[int, int]:
    """How many letters of a guess are right, and how many others are in the secret elsewhere."""
    right = sum(a == b for a, b in zip(guess, secret, strict=True))
    return right, len(set(guess) & set(secret)) - right
