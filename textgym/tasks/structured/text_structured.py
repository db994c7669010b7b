"""TextStructured: say something in a given form, which action masks can guarantee."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from textgym.constraints import compiled, grammar_pattern, matches, schema_pattern
from textgym.grading.json_values import NoJson, conforms, read_json, same
from textgym.registration import register_task
from textgym.task import Problem, Task
from textgym.tasks.generation.scored import Prompts, read_prompts
from textgym.tasks.math.choices import Choices
from textgym.tasks.structured.forms import ask_form
from textgym.tasks.structured.formulas import DEPTH, ask_formula
from textgym.tasks.structured.records import ask_nested, ask_record

Form = Mapping[str, Any]
"""`pattern`: the constraint; `schema`: where a response is JSON. The info of generated problems."""

ASK: tuple[Callable[[Choices], Problem], ...] = (ask_form, ask_record, ask_nested, ask_formula)
"""A level's problems, level by level."""


@register_task("TextStructured-v0")
class TextStructured(Task):
    r"""Say something in a given form: a regular expression, a JSON schema or a grammar.

    ## Description
    The prompt has some facts and states the form in which to write them:

        Write 7 March 2021 as year, month and day, in the form [0-9]{4}-[0-9]{2}-[0-9]{2}:
        Ada is 36 and lives in Rome. As JSON {"name":text(1..12),"age":0..120,"city":text(1..12)}:

    The answers are `2021-03-07` and `{"name":"Ada","age":36,"city":"Rome"}`. With `pattern`,
    `schema` or `grammar`, the form is the user's, and so are the prompts:

        gym.make("TextStructured-v0", pattern="(yes|no)[.!]", prompts=["Is water wet? "])

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. `action_masks()` allows exactly the tokens after
    which a response in the form can still be completed within the budget, whatever the tokenizer;
    see `textgym.constraints`. A policy under these masks, even a random one, never leaves the form.
    Without them, any token may be chosen.

    The budget is 192 tokens, eos included; references have at most 130 characters. For a form of
    one's own it is 32, or twice the shortest text in that form if that is more; see
    `max_response_tokens`.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. A prompt of the table
    has at most 180 characters.

    ## Starting State
    Facts of the level at random, or one of the prompts.

    ## Rewards
    * `valid`, weight 0.2: 1 if the whole response is in the form: the pattern or the grammar
      matches it, or it is JSON that conforms to the schema (blanks and the order of names are free
      there, though masks allow no blanks and one order).
    * `correct`, weight 0.8: 1 if it is valid and has the facts. JSON is compared by value, other
      forms letter by letter, since they leave no choice.

    So form alone earns 0.2. With prompts of one's own, `valid` is all there is, with weight 1. The
    reward comes at the end of the episode.

    ## Episode End
    The episode terminates with eos or when the budget is spent. A response cut off there is graded
    as it stands. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`.

    ## Arguments
    `difficulty`: a level of the table, the first one unless told otherwise.

    `prompts` and one of: `pattern`, a regular expression of Python's `re`; `schema`, a JSON schema
    as `textgym.constraints.json_schema` understands them; `grammar`, a mapping of names to
    alternatives as in `{"sum": ["<digit>", "(<sum>+<sum>)"], "digit": ["1", "2"]}`, whose first
    rule is the start, expanded to `depth` (6) rules, one in another. `prompts` is a list of texts,
    a mapping from splits to lists, or a file, a folder or the name of a data set, with
    `fields={"prompt": COLUMN}` and `subset`; see ScoredTexts.

    ## Difficulties
    | level      | problems  | what is asked                                             |
    |------------|-----------|-----------------------------------------------------------|
    | pattern    |   > 10^10 | dates, times, colours, prices, ... in eight forms         |
    | record     | 3,977,560 | a sentence's facts as JSON, in four schemas               |
    | nested     |   > 10^12 | the same with objects and arrays inside, in three schemas |
    | expression |    > 10^7 | a calculation in words as a formula of a grammar          |

    At `expression`, `the sum of 3 and the product of 4 and 12` is `(3+(4*12))`.

    ## References
    Willard and Louf 2023, "Efficient Guided Generation for Large Language Models".

    ## Version History
    * v0: initial version.
    """

    rewards = {"valid": 0.2, "correct": 0.8}
    difficulties = ("pattern", "record", "nested", "expression")
    max_response_tokens = 192
    floor = 0.2  # what is in the form and says something else

    def __init__(
        self,
        prompts: Prompts | None = None,
        *,
        pattern: str | None = None,
        schema: Mapping[str, Any] | None = None,
        grammar: Mapping[str, Sequence[str]] | None = None,
        depth: int = DEPTH,
        fields: Mapping[str, str] | None = None,
        subset: str | None = None,
    ) -> None:
        self._problems: list[Problem] | None = None
        self._form: Form | None = None
        forms = {"pattern": pattern, "schema": schema, "grammar": grammar}
        given = [name for name, form in forms.items() if form is not None]
        if prompts is None:
            if given or fields is not None or subset is not None:
                raise ValueError("prompts is None, expected some: a form or a data set is given")
            return
        if len(given) != 1:
            raise ValueError(f"got {given}, expected one of pattern, schema and grammar")
        self._problems = read_prompts(prompts, fields, subset)
        if schema is not None:
            self._form = {"pattern": schema_pattern(schema), "schema": schema}
        elif grammar is not None:
            self._form = {"pattern": grammar_pattern(grammar, depth=depth)}
        else:
            self._form = {"pattern": pattern}
        self.rewards, self.difficulties = {"valid": 1.0}, ()
        self.max_response_tokens, self.floor = None, None
        self.least_response_tokens = max(32, 2 * compiled(self._form["pattern"]).shortest)

    def sample(self, rng: np.random.Generator, difficulty: str | None = None) -> Problem:
        """Draw facts of a level and the form in which to write them, or one of the prompts."""
        if self._problems is not None:
            return self._problems[int(rng.integers(len(self._problems)))]
        return ASK[self.difficulty_index(difficulty)](Choices(rng))

    def list_problems(self, difficulty: str | None = None) -> Sequence[Problem] | None:
        """All prompts of one's own, each once."""
        return self._problems

    def constraint(self, problem: Problem) -> str:
        """The pattern of the form."""
        return (self._form or problem.info)["pattern"]

    def grade(self, problem: Problem, response: str) -> dict[str, float]:
        """Whether the response is in the form, and has the facts."""
        form = self._form or problem.info
        is_valid, said = _read(form, response)
        grade = {"valid": float(is_valid)}
        if "correct" in self.rewards:
            grade["correct"] = float(is_valid and same(said, _read(form, problem.answer)[1]))
        return grade


def _read(form: Form, text: str) -> tuple[bool, Any]:
    """Whether a text is in a form, and what it says: the value of JSON, else the text itself."""
    if "schema" not in form:
        return matches(form["pattern"], text), text
    try:
        value = read_json(text)
    except NoJson:
        return False, None
    return conforms(value, form["schema"]), value
