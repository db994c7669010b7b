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

IDS = ["Sort-test-v0", "Stop-test-v0", "Guess-test-v0", "TextMath-v0"]
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
