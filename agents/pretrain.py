"""Makes the embedded policy: `python -m agents.pretrain` writes agents/assets/tiny.

A small Llama learns arithmetic of all levels from TextMath's reference answers, and is stopped
while it is still bad at the default level, so that reinforcement learning has something to do.
Takes about five minutes of one CPU core and gives the same weights on the same machine.
"""

from __future__ import annotations

import json
import shutil

import gymnasium
import torch

import textgym
from agents.models import TINY, Policy, new_tiny_model
from agents.rollout import evaluate
from agents.sft import SFTConfig, SFTTrainer

SEED = 0
DIFFICULTIES = (0, 1, 2, 2, 3, 4, 5, 6, 7, 8)
"""Positions of the levels of a draw, each as often as it stands here."""
TARGET_SUCCESS = 0.33
CONFIG = SFTConfig(
    learning_rate=2e-3,
    batch_size=128,
    num_iterations=6000,
    target_success=TARGET_SUCCESS,
    evaluate_episodes=512,
    seed=SEED,
)


def main() -> None:
    """Train, report and write."""
    torch.set_num_threads(1)  # another number would sum in another order
    policy = Policy(new_tiny_model(SEED), textgym.CharTokenizer())
    env = gymnasium.make("TextMath-v0", num_problems=2**16)
    SFTTrainer(CONFIG, policy, show=False).train(env, difficulties=DIFFICULTIES, report=_report)
    for position, name in enumerate(env.unwrapped.task.difficulties):
        success = [
            evaluate(policy, "TextMath-v0", difficulty=position, greedy=greedy).success.mean()
            for greedy in (False, True)
        ]
        print(f"{name:12} sampled {success[0]:.3f}  greedy {success[1]:.3f}", flush=True)
    shutil.rmtree(TINY, ignore_errors=True)
    policy.save(TINY)


def _report(row: dict[str, float]) -> None:
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
