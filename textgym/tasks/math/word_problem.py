"""TextWordProblem: stories of one to four steps, at the last level with numbers to be ignored."""

from __future__ import annotations

import numpy as np

from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.family import Family, question
from textgym.tasks.math.stories import LEVELS

# Names that no story has: what is said of them contradicts nothing.
_BYSTANDERS = ("Olga", "Tariq", "Vera", "Yusuf", "Zoe")
_DISTRACTORS = (
    "{name} is {number} years old.",
    "The house has number {number}.",
    "It is {number} degrees outside.",
    "There are {number} chairs in the room.",
    "{name} lives {number} km from the sea.",
    "The radio has been on for {number} minutes.",
    "A friend of {name} has {number} cousins.",
    "The clock on the wall is {number} seconds slow.",
)


def distracted(choose: Choices, facts: tuple[str, ...]) -> list[str]:
    """Facts with two or three numbers among them that do not matter."""
    told = list(facts)
    for i in choose.distinct(choose.between(2, 3), 0, len(_DISTRACTORS) - 1):
        fact = _DISTRACTORS[i].format(name=choose.one_of(_BYSTANDERS), number=choose.between(2, 90))
        told.insert(choose.between(1, len(told)), fact)
    return told


@register_task("TextWordProblem-v0")
class TextWordProblem(Family):
    """Answer a short story with a number.

    ## Description
    The prompt is a story that ends in a question, such as `Ann has 12 pens, gets 25. Total? `, and
    the response is the number: `37`. Stories are made by `textgym.tasks.math.stories`. Names,
    things and wordings vary, and stories that differ in nothing else have the same key, so they
    fall into the same split, with distractors or without.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. A bare answer holds digits, and a unit if it
    likes. The budget is 16 tokens, eos included, and no reference answer in 20,000 of a level has
    more than 4 characters; give `max_response_tokens` where there is to be reasoning before the
    answer.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. Prompts have up to 37
    characters at the first level and 471 at the longest, without the words of an `answer_format`.

    ## Starting State
    A story of the level, at random, made backwards from its answer where it has to be. The kinds of
    a level are equally likely.

    ## Rewards
    `correct`, weight 1: 1 if the response is the number of the reference answer, with a noun or `$`
    or without, and nothing left to compute: `37 pens`, but not `12+25`. The reward comes at the end
    of the episode.

    `format`, weight 0: 1 if the answer stands where `answer_format` wants it.

    ## Episode End
    The episode terminates with eos or after 16 tokens. A response cut off there is graded as it
    stands. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`; `verdict` has the `rule` by which the response was judged.

    ## Arguments
    `difficulty`: a level of the table, the first one unless told otherwise. `answer_format`:
    "bare", "boxed", "hash" or "any"; see `textgym.tasks.math.base.MathTask`.

    ## Difficulties
    Questions are counted by their key, exactly where no `>` says that there are more. Repeats are
    the share of 20,000 draws whose question came before. All answers are positive integers. Numbers
    and amounts are counted, names and words are not.

    | level       |   questions | repeats | what is asked                                     |
    |-------------|-------------|---------|---------------------------------------------------|
    | one-step    |       6,051 |  74.5 % | a sum, difference, product or quotient            |
    | two-step    |     102,286 |  27.3 % | boxes, prices, change, shares, multiples, ages    |
    | three-step  | > 1,000,000 |   1.9 % | shopping, discounts, machines, fences, tanks      |
    | four-step   | > 1,000,000 |  19.3 % | backwards, averages, meetings, crews, 4-5 events  |
    | distractors | > 2,000,000 |  10.2 % | the last three, 2 or 3 numbers that do not matter |

    An example of each:

    * one-step: `Ann has 12 pens, gets 25. Total?`
    * two-step: `8 hats cost $56. How many dollars ...`
    * three-step: `A tank of 250 litres holds ...`
    * four-step: `Kim is 7 times as old as Ann. ...`
    * distractors: `... There are 44 chairs ...`

    ## References
    Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems" (GSM8K), asks for 2 to 8
    such steps. Shi et al. 2023, "Large Language Models Can Be Easily Distracted by Irrelevant
    Context", adds numbers that do not matter.

    ## Version History
    * v0: initial version.
    """

    levels = LEVELS
    difficulties = tuple(LEVELS)
    max_response_tokens = 16

    def sample(self, rng: np.random.Generator, difficulty: str | None = None) -> Problem:
        """Draw a story of the level."""
        level = self.difficulties[self.difficulty_index(difficulty)]
        choose = Choices(rng)
        return self.tell(choose, level)

    def tell(self, choose: Choices, level: str) -> Problem:
        """A story of the level, with distractors at the last one."""
        story = choose.one_of(self.levels[level])(choose)
        facts = distracted(choose, story.facts) if level == "distractors" else story.facts
        prompt = " ".join((*facts, story.asked, ""))
        return question(prompt, story.answer, story.key, "number")
