"""The native vector environment equals Gymnasium's own, step by step, in every mode."""

from __future__ import annotations

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import textgym  # noqa: F401
from tests.textgym import sample_tasks  # noqa: F401
from textgym.checking.report import difference

IDS = ["Sort-test-v0", "Stop-test-v0", "Judge-test-v0", "Guess-test-v0", "TextMath-v0"]
MODES = list(AutoresetMode)


def assert_same(left, right, path="info"):
    assert type(left) is type(right), (path, left, right)
    if isinstance(left, dict):
        assert left.keys() == right.keys(), (path, sorted(left), sorted(right))
        for key in left:
            assert_same(left[key], right[key], f"{path}.{key}")
    else:
        assert left.dtype == right.dtype and left.shape == right.shape, (path, left, right)
        if left.dtype == object:
            for a, b in zip(left, right, strict=True):
                assert type(a) is type(b), (path, a, b)
                assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b, (path, a, b)
        else:
            assert np.array_equal(left, right), (path, left, right)


def policy(env_id, rng, envs):
    """Actions of which many end turns, hit stop strings or spell answers."""
    tokenizer = textgym.CharTokenizer()
    useful = tokenizer.encode("abcd;!0123456789A-/ \u00e9") + [tokenizer.eos_token_id] * 3
    useful += [tokenizer.pad_token_id] if rng.random() < 0.1 else []
    return rng.choice(useful, size=envs.num_envs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("env_id", IDS)
def test_native_equals_sync_step_by_step(env_id, mode):
    sync = gym.make_vec(
        env_id, num_envs=6, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}
    )
    native = gym.make_vec(env_id, num_envs=6, autoreset_mode=mode)
    assert native.autoreset_mode is mode and native.metadata["autoreset_mode"] is mode
    assert native.observation_space == sync.observation_space
    assert native.action_space == sync.action_space
    rng = np.random.default_rng(0)
    for left, right in zip(native.reset(seed=7), sync.reset(seed=7), strict=True):
        assert_same(left, right) if isinstance(left, dict) else np.testing.assert_array_equal(
            left, right
        )
    endings = 0
    for _ in range(300):
        actions = policy(env_id, rng, native)
        ours, theirs = native.step(actions), sync.step(actions)
        for a, b in zip(ours[:4], theirs[:4], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        assert_same(ours[4], theirs[4])
        endings += int(ours[2].sum())
        if mode is AutoresetMode.DISABLED and ours[2].any():
            level = {"difficulty": 1} if endings % 3 == 0 and env_id == "Sort-test-v0" else {}
            a = native.reset(options={"reset_mask": ours[2], **level})
            b = sync.reset(options={"reset_mask": ours[2], **level})
            np.testing.assert_array_equal(a[0], b[0])
            assert_same(a[1], b[1])
    assert endings > 100


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("env_id", ["Guess-test-v0", "Judge-test-v0", "TextMath-v0"])
def test_native_equals_async_step_by_step(env_id, mode):
    native = gym.make_vec(env_id, 2, autoreset_mode=mode)
    other = gym.make_vec(env_id, 2, "async", vector_kwargs={"autoreset_mode": mode})
    try:
        rng, endings = np.random.default_rng(0), 0
        assert difference(native.reset(seed=7), other.reset(seed=7), "reset") == ""
        for _ in range(60):
            actions = policy(env_id, rng, native)
            ours = native.step(actions)
            assert difference(ours, other.step(actions), "step") == ""
            endings += int(ours[2].sum())
            if mode is AutoresetMode.DISABLED and ours[2].any():
                pair = [e.reset(options={"reset_mask": ours[2]}) for e in (native, other)]
                assert difference(*pair, "reset") == ""
        assert endings > 10
    finally:
        other.close()


def test_any_slots_may_be_reset_at_any_time_with_any_seeds_and_options():
    for mode in MODES:
        native = gym.make_vec("Sort-test-v0", 4, autoreset_mode=mode)
        sync = gym.make_vec("Sort-test-v0", 4, "sync", vector_kwargs={"autoreset_mode": mode})
        rng = np.random.default_rng(0)
        assert difference(native.reset(seed=2**64 - 2), sync.reset(seed=2**64 - 2), "reset") == ""
        over = np.zeros(4, dtype=bool)
        for step in range(200):
            if over.any() or step % 7 == 0:
                mask = over | (rng.random(4) < 0.3) | (np.arange(4) == step % 4)
                seed = [None, step, [3, None, step, None]][step % 3]
                options = {"reset_mask": mask, "problem": step, "difficulty": step % 2}
                ours = native.reset(seed=seed, options=options)
                assert options.keys() == {"reset_mask", "problem", "difficulty"}  # left alone
                theirs = sync.reset(seed=seed, options=options)
            else:
                actions = policy("Sort-test-v0", rng, native)
                ours, theirs = native.step(actions), sync.step(actions)
            assert difference(ours, theirs, f"{mode} {step}") == ""
            over = ours[2] if len(ours) == 5 and mode is AutoresetMode.DISABLED else over & False


@pytest.mark.parametrize("env_id", ["Guess-test-v0", "TextMath-v0"])
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda envs: pickle.loads(pickle.dumps(envs))]
)
def test_a_copy_in_the_middle_goes_on_alike_and_apart(env_id, duplicate):
    envs = gym.make_vec(env_id, num_envs=6, autoreset_mode=AutoresetMode.NEXT_STEP)
    envs.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(5):
        envs.step(policy(env_id, rng, envs))
    twin = duplicate(envs)
    for _ in range(40):
        actions = policy(env_id, rng, envs)
        ours, theirs = envs.step(actions), twin.step(actions)
        for a, b in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        assert_same(ours[4], theirs[4])


def test_settings_beside_a_shared_mdp_are_refused():
    mdp = gym.make("TextMath-v0").unwrapped.mdp
    with pytest.raises(TypeError, match="split"):
        textgym.TokenVectorEnv(mdp, 2, split="test")


def test_a_list_of_seeds_gives_each_slot_the_problems_of_its_own_seed():
    envs = gym.make_vec("TextMath-v0", num_envs=3)
    together, _ = envs.reset(seed=[11, 5, 11])
    alone, _ = gym.make("TextMath-v0").reset(seed=5)
    np.testing.assert_array_equal(together[1], alone)
    np.testing.assert_array_equal(together[0], together[2])


def test_returned_arrays_are_never_reused():
    envs = gym.make_vec("TextMath-v0", num_envs=4, autoreset_mode="SameStep")
    first, _ = envs.reset(seed=0)
    kept = first.copy()
    eos = np.full(4, envs.mdp.vocabulary.eos)
    results = [envs.step(eos) for _ in range(3)]
    np.testing.assert_array_equal(first, kept)
    for left, right in zip(results, results[1:], strict=False):
        for a, b in zip(left[:4], right[:4], strict=True):
            assert not np.shares_memory(a, b)


def test_a_step_before_the_first_reset_of_every_slot_raises_reset_needed():
    envs = gym.make_vec("TextMath-v0", num_envs=2)
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        envs.step(np.array([5, 5]))
    envs.reset(options={"reset_mask": np.array([False, True])})
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        envs.step(np.array([5, 5]))
    envs.reset(options={"reset_mask": np.array([True, False])})
    assert envs.step(np.array([5, 5]))[4]["length"].tolist() == [7, 7]


def test_a_group_that_starts_in_parts_and_without_a_seed_shares_its_problems():
    envs = gym.make_vec("TextMath-v0", num_envs=4, group_size=2)
    _, infos = envs.reset(options={"reset_mask": np.array([False, True, True, False])})
    _, others = envs.reset(options={"reset_mask": np.array([True, False, False, True])})
    numbers = np.where(infos["_problem"], infos["problem"], others["problem"])
    assert numbers[0] == numbers[1] and numbers[2] == numbers[3] and numbers[0] != numbers[2]


@pytest.mark.parametrize("seed", [-1, 3.7, "7", True, [1, -2], [1, 2.5], np.array([-1, 2])])
def test_what_is_no_seed_is_refused_and_changes_nothing(seed):
    envs, other = (gym.make_vec("TextMath-v0", num_envs=2) for _ in range(2))
    env = gym.make("TextMath-v0").unwrapped
    for each in (envs, other, env):
        each.reset(seed=0)
    for each in (envs, env):
        with pytest.raises(gym.error.Error, match="seed is .*, expected an integer of at least 0"):
            each.reset(seed=seed, options={"difficulty": "digit"})
    assert env.difficulty == 1
    assert difference(envs.reset(), other.reset(), "reset") == ""


@pytest.mark.parametrize("seed", [5, np.int64(5), np.array(5), np.uint8(5)])
def test_every_kind_of_integer_is_a_seed(seed):
    single = gym.make("TextMath-v0").reset(seed=seed)[1]["problem"]
    both = gym.make_vec("TextMath-v0", num_envs=2).reset(seed=seed)[1]["problem"]
    assert both[0] == single == gym.make("TextMath-v0").reset(seed=5)[1]["problem"]


@pytest.mark.parametrize("problem", [3.7, True, "3", [1], [1, 2, 3], [0.5, 1], -1, 2**14, [0, -1]])
def test_what_is_no_problem_is_refused(problem):
    envs, env = gym.make_vec("TextMath-v0", num_envs=2), gym.make("TextMath-v0")
    for each in (envs, env):
        with pytest.raises(ValueError, match="problem is .*, expected .*0 to 16383"):
            each.reset(options={"problem": problem})
    with pytest.raises(ValueError, match="reset_mask'] is list of shape"):
        envs.reset(options={"reset_mask": [True, True]})


@pytest.mark.parametrize("difficulty", [0.5, True, [1], np.array([1]), "1", 9, -1])
def test_what_is_no_difficulty_is_refused(difficulty):
    for env in (gym.make("TextMath-v0"), gym.make_vec("TextMath-v0", num_envs=2)):
        with pytest.raises(ValueError, match="TextMath has no difficulty .*; expected one of"):
            env.reset(options={"difficulty": difficulty})


@pytest.mark.parametrize(("num_envs", "group_size"), [(0, 1), (2.0, 1), ("2", 1), (4, 3), (4, 2.0)])
def test_wrong_numbers_of_slots_are_refused(num_envs, group_size):
    with pytest.raises(ValueError, match="expected integers of at least 1, and num_envs a mult"):
        textgym.TokenVectorEnv(textgym.tasks.TextMath(), num_envs, group_size=group_size)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("env_id", IDS)
def test_without_details_the_game_is_the_same_and_info_is_bare(env_id, mode):
    full = gym.make_vec(env_id, num_envs=6, autoreset_mode=mode)
    bare = gym.make_vec(env_id, num_envs=6, autoreset_mode=mode, details=False)
    sync = gym.make_vec(
        env_id,
        num_envs=6,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        details=False,
    )
    rng = np.random.default_rng(1)
    for envs in (full, bare, sync):
        envs.reset(seed=5)
    endings = 0
    for _ in range(150):
        actions = policy(env_id, rng, full)
        results = [envs.step(actions) for envs in (full, bare, sync)]
        for other in results[1:]:
            for a, b in zip(results[0][:4], other[:4], strict=True):
                np.testing.assert_array_equal(a, b)
        assert_same(results[1][4], results[2][4])
        assert not {"response", "stop_reason", "components", "problem"} & results[1][4].keys()
        done = results[0][2]
        endings += int(done.sum())
        if mode is AutoresetMode.DISABLED and done.any():
            for envs in (full, bare, sync):
                envs.reset(options={"reset_mask": done.copy()})
    assert endings > 50
