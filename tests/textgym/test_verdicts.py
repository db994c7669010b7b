"""Verdicts on their way from a task to an environment's info: facts, errors, many at once."""

from __future__ import annotations

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest

from tests.textgym import sample_tasks
from tests.textgym.playing import CHAR, EOS, Echo, assert_same, play, problem_of
from textgym import Grade, Problem, RLEnvironment, TokenVectorEnv


def say(envs: TokenVectorEnv, texts: list[str]):
    """Let each slot say its text and eos; the result of the last step. Texts have one length."""
    for column in np.array([[*CHAR.encode(text), EOS] for text in texts]).T:
        result = envs.step(column)
    return result


class Spy(Echo):
    """Remembers what it is asked, one list a call; "abc" is what it cannot judge."""

    def __init__(self):
        self.calls = []

    def grade(self, problem, response):
        if response == "abc":
            return Grade(error="out of order")
        return Grade({"correct": float(response == problem.answer)}, facts={"said": response})

    def grade_many(self, problems, responses):
        self.calls.append(list(responses))
        return super().grade_many(problems, responses)


def test_a_grade_is_its_components_with_facts_and_an_error():
    grade = Grade({"correct": 1.0}, facts={"rule": "rational"})
    assert grade == {"correct": 1.0} and grade.facts == {"rule": "rational"} and grade.error is None
    assert Grade(error="broken") == {} and Grade().facts == {}
    assert repr(grade) == "Grade({'correct': 1.0}, facts={'rule': 'rational'}, error=None)"


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
def test_a_copy_of_a_grade_has_its_facts_and_its_error(duplicate):
    twin = duplicate(Grade({"correct": 0.5}, facts={"rule": "set"}, error="late"))
    assert (twin, twin.facts, twin.error) == ({"correct": 0.5}, {"rule": "set"}, "late")


def test_a_fixed_split_goes_before_the_hash():
    assert {Problem(f"{i}?", fixed_split="test").split for i in range(50)} == {"test"}
    assert {Problem(f"{i}?").split for i in range(50)} == {"train", "validation", "test"}
    with pytest.raises(ValueError, match="fixed_split is 'dev', expected one of"):
        Problem("1?", fixed_split="dev")


def test_facts_are_in_info_where_there_are_some_and_details_are_wanted():
    env = gym.make("Judge-test-v0")
    env.reset(seed=0)
    assert play(env, "AB").info["verdict"] == {
        **{"rule": "other", "size": 2, "share": 0.5, "is_loud": True}
    }
    env.reset(seed=0)
    assert "verdict" not in play(env, ";").info
    bare = gym.make("Judge-test-v0", details=False)
    bare.reset(seed=0)
    assert play(bare, "AB").info.keys() == {"length"}


@pytest.mark.parametrize("details", [True, False])
def test_a_verifier_error_is_in_info_and_the_reward_that_of_components_of_0(details):
    env = gym.make("Judge-test-v0", details=details)
    env.reset(seed=0)
    result = play(env, "0")  # would earn 0.5 - 0.25 for being short and for its digit
    assert result.reward == 0.0 and result.terminated
    assert result.info["verifier_error"] == "cannot judge a 0"
    assert not details or set(result.info["components"].values()) == {0.0}
    env.reset(seed=0)
    assert "verifier_error" not in play(env, "1").info


def test_episodes_that_end_in_one_step_are_graded_in_one_call_and_each_text_once():
    envs = TokenVectorEnv(task := Spy(), 6, group_size=3)
    envs.reset(seed=0)
    infos = say(envs, ["xyz", "xyz", "zzz", "xyz", "xyz", "xyz"])[4]
    assert task.calls == [["xyz", "zzz", "xyz"]]
    assert infos["verdict"]["said"].tolist() == ["xyz", "xyz", "zzz", "xyz", "xyz", "xyz"]


def test_a_reference_answer_is_graded_when_first_given_and_never_again():
    envs = TokenVectorEnv(task := Spy(), 2, autoreset_mode="Disabled")
    _, infos = envs.reset(seed=0)
    answers = [problem_of(envs, {k: v[i] for k, v in infos.items()}).answer for i in range(2)]
    assert not task.calls
    first = say(envs, answers)[4]
    envs.reset(seed=0)
    second = say(envs, answers)[4]
    assert task.calls == [answers]
    assert first["verdict"]["said"].tolist() == second["verdict"]["said"].tolist() == answers
    assert second["components"]["correct"].tolist() == [1.0, 1.0]


def test_a_reference_answer_that_could_not_be_judged_is_asked_again():
    class Unlucky(Spy):
        def sample(self, rng):
            return Problem(f"say abc {rng.integers(100)}:", "abc")

    envs = TokenVectorEnv(Unlucky(), 1, autoreset_mode="Disabled")
    for _ in range(3):
        envs.reset(seed=0)
        result = say(envs, ["abc"])
        assert result[1] == [0.0] and result[4]["verifier_error"].tolist() == ["out of order"]
    assert not envs.mdp.bank.is_graded.any()


@pytest.mark.parametrize(
    "fact", [{"x": None}, {"x": [1]}, {"_x": 1}, {"": 1}, {1: 1}, {"x": 2**63}]
)
def test_what_is_no_fact_is_refused(fact):
    class Odd(Echo):
        def grade(self, problem, response):
            return Grade({"correct": 0.0}, facts=fact)

    env = RLEnvironment(Odd())
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"Odd.grade returned the fact .*, expected a name"):
        play(env, "a")


def test_grade_many_must_give_one_verdict_on_each_response():
    class Lazy(Echo):
        def grade_many(self, problems, responses):
            return [{"correct": 0.0}]

    envs = TokenVectorEnv(Lazy(), 3)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="grade_many returned 1 verdicts on 3 responses"):
        say(envs, ["", "", ""])


def test_judged_has_verdicts_of_every_kind():
    task, rng = sample_tasks.Judged(), np.random.default_rng(0)
    problems = [task.sample(rng) for _ in range(100)]
    grades = [task.grade(problem, problem.answer) for problem in problems]
    assert 5 < sum(grade.error is not None for grade in grades) < 30


def test_the_facts_about_a_known_reference_answer_are_those_that_gymnasium_gathers():
    native = gym.make_vec("Judge-test-v0", 12, autoreset_mode="Disabled")
    mode = {"autoreset_mode": native.autoreset_mode}
    sync = gym.make_vec("Judge-test-v0", 12, vectorization_mode="sync", vector_kwargs=mode)
    for round in range(3):
        starts = [envs.reset(seed=0) for envs in (native, sync)]
        assert_same(*starts)
        rows = native._rows.tolist()
        answers = [native.mdp.bank.problem(row).answer for row in rows]
        assert round == 0 or native.mdp.bank.is_graded[rows].sum() > 6
        for tokens in (CHAR.encode("".join(answers)), [EOS] * 12):
            results = [envs.step(np.array(tokens)) for envs in (native, sync)]
            assert_same(*results)
        assert "same" in results[0][4]["verdict"]["rule"]
