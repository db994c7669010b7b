"""Every dialogue task is solved by a scripted expert, token by token, in all forms."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from tests.textgym.dialogues import EXPERTS, converse, converse_vector
from textgym import load_task
from textgym.tokenizer import load_tokenizer

IDS = list(EXPERTS)


@pytest.fixture(scope="module")
def bpe():
    """A byte-level BPE with merges, which knows ">>", and special tokens."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    rng, texts = np.random.default_rng(0), []
    for task in map(load_task, IDS):
        for level in range(len(task.difficulties)):
            problems = [task.draw(rng, level) for _ in range(20)]
            texts += [p.prompt + p.info.get("program", ">>") + "\n</python>\n" for p in problems]
    backend = ByteLevelBPETokenizer()
    special = ["<|end|>", "<|user|>"]
    backend.train_from_iterator(texts, vocab_size=600, show_progress=False, special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend._tokenizer,
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>"],
        clean_up_tokenization_spaces=False,
    )


@pytest.fixture(params=["char", "bpe"])
def tokenizer(request, bpe):
    return load_tokenizer("char") if request.param == "char" else bpe


@pytest.mark.parametrize("env_id", IDS)
def test_an_expert_earns_the_full_reward_at_every_level(env_id: str, tokenizer) -> None:
    env = gym.make(env_id, tokenizer=tokenizer, num_problems=20).unwrapped
    for level in env.task.difficulties:
        env.reset(seed=0)
        for _ in range(3):
            result, _ = converse(env, EXPERTS[env_id], difficulty=level)
            assert result.reward == 1.0, result.info


@pytest.mark.parametrize("env_id", IDS)
def test_the_batch_ends_as_single_environments_do(env_id: str, tokenizer) -> None:
    settings = {"tokenizer": tokenizer, "num_problems": 20}
    envs = gym.make_vec(env_id, num_envs=12, autoreset_mode="Disabled", **settings)
    levels = np.arange(12) % len(envs.unwrapped.mdp.task.difficulties)
    endings = converse_vector(
        envs.unwrapped, EXPERTS[env_id], difficulty=levels, problem=np.arange(12)
    )
    env = gym.make(env_id, **settings).unwrapped
    for i, ending in enumerate(endings):
        result, _ = converse(env, EXPERTS[env_id], difficulty=int(levels[i]), problem=i)
        assert ending["reward"] == result.reward == 1.0
        assert ending["response"] == result.info["response"]
        assert np.array_equal(ending["observation"], result.observation)
        assert np.array_equal(ending["response_mask"], result.info["response_mask"])


@pytest.mark.parametrize("env_id", IDS)
def test_the_mask_has_what_the_policy_chose_and_nothing_else(env_id: str, tokenizer) -> None:
    env = gym.make(env_id, tokenizer=tokenizer, num_problems=20).unwrapped
    (observation, _, _, _, info), chosen = converse(env, EXPERTS[env_id], problem=0)
    mask, length = info["response_mask"], info["length"]
    assert observation[mask].tolist() == chosen
    spoken = tokenizer.decode(observation[:length], skip_special_tokens=True)
    assert spoken.endswith(info["response"]) and not mask[length:].any()


@pytest.mark.parametrize("env_id", IDS)
def test_replies_at_once_are_those_given_one_by_one(env_id: str) -> None:
    task = load_task(env_id)
    rng = np.random.default_rng(0)
    problems = [task.draw(rng, i % len(task.difficulties)) for i in range(6)]
    said = ["<<1/0>>", "print(2)</python>", "<<2*3>>", "<python>1/0</python>", "7", ""]
    turns = [[text] for text in said]
    together = task.reply_many(problems, turns)
    assert list(together) == [task.reply(*pair) for pair in zip(problems, turns, strict=True)]
