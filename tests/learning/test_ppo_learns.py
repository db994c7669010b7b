"""PPO raises the embedded policy's success on problems that it never trained on."""

from __future__ import annotations

import pytest
import torch

from agents import PPOConfig, PPOTrainer, evaluate, load_policy


@pytest.mark.slow
def test_ppo_raises_held_out_success_from_the_embedded_policy():
    torch.set_num_threads(1)
    policy = load_policy("tiny")
    before = evaluate(policy, "TextMath-v0").success.mean()
    assert 0.25 <= before <= 0.40  # room to learn, and something to reinforce
    PPOTrainer(PPOConfig(num_iterations=100), policy).train("TextMath-v0")
    after = evaluate(policy, "TextMath-v0").success.mean()
    assert after - before >= 0.2
