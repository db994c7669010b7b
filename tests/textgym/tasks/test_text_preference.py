"""TextPreference: its three forms, whose labels follow the stated model, and what they pay."""

from __future__ import annotations

import json
import math
import pickle
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import textgym
from tests.textgym.playing import play, problem_of
from textgym import Preference, PreferenceComparisonEnv, RLEnvironment
from textgym.checking.grades import HOSTILE
from textgym.preferences import bradley_terry
from textgym.tasks import TextPreference
from textgym.tasks.preference.utility import features_of

LEVELS = TextPreference.difficulties
PERFECT, EMPTY = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))
HELLO = Preference("Say hello: ", "hello there", "go away")


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def draw(task: TextPreference, count: int, *level: str, seed: int = 0) -> list[textgym.Problem]:
    rng = np.random.default_rng(seed)
    return [task.sample(rng, *level) for _ in range(count)]


# ---------------------------------------------------------------------- judge


def better(problem: textgym.Problem) -> str:
    """Which response of a judge's prompt is really better, read off the prompt."""
    request = problem.info["request"]
    _, first, second, _ = problem.prompt.rsplit("\n", 3)
    values = [features_of(request, text[3:]).utility for text in (first, second)]
    return "A" if values[0] > values[1] else "B"


@pytest.mark.parametrize("level", LEVELS)
def test_without_noise_the_label_is_the_truth(level: str) -> None:
    task = TextPreference()
    assert all(problem.answer == better(problem) for problem in draw(task, 300, level))
    assert task.best_accuracy(level) == 1.0


def test_which_response_comes_first_says_nothing() -> None:
    num = 2000
    count = sum(problem.answer == "A" for problem in draw(TextPreference(), num))
    assert abs(count - num / 2) < 3 * math.sqrt(num) / 2


def test_without_the_request_a_judge_sees_less_than_three_quarters() -> None:
    def seen(problem: textgym.Problem) -> tuple[int, int, int]:
        first, second = (line[3:].split(", ") for line in problem.prompt.rsplit("\n", 3)[1:3])
        return len(first), len(second), len({*first} & {*second})

    problems = draw(TextPreference(), 6000, "menu")
    votes = Counter()
    for problem in problems[:4500]:
        votes[seen(problem)] += 1 if problem.answer == "A" else -1
    right = [(votes[seen(problem)] > 0) == (problem.answer == "A") for problem in problems[4500:]]
    assert 0.66 < np.mean(right) < 0.75


@pytest.mark.parametrize(("noise", "beta"), [(0.2, None), (0.1, 4.0), (0.0, 1.0)])
def test_labels_are_wrong_as_often_as_stated(noise: float, beta: float | None) -> None:
    task, num = TextPreference(noise=noise, beta=beta), 1500
    for level in ("letters", "facts"):
        rate = 1 - task.best_accuracy(level)
        wrong = sum(problem.answer != better(problem) for problem in draw(task, num, level))
        assert abs(wrong - num * rate) < 3 * math.sqrt(num * rate * (1 - rate))


def test_the_best_accuracy_in_closed_form() -> None:
    assert TextPreference(noise=0.2).best_accuracy() == pytest.approx(0.8, abs=1e-12)
    # Two points: utilities of (points made, false items), each against the others it differs from.
    values = [1 / 2, 1 / 2 - 1 / 2, 1 / 2 - 2 / 3, 1, 1 - 1 / 3, 1 - 2 / 4]
    means = []
    for value in values:
        gaps = [abs(value - other) for other in values if other != value]
        means.append(sum(0.1 + 0.8 * sigmoid(4 * gap) for gap in gaps) / len(gaps))
    expected = sum(means) / len(means)
    assert TextPreference(noise=0.1, beta=4).best_accuracy("menu") == pytest.approx(expected)


def test_the_probability_of_each_label_is_that_of_its_responses() -> None:
    task = TextPreference(beta=3, noise=0.05)
    for problem in draw(task, 100):
        request = problem.info["request"]
        _, first, second, _ = problem.prompt.rsplit("\n", 3)
        a, b = (features_of(request, text[3:]).utility for text in (first, second))
        assert problem.info["probability"] == pytest.approx(0.05 + 0.9 * sigmoid(3 * (a - b)))


def test_noise_changes_labels_and_nothing_else() -> None:
    plain, noisy = draw(TextPreference(), 50), draw(TextPreference(noise=0.3), 50)
    assert [p.prompt for p in plain] == [p.prompt for p in noisy]
    assert [p.answer for p in plain] != [p.answer for p in noisy]


def test_a_judge_says_one_letter() -> None:
    task = TextPreference()
    (problem,) = draw(task, 1)
    right, wrong = problem.answer, "BA"[problem.answer == "B"]
    assert task.grade(problem, f" {right}\n") == {"correct": 1.0}
    for response in (wrong, right.lower(), right * 2, f"{right}.", "A B", "", "\0", problem.prompt):
        assert task.grade(problem, response) == {"correct": 0.0}


# ----------------------------------------------------------------------- duel


def test_a_duel_pays_the_probability_to_be_preferred() -> None:
    task = TextPreference("duel")
    for problem in draw(task, 20, "letters"):
        request, points = problem.info["request"], problem.info["request"].points
        assert features_of(request, problem.info["reference"]).utility == 0.5
        for response, utility in (
            (problem.answer, 1.0),
            (", ".join(points[:2]), 0.5),
            (", ".join([*points[:3], request.wrong[0]]), 0.5),
            (points[0], 0.25),
            ("", 0.0),
            ("nonsense", -1.0),
        ):
            grade = task.grade(problem, response)
            assert grade == {"preferred": pytest.approx(sigmoid(4 * (utility - 0.5)))}
            assert grade.facts == {"utility": utility}


def test_the_highest_reward_of_a_duel_is_that_of_a_perfect_response() -> None:
    for keywords in ({}, {"beta": 1.0}, {"noise": 0.2}, {"beta": math.inf, "noise": 0.1}):
        task = TextPreference("duel", **keywords)
        (problem,) = draw(task, 1)
        assert task.grade(problem, problem.answer) == {"preferred": task.reward_range[1]}
    assert TextPreference("duel").reward_range == (0.0, pytest.approx(PERFECT))
    assert TextPreference("duel", beta=math.inf, noise=0.1).reward_range[1] == 0.9


def test_a_reference_policy_of_ones_own_is_met() -> None:
    task = TextPreference("duel", reference=lambda prompt: prompt[1:2])
    for problem in draw(task, 20, "letters"):
        value = features_of(problem.info["request"], problem.prompt[1:2]).utility
        perfect = ", ".join(problem.info["request"].points)
        assert task.grade(problem, perfect)["preferred"] == pytest.approx(sigmoid(4 - 4 * value))
        assert problem.answer == ""  # what it earns differs from problem to problem
    with pytest.raises(TypeError, match="reference returned None, expected a text"):
        draw(TextPreference("duel", reference=lambda prompt: None), 1)


def test_any_preference_function_judges() -> None:
    def shorter(prompt: str, a: str, b: str) -> float:
        return float(len(a) < len(b))

    task = TextPreference("duel", preference=shorter)
    (problem,) = draw(task, 1)
    assert task.grade(problem, "") == {"preferred": 1.0}
    assert task.grade(problem, "x" * 99) == {"preferred": 0.0}
    noisy = TextPreference("duel", preference=shorter, noise=0.1)
    assert noisy.grade(problem, "")["preferred"] == pytest.approx(0.9)
    judge = TextPreference(preference=shorter)
    for problem in draw(judge, 50):
        _, first, second, _ = problem.prompt.rsplit("\n", 3)
        assert problem.answer == "A" or len(first) >= len(second)


def test_a_reward_function_judges_by_bradley_and_terry() -> None:
    task = TextPreference("duel", reward_fn=lambda p, generated, full: float(len(generated)))
    (problem,) = draw(task, 1)
    gap = 3 - len(problem.info["reference"])
    assert task.grade(problem, "abc")["preferred"] == pytest.approx(sigmoid(gap))
    sharp = TextPreference("duel", reward_fn={"name": "length", "low": 3}, beta=math.inf)
    assert sharp.grade(problem, "one two three") == {"preferred": 1.0}


def test_what_a_failing_function_leaves_is_no_verdict() -> None:
    for preference in (lambda p, a, b: 1 / 0, lambda p, a, b: 1.5, lambda p, a, b: "yes"):
        task = TextPreference("duel", preference=preference)
        (problem,) = draw(task, 1)
        with pytest.warns(RuntimeWarning, match="left out of learning"):
            assert task.grade(problem, "a").error
    with (
        pytest.raises(ValueError, match="cannot be compared: .*returned 1.5"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        draw(TextPreference(preference=lambda p, a, b: 1.5), 1)


# ----------------------------------------------------------------------- pair


def test_a_pair_is_told_with_its_preference() -> None:
    env = gym.make("TextPreference-v0", form="pair")
    _, info = env.reset(seed=0)
    problem = problem_of(env.unwrapped, info)
    result = play(env, problem.answer)
    assert not result.terminated
    assert env.unwrapped.tokenizer.decode(result.observation[: result.info["length"]]).endswith(
        "\nAnother response: "
    )
    result = play(env, "")
    assert result.reward == pytest.approx((PERFECT + EMPTY) / 2)
    told = result.info["verdict"]
    assert told == {"preferred": "first", "probability": pytest.approx(sigmoid(4))}
    assert result.info["components"]["improved"] == pytest.approx(sigmoid(-4))


@pytest.mark.parametrize(
    ("responses", "preferred"), [(("", "x"), "first"), (("x", ""), "second"), (("", ""), "tie")]
)
def test_which_response_of_a_pair_is_preferred(responses: tuple[str, str], preferred: str) -> None:
    task = TextPreference("pair")
    (problem,) = draw(task, 1)
    assert task.grade_turns(problem, responses).facts["preferred"] == preferred


def test_nothing_is_earned_by_a_bad_first_response() -> None:
    task = TextPreference("pair")
    (problem,) = draw(task, 1)
    twice, once, bad = (
        task.grade_turns(problem, turns)["preferred"]
        for turns in ([problem.answer] * 2, [problem.answer], ["x", problem.answer])
    )
    assert twice == once == task.reward_range[1] and bad < twice / 1.5


def test_one_failure_leaves_a_pair_without_a_verdict() -> None:
    def picky(prompt: str, a: str, b: str) -> float:
        return float("nan") if a == "x" else 1.0

    task = TextPreference("pair", preference=picky)
    (problem,) = draw(task, 1)
    with pytest.warns(RuntimeWarning):
        grade = task.grade_turns(problem, ["y", "x"])
    assert "returned nan" in grade.error and not grade.facts


# ------------------------------------------------------------------ all forms


@pytest.mark.parametrize("form", ["duel", "pair"])
def test_forms_that_write_keep_the_contract_too(form: str) -> None:
    report = textgym.check_task(TextPreference(form), num_problems=30)
    assert report.ok and not report.of("warning"), str(report)
    for level in report.levels.values():
        assert level["reference"] == 1.0
        assert level["empty"] == pytest.approx(EMPTY / PERFECT)
    report = textgym.check_env("TextPreference-v0", num_steps=30, form=form)
    assert report.ok and not report.of("warning"), str(report)


@pytest.mark.parametrize("form", ["judge", "duel", "pair"])
def test_any_text_is_judged(form: str) -> None:
    task = TextPreference(form)
    for problem in (draw(task, 1, level)[0] for level in ("facts", "sort")):
        for text in (*HOSTILE.values(), "," * 10**5, "a," * 10**4, "and" * 10**4):
            for turns in ([text], [text, text]):
                grade = task.grade_turns(problem, turns)
                assert grade.error is None
                assert all(0 <= value <= 1 for value in grade.values())


@pytest.mark.parametrize("form", ["judge", "duel", "pair"])
def test_preferences_are_drafts_labelled_by_the_model(form: str) -> None:
    env = gym.make("TextPreference-v0", form=form, beta=math.inf, split="test").unwrapped
    requests = {}
    for number in range(env.mdp.bank.num_problems // 64):
        request = env.mdp.bank.problem(number).info["request"]
        requests[request.prompt] = request
    found = [pair for pair in env.preferences(300, seed=1) if pair.prompt in requests]
    for pair in found:
        request = requests[pair.prompt]
        chosen, rejected = (features_of(request, t) for t in (pair.chosen, pair.rejected))
        assert chosen.utility > rejected.utility
    assert found


@pytest.mark.parametrize("level", ["letters", "facts"])
def test_a_fit_of_bradley_and_terry_finds_beta(level: str) -> None:
    task, num, beta = TextPreference(beta=4.0), 5000, 4.0
    rng, differences, num_wrong = np.random.default_rng(7), [], 0
    for problem in draw(task, num, level, seed=8):
        request, pair = problem.info["request"], task.sample_preference(problem, rng)
        chosen, rejected = (features_of(request, t) for t in (pair.chosen, pair.rejected))
        differences.append((chosen.covered - rejected.covered, rejected.false - chosen.false))
        num_wrong += chosen.utility < rejected.utility
    assert pair.prompt == request.prompt
    for x in (np.array(differences).sum(1, keepdims=True), np.array(differences)):
        weights, errors = _logistic_regression(x)
        assert (abs(weights - beta) < 2 * errors).all() and errors.max() < 0.2
    rate = 1 - task.best_accuracy(level)
    assert abs(num_wrong - num * rate) < 3 * math.sqrt(num * rate * (1 - rate))


def _logistic_regression(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights [k] that make sigmoid(x w) most likely to be 1 in all rows [n, k], and errors."""
    weights = np.zeros(x.shape[1])
    for _ in range(20):
        p = 1 / (1 + np.exp(-x @ weights))
        information = (x * (p * (1 - p))[:, None]).T @ x
        weights = weights + np.linalg.solve(information, x.T @ (1 - p))
    return weights, np.sqrt(np.diag(np.linalg.inv(information)))


def test_train_and_test_share_no_request() -> None:
    prompts = {}
    for split in ("train", "test"):
        env = RLEnvironment(TextPreference(), split=split, num_problems=200)
        problems = [env.mdp.bank.problem(row) for row in range(200)]
        assert {problem.split for problem in problems} == {split}
        pairs = env.preferences(200)
        prompts[split] = {p.info["request"].prompt for p in problems} | {p.prompt for p in pairs}
        assert {pair.prompt for pair in pairs} <= {p.info["request"].prompt for p in problems}
    assert not prompts["train"] & prompts["test"]


# ------------------------------------------------------------------- data sets


def rows(path: Path, *pairs: Preference) -> Path:
    path.write_text("".join(json.dumps(vars_of(pair)) + "\n" for pair in pairs))
    return path


def vars_of(pair: Preference) -> dict[str, str]:
    return {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}


def test_a_judge_of_a_data_set_agrees_with_its_labels(tmp_path: Path) -> None:
    pairs = [Preference(f"Say {n}:", f"{n}!", "no") for n in range(200)]
    env = gym.make(
        "TextPreference-v0", dataset=str(rows(tmp_path / "a.jsonl", *pairs)), split="all"
    )
    problems = env.unwrapped.task.list_problems()
    assert problems[3].prompt in (
        "Say 3:\nA: 3!\nB: no\nBetter: ",
        "Say 3:\nA: no\nB: 3!\nBetter: ",
    )
    for problem, pair in zip(problems, pairs, strict=True):
        assert f"\n{problem.answer}: {pair.chosen}\n" in problem.prompt
    assert 70 < sum(problem.answer == "A" for problem in problems) < 130
    assert set(env.unwrapped.preferences(500)) <= set(pairs)


def test_pairs_of_one_prompt_are_in_one_split(tmp_path: Path) -> None:
    pairs = [Preference(f"Say {n % 50}:", f"{n}!", "no") for n in range(200)]
    task = TextPreference(dataset=str(rows(tmp_path / "a.jsonl", *pairs)))
    splits: dict[str, set[str]] = {}
    for problem in task.list_problems():
        splits.setdefault(problem.info["pair"].prompt, set()).add(problem.split)
    assert len(task.list_problems()) == 200 and len(splits) == 50
    assert all(len(found) == 1 for found in splits.values())


def test_a_duel_is_held_against_the_chosen_response_of_a_data_set() -> None:
    env = PreferenceComparisonEnv(
        form="duel", dataset=[HELLO], reward_fn="keywords:hello", split="all"
    )
    env.reset(seed=0)
    result = play(env, "hello")
    assert result.reward == 0.5 and env.preferences(1) == [HELLO]
    env.reset()
    assert play(env, "bye").reward == pytest.approx(sigmoid(-1))


def test_a_duel_is_held_against_responses_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"prompt": "Hi", "response": "four"}) + "\n")
    longer = {"preference": lambda p, a, b: float(len(a) > len(b))}
    task = TextPreference("duel", dataset=str(file), **longer)
    (problem,) = task.list_problems()
    assert task.grade(problem, "three") == {"preferred": 1.0}
    assert task.grade(problem, "one") == {"preferred": 0.0}
    with pytest.raises(ValueError, match="compares no responses"):
        RLEnvironment(task, split="all").preferences(1)


# ------------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"form": "duell"}, ValueError, r"form is 'duell', expected one of \['judge'"),
        ({"form": None}, ValueError, "form is None"),
        ({"form": []}, ValueError, r"form is \[\]"),
        ({"noise": 0.5}, ValueError, "noise is 0.5, expected a number of at least 0 and below 0.5"),
        ({"noise": float("nan")}, ValueError, "noise is nan"),
        ({"noise": "no"}, ValueError, "noise is 'no'"),
        ({"beta": 0}, ValueError, "beta is 0, expected a number above 0"),
        ({"beta": float("nan")}, ValueError, "beta is nan"),
        ({"beta": True}, ValueError, "beta is True"),
        ({"preference": "useful"}, ValueError, "preference is 'useful', expected 'utility'"),
        ({"preference": 7}, TypeError, "preference is 7, expected"),
        ({"preference": lambda a: 1.0}, TypeError, "expected .*function of prompt, a and b"),
        ({"preference": lambda p, a, b: 1.0, "beta": 2}, ValueError, "is a probability already"),
        ({"preference": "person"}, ValueError, "python -m textgym label"),
        ({"preference": "person", "reward_fn": len}, ValueError, "got both"),
        ({"reward_fn": "helpful"}, ValueError, "reward_fn is 'helpful'"),
        ({"reference": str}, ValueError, "reference is the policy that a duel"),
        ({"reference": "hello"}, TypeError, "reference is 'hello', expected a function"),
        ({"subset": "main"}, ValueError, "dataset is None"),
        ({"fields": {}}, ValueError, "dataset is None"),
        ({"dataset": []}, TypeError, r"dataset is \[\], expected a file"),
        ({"dataset": 3}, TypeError, "dataset is 3, expected a file"),
        ({"dataset": ["a"]}, TypeError, r"dataset\[0\] is 'a', expected a Preference"),
        ({"dataset": [Preference("a", "b", None)]}, TypeError, "expected three texts"),
        ({"dataset": [Preference("a", "b", "b")]}, ValueError, "two different responses"),
        ({"dataset": [Preference("", "a", "b")]}, ValueError, "expected a prompt and two"),
        ({"dataset": [HELLO], "noise": 0.1}, ValueError, "labels are those of the data set"),
        ({"dataset": [HELLO], "beta": 1}, ValueError, "labels are those of the data set"),
        ({"dataset": [HELLO], "form": "duel"}, ValueError, "no known utility"),
        (
            {"dataset": [HELLO], "form": "duel", "reward_fn": "distinct", "reference": str},
            ValueError,
            "reference is given and dataset too",
        ),
    ],
)
def test_arguments_without_a_meaning_are_refused(
    keywords: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        TextPreference(**keywords)
    with pytest.raises(error, match=message):
        PreferenceComparisonEnv(**keywords)


def test_the_best_accuracy_of_other_labels_is_unknown() -> None:
    for task in (TextPreference(dataset=[HELLO]), TextPreference(reward_fn="distinct")):
        with pytest.raises(ValueError, match="best_accuracy is known where the utility decides"):
            task.best_accuracy()


def test_a_task_with_a_reward_function_by_name_pickles() -> None:
    task = TextPreference("duel", reward_fn="keywords:tea")
    (problem,) = draw(task, 1)
    copy = pickle.loads(pickle.dumps(task))
    assert copy.grade(problem, "tea") == task.grade(problem, "tea")


def test_bradley_and_terry_at_the_ends() -> None:
    assert bradley_terry(0.0, math.inf) == bradley_terry(0.0, 3, 0.4) == 0.5
    assert bradley_terry(1e-9, math.inf) == 1.0 and bradley_terry(-1e300, 1e300) == 0.0
    assert bradley_terry(0.3, 2, 0.1) + bradley_terry(-0.3, 2, 0.1) == 1.0


def test_the_masks_of_a_judge_allow_its_two_letters() -> None:
    env = gym.make("TextPreference-v0").unwrapped
    env.reset(seed=0)
    letters, eos = env.tokenizer.encode("AB"), env.tokenizer.eos_token_id
    assert env.action_masks().nonzero()[0].tolist() == letters
    env.step(letters[0])
    assert env.action_masks().nonzero()[0].tolist() == [eos]
    duel = gym.make("TextPreference-v0", form="duel").unwrapped
    duel.reset(seed=0)
    assert duel.action_masks().sum() == len(duel.tokenizer) - 3
