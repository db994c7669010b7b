"""A reward model learns a known utility from noisy pairs, in seconds of one CPU core.

TextTaste-v0: the truth is what two guests think of 26 letters, and what repetitions cost. Trained
on pairs of drafts of which 5 % are labelled the wrong way round; measured on pairs of the test
split with clean labels, and by the correlation of scores with the true utility. The model is a
small Llama from random weights: see `benchmarks.taste.reward_trunk`.

TextMultiObjective with four letters instead of 62: the components of a reward model rank responses
that it has not seen. `python -m benchmarks components` measures the same on the whole task.
"""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch

from agents.reward_trainer import RewardModelConfig, RewardModelTrainer
from agents.reward_variants import MultiObjectiveRewardModel
from benchmarks.components import ranking, sample
from benchmarks.taste import Clock, reward_model, reward_trunk
from textgym.task import Problem
from textgym.tasks.objectives import TextMultiObjective
from textgym.tokenizer import CharTokenizer


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


def test_components_that_the_prompt_assigns_to_letters_rank_responses_not_seen() -> None:
    rng, letters = np.random.default_rng(0), list("kt7Q")
    problems = []
    for _ in range(10_300):
        first, second = rng.choice(letters, 2, replace=False)
        info = {"characters": (first, second), "n": 4}
        problems.append(Problem(f"{first}{second}: ", info=info))
    drawn = sample(
        TextMultiObjective(),
        problems,
        lambda _, rng: "".join(rng.choice(letters, int(rng.integers(6)))),
        rng,
    )
    texts = list(zip(drawn.prompts, drawn.responses, strict=True))
    seen = set(texts[:9_600])
    exam = [i for i, text in enumerate(texts) if text not in seen]
    model = MultiObjectiveRewardModel(
        reward_trunk(0), CharTokenizer(), objectives={"first": 0.5, "second": 0.5}, pooling="mean"
    )
    config = RewardModelConfig(num_iterations=150, batch_size=64, learning_rate=3e-3)
    RewardModelTrainer(config, model, show=False).train_on_scores(
        drawn.prompts[:9_600], drawn.responses[:9_600], drawn.truth[:9_600]
    )
    found = model.components(*zip(*[texts[i] for i in exam], strict=True)).numpy()
    truth, every = drawn.truth[exam], np.ones((len(exam), len(exam)), bool)
    for k in range(2):
        assert ranking(found[:, k], truth[:, k], every)[0] >= 0.95
        # Which letter counts for which is for the prompt to say: to count both is not enough.
        assert ranking(truth.sum(1), truth[:, k], every)[0] < 0.9


def test_ranking_leaves_out_ties_in_truth_and_counts_equal_predictions_half() -> None:
    truth, said = np.array([0.1 + 0.2, 0.3, 0.5, 0.9]), np.array([1.0, 2.0, 2.0, 1.5])
    comparable = np.ones((4, 4), bool)
    # Of six pairs one ties in truth. Right: 02, 03; half: 12; wrong: 13, 23.
    assert ranking(said, truth, comparable) == pytest.approx((2.5 / 5, 1 / 6))
    comparable[3] = comparable[:, 3] = False
    assert ranking(said, truth, comparable) == pytest.approx((1.5 / 2, 1 / 3))
