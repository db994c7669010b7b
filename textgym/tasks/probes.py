"""Probes: five tiny tasks that tell in seconds what is wrong with a learner.

Each asks for one thing that a learner has to do right, and a learner with a bug there fails that
probe and passes the others. The optimal return is known (`optimal_return`), so a run is judged by
a number: a working learner reaches nine tenths of it.

    probe      what it takes                     what is wrong where it fails
    Constant   one token, then to stop           everything, if all fail: the sign of the gradient,
                                                 which token a reward belongs to. Alone: eos, left
                                                 out of the mask or of the loss
    Prompt     to read a letter in the prompt    conditioning: prompts dropped, cut or mixed up,
                                                 positions, padding
    Delay      the first token decides, the      credit: returns that do not reach back, gamma or
               reward comes 12 tokens later      lambda of 0, an end that is cut off
    Discount   to weigh a small reward now       gamma: not applied, applied twice, to the wrong
               against a large one later         step
    Explore    not to be content with a small    exploration: no entropy bonus, its sign, sampling
               reward found at once              that is too cold

A random policy of the built-in tokenizer gets 0.01, 0.01, 0.09, 0.69 and 0.03. Prompts other than
those of Prompt mean nothing: six digits, so that nothing can be learned by heart. The answers to
the other four are constants by design, which their `floor` of 1 says.

References: Osband et al. 2020, "Behaviour Suite for Reinforcement Learning"; Jones 2021, "Debugging
Reinforcement Learning Systems", has such probes for control.
"""

from __future__ import annotations

import numpy as np

from textgym.registration import register_task
from textgym.task import Problem, Task
from textgym.tasks.math.choices import Choices


class Probe(Task):
    """A task whose prompts are six digits and mean nothing: 1,000,000 of them.

    Attributes:
        optimal_return: what the best policy gets in an episode, undiscounted.
    """

    optimal_return: float = 1.0
    floor = 1.0

    reference: str
    """A response that earns the highest reward, whatever the prompt."""

    def sample(self, rng: np.random.Generator) -> Problem:
        """Draw six digits."""
        return Problem(f"{Choices(rng).below(10**6):06}=", self.reference)


@register_task("TextProbeConstant-v0")
class TextProbeConstant(Probe):
    """Say `k` and stop.

    `correct` is 1/2 for a response that starts with `k`, and 1/2 for one of a single character. The
    optimal return is 1, by `k` and eos; a random policy gets 0.01.

    The budget is 3 tokens, eos included. The episode terminates with eos or when it is spent, and
    what was cut off is graded as it stands. Version history: v0, initial version.
    """

    reference = "k"
    max_response_tokens = 3

    def grade(self, problem: Problem, response: str) -> dict[str, float]:
        """Half for the first character, half for stopping behind it."""
        return {"correct": (response.startswith("k") + (len(response) == 1)) / 2}


@register_task("TextProbePrompt-v0")
class TextProbePrompt(Probe):
    """Say the letter of the prompt.

    The prompt is one of the letters a, b, c and d among three to eight digits, at any place, and an
    equals sign: `39c172=`. `correct` is 1 for a response that starts with this letter, whatever
    comes then. The optimal return is 1; a policy that does not read the prompt gets at most 1/4, a
    random one 0.01. There are 3,950,616,000 prompts.

    The budget is 2 tokens, eos included. The episode terminates with eos or when it is spent.
    Version history: v0, initial version.
    """

    letters = "abcd"
    max_response_tokens = 2
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
    """End at once for a half, or go on for eight characters for one.

    A digit is a stop string and ends the episode. `correct` is 1 for a response of at least 8
    characters, 1/2 for a shorter one. The reward for the ninth token counts gamma^8 at the first,
    so with a discount gamma per token the optimal return is max(1/2, gamma^8)
    (`optimal_discounted_return`): to go on, if gamma is above 2^(-1/8) = 0.917, else to end at
    once. Undiscounted it is 1; a random policy gets 0.69.

    Learn it with a gamma on each side, such as 0.95 and 0.85. (0.95 applied twice is 0.9025, on the
    other side.)

    The budget is 9 tokens, eos included. The episode terminates with a digit, with eos or when it
    is spent. Version history: v0, initial version.
    """

    reference = "-" * 8
    max_response_tokens = 9
    stop_strings = tuple("0123456789")

    def grade(self, problem: Problem, response: str) -> dict[str, float]:
        """1 for eight characters, 1/2 for fewer."""
        return {"correct": 1.0 if len(response) >= len(self.reference) else 0.5}

    def optimal_discounted_return(self, gamma: float) -> float:
        """The best policy's reward, discounted by gamma for each token after the first."""
        return max(0.5, gamma ** len(self.reference))


@register_task("TextProbeExplore-v0")
class TextProbeExplore(Probe):
    """Find the rare response that is worth more than what is found at once.

    `correct` is 1 for a response that starts with 7 and a letter from a to p, 1/10 for one that
    starts with a capital letter, else 0. The optimal return is 1. Of a random policy's responses,
    27 % earn the tenth and one in 600 the whole: what only ever grows more certain of what it
    likes best never finds it, and stays at 0.1.

    A working learner needs to hold on to its entropy for a while: ours solves it with an
    entropy_coef that falls from 1 to 0. The budget is 3 tokens, eos included. The episode
    terminates with eos or when it is spent. Version history: v0, initial version.
    """

    reference = "7a"
    max_response_tokens = 3

    def grade(self, problem: Problem, response: str) -> dict[str, float]:
        """1 for the rare response, a tenth for a common one."""
        first, second = response[:1], response[1:2]
        if first == "7" and "a" <= second <= "p":
            return {"correct": 1.0}
        return {"correct": 0.1 if "A" <= first <= "Z" else 0.0}
