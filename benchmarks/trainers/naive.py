"""Training on a token environment as a Gym tutorial would have it, beside ours.

Naive: one environment; at each token the policy reads the whole text so far again, with gradient,
one token is drawn, and its loss passes back at once; at the end of the episode the optimizer steps.
Ours: PPOTrainer with one pass over its episodes. Both on the model of hidden size 256, 4 layers and
4,096 tokens, prompts of 8 tokens, responses of 64 or 256, in one process on one thread, in turn;
tokens chosen per CPU second, the median of the ratios. Ours plays 32 episodes at a time, as it may:
the naive loop cannot.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import torch

import benchmarks.trainers.ours  # noqa: F401 - registers the environment
from agents.environments import as_vector_env
from agents.models import Policy, load_policy
from agents.optimization import adamw
from agents.ppo import PPOConfig, PPOTrainer
from benchmarks.trainers.work import SPECIAL, make_folder

VOCABULARY, PROMPT, EPISODES = 4096, 8, 32


def measure(rounds: int) -> Iterator[dict[str, Any]]:
    """The factor for each length of response."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make_folder(folder, VOCABULARY)
        for length in (64, 256):
            steps = (_naive(folder, length), _ours(folder, length))
            rates = [[_rate(step) for step in steps] for _ in range(rounds)]
            slow, fast = (statistics.median(column) for column in zip(*rates, strict=True))
            yield {
                "what": "naive Gym loop",
                "response_tokens": length,
                "naive_tokens_per_second": round(slow, 1),
                "ours_tokens_per_second": round(fast),
                "factor": round(statistics.median(ours / naive for naive, ours in rates)),
            }


def _rate(step: Callable[[], int]) -> float:
    start = time.process_time()
    tokens = step()
    return tokens / (time.process_time() - start)


def _make_env(policy: Policy, length: int) -> gym.Env:
    return gym.make(
        "BenchmarkWords-v0",
        tokenizer=policy.tokenizer,
        words=VOCABULARY - len(SPECIAL),
        prompt=PROMPT,
        max_response_tokens=length,
    )


def _naive(folder: str, length: int) -> Callable[[], int]:
    """An episode of REINFORCE, each step's loss weighted by the return of the episode before.

    (With its own, all steps' graphs would have to be kept until the end; the cost is the same.)
    """
    policy = load_policy(folder)
    optimizer, env, episode_return = adamw(policy, 1e-5), _make_env(policy, length), 1.0

    def step() -> int:
        nonlocal episode_return
        observation, info = env.reset()
        total, done, count = 0.0, False, 0
        while not done:
            text = torch.from_numpy(observation[: info["length"]])[None]
            logits = policy.model(text).logits[0, -1].masked_fill(policy.illegal, -torch.inf)
            choice = torch.distributions.Categorical(logits=logits, validate_args=False)
            token = choice.sample()
            (-choice.log_prob(token) * episode_return).backward()
            observation, reward, terminated, truncated, info = env.step(int(token))
            total, done, count = total + float(reward), terminated or truncated, count + 1
        episode_return = total
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return count

    return step


def _ours(folder: str, length: int) -> Callable[[], int]:
    policy = load_policy(folder)
    config = PPOConfig(batch_size=EPISODES, num_minibatches=1, num_iterations=1000)
    trainer = PPOTrainer(config, policy, show=False)
    envs = as_vector_env(_make_env(policy, length), EPISODES)

    def step() -> int:
        before = trainer.course.num_tokens
        trainer.step(envs)
        return trainer.course.num_tokens - before

    return step
