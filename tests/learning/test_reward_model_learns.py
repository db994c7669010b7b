"""A reward model learns a known utility from noisy pairs, in seconds of one CPU core.

TextTaste-v0: the truth is what two guests think of 26 letters, and what repetitions cost. Trained
on pairs of drafts of which 5 % are labelled the wrong way round; measured on pairs of the test
split with clean labels, and by the correlation of scores with the true utility. The model is a
small Llama from random weights: see `benchmarks.taste.reward_trunk`.
"""

from __future__ import annotations

import statistics

import pytest
import torch

from benchmarks.taste import Clock, reward_model


@pytest.mark.slow
def test_a_reward_model_recovers_the_utility() -> None:
    torch.set_num_threads(1)
    found = []
    for seed in range(3):
        clock = Clock()
        found.append(reward_model(seed, clock)[1])
        print(found[-1], f"{clock.seconds:.1f} CPU-seconds")
    median = {name: statistics.median(row[name] for row in found) for name in found[0]}
    assert median["accuracy"] >= 0.95
    assert median["correlation"] >= 0.93
