"""DPO raises the true win rate against the supervised policy that it began as."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest
import torch

from agents import DPOConfig, DPOTrainer
from benchmarks.taste import ENV_ID, NOISE, measure, sampled_pairs, supervised
from textgym.preferences.functions import bradley_terry
from textgym.tasks.preference.text_taste import utility


@pytest.mark.slow
def test_dpo_on_sampled_pairs_wins_four_comparisons_in_five() -> None:
    torch.set_num_threads(1)
    start, wins = supervised(0), []
    for seed in range(3):
        policy, begun = supervised(0), time.process_time()
        config = DPOConfig(beta=0.5, num_epochs=2, learning_rate=1.5e-3, seed=seed)
        DPOTrainer(config, policy, show=False).train(sampled_pairs(start, seed))
        seconds = time.process_time() - begun
        found = measure(policy, start)
        wins.append(found["win_rate"])
        print(f"seed {seed}: {found} in {seconds:.1f} CPU-seconds")
    assert statistics.median(wins) >= 0.80


@pytest.mark.slow
def test_dpo_online_wins_four_comparisons_in_five() -> None:
    def preference(prompt: str, a: str, b: str) -> float:
        return bradley_terry(utility(prompt[:3], a) - utility(prompt[:3], b), np.inf, NOISE)

    torch.set_num_threads(1)
    start, policy, begun = supervised(0), supervised(0), time.process_time()
    config = DPOConfig(beta=0.5, num_iterations=20, batch_size=256, learning_rate=3e-3)
    DPOTrainer(config, policy, show=False).train_online(ENV_ID, preference=preference)
    found = measure(policy, start)
    print(f"online: {found} in {time.process_time() - begun:.1f} CPU-seconds")
    assert found["win_rate"] >= 0.80
