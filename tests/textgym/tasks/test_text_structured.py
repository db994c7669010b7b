"""TextStructured: what is asked, what is right, and what masks guarantee."""

from __future__ import annotations

import json
import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import textgym
from tests.textgym.constraints import vocabularies
from textgym.tasks.math.choices import Choices
from textgym.tasks.structured import TextStructured, forms
from textgym.tokenizer import Tokenizer

LEVELS = TextStructured.difficulties
TASK = TextStructured()


def draw(level: str, count: int) -> list[textgym.Problem]:
    rng = np.random.default_rng(0)
    return [TASK.sample(rng, level) for _ in range(count)]


# ------------------------------------------------------------------ masks


@pytest.fixture(scope="module")
def pieces() -> list[str]:
    return vocabularies.word_pieces(50_000)


@pytest.fixture(scope="module", params=["char", "byte-level", "metaspace"])
def played(request: pytest.FixtureRequest, pieces: list[str]) -> tuple[str | Tokenizer, int]:
    """A tokenizer and how many episodes to play.

    The built-in one; 50,000 tokens of bytes; 50,000 of which the first loses its space.
    """
    if request.param == "char":
        return "char", 1000
    if request.param == "byte-level":
        every_byte = [bytes([byte]) for byte in range(256)]
        texts = [*every_byte, *(piece.encode() for piece in pieces)]
        return vocabularies.byte_level(texts), 1000
    texts = [*pieces, *map(chr, range(0x20, 0x7F))]
    return vocabularies.metaspace([text.replace(" ", "▁") for text in texts]), 100


def random_responses(tokenizer: str | Tokenizer, level: str, count: int) -> list[tuple[Any, ...]]:
    """Constraint, response, stop reason and whether it is graded as valid, of random episodes."""
    envs = gym.make_vec(
        "TextStructured-v0",
        num_envs=50,
        tokenizer=tokenizer,
        difficulty=level,
        autoreset_mode="SameStep",
    )
    rng, mdp, found = np.random.default_rng(0), envs.mdp, []
    _, infos = envs.reset(seed=0)
    numbers = infos["problem"].copy()
    while len(found) < count:
        masks = envs.action_masks()
        options = [np.flatnonzero(mask) for mask in masks]
        _, _, terminations, _, infos = envs.step([rng.choice(tokens) for tokens in options])
        for slot in np.flatnonzero(terminations).tolist():
            problem = mdp.bank.problem(mdp.row(LEVELS.index(level), int(numbers[slot])))
            ended = infos["final_info"]
            valid = ended["components"]["valid"][slot]
            reason, response = ended["stop_reason"][slot], ended["response"][slot]
            found.append((TASK.constraint(problem), response, reason, valid))
            numbers[slot] = infos["problem"][slot]
    return found[:count]


# The masks are what counts: one of the tokenizers has no token for a space.
@pytest.mark.filterwarnings("ignore:TextStructured has the prompt")
@pytest.mark.parametrize("level", LEVELS)
def test_a_thousand_random_responses_under_masks_are_valid(
    played: tuple[str | Tokenizer, int], level: str
) -> None:
    found = random_responses(played[0], level, played[1])
    assert all(reason == "eos" and valid == 1.0 for _, _, reason, valid in found)
    assert all(re.fullmatch(pattern, response) for pattern, response, _, _ in found)
    assert len({response for _, response, _, _ in found}) > 50


def test_both_forms_of_the_environment_have_the_same_masks() -> None:
    env = gym.make("TextStructured-v0", difficulty="record").unwrapped
    envs = gym.make_vec("TextStructured-v0", num_envs=2, difficulty="record")
    env.reset(seed=5)
    envs.reset(seed=[7, 5])
    rng, over = np.random.default_rng(0), False
    while not over:
        masks = envs.action_masks()
        assert (masks[1] == env.action_masks()).all()
        tokens = [rng.choice(np.flatnonzero(mask)) for mask in masks]
        over = env.step(tokens[1]).terminated
        envs.step(tokens)


def test_where_nothing_valid_fits_every_legal_token_is_allowed() -> None:
    env = gym.make(
        "TextStructured-v0", pattern="a{9}", prompts=["x"], max_response_tokens=9
    ).unwrapped
    env.reset(seed=0)
    legal = ~env.mdp.vocabulary.illegal
    assert (env.action_masks() == legal).all()
    env = gym.make("TextStructured-v0", pattern="a{9}", prompts=["x"]).unwrapped
    env.reset(seed=0)
    assert env.action_masks().sum() == 1
    env.step(env.mdp.vocabulary.encode("b")[0])
    assert (env.action_masks() == legal).all()


# ------------------------------------------------------------------ what is asked


def test_the_form_in_the_prompt_is_the_constraint() -> None:
    for problem in draw("pattern", 200):
        stated = re.search("in the form (.*): $", problem.prompt)[1]
        assert TASK.constraint(problem) == stated and re.fullmatch(stated, problem.answer)


def test_answers_are_in_their_form_and_as_masks_would_write_them() -> None:
    for level in LEVELS:
        for problem in draw(level, 300):
            assert re.fullmatch(TASK.constraint(problem), problem.answer), problem


def value_of(formula: str) -> int:
    """The value of a formula in brackets, by reduction of the innermost ones."""
    while (found := re.search(r"\((-?\d+)([-+*])(-?\d+)\)", formula)) is not None:
        a, b = int(found[1]), int(found[3])
        value = {"+": a + b, "-": a - b, "*": a * b}[found[2]]
        formula = f"{formula[: found.start()]}{value}{formula[found.end() :]}"
    return int(formula)


def spoken_value(words: list[str]) -> int:
    """The value of `the sum of 3 and 4`, read from the front of `words`, which it uses up."""
    if words[0] != "the":
        return int(words.pop(0))
    name = words[1]
    del words[:3]
    a = spoken_value(words)
    words.pop(0)
    b = spoken_value(words)
    return {"sum": a + b, "difference": a - b, "product": a * b}[name]


def test_a_formula_has_the_value_of_its_words() -> None:
    for problem in draw("expression", 300):
        words = re.search("Write as e: (.*): $", problem.prompt)[1].split()
        assert spoken_value(words) == value_of(problem.answer) and not words
        assert 2 <= len(re.findall("[-+*]", problem.answer)) <= 4


@pytest.mark.parametrize("level", ["record", "nested"])
def test_a_record_has_what_the_sentence_says(level: str) -> None:
    def facts(value: Any) -> list[str]:
        if isinstance(value, dict | list):
            inside = value.values() if isinstance(value, dict) else value
            return [fact for item in inside for fact in facts(item)]
        return [] if value is None or isinstance(value, bool) else [str(value)]

    for problem in draw(level, 300):
        sentence = problem.prompt.partition(" As JSON ")[0]
        words = set(re.findall(r"-?\w+", sentence))
        value = json.loads(problem.answer)
        assert set(facts(value)) <= words, problem
        if "rain" in value:
            assert value["rain"] == ("it rains" in sentence)
        if "paid" in value:
            assert value["paid"] == ("has paid" in sentence)
        if "winner" in value:
            home, away = value["teams"]
            best = max(value["teams"], key=lambda team: team["goals"])["team"]
            assert value["winner"] == (None if home["goals"] == away["goals"] else best)


class Scripted(Choices):
    """Choices that are known beforehand."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = iter(numbers)

    def below(self, bound: int) -> int:
        number = next(self._numbers)
        assert 0 <= number < bound
        return number


@pytest.mark.parametrize(
    ("draw_form", "numbers", "said", "written"),
    [
        (forms.date, (121, 2, 6), "7 March 2021", "2021-03-07"),
        (forms.time, (21, 5), "9:05 pm", "21:05"),
        (forms.time, (0, 30), "12:30 am", "00:30"),
        (forms.time, (12, 0), "12:00 pm", "12:00"),
        (forms.colour, (255, 0, 17), "red 255, green 0, blue 17", "#ff0011"),
        (forms.money, (11, 4), "12 dollars and 5 cents", "$12.05"),
        (forms.duration, (0, 3, 38), "2 days, 5 hours and 40 minutes", "P2DT5H40M"),
        (forms.phone, (550172368,), "0550172368", "(055) 017-2368"),
        (
            forms.place,
            (0, 1, 8, 7, 11, 30),
            "8 degrees 7 minutes north, 11 degrees 30 minutes west",
            "N08:07 W011:30",
        ),
        (forms.plate, (10, 16, 1, 417), "letters K, Q, B, number 417", "KQB-0417"),
    ],
)
def test_what_is_said_is_written_in_its_form(
    draw_form: Any, numbers: tuple[int, ...], said: str, written: str
) -> None:
    assert draw_form(Scripted(*numbers)) == (said, written)


def test_one_record_in_two_wordings_is_one_problem() -> None:
    by_answer: dict[str, set[tuple[str, str]]] = {}
    for problem in draw("record", 3000):
        by_answer.setdefault(problem.answer, set()).add((problem.key, problem.split))
    assert all(len(found) == 1 for found in by_answer.values())


# ------------------------------------------------------------------ grades


def ada() -> textgym.Problem:
    return next(p for p in draw("record", 500) if '"age"' in p.answer)


def test_json_is_compared_by_value() -> None:
    problem = ada()
    value = json.loads(problem.answer)
    for same in (
        json.dumps(value, indent=2),
        json.dumps(dict(reversed(value.items()))),
        json.dumps({**value, "age": float(value["age"])}),
        f" {problem.answer}\n",
    ):
        assert TASK.grade(problem, same) == {"valid": 1.0, "correct": 1.0}


def test_form_alone_earns_a_fifth() -> None:
    problem = ada()
    value = json.loads(problem.answer)
    wrong = json.dumps({**value, "age": (value["age"] + 1) % 100})
    assert TASK.grade(problem, wrong) == {"valid": 1.0, "correct": 0.0}
    env = gym.make("TextStructured-v0")
    assert env.unwrapped.mdp.scoring.total([1.0, 0.0], [0.2, 0.8]) == 0.2


@pytest.mark.parametrize(
    "change",
    [
        lambda value: {**value, "more": 1},
        lambda value: {"name": value["name"]},
        lambda value: {**value, "age": str(value["age"])},
        lambda value: {**value, "age": 121},
        lambda value: {**value, "age": True},
        lambda value: {**value, "name": ""},
        lambda value: {**value, "name": "x" * 13},
        lambda value: [value],
    ],
)
def test_what_does_not_conform_earns_nothing(change: Any) -> None:
    problem = ada()
    response = json.dumps(change(json.loads(problem.answer)))
    assert TASK.grade(problem, response) == {"valid": 0.0, "correct": 0.0}


@pytest.mark.parametrize(
    "response",
    [
        *("", "{", "[" * 10**5, "{" * 10**5, '{"a":' * 10**4, "7" * 10**6, "NaN", "1e999999999"),
        *('{"name":"Ada","name":"Ada"}', '"\\ud800"', "\ud800", "\0", "\ufeff{}", "((((" * 10**5),
        *("(" * 10**5 + "1", "(1+" * 10**5, "null", "[]", "true", "(1+1) ", " (1+1)", "\n"),
    ],
    ids=lambda text: repr(text)[:12],
)
def test_hostile_responses_earn_nothing(response: str) -> None:
    for level in LEVELS:
        assert TASK.grade(draw(level, 1)[0], response) == {"valid": 0.0, "correct": 0.0}


# ------------------------------------------------------------------ forms of one's own


def test_a_pattern_of_ones_own_is_all_that_counts() -> None:
    env = gym.make("TextStructured-v0", pattern="(yes|no)[.!]", prompts=["Is water wet? "])
    env = env.unwrapped
    env.reset(seed=0)
    assert env.mdp.reward_range == (0.0, 1.0) and env.mdp.components == ("valid",)
    assert set(env.mdp.vocabulary.decode(np.flatnonzero(env.action_masks()))) == set("yn")
    task = env.task
    assert task.grade(ada(), "no!") == {"valid": 1.0}
    assert task.grade(ada(), "no! ") == task.grade(ada(), "maybe") == {"valid": 0.0}
    assert env.mdp.budget == 32


def test_a_schema_of_ones_own_is_json() -> None:
    schema = {"type": "array", "items": {"type": "boolean"}, "minItems": 20, "maxItems": 20}
    task = TextStructured(["Flip coins: "], schema=schema)
    assert task.grade(ada(), json.dumps([True] * 20)) == {"valid": 1.0}
    assert task.grade(ada(), json.dumps([True] * 19)) == {"valid": 0.0}
    assert task.least_response_tokens == 2 * len(json.dumps([True] * 20, separators=(",", ":")))


def test_a_grammar_of_ones_own_begins_with_its_first_rule() -> None:
    rules = {"sum": ["<digit>", "(<sum>+<sum>)"], "digit": ["1", "2"]}
    task = TextStructured(["Add: "], grammar=rules, depth=3)
    assert task.grade(ada(), "(1+2)") == {"valid": 1.0}
    assert task.grade(ada(), "((1+2)+1)") == {"valid": 0.0}


def test_prompts_have_splits() -> None:
    task = TextStructured({"train": ["a", "b"], "test": ["c"]}, pattern="x+")
    assert textgym.check_task(task).ok
    assert [p.split for p in task.list_problems()] == ["train", "train", "test"]


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ({"pattern": "a"}, "prompts is None"),
        ({"fields": {"prompt": "x"}}, "prompts is None"),
        ({"prompts": ["a"]}, r"got \[\], expected one of pattern, schema and grammar"),
        ({"prompts": ["a"], "pattern": "a", "schema": {}}, r"got \['pattern', 'schema'\]"),
        ({"prompts": ["a"], "pattern": "("}, r"pattern '\('"),
        ({"prompts": ["a"], "pattern": 5}, "pattern is 5"),
        ({"prompts": ["a"], "schema": {"type": "x"}}, "schema.type"),
        ({"prompts": ["a"], "schema": 5}, "schema is 5"),
        ({"prompts": ["a"], "grammar": 5}, "grammar is 5"),
        ({"prompts": ["a"], "grammar": {"a": ["<b>"]}}, "refers to <b>"),
        ({"prompts": ["a"], "grammar": {"a": ["b"]}, "depth": 0}, "depth is 0"),
        ({"prompts": [], "pattern": "a"}, "prompts is empty"),
    ],
)
def test_wrong_arguments_are_named(keywords: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        gym.make("TextStructured-v0", **keywords)
