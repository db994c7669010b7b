"""The adaptive difficulty: when it moves, what it plays, and that nothing about it is by chance."""

from __future__ import annotations

import copy
import json
import pickle

import gymnasium as gym
import numpy as np
import pytest

from tests.textgym.playing import CHAR, EOS, play, problem_of
from textgym import Grade, Problem, RLEnvironment, Task, TokenVectorEnv, check_env, check_task
from textgym.curriculum import Curriculum


def new(num_levels: int = 3, **settings) -> Curriculum:
    return Curriculum(num_levels, **{"window": 10, "rehearsal": 0.0, **settings})


def play_window(curriculum: Curriculum, successes: int) -> int:
    """Record ten episodes of the current level, so many of them solved; the level after them."""
    curriculum.record([curriculum.level] * 10, [1.0] * successes + [0.0] * (10 - successes))
    return curriculum.level


class Copy(Task):
    """Say the letter, at four levels which differ in their prompts alone."""

    max_response_tokens = 3
    difficulties = ("a", "b", "c", "d")

    def sample(self, rng, difficulty):
        return Problem(f"{difficulty} {rng.integers(10**6)} say z:", "z")


def vector(num_envs: int = 8, **settings) -> TokenVectorEnv:
    settings = {"difficulty": new(4), "autoreset_mode": "SameStep", **settings}
    return TokenVectorEnv(Copy(), num_envs, **settings)


def answer(envs: TokenVectorEnv, text: str) -> dict:
    """All slots say the text and eos; the infos of the last step."""
    for token in [*CHAR.encode(text), EOS]:
        infos = envs.step(np.full(envs.num_envs, token))[4]
    return infos


# ------------------------------------------------------------------ when it moves


def test_it_begins_at_the_easiest_level_and_stays_there_within_the_band():
    curriculum = new()
    assert curriculum.level == 0 and curriculum.success is None
    assert [play_window(curriculum, n) for n in (8, 5, 2)] == [0, 0, 0]


def test_above_the_band_it_moves_up_and_below_it_moves_down_and_stops_at_both_ends():
    curriculum = new()
    assert [play_window(curriculum, n) for n in (0, 9, 10, 9, 0, 1, 0)] == [0, 1, 2, 2, 1, 0, 0]


def test_it_decides_on_a_full_window_which_moves_with_every_episode():
    curriculum = new()
    curriculum.record([0] * 9, [1.0] * 9)
    assert curriculum.level == 0  # nine episodes are no window
    curriculum.record([0], [0.0])
    assert curriculum.level == 1 and curriculum.success is None  # 0.9 of ten
    curriculum = new()
    curriculum.record([0] * 10, [0.0] * 2 + [1.0] * 8)
    assert curriculum.level == 0 and curriculum.success == 0.8
    curriculum.record([0], [1.0])
    assert curriculum.level == 1


def test_episodes_of_another_level_do_not_count():
    curriculum = new()
    play_window(curriculum, 10)
    curriculum.record([0] * 50 + [2] * 50, [0.0] * 100)
    assert curriculum.level == 1 and curriculum.success is None


def test_a_share_of_the_episodes_plays_the_easier_levels_each_as_often():
    draws = np.random.default_rng(0).integers(2**64, size=10**5, dtype=np.uint64)
    curriculum = new(4, rehearsal=0.25)
    assert (curriculum.levels(draws) == 0).all()
    curriculum.load_state_dict({"level": 3, "successes": []})
    shares = np.bincount(curriculum.levels(draws)) / 10**5
    assert shares == pytest.approx([0.25 / 3, 0.25 / 3, 0.25 / 3, 0.75], abs=0.005)


def test_its_state_is_json_and_a_copy_from_it_goes_on_alike():
    curriculum = new()
    play_window(curriculum, 10)
    curriculum.record([1] * 7, [1.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0])
    twin = new()
    twin.load_state_dict(json.loads(json.dumps(curriculum.state_dict())))
    assert twin.state_dict() == curriculum.state_dict() and twin.level == 1
    for each in (curriculum, twin):
        each.record([1] * 3 + [2] * 2, [1.0] * 5)
    assert twin.state_dict() == curriculum.state_dict() == {"level": 2, "successes": [1.0, 1.0]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_levels": 1}, "num_levels is 1, expected at least 2"),
        ({"window": 0}, "window is 0, expected an integer of at least 1"),
        ({"demote_below": 0.8}, "expected 0 <= demote_below < promote_above <= 1"),
        ({"rehearsal": 1.0}, "rehearsal is 1.0, expected at least 0 and below 1"),
    ],
)
def test_numbers_that_make_no_curriculum_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        new(**{"num_levels": 3, **settings})
    with pytest.raises(ValueError, match="level is 3, expected 0 to 2"):
        new().load_state_dict({"level": 3, "successes": []})


# ------------------------------------------------------------------ in environments


def test_a_single_environment_climbs_and_falls_and_info_tells_the_level_played():
    env, levels = RLEnvironment(Copy(), difficulty=new(4)), []
    for episode in range(80):
        _, info = env.reset(seed=0 if episode == 0 else None)
        levels.append(info["difficulty"])
        assert problem_of(env, info).prompt.startswith("abcd"[info["difficulty"]])
        play(env, "z" if episode < 40 else "no")
    # The window at the top slides: nine failures among its last ten episodes are enough.
    assert levels == [0] * 10 + [1] * 10 + [2] * 10 + [3] * 19 + [2] * 10 + [1] * 10 + [0] * 11
    assert env.difficulty == env.curriculum.level == 0


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_the_slots_of_a_vector_environment_share_one_curriculum(mode):
    envs = vector(5, autoreset_mode=mode)
    envs.reset(seed=0)
    for _ in range(2):
        answer(envs, "z")
        if mode == "NextStep":
            envs.step(np.full(5, EOS))
        elif mode == "Disabled":
            _, infos = envs.reset(options={"reset_mask": np.ones(5, dtype=bool)})
            assert infos["difficulty"].tolist() == [envs.curriculum.level] * 5
    assert envs.curriculum.level == envs.difficulty == 1


def test_a_group_plays_one_level_even_if_its_slots_begin_at_different_times():
    quick = new(4, window=5, promote_above=0.5, demote_below=0.1, rehearsal=0.5)
    envs = vector(4, group_size=2, difficulty=quick)
    envs.reset(seed=0)
    rng, seen = np.random.default_rng(0), {}
    levels = set()
    episodes = np.zeros(4, dtype=int)
    for _ in range(600):
        tokens = rng.choice([*CHAR.encode("z"), EOS], size=4)
        infos = envs.step(tokens)[4]
        for slot in np.flatnonzero(infos.get("_problem_id", np.zeros(4, bool))).tolist():
            episodes[slot] += 1
            key = slot // 2, int(episodes[slot])
            assert seen.setdefault(key, infos["problem_id"][slot]) == infos["problem_id"][slot]
            levels.add(int(infos["difficulty"][slot]))
    assert len(levels) > 1
    assert all(len(known) < 60 for known in envs._group_levels)


def test_two_runs_are_the_same_and_a_copy_goes_on_alike_and_apart():
    runs = []
    for _ in range(2):
        envs = vector(6, difficulty=new(4, rehearsal=0.3))
        envs.reset(seed=3)
        rng = np.random.default_rng(0)
        tokens = [rng.choice([*CHAR.encode("z"), EOS], size=6) for _ in range(60)]
        runs.append([envs.step(a)[4]["length"].tolist() for a in tokens] + [envs.difficulty])
    assert runs[0] == runs[1]
    for duplicate in (copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))):
        twin = duplicate(envs)
        assert twin.curriculum is not envs.curriculum
        assert twin.curriculum.state_dict() == envs.curriculum.state_dict()


def test_episodes_without_a_verdict_do_not_count():
    class Broken(Copy):
        def grade(self, problem, response):
            return Grade(error="no") if "0" in problem.prompt else super().grade(problem, response)

    for make in (RLEnvironment, lambda *args, **kwargs: TokenVectorEnv(*args, 1, **kwargs)):
        curriculum = new(4, window=1000)
        env, failed = make(Broken(), difficulty=curriculum), 0
        for seed in range(40):
            env.reset(seed=seed)
            step = env.step(EOS if isinstance(env, RLEnvironment) else np.array([EOS]))
            failed += "verifier_error" in step[4]
        assert 0 < failed < 40
        assert len(curriculum.state_dict()["successes"]) == 40 - failed


def test_success_is_correct_or_else_at_least_half_of_the_highest_reward():
    class Parts(Copy):
        rewards = {"a": 1.0, "b": 2.0}

        def grade(self, problem, response):
            return {"a": float("a" in response), "b": float("b" in response)}

    env = RLEnvironment(Parts(), difficulty=new(4))
    for text in ("", "a", "b", "ab"):
        env.reset(seed=0)
        play(env, text)
    assert env.curriculum.state_dict()["successes"] == [0.0, 0.0, 1.0, 1.0]
    weighted = RLEnvironment(Parts(), difficulty=new(4), reward_weights={"a": 4.0})
    weighted.reset(seed=0)
    play(weighted, "a")
    assert weighted.curriculum.success == 1.0


def test_adaptive_is_a_difficulty_by_keyword_by_method_and_by_option():
    made = gym.make("TextMath-v0", difficulty="adaptive").unwrapped
    assert made.curriculum.num_levels == len(made.task.difficulties) and made.difficulty == 0
    assert json.loads(made.spec.to_json())["kwargs"]["difficulty"] == "adaptive"
    for env in (RLEnvironment(Copy()), TokenVectorEnv(Copy(), 2)):
        assert env.curriculum is None
        env.set_difficulty("adaptive")
        first = env.curriculum
        env.reset(seed=0, options={"difficulty": "adaptive"})
        assert env.curriculum is first is not None  # it goes on, and does not begin anew
        env.reset(options={"difficulty": "b"})
        assert env.curriculum is None and env.difficulty == 1
        env.reset(options={"difficulty": "adaptive"})
        assert env.curriculum is not first and env.difficulty == 0


def test_some_slots_may_be_adaptive_and_others_not_and_only_those_count():
    envs = vector(3, difficulty="c")
    mask = np.array([True, False, False])
    envs.reset(seed=0)
    envs.reset(options={"reset_mask": mask, "difficulty": "adaptive"})
    assert envs._levels.tolist() == [-1, 2, 2] and envs.difficulty == 0
    answer(envs, "z")
    assert envs.curriculum.state_dict()["successes"] == [1.0]


def test_the_levels_of_slots_may_be_given_as_an_array():
    envs = vector(4, difficulty="adaptive")
    _, infos = envs.reset(seed=0, options={"difficulty": np.arange(4)})
    assert infos["difficulty"].tolist() == [0, 1, 2, 3] and envs.curriculum is None
    with pytest.raises(ValueError, match="no difficulty 4; expected one of"):
        envs.reset(options={"difficulty": np.array([0, 4, 0, 0])})


def test_what_cannot_be_adapted_is_refused():
    class One(Copy):
        difficulties = ()

        def sample(self, rng, difficulty="a"):
            return super().sample(rng, difficulty)

    with pytest.raises(ValueError, match="One has one level: difficulty='adaptive' has nothing"):
        RLEnvironment(One(), difficulty="adaptive")
    with pytest.raises(ValueError, match="the curriculum has 3 levels, expected Copy's number, 4"):
        TokenVectorEnv(Copy(), 2, difficulty=new(3))
    named = type("Named", (Copy,), {"difficulties": ("easy", "adaptive")})
    assert "means a curriculum over all of them: rename it" in str(check_task(named()))


def test_an_adaptive_environment_passes_the_checks():
    report = check_env("TextMath-v0", num_steps=60, difficulty="adaptive")
    assert report.ok, str(report)
