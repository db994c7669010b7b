"""PPO teaches the embedded policy to write programs, from reward alone once it is warmed up."""

from __future__ import annotations

import pytest
import torch

from agents import PPOConfig, PPOTrainer, SFTConfig, evaluate, load_policy
from agents.warm_up import warm_up


@pytest.mark.slow
def test_ppo_raises_held_out_success_on_programs(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTGYM_CACHE", str(tmp_path))
    torch.set_num_threads(1)
    policy = load_policy("tiny")
    # It cannot write any program before. From where .25 is just reached, success rises slowly.
    quickly = SFTConfig(batch_size=32, evaluate_every=40)
    assert warm_up(policy, "TextCode-v0", 0.35, config=quickly) >= 0.35
    before = evaluate(policy, "TextCode-v0").success.mean()
    assert 0.2 <= before <= 0.45
    PPOTrainer(PPOConfig(num_iterations=50), policy).train("TextCode-v0")
    after = evaluate(policy, "TextCode-v0").success.mean()
    assert after - before >= 0.1
