"""TextMultiObjective and TextConcise: that the stated front is the front, and what reaches it."""

from __future__ import annotations

import re
from itertools import product

import gymnasium as gym
import numpy as np
import pytest

from tests.textgym.playing import play, problem_of
from textgym import load_task
from textgym.pareto import expected_utility, hypervolume, pareto_front
from textgym.task import Problem

IDS = ("TextMultiObjective-v0", "TextConcise-v0")
LEVELS = [(id, level) for id in IDS for level in load_task(id).difficulties]


def draw(id: str, level: str, count: int, **settings) -> list[Problem]:
    task, rng = load_task(id, **settings), np.random.default_rng(0)
    return [task.sample(rng, level) for _ in range(count)]


def vector(task, problem: Problem, response: str) -> list[float]:
    grade = task.grade(problem, response)
    return [grade[name] for name in task.rewards]


# ------------------------------------------------------------------- the front


@pytest.mark.parametrize(("id", "level"), LEVELS)
def test_stated_responses_reach_every_point_of_the_front_in_its_order(id, level):
    task = load_task(id)
    front = task.pareto_front(level)
    for problem in draw(id, level, 20):
        reached = [vector(task, problem, text) for text in task.optimal_responses(problem)]
        assert np.allclose(reached, front, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("id", "level"), LEVELS)
def test_the_front_is_undominated_and_strictly_concave(id, level):
    front = load_task(id).pareto_front(level)
    assert np.array_equal(pareto_front(front), front)
    slopes = np.diff(front[:, 1]) / np.diff(front[:, 0])
    assert (np.diff(slopes) > 1e-9).all() and (slopes < 0).all()


def responses_to(id: str, problem: Problem) -> list[str]:
    """Every response from a few pieces, those of the answer, of wrong ones, and blanks."""
    if id == "TextMultiObjective-v0":
        pieces, longest = [*problem.info["characters"], "#", " "], 7
    else:
        pieces, longest = [*problem.info["terms"], "7", " ", ","], 6
    return ["".join(p) for n in range(longest + 1) for p in product(pieces, repeat=n)]


@pytest.mark.parametrize("id", IDS)
def test_no_response_whatsoever_dominates_the_front(id):
    task, problem = load_task(id), draw(id, "four", 1)[0]
    front, responses = task.pareto_front("four"), responses_to(id, problem)
    found = np.unique([vector(task, problem, text) for text in responses], axis=0)
    assert len(responses) > 20_000 and found.shape[1] == 2
    below = (found[:, None] <= front + 1e-12).all(-1)
    assert below.any(1).all()
    # All of the front is among them, for what can be written with so few pieces.
    reached = pareto_front(found)
    expected = front if id == "TextMultiObjective-v0" else front[1:]
    assert all(np.isclose(reached, point).all(1).any() for point in expected)


def test_digits_and_separators_of_any_kind_stay_below_the_front_of_counting():
    task, front = load_task("TextConcise-v0"), load_task("TextConcise-v0").pareto_front("four")
    problem = Problem("Count from 12 by 3: ", info={"terms": ("15", "18", "21", "24")})
    texts = ("".join(p) for n in range(7) for p in product("158 ,", repeat=n))
    found = np.unique([vector(task, problem, text) for text in texts], axis=0)
    assert (found[:, None] <= front + 1e-12).all(-1).any(1).all()
    assert np.isclose(found, front[-2]).all(1).any()  # "15 18"


def test_the_front_of_two_characters_lies_on_the_parabola_that_is_stated():
    for level, n in (("four", 4), ("eight", 8), ("sixteen", 16)):
        front = load_task("TextMultiObjective-v0").pareto_front(level)
        assert front.shape == (n + 1, 2)
        assert np.allclose(np.sqrt(1 - front).sum(axis=1), 1)


TABLE = {
    ("TextMultiObjective-v0", "four"): (0.7266, 0.8125),
    ("TextMultiObjective-v0", "eight"): (0.7861, 0.8281),
    ("TextMultiObjective-v0", "sixteen"): (0.8112, 0.8320),
    ("TextConcise-v0", "four"): (0.7812, 0.8516),
    ("TextConcise-v0", "eight"): (0.7266, 0.7744),
    ("TextConcise-v0", "sixteen"): (0.6973, 0.7247),
}


@pytest.mark.parametrize(("id", "level"), LEVELS)
def test_hypervolumes_are_those_of_the_table(id, level):
    front, (stated, of_mixtures) = load_task(id).pareto_front(level), TABLE[id, level]
    assert hypervolume(front, (0, 0)) == pytest.approx(stated, abs=6e-5)
    # Mixtures of neighbours lie on the chords: below them, trapezoids, and a rectangle at the left.
    x, y = front[::-1].T
    area = x[0] * y[0] + np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)
    assert area == pytest.approx(of_mixtures, abs=6e-5)
    assert f"{stated:.4f}      | {of_mixtures:.4f}" in type(load_task(id)).__doc__


# --------------------------------------------------------------------- weights


def test_the_best_share_of_a_character_is_its_weight():
    front = load_task("TextMultiObjective-v0").pareto_front("eight")
    for w in np.linspace(0, 1, 101):
        utilities = front @ [w, 1 - w]
        share = 1 - np.argmax(utilities) / 8
        assert abs(share - w) <= 1 / 16 + 1e-9
        assert utilities.max() == pytest.approx(1 - w * (1 - w) - (share - w) ** 2)


def test_the_best_number_of_terms_is_that_of_the_formula():
    front = load_task("TextConcise-v0").pareto_front("sixteen")
    for w in np.linspace(0.01, 1, 100):
        ideal = np.clip(16 * (1 - (1 - w) / (2 * w)), 1, 16)
        assert abs(16 - np.argmax(front @ [w, 1 - w]) - ideal) <= 0.5 + 1e-9


@pytest.mark.parametrize(("id", "level"), LEVELS)
def test_the_reference_is_the_best_response_by_the_weights_in_the_prompt(id, level):
    task, seen = load_task(id, weights_in_prompt=True), set()
    for problem in draw(id, level, 200, weights_in_prompt=True):
        told = [float(text) for text in re.findall(r"\d\.\d\d", problem.prompt)]
        weights = task.weights(problem)
        assert list(weights.values()) == told and sum(told) == pytest.approx(1)
        assert list(weights) == list(task.rewards)
        responses = list(task.optimal_responses(problem))
        utilities = [np.dot(told, vector(task, problem, text)) for text in responses]
        seen.add(best := responses.index(problem.answer))
        assert utilities[best] == pytest.approx(max(utilities), abs=1e-12)
    assert seen == set(range(len(task.pareto_front(level))))


@pytest.mark.parametrize("id", IDS)
def test_weights_in_the_prompt_make_the_reward(id):
    env = gym.make(id, weights_in_prompt=True, difficulty="eight")
    for seed in range(20):
        _, info = env.reset(seed=seed)
        problem, weights = problem_of(env.unwrapped, info), info["reward_weights"]
        assert np.allclose(weights, list(problem.info["weights"].values()))
        result = play(env, problem.answer)
        assert np.allclose(result.info["reward_weights"], weights)
        assert result.reward == pytest.approx(float(result.info["vector_reward"] @ weights))
        best = expected_utility(env.unwrapped.task.pareto_front("eight"), [weights])
        assert result.reward == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("id", IDS)
def test_a_question_is_in_one_split_whatever_its_weights(id):
    plain, told = (draw(id, "four", 300, weights_in_prompt=flag) for flag in (False, True))
    split_of = {problem.key: problem.split for problem in plain}
    assert all(split_of.get(problem.key, problem.split) == problem.split for problem in told)
    assert len({problem.key for problem in told} & set(split_of)) > 5


# -------------------------------------------------------------------- problems


def test_questions_are_as_many_as_stated():
    for id, count in (("TextMultiObjective-v0", 3782), ("TextConcise-v0", 2442)):
        task, rng = load_task(id), np.random.default_rng(0)
        drawn = {task.question(rng, "four").prompt for _ in range(60_000)}
        assert len(drawn) == count and f"{count:,} " in type(task).__doc__


@pytest.mark.parametrize("level", load_task("TextConcise-v0").difficulties)
def test_terms_are_what_the_prompt_asks_for_and_of_one_length(level):
    for problem in draw("TextConcise-v0", level, 500):
        start, step = map(int, re.findall(r"-?\d+", problem.prompt))
        terms = problem.info["terms"]
        assert terms == tuple(str(start + step * (i + 1)) for i in range(len(terms)))
        assert {len(term) for term in terms} == {2 if level == "four" else 3} and step


@pytest.mark.parametrize(
    ("response", "correct", "brief"),
    [
        ("15 18 21 24", 1, 1 / 4),
        (" 15,18\n", 3 / 4, 3 / 4),
        ("15", 7 / 16, 1),
        ("15 18 99", 3 / 4, 1 / 2),
        ("15 19 21 24", 7 / 16, 1 / 4),
        ("15, 18", 3 / 4, 1 - (7 / 3 - 1) / 4),  # 6 characters are 7/3 terms
        ("15 18" + " " * 40 + "21", 15 / 16, 0),
        ("15 18 21 24 27", 1, 0),
        ("", 0, 0),
        ("16 18 21 24", 0, 0),
        ("12 15 18", 0, 0),
        ("015", 0, 0),
        ("\u0661\u0665", 0, 0),
    ],
)
def test_counting_pays_for_right_terms_and_for_few_characters(response, correct, brief):
    problem = Problem("Count from 12 by 3: ", info={"terms": ("15", "18", "21", "24")})
    grade = load_task("TextConcise-v0").grade(problem, response)
    assert grade == {"correct": pytest.approx(correct), "brief": pytest.approx(brief)}


@pytest.mark.parametrize(
    ("response", "first", "second"),
    [
        ("kkkk", 1, 0),
        ("tttt", 0, 1),
        ("ktkt", 3 / 4, 3 / 4),
        (" kt ", 7 / 16, 7 / 16),
        ("k#t#kkkk", 7 / 16, 7 / 16),  # four characters are read
        ("KT", 0, 0),
        ("", 0, 0),
    ],
)
def test_each_character_pays_by_its_share_of_the_room(response, first, second):
    problem = Problem("Write 4 characters, k or t: ", info={"characters": ("k", "t"), "n": 4})
    grade = load_task("TextMultiObjective-v0").grade(problem, response)
    assert grade == {"first": pytest.approx(first), "second": pytest.approx(second)}


@pytest.mark.parametrize("id", IDS)
def test_weights_in_prompt_is_a_switch(id):
    with pytest.raises(TypeError, match="weights_in_prompt is 1, expected True or False"):
        load_task(id, weights_in_prompt=1)
    with pytest.raises(ValueError, match="no difficulty 'five'; expected one of"):
        load_task(id).pareto_front("five")


# ----------------------------------------------------------------- environments


@pytest.mark.parametrize("id", IDS)
def test_the_mo_twin_returns_the_vector_that_the_other_tells(id):
    scalar, twin = gym.make(id), gym.make(f"mo-{id}", disable_env_checker=True)
    _, info = scalar.reset(seed=0)
    twin.reset(seed=0)
    answer = problem_of(scalar.unwrapped, info).answer
    one, other = play(scalar, answer), play(twin, answer)
    assert other.reward.dtype == np.float32 and other.reward in twin.unwrapped.reward_space
    assert other.reward.tolist() == one.info["vector_reward"].tolist()
    assert one.reward == pytest.approx(float(other.reward.mean()))


@pytest.mark.parametrize("id", IDS)
def test_the_mo_twin_has_a_native_vector_form(id):
    envs = gym.make_vec(f"mo-{id}", num_envs=3)
    envs.reset(seed=0)
    _, rewards, terminations, _, infos = envs.step(np.full(3, envs.mdp.vocabulary.eos))
    assert rewards.shape == (3, 2) and rewards.dtype == np.float32 and terminations.all()
    assert infos["vector_reward"].tolist() == rewards.tolist()
