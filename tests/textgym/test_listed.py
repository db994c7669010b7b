"""Tasks whose problems are a finite list: each is asked once, in the list's order."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest

from textgym import Problem, RLEnvironment, Task, TokenVectorEnv, check_task
from textgym.bank import NUM_PROBLEMS


class Capitals(Task):
    """A data set of two levels, 40 and 25 rows, in which a hash of the prompt is the split."""

    difficulties = ("easy", "hard")
    counts = (40, 25)
    splits = ("",)

    def __init__(self):
        self.problems = {
            name: [
                Problem(
                    f"{name} {i}?",
                    f"city {i}",
                    fixed_split=self.splits[i % len(self.splits)],
                )
                for i in range(count)
            ]
            for name, count in zip(self.difficulties, self.counts, strict=True)
        }

    def list_problems(self, difficulty):
        return self.problems[difficulty]

    def sample(self, rng, difficulty):
        return self.problems[difficulty][rng.integers(len(self.problems[difficulty]))]


class Official(Capitals):
    """The same with splits of its own, of which none is validation."""

    counts = (30, 30)
    splits = ("train", "train", "test")


def prompts(env, level, count):
    bank = env.mdp.bank
    return [bank.problem(env.mdp.row(level, number)).prompt for number in range(count)]


def test_the_numbers_of_a_split_are_its_problems_in_the_lists_order():
    task = Capitals()
    for split in ("train", "validation", "test", "all"):
        env = RLEnvironment(task, split=split)
        for level, name in enumerate(task.difficulties):
            expected = [p.prompt for p in task.problems[name] if split in ("all", p.split)]
            assert env.mdp.bank.num_at(level) == len(expected)
            if expected:
                assert prompts(env, level, len(expected)) == expected


def test_the_largest_level_sets_the_count_and_a_smaller_one_begins_anew():
    env = RLEnvironment(Capitals(), split="all")
    assert env.mdp.bank.num_problems == 40
    asked = prompts(env, 1, 40)
    assert asked[25:] == asked[:15] and len(set(asked)) == 25
    assert RLEnvironment(Capitals(), split="all", num_problems=7).mdp.bank.num_at(1) == 7


def test_the_test_split_is_asked_once_each_by_its_numbers():
    envs = TokenVectorEnv(task := Official(), 10, split="test")
    _, infos = envs.reset(options={"problem": np.arange(10)})
    test = {problem.id for problem in task.problems["easy"] if problem.split == "test"}
    assert set(infos["problem_id"].tolist()) == test and len(test) == 10


def test_a_task_that_lists_no_level_is_drawn_as_before():
    class Drawn(Capitals):
        def list_problems(self, difficulty):
            return None

    assert RLEnvironment(Drawn(), split="all").mdp.bank.num_problems == NUM_PROBLEMS


def test_a_task_may_list_some_levels_and_draw_others():
    class Both(Capitals):
        def list_problems(self, difficulty):
            return super().list_problems(difficulty) if difficulty == "hard" else None

    bank = RLEnvironment(Both(), split="all").mdp.bank
    assert bank.num_problems == NUM_PROBLEMS == bank.num_at(0) and bank.num_at(1) == 25


class Long(Capitals):
    """One prompt and one answer, both of the test split, are far longer than the others."""

    difficulties, counts = ("all",), (200,)

    def __init__(self):
        super().__init__()
        self.problems["all"][-1] = Problem("x" * 99, "y" * 150, fixed_split="test")


def test_the_longest_prompt_of_all_splits_has_room_and_nothing_is_left_out():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        banks = [RLEnvironment(Long(), split=split).mdp.bank for split in ("train", "test")]
    assert [bank.max_prompt_tokens for bank in banks] == [100, 100]


def test_prompts_over_the_given_length_are_left_out_and_counted_in_a_warning():
    with pytest.warns(UserWarning, match=r"Long at difficulty 'all': 1 of 200 prompts are longer"):
        bank = RLEnvironment(Long(), split="all", max_prompt_tokens=20).mdp.bank
    assert bank.num_problems == 199 and bank.max_prompt_tokens == 20


def test_the_budget_is_twice_the_longest_reference_but_at_most_64_tokens_more():
    assert RLEnvironment(Capitals()).mdp.budget == 2 * (len("city 39") + 1)
    assert RLEnvironment(Long()).mdp.budget == 151 + 64


def test_a_reference_without_room_is_a_warning_and_its_problem_is_asked():
    with pytest.warns(UserWarning, match=r"'yyy.*\.\.\.' of Long needs 151 tokens with eos"):
        bank = RLEnvironment(Long(), split="all", max_response_tokens=20).mdp.bank
    assert bank.problem(199).prompt == "x" * 99 and (bank.references[199] == -1).all()


def test_a_split_without_problems_says_which_there_are():
    with pytest.raises(ValueError, match=r"in split 'validation' at difficulty 'easy': its data "):
        RLEnvironment(Official(), split="validation")
    with pytest.raises(ValueError, match=r"splits of its own, test \(10\), train \(20\); use one"):
        RLEnvironment(Official(), split="validation")

    class Tiny(Capitals):
        counts = (2, 2)

    missing = {"train", "validation", "test"} - {p.split for p in Tiny().problems["easy"]}
    with pytest.raises(ValueError, match="too few to be split; use split='all'"):
        RLEnvironment(Tiny(), split=missing.pop()).reset()


def test_a_level_without_problems_is_told_when_it_is_asked_for():
    class Uneven(Official):
        def __init__(self):
            super().__init__()
            hard = self.problems["hard"]
            self.problems["hard"] = [p for p in hard if p.fixed_split == "train"]

    env = RLEnvironment(Uneven(), split="test")
    env.reset(options={"difficulty": "easy"})
    with pytest.raises(ValueError, match=r"no problem in split 'test' at difficulty 'hard'"):
        env.reset(options={"difficulty": "hard"})


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ([], ValueError, "list_problems returned no problem, expected at least one"),
        (["a"], TypeError, "list_problems returned a str, expected Problems"),
        ("abc", TypeError, "list_problems returned str, expected a sequence"),
        (map(str, "abc"), TypeError, "list_problems returned map, expected a sequence"),
    ],
)
def test_what_is_no_list_of_problems_is_refused(value, kind, message):
    class Odd(Capitals):
        def list_problems(self, difficulty):
            return value

    with pytest.raises(kind, match=message):
        RLEnvironment(Odd())


def test_a_pickled_environment_asks_the_same_problems():
    envs = TokenVectorEnv(Official(), 4, split="test")
    twin = pickle.loads(pickle.dumps(envs))
    ours, theirs = (e.reset(options={"problem": np.arange(4)})[0] for e in (envs, twin))
    np.testing.assert_array_equal(ours, theirs)


def test_check_task_knows_lists():
    assert check_task(Official(), num_problems=30).ok
