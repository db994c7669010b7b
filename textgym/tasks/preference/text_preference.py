"""TextPreference: judge which of two responses is better, or write the one that is preferred."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from textgym.preferences.functions import Person, PreferenceFunction, bradley_terry
from textgym.registration import register_task
from textgym.rewards import Score
from textgym.task import Grade, Preference, Problem, Task
from textgym.tasks.math.choices import Choices
from textgym.tasks.preference import drafts
from textgym.tasks.preference.comparison import Comparison
from textgym.tasks.preference.requests import LEVELS
from textgym.tasks.preference.rows import Source, judge_prompt, to_answer, to_judge
from textgym.tasks.preference.utility import features_of

Form = Literal["judge", "duel", "pair"]

AGAIN = "\nAnother response: "
"""What the environment says between the two responses of a pair."""

DATA_SET_TOKENS = 256
"""Least budget for a response to a data set's prompt."""

PAIR_TOKENS = 128
"""Least budget for two responses of one's own."""


@dataclass(frozen=True)
class FormSpec:
    """What the forms differ in: components and weights, and what may be earned for nothing."""

    rewards: Mapping[str, float]
    floor: float
    beta: float


FORMS: Mapping[str, FormSpec] = {
    "judge": FormSpec({"correct": 1.0}, 0.5, math.inf),
    "duel": FormSpec({"preferred": 1.0}, 0.15, 4.0),
    "pair": FormSpec({"preferred": 1.0, "improved": 0.0}, 0.15, 4.0),
}


@register_task("TextPreference-v0")
class TextPreference(Task):
    """Judge which of two responses is better, or write the one that is preferred.

    ## Description
    A request has a true utility by construction. It asks for n points, and a response is a list of
    items, separated by commas; see `textgym.tasks.preference.utility` for how any text is read. A
    response that makes m of the points, with k items beside them, is worth

        u = m / n - k / (m + k)      from -1 to 1: 1 is perfect, 0 is what nothing is worth

    and a is preferred to b with the probability (Bradley and Terry's model, with noise)

        P(a > b) = noise + (1 - 2 noise) sigmoid(beta (u(a) - u(b)))      1/2 for a tie

    Three forms of the environment, by the keyword `form`:

    * "judge": the prompt is a request and two responses, marked A and B, of different quality: some
      of the points are missing, and there may be false items. Which comes first is a coin's toss.
      The policy says which is better.
    * "duel": the policy responds to the request, and the response is compared with one of a
      reference policy, all of whose responses are worth 1/2: they make half of the points and no
      others, or all of them and as many false ones, ...
    * "pair": the policy responds twice to one request, and both responses are compared with the
      reference policy's and with each other: a pair for learning from preferences online.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. The budget is 4 tokens for a judge (of the
    built-in tokenizer), up to twice the longest reference answer, eos included, for a duel, and at
    least 128 for a pair's two responses together. A judge's `action_masks()` allow A and B alone.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding; of a pair, also what the
    environment says between the responses. A request has at most 109 characters.

    ## Starting State
    A request of the level, at random. Ways to ask the same have the same key, so no request is in
    two splits, with whatever responses it is shown.

    ## Rewards
    * judge: `correct`, 1 if the response is the letter of the preferred response. The label is the
      truth unless `noise` or `beta` is given; then it is drawn from P, and no policy is right more
      often than `best_accuracy(level)` says: 1 - noise if beta is inf. Guessing gives 0.5, the
      longer response up to 0.66, and all that can be seen without the request (how many items, how
      many of them in both, in what order) 0.71 to 0.76, at the level sort 0.81.
    * duel: `preferred`, the probability P that the response is preferred to the reference's: no
      coin is tossed. A perfect response earns P = sigmoid(beta / 2), 0.881, an empty one 0.119.
    * pair: `preferred`, the mean of that over the responses. Nothing is earned by a bad first
      response that makes the second look good: `improved`, the probability that the second is
      preferred to the first, has weight 0.

    The reward comes at the end of the episode.

    ## Episode End
    The episode terminates with eos (of a pair: the second one) or when the budget is spent. A
    response that is cut off there is judged as it stands; of a pair without a second response, the
    first counts alone. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`. `verdict` has `utility` (duel), or for a pair `preferred`
    ("first", "second" or "tie": which has the higher probability) and `probability` (that the first
    is preferred to the second). Where a preference function failed, `verifier_error` says how.

    `env.unwrapped.preferences(n, seed)` gives pairs of drafts, labelled by P, in each form.

    ## Arguments
    `form`: see above. `beta`: how much a difference in utility counts. None: inf (the better one is
    preferred) for a judge, 4 for a duel and a pair, 1 with `reward_fn`. `noise`: the share of
    comparisons turned around, at least 0 and below 0.5. `difficulty`: a level of the table.

    `preference`: who compares. "utility": the model above. A function (prompt, a, b) -> probability
    that a is preferred; see `textgym.preferences`. "person": whoever sits at the terminal is asked
    (in a duel and a pair). `reward_fn` instead: a reward function, or a ready one by name such as
    "reward_model:FOLDER" (see `textgym.rewards`), which Bradley and Terry's model makes a
    preference of.

    `reference`: the reference policy of a duel or a pair, a function from prompts to responses.

    `dataset`: pairs instead of the requests above, as a file, a folder, a name on the hub, or a
    list of Preferences; see `textgym.load_preferences` for the layouts, `fields` and `subset`. A
    judge's label is the data set's. In a duel and a pair, the reference's responses are the chosen
    ones (or those of a data set with the columns prompt and response), and as their utility is
    unknown, `preference` or `reward_fn` has to be given. Official splits are kept; other rows are
    split by a hash of the prompt.

    ## Difficulties
    n is 4, or 2 at the levels facts and menu. Requests are counted by their key.

    | level   |    requests | what is asked for                      | example                     |
    |---------|-------------|----------------------------------------|-----------------------------|
    | letters | 109,359,250 | the letters marked with a plus         | `+k -b +d +x -q -a +m -s:`  |
    | facts   |     > 10**9 | what is said of one of two people      | `... Bob's dog and hat?`    |
    | sort    |   5,110,380 | four numbers in order                  | `52 17 90 38, ... first:`   |
    | menu    |     > 10**9 | what of six is hot (or cold), not dear | `... Hot, up to 5:`         |
    | changes |     > 10**9 | a list after four changes              | `... Add eggs. ... Now:`    |
    | ranked  |     > 10**9 | what of six is hot (or cold), by price | `... Hot, cheapest first:`  |

    ## References
    Bradley and Terry 1952, "Rank Analysis of Incomplete Block Designs"; Christiano et al. 2017,
    "Deep Reinforcement Learning from Human Preferences"; Ouyang et al. 2022, "Training language
    models to follow instructions with human feedback".

    ## Version History
    * v0: initial version.
    """

    rewards = FORMS["judge"].rewards
    difficulties = tuple(LEVELS)
    floor = FORMS["judge"].floor

    def __init__(
        self,
        form: Form = "judge",
        *,
        preference: str | PreferenceFunction = "utility",
        reward_fn: Any = None,
        beta: float | None = None,
        noise: float = 0.0,
        reference: Callable[[str], str] | None = None,
        dataset: Source | None = None,
        subset: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        if form not in list(FORMS):
            raise ValueError(f"form is {form!r}, expected one of {list(FORMS)}")
        if reference is not None and not callable(reference):
            raise TypeError(f"reference is {reference!r}, expected a function of a prompt")
        spec = FORMS[form]
        self.form, self.reference = form, reference
        self.rewards, self.floor = spec.rewards, spec.floor
        if beta is None:
            beta = spec.beta if reward_fn is None else 1.0
        elif preference != "utility":
            raise ValueError(
                f"beta is {beta!r}, but preference is a probability already: beta is for the "
                "utility and for reward_fn"
            )
        self.comparison = Comparison(preference, reward_fn, beta, noise)
        if form == "judge":
            self.alphabet = "AB \n"
        if form == "pair":
            self.max_turns, self.max_reply_tokens = 2, len(AGAIN)
            self.least_response_tokens = PAIR_TOKENS
        self._rows: list[Problem] | None = None
        if dataset is not None:
            read = to_judge if form == "judge" else to_answer
            self._rows, self.difficulties = read(dataset, fields, subset), ()
            if form != "judge":
                self.least_response_tokens = DATA_SET_TOKENS
        self._check_combination(subset, fields)
        if self._knows_best():
            best = bradley_terry(1.0 - drafts.REFERENCE_UTILITY, beta, noise)
            self.component_ranges = {"preferred": (0.0, best)}

    def _check_combination(self, subset: str | None, fields: Mapping[str, str] | None) -> None:
        """Refuse arguments that have no meaning beside others."""
        is_judge, has_rows = self.form == "judge", self._rows is not None
        comparison, function = self.comparison, self.comparison.function
        is_default = function is None and comparison.beta == math.inf and not comparison.noise
        for is_wrong, told in (
            (
                not has_rows and (subset is not None or fields is not None),
                "subset and fields say how to read a data set, and dataset is None",
            ),
            (
                is_judge and self.reference is not None,
                "reference is the policy that a duel or a pair is held against: form is 'judge'",
            ),
            (
                has_rows and self.reference is not None,
                "reference is given and dataset too, whose responses are the reference policy's",
            ),
            (
                is_judge and isinstance(function, Person),
                "preference is 'person' and form 'judge', but a person labels pairs by "
                "`python -m textgym label`; use form='duel' or 'pair'",
            ),
            (
                is_judge and has_rows and not is_default,
                "a judge's labels are those of the data set: leave preference, reward_fn, beta and "
                "noise out",
            ),
            (
                not is_judge and has_rows and function is None,
                "the texts of a data set have no known utility: give preference=FUNCTION, "
                "preference='person' or reward_fn",
            ),
        ):
            if is_wrong:
                raise ValueError(told)

    def _knows_best(self) -> bool:
        """Whether a perfect response earns as much in every problem, and it is known how much."""
        return (
            self.form != "judge"
            and self.comparison.function is None
            and self.reference is None
            and self._rows is None
        )

    # --------------------------------------------------------------- problems

    def sample(self, rng: np.random.Generator, difficulty: str | None = None) -> Problem:
        """Draw a request of a level and what belongs to it, or a row of the data set."""
        if self._rows is not None:
            return self._rows[int(rng.random() * len(self._rows))]
        choose = Choices(rng)
        request = LEVELS[self.difficulties[self.difficulty_index(difficulty)]](choose)
        asked = Problem(request.prompt, info={"request": request}, key=request.key)
        if self.form == "judge":
            return self._judgement(asked, choose, rng)
        if self.reference is None:
            reference = drafts.write_reference(request, choose)
        else:
            reference = self.reference(request.prompt)
            if not isinstance(reference, str):
                raise TypeError(f"reference returned {reference!r:.80}, expected a text")
        answer = ", ".join(request.points) if self._knows_best() else ""
        return replace(asked, answer=answer, info={**asked.info, "reference": reference})

    def _judgement(self, asked: Problem, choose: Choices, rng: np.random.Generator) -> Problem:
        """Whether the first of two drafts is better than the second."""
        first, second = choose.shuffled(drafts.write_pair(asked.info["request"], choose))
        probability = self.comparison.of(asked, first, second)
        return replace(
            asked,
            prompt=judge_prompt(asked.prompt, first, second),
            answer="A" if rng.random() < probability else "B",
            info={**asked.info, "probability": probability},
        )

    def list_problems(self, difficulty: str | None = None) -> Sequence[Problem] | None:
        """The rows of the data set, if there is one."""
        return self._rows

    def sample_preference(self, problem: Problem, rng: np.random.Generator) -> Preference | None:
        """Two drafts, labelled by P; of a data set, the problem's own pair."""
        if self._rows is not None:
            return problem.info.get("pair")
        first, second = drafts.write_pair(problem.info["request"], Choices(rng))
        if rng.random() >= self.comparison.of(problem, first, second):
            first, second = second, first
        return Preference(problem.info["request"].prompt, first, second)

    def best_accuracy(self, difficulty: str | int | None = None) -> float:
        """How often the best of all judges agrees with the labels of a level's pairs.

        The mean of noise + (1 - 2 noise) sigmoid(beta |u(a) - u(b)|) over pairs of drafts, of which
        there are finitely many kinds; 1 less this is the labels' noise rate.

        Raises:
            ValueError: if the labels are not drawn from the utility's model.
        """
        if self.comparison.function is not None or self._rows is not None:
            raise ValueError("best_accuracy is known where the utility decides, of no data set")
        level = self.difficulties[self.difficulty_index(difficulty)]
        request = LEVELS[level](Choices(np.random.Generator(np.random.PCG64(0))))
        return drafts.best_accuracy(
            len(request.points), self.comparison.beta, self.comparison.noise
        )

    # ---------------------------------------------------------------- grading

    def constraint(self, problem: Problem) -> str | None:
        """A judge says A or B."""
        return "A|B" if self.form == "judge" else None

    def grade(self, problem: Problem, response: str) -> Grade:
        """A judge's agreement with the label, or the probability to be preferred."""
        return self.grade_many([problem], [response])[0]

    def grade_many(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Grade]:
        """The same of many, with one call of a batched preference function."""
        if self.form == "judge":
            return [
                Grade({"correct": float(response.strip() == problem.answer)})
                for problem, response in zip(problems, responses, strict=True)
            ]
        if self.form == "pair":
            return [self.grade_turns(*each) for each in zip(problems, responses, strict=True)]
        references = [problem.info["reference"] for problem in problems]
        scores = self.comparison.many(problems, responses, references)
        return [
            self._duel(problem, response, score)
            for problem, response, score in zip(problems, responses, scores, strict=True)
        ]

    def _duel(self, problem: Problem, response: str, score: Score) -> Grade:
        request = problem.info.get("request")
        facts = {"utility": features_of(request, response).utility} if request else {}
        return Grade({"preferred": score.value}, facts=facts, error=score.error)

    def reply(self, problem: Problem, turns: Sequence[str]) -> str | None:
        """Ask for another response."""
        return AGAIN if len(turns) == 1 else None

    def grade_turns(self, problem: Problem, turns: Sequence[str]) -> Grade:
        """How both responses of a pair fare against the reference, and against each other."""
        if self.form != "pair":
            return self.grade(problem, turns[-1])
        firsts, seconds = list(turns), [problem.info["reference"]] * len(turns)
        if len(turns) == 2:
            firsts, seconds = [*firsts, turns[0]], [*seconds, turns[1]]
        scores = self.comparison.many([problem] * len(firsts), firsts, seconds)
        for score in scores:
            if score.error:
                return Grade(error=score.error)
        wins = [score.value for score in scores[: len(turns)]]
        components = {"preferred": sum(wins) / len(wins), "improved": 0.0}
        if len(turns) == 1:
            return Grade(components)
        probability = scores[2].value
        components["improved"] = 1.0 - probability
        preferred = ("second", "tie", "first")[int(np.sign(probability - 0.5)) + 1]
        return Grade(components, facts={"preferred": preferred, "probability": probability})
