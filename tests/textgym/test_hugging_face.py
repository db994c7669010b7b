"""Environments with Hugging Face tokenizers: by object, by folder, with long tokens."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from tests.textgym import sample_tasks  # noqa: F401
from tests.textgym.playing import Echo, assert_same, play, problem_of, random_run
from textgym import CharTokenizer, RLEnvironment
from textgym.tasks import TextMath
from textgym.tokenizer import CHAR_FILES


@pytest.fixture(scope="module")
def bpe():
    """A byte-level BPE with merges, trained on a few prompts of TextMath and words."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    rng, task = np.random.default_rng(0), TextMath(wording="both")
    levels = [level for level in task.difficulties for _ in range(20)]
    problems = [task.sample(rng, level) for level in levels]
    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator(
        [problem.prompt + problem.answer for problem in problems],
        vocab_size=400,
        show_progress=False,
        special_tokens=["<|end|>", "<|user|>"],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend._tokenizer,
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>"],
        clean_up_tokenization_spaces=False,
    )


def test_the_twin_of_the_built_in_tokenizer_changes_nothing() -> None:
    runs = []
    for tokenizer in ("char", CharTokenizer().to_hugging_face(), str(CHAR_FILES)):
        env = gym.make("TextMath-v0", tokenizer=tokenizer)
        runs.append([env.reset(seed=0), *random_run(env, 50)])
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])


def test_a_bpe_tokenizer_works_as_an_object_and_as_a_folder(bpe, tmp_path: Path) -> None:
    bpe.save_pretrained(tmp_path)
    assert any(len(bpe.decode([i])) > 1 for i in bpe.encode("12+34=", add_special_tokens=False))
    runs = []
    for tokenizer in (bpe, str(tmp_path)):
        env = gym.make("TextMath-v0", tokenizer=tokenizer, wording="words")
        observation, info = env.reset(seed=0)
        problem = problem_of(env.unwrapped, info)
        assert bpe.decode(observation[: info["length"]]) == problem.prompt
        assert info["length"] < len(problem.prompt)
        result = play(env, problem.answer)
        assert result.reward == 1.0 and result.info["stop_reason"] == "eos"
        runs.append([observation, tuple(result)])
    assert_same(runs[0], runs[1])


def test_without_a_pad_token_eos_fills_the_observation(bpe) -> None:
    env = RLEnvironment(Echo(), tokenizer=bpe)
    observation, info = env.reset(seed=0)
    assert (observation[info["length"] :] == bpe.eos_token_id).all()
    assert env.action_masks()[bpe.eos_token_id]
    user = bpe.convert_tokens_to_ids("<|user|>")
    assert not env.action_masks()[user] and env.step(user).info["stop_reason"] == "illegal"


@pytest.mark.parametrize("env_id", ["TextMath-v0", "Stop-test-v0", "Guess-test-v0"])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_native_equals_sync_with_a_bpe_tokenizer(bpe, env_id: str, mode: AutoresetMode) -> None:
    settings = {"tokenizer": bpe, "num_problems": 50}
    native = gym.make_vec(env_id, num_envs=3, autoreset_mode=mode, **settings)
    sync = gym.make_vec(env_id, 3, "sync", vector_kwargs={"autoreset_mode": mode}, **settings)
    texts = ("12", "7", "-", "ab", ";", "c", "!", "123")
    useful = [token for text in texts for token in bpe.encode(text, add_special_tokens=False)]
    useful += [bpe.eos_token_id] * 3 + [bpe.convert_tokens_to_ids("<|user|>")]
    rng, endings = np.random.default_rng(0), 0
    assert_same(native.reset(seed=3), sync.reset(seed=3))
    for _ in range(120):
        actions = rng.choice(useful, size=3)
        ours, theirs = native.step(actions), sync.step(actions)
        assert_same(ours, theirs)
        endings += int(ours[2].sum())
        if mode is AutoresetMode.DISABLED and ours[2].any():
            options = {"reset_mask": ours[2]}
            assert_same(native.reset(options=options), sync.reset(options=options))
    assert endings > 30
