"""Preference functions: the probability that one response to a prompt is preferred to another."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

from textgym.preferences.terminal import printable
from textgym.rewards import Score, batched, load_reward, score_many
from textgym.rewards.protocol import Fallible

PreferenceFunction = Callable[[str, str, str], float]
"""(prompt, a, b) -> the probability that a is preferred to b, 0.5 for a tie.

One that is decorated with `textgym.rewards.batched` takes three sequences of texts instead and
returns a sequence of numbers."""


def bradley_terry(gap: float, beta: float = 1.0, noise: float = 0.0) -> float:
    """P(a > b) = noise + (1 - 2 noise) sigmoid(beta gap), where a is worth `gap` more than b.

    Bradley and Terry 1952, "Rank Analysis of Incomplete Block Designs"; Ouyang et al. 2022, eq. 1.

    Args:
        gap: u(a) - u(b). 0 is a tie: 0.5, whatever beta is.
        beta: how much a difference counts, the inverse of a temperature; inf: the better one wins.
        noise: the share of comparisons that are then turned around, whatever the difference.
    """
    # By tanh: no overflow, P(a > b) + P(b > a) is 1, and inf is no special case but at a tie.
    half = math.tanh(beta * gap / 2) / 2 if gap else 0.0
    return 0.5 + (1.0 - 2.0 * noise) * half


def check_beta(beta: float) -> None:
    """Refuse a beta that is no positive number (inf is one)."""
    if isinstance(beta, bool) or not isinstance(beta, int | float) or not beta > 0:
        raise ValueError(f"beta is {beta!r}, expected a number above 0, or math.inf")


def check_noise(noise: float) -> None:
    """Refuse a noise that is no share below a half."""
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise < 0.5:
        raise ValueError(f"noise is {noise!r}, expected a number of at least 0 and below 0.5")


class BradleyTerry:
    """A reward function as a preference function: P(a > b) = sigmoid(beta (r(a) - r(b))).

    Example:
        >>> shorter = BradleyTerry(lambda prompt, generated, full_text: -len(generated))
        >>> shorter(["Hi"], ["Hello."], ["Hello."])
        [0.5]

    Args:
        reward_fn: (prompt, generated, full_text) -> number, or the name of a ready one, such as
            "reward_model:FOLDER"; see `textgym.rewards.load_reward`.
        beta: 1 suits a reward model, which is trained with it.
    """

    def __init__(self, reward_fn: Any, beta: float = 1.0) -> None:
        check_beta(beta)
        self.reward_fn, self.beta = load_reward(reward_fn), beta

    def __repr__(self) -> str:
        return f"BradleyTerry({self.reward_fn!r}, beta={self.beta})"

    @batched
    def __call__(
        self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]
    ) -> list[float]:
        """The probabilities that the first ones are preferred.

        Raises:
            ValueError: if the reward function has no value for one of the texts.
        """
        num = len(prompts)
        scores = score_many(self.reward_fn, [*prompts, *prompts], [*firsts, *seconds])
        for score in scores:
            if score.error:
                raise ValueError(score.error)
        values = [score.value for score in scores]
        gaps = [first - second for first, second in zip(values[:num], values[num:], strict=True)]
        return [bradley_terry(gap, self.beta) for gap in gaps]


class Person:
    """Asks in the terminal which of two responses is better: 1, 0, or 0.5 for a tie.

    Which of the two is shown first depends on the texts, as by a coin. For one environment in one
    process, as workers have no terminal.
    """

    def __call__(self, prompt: str, a: str, b: str) -> float:
        """Show both and ask until the answer is a, b or tie.

        Raises:
            EOFError: if the input has ended.
        """
        swapped = is_swapped(prompt, a, b)
        shown = (b, a) if swapped else (a, b)
        print(f"\n{printable(prompt)}\n\n[a] {printable(shown[0])}\n[b] {printable(shown[1])}")
        while (answer := input("better? a, b or tie> ").strip().lower()) not in ("a", "b", "tie"):
            print("please answer a, b or tie")
        return 0.5 if answer == "tie" else float((answer == "a") != swapped)


def is_swapped(prompt: str, a: str, b: str) -> bool:
    """A fair coin that the texts decide: whether to show b before a.

    The same responses the other way round are shown in the same order.
    """
    text = "\0".join((prompt, *sorted((a, b))))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=1).digest()
    return bool(digest[0] & 1) != (a > b)


def check_preference(function: Any) -> None:
    """Refuse what cannot be called with a prompt and two responses.

    Raises:
        TypeError: which says what it is.
    """
    try:
        inspect.signature(function).bind("prompt", "a", "b")
    except TypeError as error:
        raise TypeError(
            f"preference is {function!r:.200}, expected 'utility', 'person', or a function of "
            f"prompt, a and b: {error}"
        ) from None
    except ValueError:
        pass  # written in C, without a signature: only calling it will tell


def prefer_many(
    function: PreferenceFunction,
    prompts: Sequence[str],
    firsts: Sequence[str],
    seconds: Sequence[str],
) -> list[Score]:
    """What a preference function says of each pair, whatever it does.

    An exception and a value that is no probability are errors of the pairs concerned, and a
    warning. If a batched function raises, it is asked about each pair alone.
    """
    return Fallible(function, "preference function", (0.0, 1.0)).many(prompts, firsts, seconds)
