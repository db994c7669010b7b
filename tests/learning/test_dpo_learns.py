"""DPO raises the true win rate against the supervised policy that it began as."""

from __future__ import annotations

import copy
import statistics
import time

import gymnasium
import numpy as np
import pytest
import torch

from agents import DPOConfig, DPOTrainer, Policy, SFTConfig, SFTTrainer, load_policy
from agents.environments import as_vector_env
from agents.online_pairs import pairs_of
from agents.rollout import collect, evaluate
from textgym import Preference
from textgym.tasks.preference.text_taste import utility

ENV_ID = "TextTaste-v0"
NOISE = 0.05
"""Share of labels turned around."""


@pytest.fixture(scope="module")
def start() -> Policy:
    """The embedded policy, fitted to drafts of middling quality."""
    torch.set_num_threads(1)
    policy, task = load_policy("tiny"), gymnasium.make(ENV_ID).unwrapped.task
    rng = np.random.default_rng(0)
    problems = [task.sample(rng) for _ in range(9_600)]
    drafts = [task.sample_draft(problem, rng) for problem in problems]
    config = SFTConfig(learning_rate=5e-3, batch_size=32, num_epochs=1, warmup_iterations=20)
    SFTTrainer(config, policy).train_on_responses([p.prompt for p in problems], drafts)
    return policy.eval()


def preference(prompt: str, a: str, b: str) -> float:
    """The better response wins, but for the noise."""
    gap = utility(prompt[:3], a) - utility(prompt[:3], b)
    return 0.5 + (0.5 - NOISE) * float(np.sign(gap))


def sampled_pairs(policy: Policy, num: int, seed: int) -> list[Preference]:
    """Labelled pairs of the policy's own responses to `num` prompts; ties are left out."""
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


def win_rate(policy: Policy, other: Policy) -> float:
    """How often the policy's response to a test prompt is truly better; ties count half."""
    ours, theirs = (
        evaluate(x, ENV_ID, num_episodes=512).components["utility"] for x in (policy, other)
    )
    print(f"true utility {theirs.mean():+.2f} -> {ours.mean():+.2f}", end=", ")
    return float((np.sign(ours - theirs).mean() + 1) / 2)


@pytest.mark.slow
def test_dpo_on_sampled_pairs_wins_four_comparisons_in_five(start: Policy) -> None:
    wins, seconds = [], []
    for seed in range(3):
        policy, begun = copy.deepcopy(start), time.process_time()
        config = DPOConfig(beta=0.5, num_epochs=2, learning_rate=1.5e-3, seed=seed)
        DPOTrainer(config, policy).train(sampled_pairs(start, 2_400, seed))
        seconds.append(time.process_time() - begun)
        wins.append(win_rate(policy, start))
        print(f"seed {seed}: win rate {wins[-1]:.3f} in {seconds[-1]:.1f} CPU-seconds")
    assert statistics.median(wins) >= 0.80


@pytest.mark.slow
def test_dpo_online_wins_four_comparisons_in_five(start: Policy) -> None:
    policy, begun = copy.deepcopy(start), time.process_time()
    config = DPOConfig(beta=0.5, num_iterations=20, batch_size=256, learning_rate=3e-3)
    DPOTrainer(config, policy).train_online(ENV_ID, preference=preference)
    seconds = time.process_time() - begun
    rate = win_rate(policy, start)
    print(f"online: win rate {rate:.3f} in {seconds:.1f} CPU-seconds")
    assert rate >= 0.80
