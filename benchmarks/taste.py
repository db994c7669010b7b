"""What the experiments on TextTaste-v0 share: the supervised policy, pairs, and how it went."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from transformers import LlamaConfig, LlamaModel

import textgym  # noqa: F401  (registers the ids)
from agents.environments import as_vector_env
from agents.models import Policy, load_policy
from agents.reward_model import RewardModel
from agents.reward_trainer import RewardModelConfig, RewardModelTrainer
from agents.rollout import collect
from agents.sft import SFTConfig, SFTTrainer
from textgym.task import Preference
from textgym.tasks.preference.text_taste import TextTaste, utility
from textgym.tokenizer import CharTokenizer

ENV_ID = "TextTaste-v0"
NOISE = 0.05
"""Share of labels turned around."""
NUM_DRAFTS, NUM_PAIRS, NUM_TESTS = 19_200, 2_400, 1_000
CACHE = Path(tempfile.gettempdir(), "textgym-taste")


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
    """The embedded policy fitted to drafts of middling quality: where everything begins.

    It takes a minute a seed, so it is kept in the temporary folder.
    """
    folder = CACHE / f"supervised-{seed}"
    if not folder.is_dir():
        policy, task, rng = load_policy("tiny"), TextTaste(), np.random.default_rng(seed)
        problems = [task.sample(rng) for _ in range(NUM_DRAFTS)]
        config = SFTConfig(batch_size=64, num_epochs=2, learning_rate=2e-3, seed=seed)
        SFTTrainer(config, policy, show=False).train_on_responses(
            [problem.prompt for problem in problems],
            [task.sample_draft(problem, rng) for problem in problems],
        )
        policy.save(folder)
    return load_policy(folder)


def pairs(seed: int, *, num: int = NUM_PAIRS, split: str = "train") -> list[Preference]:
    """Pairs of drafts with noisy labels; of the test split, without noise."""
    noise = NOISE if split == "train" else 0.0
    env = gym.make(ENV_ID, noise=noise, split=split)
    return env.unwrapped.preferences(num, seed=seed)


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
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=64**-0.5,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = LlamaModel(config)
    with torch.no_grad():
        trunk.embed_tokens.weight.mul_(4.0)
    return trunk


def reward_model(seed: int, clock: Clock) -> tuple[RewardModel, dict[str, float]]:
    """A reward model learned from noisy pairs, and how good it is on held-out drafts."""
    model = RewardModel(reward_trunk(seed), CharTokenizer(), seed=seed)
    training = pairs(seed, num=14_400)
    config = RewardModelConfig(learning_rate=3e-3, num_iterations=450, seed=seed)
    with clock.timed():
        RewardModelTrainer(config, model, show=False).train_on_preferences(*columns(training))
    prompts, chosen, rejected = columns(pairs(seed, num=NUM_TESTS, split="test"))
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
