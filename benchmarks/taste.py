"""What the experiments on TextTaste-v0 share: the supervised policy, pairs, and how it went."""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel

import textgym  # noqa: F401  (registers the ids)
from agents.environments import as_vector_env
from agents.models import Policy, load_policy
from agents.online_pairs import pairs_of
from agents.reward_model import RewardModel
from agents.reward_trainer import RewardModelConfig, RewardModelTrainer
from agents.rollout import collect
from agents.sft import SFTConfig, SFTTrainer
from textgym.preferences.functions import bradley_terry
from textgym.task import Preference
from textgym.tasks.preference.text_taste import TextTaste, utility
from textgym.tokenizer import CharTokenizer

ENV_ID = "TextTaste-v0"
NOISE = 0.05
"""Share of labels turned around."""
NUM_DRAFTS, NUM_PAIRS, NUM_PROMPTS, NUM_TESTS = 9_600, 14_400, 2_400, 1_000

SMALL: dict[str, Any] = {
    "vocab_size": len(CharTokenizer()),
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 64**-0.5,
    "pad_token_id": CharTokenizer().pad_token_id,
}
"""An untrained trunk's config."""

Trunk = TypeVar("Trunk", bound=nn.Module)


class Clock:
    """CPU seconds of this process while something was timed."""

    seconds = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add what the block takes."""
        start = time.process_time()
        yield
        self.seconds += time.process_time() - start


def supervised(seed: int) -> Policy:
    """The embedded policy fitted to drafts of middling quality: where everything begins."""
    return copy.deepcopy(_supervised(seed))


@functools.cache
def _supervised(seed: int) -> Policy:
    policy, task, rng = load_policy("tiny"), TextTaste(), np.random.default_rng(seed)
    problems = [task.sample(rng) for _ in range(NUM_DRAFTS)]
    drafts = [task.sample_draft(problem, rng) for problem in problems]
    config = SFTConfig(
        learning_rate=5e-3, batch_size=32, num_epochs=1, warmup_iterations=20, seed=seed
    )
    trainer = SFTTrainer(config, policy, show=False)
    trainer.train_on_responses([problem.prompt for problem in problems], drafts)
    return policy.eval()


def drawn_pairs(seed: int, *, num: int, split: str = "train") -> list[Preference]:
    """Pairs of drafts with noisy labels; of the test split, without noise."""
    noise = NOISE if split == "train" else 0.0
    env = gym.make(ENV_ID, noise=noise, split=split)
    return env.unwrapped.preferences(num, seed=seed)


def sampled_pairs(policy: Policy, seed: int, *, num: int = NUM_PROMPTS) -> list[Preference]:
    """Pairs of the policy's own responses with noisy labels, ties left out."""

    def preference(prompt: str, a: str, b: str) -> float:
        gap = utility(prompt[:3], a) - utility(prompt[:3], b)
        return bradley_terry(gap, math.inf, NOISE)

    envs = as_vector_env(ENV_ID, 400, tokenizer=policy.tokenizer, group_size=2)
    generator = torch.Generator().manual_seed(seed)
    rollout, episodes = collect(policy, envs, 2 * num, generator=generator, seed=seed)
    chosen, rejected = pairs_of(rollout, policy.tokenizer, preference, generator)
    given = rollout.tokens.masked_fill(rollout.mask, policy.pad)
    prompts = [policy.tokenizer.decode(given[i], skip_special_tokens=True) for i in chosen]
    texts = episodes.responses
    return [
        Preference(prompt, texts[i], texts[j])
        for prompt, i, j in zip(prompts, chosen.tolist(), rejected.tolist(), strict=True)
        if texts[i] and texts[j]
    ]


def columns(preferences: list[Preference]) -> tuple[list[str], list[str], list[str]]:
    """Prompts, chosen, rejected."""
    rows = [(pair.prompt, pair.chosen, pair.rejected) for pair in preferences]
    prompts, chosen, rejected = (list(column) for column in zip(*rows, strict=True))
    return prompts, chosen, rejected


def reward_trunk(seed: int) -> LlamaModel:
    """An untrained Llama, two layers of 64, whose letters are far apart from the first.

    Weights are of the size that keeps signals as they are (1 / sqrt(width); embeddings of norm 4).
    With transformers' 0.02, made for models 20 times as wide, and from the embedded policy, whose
    letters are hardly trained, a model of this size learns far slower.
    """
    tokenizer = CharTokenizer()
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    trunk = untrained(lambda: LlamaModel(LlamaConfig(**SMALL, **ends)), seed)
    with torch.no_grad():
        trunk.embed_tokens.weight.mul_(4.0)
    return trunk


def untrained(make: Callable[[], Trunk], seed: int) -> Trunk:
    """A model whose weights are those of the seed, whatever the global generator's state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def reward_model(seed: int, clock: Clock) -> tuple[RewardModel, dict[str, float]]:
    """A reward model learned from noisy pairs, and how good it is on held-out drafts."""
    model = RewardModel(reward_trunk(seed), CharTokenizer(), seed=seed)
    training = drawn_pairs(seed, num=NUM_PAIRS)
    config = RewardModelConfig(learning_rate=3e-3, num_iterations=450, seed=seed)
    with clock.timed():
        RewardModelTrainer(config, model, show=False).train_on_preferences(*columns(training))
    prompts, chosen, rejected = columns(drawn_pairs(seed, num=NUM_TESTS, split="test"))
    good, bad = (model.score(prompts, texts).cpu().numpy() for texts in (chosen, rejected))
    guests = [prompt[:3] for prompt in prompts]
    truth = [
        utility(guest, text) for guest, text in zip(guests * 2, chosen + rejected, strict=True)
    ]
    return model, {
        "accuracy": float((good > bad).mean()),
        "correlation": float(np.corrcoef(np.concatenate([good, bad]), truth)[0, 1]),
    }


@torch.no_grad()
def measure(policy: Policy, start: Policy, *, num: int = 512, seed: int = 1234) -> dict[str, float]:
    """How a policy fares on test problems, beside the policy that it began as.

    Returns:
        utility, its mean; win_rate over the other's responses to the same prompts, ties counting
        half; kl, of whole responses in nats; length in tokens.
    """
    played = []
    for player in (policy, start):
        envs = as_vector_env(ENV_ID, num, tokenizer=player.tokenizer, split="test")
        generator = torch.Generator().manual_seed(seed)
        player.eval()
        played.append(collect(player, envs, num, generator=generator, seed=seed))
    (rollout, episodes), (_, others) = played
    log_ratio = (rollout.log_probs - start(rollout.tokens, rollout.mask).log_probs).sum(1)
    wins = np.sign(episodes.components["utility"] - others.components["utility"])
    return {
        "utility": float(episodes.components["utility"].mean()),
        "win_rate": float((wins.mean() + 1) / 2),
        "kl": float(log_ratio.mean()),
        "length": rollout.num_tokens / num,
    }
