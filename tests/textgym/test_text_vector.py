"""The text forms for a batch equal Gymnasium's own vector environments over the wrappers."""

from __future__ import annotations

import copy
import pickle
from itertools import islice
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import textgym
from tests.textgym import sample_tasks  # noqa: F401
from tests.textgym.playing import Echo, assert_same
from tests.textgym.test_wrappers import FORMS, IDS, SAMPLES, byte_level_tokenizer
from textgym import CharTokenizer, Problem
from textgym.checking.text_form import UNUSUAL, random_texts
from textgym.registration import find_spec
from textgym.text_vector import TextVectorEnv

MODES = list(AutoresetMode)
BOTH = FORMS[-1]
SCALAR = [id for id in IDS if not find_spec(id).kwargs.get("vector_reward")]


def make_text(id: str, num_envs: int, **kwargs: Any) -> TextVectorEnv:
    return gym.make_vec(id, num_envs, text_actions=True, text_observations=True, **kwargs)


def turns(envs: TextVectorEnv, seed: int = 0) -> Any:
    """Turns for all slots without end: some answer a problem of the level, some are unusual."""
    rng = np.random.default_rng(seed)
    bank, random = envs.mdp.bank, random_texts(envs.mdp, rng)
    while True:
        row = []
        for slot in range(envs.num_envs):
            answer = bank.problem(int(envs._rows[slot])).answer
            row.append([answer, next(random), UNUSUAL[rng.integers(len(UNUSUAL))]][rng.integers(3)])
        yield [tuple, list, np.array][rng.integers(3)](row) if "\0" not in row else row


def compare(native: TextVectorEnv, other: gym.vector.VectorEnv, num_steps: int) -> int:
    """Step both alike and assert that all is the same; how many episodes ended."""
    assert native.observation_space == other.observation_space
    assert native.action_space == other.action_space
    assert_same(native.reset(seed=7), other.reset(seed=7))
    num_ended = 0
    for step, actions in enumerate(islice(turns(native), num_steps)):
        ours, theirs = native.step(actions), other.step(actions)
        assert_same(ours, theirs)
        num_ended += int(ours[2].sum())
        if native.autoreset_mode is AutoresetMode.DISABLED and ours[2].any():
            options = {"reset_mask": ours[2], "problem": step}
            assert_same(native.reset(options=options), other.reset(options=options))
    return num_ended


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("id", SAMPLES)
def test_native_equals_sync_step_by_step(id: str, mode: AutoresetMode) -> None:
    native = make_text(id, 6, autoreset_mode=mode)
    sync = gym.make_vec(id, 6, "sync", vector_kwargs={"autoreset_mode": mode}, **BOTH)
    assert compare(native, sync, 100) > 100


@pytest.mark.parametrize("id", SCALAR)
def test_native_equals_sync_for_every_id(id: str) -> None:
    """In each mode by turns: the modes are the same code for all tasks."""
    mode = MODES[SCALAR.index(id) % 3]
    native = make_text(id, 3, autoreset_mode=mode)
    sync = gym.make_vec(id, 3, "sync", vector_kwargs={"autoreset_mode": mode}, **BOTH)
    assert compare(native, sync, 12) > 1


@pytest.mark.parametrize("forms", FORMS[:2])
def test_each_form_alone_equals_sync(forms: dict[str, bool]) -> None:
    for mode in MODES:
        native = gym.make_vec("Guess-test-v0", 4, autoreset_mode=mode, **forms)
        sync = gym.make_vec(
            "Guess-test-v0", 4, "sync", vector_kwargs={"autoreset_mode": mode}, **forms
        )
        assert_same(native.reset(seed=1), sync.reset(seed=1))
        tokens = [2, 2, 3, *CharTokenizer().encode("0123456789!")]
        pool = ["1", "3!", "55", "\u00e9", ""] if "text_actions" in forms else tokens
        rng, over = np.random.default_rng(0), np.zeros(4, dtype=bool)
        for _ in range(80):
            if over.any():
                pair = [envs.reset(options={"reset_mask": over}) for envs in (native, sync)]
                assert_same(*pair)
            actions = rng.choice(pool, size=4)
            ours = native.step(actions)
            assert_same(ours, sync.step(actions))
            over = ours[2] & (mode is AutoresetMode.DISABLED)


def test_native_equals_async_without_shared_memory() -> None:
    """With it, Gymnasium 1.4 gives the texts that were there before any was written."""
    native = make_text("Guess-test-v0", 2)
    with pytest.raises(TypeError, match="give AsyncVectorEnv shared_memory=False"):
        gym.make_vec("Guess-test-v0", 2, "async", **BOTH)
    unshared = {"shared_memory": False}
    other = gym.make_vec("Guess-test-v0", 2, "async", vector_kwargs=unshared, **BOTH)
    try:
        assert compare(native, other, 40) > 10
    finally:
        other.close()


@pytest.mark.parametrize("id", ["Stop-test-v0", "TextMath-v0"])
def test_native_equals_sync_with_tokens_of_several_characters(id: str) -> None:
    tokenizer = byte_level_tokenizer()
    for mode in MODES:
        native = make_text(id, 4, tokenizer=tokenizer, autoreset_mode=mode)
        sync = gym.make_vec(
            id, 4, "sync", vector_kwargs={"autoreset_mode": mode}, tokenizer=tokenizer, **BOTH
        )
        assert compare(native, sync, 30) > 20


@pytest.mark.parametrize("seed", range(3))
def test_rows_of_texts_are_encoded_as_each_text_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for tokenizer in (CharTokenizer(), byte_level_tokenizer()):
        vocabulary = textgym.TokenMDP(Echo(), tokenizer).vocabulary
        codes = rng.choice([*range(140), 0xD800, 0x1F600, 0x2603], size=(50, 12)).tolist()
        texts = ["".join(map(chr, row[: rng.integers(13)])) for row in codes]
        rows, lengths = vocabulary.encode_rows(texts, 9)
        if isinstance(tokenizer, CharTokenizer):
            assert lengths.tolist() == [min(len(text), 9) for text in texts]
        for text, row, length in zip(texts, rows.tolist(), lengths.tolist(), strict=True):
            assert row[:length] == vocabulary.encode_plain(text)[:9]
        assert vocabulary.encode_rows([], 9)[0].shape == (0, 9)


@pytest.mark.parametrize("id", ["Guess-test-v0", "TextMath-v0"])
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda envs: pickle.loads(pickle.dumps(envs))]
)
def test_a_copy_in_the_middle_goes_on_alike_and_apart(id: str, duplicate: Any) -> None:
    envs = make_text(id, 5)
    envs.reset(seed=3)
    for actions in islice(turns(envs), 5):
        envs.step(actions)
    twin = duplicate(envs)
    for actions in islice(turns(envs, seed=1), 20):
        assert_same(envs.step(actions), twin.step(actions))


class CountsCalls(Echo):
    """A dialogue that notes how many problems come to it at once."""

    max_turns, max_reply_tokens, max_response_tokens = 2, 3, 20

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def sample(self, rng):
        return Problem(f"{rng.integers(10**6)}:", "ab")

    def reply_many(self, problems, turns):
        self.calls.append(("reply", len(problems)))
        return [None if said[-1] == "stop" else "go" for said in turns]


class GradesMany(Echo):
    max_response_tokens = 20

    def __init__(self) -> None:
        self.calls: list[int] = []

    def grade_many(self, problems, responses):
        self.calls.append(len(problems))
        return super().grade_many(problems, responses)


def test_what_ends_in_a_step_is_graded_together() -> None:
    envs = TextVectorEnv(task := GradesMany(), 6, autoreset_mode="SameStep")
    envs.reset(seed=0)
    rewards = envs.step([f"answer {i}" for i in range(5)] + ["\u00e9"])[1]
    assert task.calls == [5] and rewards.tolist() == [0.0] * 6  # what is illegal is not graded


def test_turns_that_end_in_a_step_are_answered_together() -> None:
    envs = TextVectorEnv(task := CountsCalls(), 4)
    prompts, _ = envs.reset(seed=0)
    observations, _, over, _, _ = envs.step(["a", "b", "stop", "x" * 30])
    assert task.calls == [("reply", 3)] and over.tolist() == [False, False, True, True]
    assert observations == (
        *(f"{prompts[0]}ago", f"{prompts[1]}bgo"),
        *(f"{prompts[2]}stop", prompts[3] + "x" * 20),
    )
    envs.step(["ab", "", "", ""])
    assert len(task.calls) == 1  # the last turn has no reply


def test_vector_rewards_groups_and_curricula_pass_through() -> None:
    envs = make_text("Sort-test-v0", 4, vector_reward=True, group_size=2, difficulty="adaptive")
    observations, infos = envs.reset(seed=0)
    assert observations[0] == observations[1] != observations[2]
    answers = ["".join(sorted(text[5:-1])) for text in observations]
    _, rewards, _, _, _ = envs.step([*answers[:2], "A", "abcdefghi"])
    assert rewards.dtype == np.float32
    assert rewards.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert envs.curriculum.success == 0.5 and (infos["difficulty"] == 0).all()


def test_a_finished_slot_ignores_what_it_is_told() -> None:
    envs = make_text("TextMath-v0", 2, autoreset_mode="Disabled")
    envs.reset(seed=0)
    envs.step(["1", "1"])
    before, rewards, over, _, _ = envs.step(["\u00e9", "2"])
    assert not rewards.any() and not over.any()
    assert before == envs.step(["", ""])[0]


@pytest.mark.parametrize(
    "actions",
    [
        *("ab", ["a"], ["a", "b", "c"], ["a", 1], [1, 2], None, {"a", "b"}, b"ab"),
        *(np.array([1, 2]), np.array("ab"), np.array([["a", "b"], ["c", "d"]])),
    ],
)
def test_what_is_not_a_text_for_each_slot_is_refused(actions: Any) -> None:
    envs = make_text("TextMath-v0", 2)
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(["a", "b"])
    envs.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction, match="expected 2 texts"):
        envs.step(actions)
    assert envs.step(["1", "2"])[2].all()
