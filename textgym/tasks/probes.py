"""Probes: five tiny tasks that tell in seconds what is wrong with a learner.

Each asks for one thing that a learner has to do right. The optimal return is known, so a run is
judged by a number: a working learner reaches nine tenths of it.

    probe     what it takes                                   where it fails, look at
    Constant  to stop, always                                 the sign of the gradient; eos
    Prompt    to say a letter of the prompt                   prompts, positions, padding; whether
                                                              rewards are those of the episode
    Delay     the right first token; twelve others come       returns, gamma and lambda, masks
              between it and its reward
    Discount  a small reward now, or a large one later:       gamma; what the end is worth
              which is better depends on gamma
    Explore   to find more than the small reward that is      the entropy bonus, sampling
              found at once

Constant and Prompt pay at once, so they pass where only credit over time is wrong. PPO with one bug
gets these shares of the optimum (`python -m tests.learning.test_probes`, seed 0; Discount with
gamma 0.91 and 0.8, which lie on both sides of its threshold):

    learner                                 Constant  Prompt  Delay  Discount   Explore
    as it is                                     .98     .99    .95  .97  1.00     1.00
    goes down instead of up                      .00     .00    .00  .63   .48      .00
    gives a token its predecessor's advantage    .88     .00    .08  .97   .50      .02
    mixes up the rewards of episodes             .98     .02    .09  .97  1.00      .03
    loses the reward that comes with eos         .01     .99    .95  .98  1.00     1.00
    mixes up the prompts of episodes             .98     .36    .96  .98  1.00     1.00
    bootstraps where the episode has ended       .98    1.00    .93  .75  1.00      .10
    sees the next reward only (gamma 0)          .99     .99    .09  .71  1.00      .03
    does not apply gamma                         .98     .99    .95 1.00   .50     1.00
    applies gamma twice                          .98     .99    .95  .79  1.00     1.00
    has the sign of the entropy bonus wrong      .99     .75    .97  .99  1.00      .10

A random policy of the built-in tokenizer gets 0.02, 0.01, 0.09, 0.59 (undiscounted) and 0.03. The
prompts are six digits that mean nothing (Prompt's are its own): a million, so that none is learned
by heart. What four probes ask for is a constant by design, hence their `floor` of 1.

References: Osband et al. 2020, "Behaviour Suite for Reinforcement Learning"; Jones 2021, "Debugging
Reinforcement Learning Systems", has such probes for control.
"""

from __future__ import annotations

import numpy as np

from textgym.registration import register_task
from textgym.task import Problem, Task
from textgym.tasks.math.choices import Choices


class Probe(Task):
    """A task whose prompts, 1,000,000 of six digits, mean nothing."""

    optimal_return: float = 1.0
    """What the best policy gets in an episode, undiscounted."""

    floor = 1.0

    reference: str
    """A response that earns the highest reward, whatever the prompt."""

    def sample(self, rng: np.random.Generator) -> Problem:
        """Draw six digits."""
        return Problem(f"{Choices(rng).below(10**6):06}=", self.reference)


@register_task("TextProbeConstant-v0")
class TextProbeConstant(Probe):
    """Stop: say one character at most.

    `correct` is 1 for a response of at most one character. The right action is eos, always, and its
    reward comes at once. The optimal return is 1; a random policy gets 0.02.

    The budget is 3 tokens, eos included. The episode terminates with eos or when it is spent.
    Version history: v0, initial version.
    """

    reference = "k"
    max_response_tokens = 3

    def grade(self, problem: Problem, response: str) -> dict[str, float]:
        """1 for a character, or none."""
        return {"correct": float(len(response) <= 1)}


@register_task("TextProbePrompt-v0")
class TextProbePrompt(Probe):
    """Say the letter of the prompt.

    The prompt is one of the letters a, b, c and d among three to eight digits, at any place, and an
    equals sign: `39c172=`. `correct` is 1 for a response that starts with this letter. The letters
    are stop strings, so the reward comes at once. The optimal return is 1; a policy that does not
    read the prompt gets at most 1/4, a random one 0.01. There are 3,950,616,000 prompts.

    The budget is 2 tokens, eos included. The episode terminates with one of the letters, with eos
    or when it is spent. Version history: v0, initial version.
    """

    letters = "abcd"
    max_response_tokens = 2
    stop_strings = tuple(letters)
    floor = 0.25

    def sample(self, rng: np.random.Generator) -> Problem:
        """Draw a letter, digits, and its place among them."""
        choose = Choices(rng)
        digits = [str(choose.below(10)) for _ in range(choose.between(3, 8))]
        letter = choose.one_of(self.letters)
        digits.insert(choose.between(0, len(digits)), letter)
        return Problem(f"{''.join(digits)}=", letter)

    def grade(self, problem: Problem, response: str) -> dict[str, float]:
        """1 for the right first character."""
        return {"correct": float(response.startswith(problem.answer))}


@register_task("TextProbeDelay-v0")
class TextProbeDelay(Probe):
    """Start with a digit and go on for twelve characters.

    `correct` is 1 for a response of at least 12 characters whose first one is a digit; which the
    others are is nothing to it. So the first token decides, and eleven that decide nothing come
    before the reward. The optimal return is 1; a random policy gets 0.09.

    The budget is 13 tokens, eos included. The episode terminates with eos or when it is spent.
    Version history: v0, initial version.
    """

    reference = "0" * 12
    max_response_tokens = 13

    def grade(self, problem: Problem, response: str) -> dict[str, float]:
        """1 for a digit and eleven characters."""
        right = response[:1] in "0123456789" and len(response) >= len(self.reference)
        return {"correct": float(right)}


@register_task("TextProbeDiscount-v0")
class TextProbeDiscount(Probe):
    """End at once for a third, or go on for eight characters for one.

    A digit is a stop string and ends the episode. `correct` is 1 for a response that begins with 8
    other characters, else 1/3. The reward of the ninth token counts gamma^8 at the first, so with
    a discount of gamma a token the optimal return is max(1/3, gamma^8)
    (`optimal_discounted_return`): by going on, if gamma is above 3^(-1/8) = 0.872, else by ending
    at once. Undiscounted it is 1; a random policy gets 0.59. Learn it with a gamma on either side,
    such as 0.91 and 0.8. (0.91 applied twice is 0.828, on the other side.)

    The budget is 9 tokens, eos included. The episode terminates with a digit, with eos or when it
    is spent. Version history: v0, initial version.
    """

    reference = "-" * 8
    max_response_tokens = 9
    stop_strings = tuple("0123456789")

    def grade(self, problem: Problem, response: str) -> dict[str, float]:
        """1 for eight characters without a digit, else 1/3."""
        beginning = response[: len(self.reference)]
        is_long = len(beginning) == len(self.reference) and not set(beginning) & set("0123456789")
        return {"correct": 1.0 if is_long else 1 / 3}

    def optimal_discounted_return(self, gamma: float) -> float:
        """The best policy's reward, discounted by gamma for each token after the first."""
        return max(1 / 3, gamma ** len(self.reference))


@register_task("TextProbeExplore-v0")
class TextProbeExplore(Probe):
    """Find the rare response that is worth more than what is found at once.

    `correct` is 1 for a response that starts with 7 and a letter from a to t, 1/10 for one that
    starts with a capital letter, else 0. The optimal return is 1. Of a random policy's responses,
    27 % earn the tenth and one in 470 the whole: what only ever grows more certain of what it
    likes best does not find it, and stays at 0.1.

    A learner has to hold on to its entropy for a while: ours solves it with an `entropy_coef` that
    falls from 1 to 0 (16 of 16 seeds; with 0 throughout 1 of 16).

    The budget is 3 tokens, eos included. The episode terminates with eos or when it is spent.
    Version history: v0, initial version.
    """

    reference = "7a"
    max_response_tokens = 3

    def grade(self, problem: Problem, response: str) -> dict[str, float]:
        """1 for the rare response, a tenth for a common one."""
        first, second = response[:1], response[1:2]
        if first == "7" and "a" <= second <= "t":
            return {"correct": 1.0}
        return {"correct": 0.1 if "A" <= first <= "Z" else 0.0}
