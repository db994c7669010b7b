"""TextGeneration: write what a reward function likes, on prompts of one's own or generated ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from textgym.registration import register_task
from textgym.rewards import AnyReward, load_reward
from textgym.task import Problem
from textgym.tasks.generation.scored import Prompts, ScoredTexts
from textgym.tasks.generation.sentences import LEVELS, ask, sentence_reward


@register_task("TextGeneration-v0")
class TextGeneration(ScoredTexts):
    """Write a sentence with given words, or anything that a reward function judges.

    ## Description
    With `prompts` and `reward_fn`, the prompts are the user's, and so is the reward:

        gym.make("TextGeneration-v0", prompts=["Say hello: "], reward_fn="regex:hello.*")

    With neither, the prompt asks for a sentence of a stated length which has the words that it
    names, as in `Write a sentence of 6 words, with the words moon and rises in it: `, and the
    reference is a sentence from which these were taken: `the moon rises past the mill`.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. The budget is twice the longest reference of a
    probe (with the built-in tokenizer 120), 32 with prompts of one's own;
    `max_response_tokens` sets another.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. A generated prompt has
    at most 93 characters.

    ## Starting State
    A sentence of the level, of which some words are told, all at random; or one of the prompts, as
    `textgym.tasks.generation.ScoredTexts` says, which is also how they are split.

    ## Rewards
    `reward`, weight 1: what the reward function says of the response, at the end of the episode.
    That of the generated prompts is the share of the named words that occur, times max(0, 1 - d/4)
    where d is the distance from the asked number of words, times the share of distinct ones among
    the pairs of neighbouring words. It earns 0 if more than half of these stand in the prompt, too.
    Whether it is a sentence nobody checks: the named words in any order, among any others, earn 1.

    A reward function may return any finite number; if it states its `range`, so does the
    environment. Where it fails, there is no verdict, but `info["verifier_error"]`.

    ## Episode End
    The episode terminates with eos, a stop sequence, or when the budget is spent. A response cut
    off there is graded as it stands, one with a stop sequence up to that. It is never truncated.

    ## Arguments
    `prompts`: a list of texts, a mapping from splits to lists, or a file, a folder or the name of a
    data set, with `fields={"prompt": COLUMN}` and `subset`; see ScoredTexts. `reward_fn`: a
    function `(prompt, generated, full_text) -> float`, or a ready one by name, as in "distinct",
    "keywords:sea,wind" or `{"name": "length", "low": 5, "high": 9}`; see `textgym.rewards`. It may
    also judge generated prompts, which then have no reference. `stop_sequences`: texts at which a
    response ends. `difficulty`: a level of the table, where prompts are generated.

    ## Difficulties
    Generated prompts, counted exactly; the order of the words is no difference.

    | level | prompts   | words named | words asked for |
    |-------|-----------|-------------|-----------------|
    | two   | 13,458    | 2           | 3 to 6          |
    | three | 803,532   | 3           | 6 to 10         |
    | four  | 8,599,081 | 4           | 8 to 10         |

    ## Version History
    * v0: initial version.
    """

    rewards = {"reward": 1.0}
    difficulties = tuple(LEVELS)

    def __init__(
        self,
        prompts: Prompts | None = None,
        reward_fn: AnyReward | None = None,
        *,
        fields: Mapping[str, str] | None = None,
        subset: str | None = None,
        stop_sequences: Sequence[str] = (),
    ) -> None:
        if prompts is None and not fields is subset is None:
            raise ValueError("fields and subset say how to read a data set, and prompts is None")
        if prompts is not None and reward_fn is None:
            raise ValueError(
                "reward_fn is None, expected a function (prompt, generated, full_text) -> float or "
                "the name of a ready one: nothing else says what a response to these prompts earns"
            )
        self._has_reference = reward_fn is None
        reward = sentence_reward if reward_fn is None else load_reward(reward_fn)
        super().__init__(
            prompts,
            {"reward": reward},
            {"reward": 1.0},
            fields=fields,
            subset=subset,
            stop_sequences=stop_sequences,
        )
        if prompts is not None:
            self.difficulties = ()

    def sample(self, rng: np.random.Generator, *difficulty: str) -> Problem:
        """Draw one of the prompts, or a sentence of a level of which some words are told."""
        if self._problems is not None:
            return super().sample(rng)
        problem = ask(rng, self.difficulties[self.difficulty_index(*difficulty or (None,))])
        return problem if self._has_reference else Problem(problem.prompt)
