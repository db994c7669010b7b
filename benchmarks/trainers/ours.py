"""Our side: `python -m benchmarks.trainers.ours WORK`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import torch
from transformers import LlamaForCausalLM  # noqa: F401 - loaded before memory is counted

import agents.play
import textgym
from agents.models import load_policy
from benchmarks.trainers.work import GROUP, PROMPT, RESPONSE, SPECIAL, Clock, Work, reward
from textgym.task import Problem, Task


@textgym.register_task("BenchmarkWords-v0", max_response_tokens=RESPONSE)
class Words(Task):
    """Prompts of random words; a response is worth its sevens."""

    def __init__(self, words: int, prompt: int = PROMPT) -> None:
        self.words, self.prompt = words, prompt

    def sample(self, rng: np.random.Generator) -> Problem:
        """A prompt; there is no answer."""
        words = rng.integers(self.words, size=self.prompt)
        return Problem(prompt=" ".join(f"w{i}" for i in words))

    def grade(self, problem: Problem, response: str) -> dict[str, float]:
        """What TRL's side pays."""
        return {"correct": reward(response)}


def main() -> None:
    """Train, and print the figures."""
    torch.set_num_threads(1)
    work = Work.given()
    learners: dict[str, Callable[[Work, Clock], None]] = {
        "grpo": grpo,
        "ppo": ppo,
        "dpo": dpo,
        "reward_model": reward_model,
    }
    module = "reward_trainer" if work.learner == "reward_model" else work.learner
    importlib.import_module(f"agents.{module}")
    clock = Clock()
    learners[work.learner](work, clock)
    clock.report(version=f"textgym {metadata.version('textgym')}", torch=torch.__version__)


def grpo(work: Work, clock: Clock) -> None:
    """Groups of GROUP; one step on each batch."""
    from agents.grpo import GRPOConfig, GRPOTrainer

    settings = _settings(work, work.rows)
    config = GRPOConfig(**settings, group_size=GROUP, num_minibatches=1, kl_coef=work.beta)
    _play(GRPOTrainer(config, load_policy(work.folder), show=False), work, clock)


def ppo(work: Work, clock: Clock) -> None:
    """The value head sits on the policy's own trunk, or the value network is one of its own."""
    from agents.ppo import PPOConfig, PPOTrainer

    config = PPOConfig(
        **_settings(work, work.rows),
        num_epochs=work.epochs,
        num_minibatches=1,
        kl_coef=work.beta,
        gae_lambda=0.95,
        value_coef=0.1,
    )
    policy = load_policy(work.folder)
    if work.separate_values:
        policy.separate_values()
    _play(PPOTrainer(config, policy, show=False), work, clock)


def dpo(work: Work, clock: Clock) -> None:
    """The sigmoid loss; the reference is asked in every step, by a frozen copy."""
    from agents.dpo import DPOConfig, DPOTrainer

    config = DPOConfig(**_settings(work, work.rows // 2), beta=0.1, precompute_reference=False)
    trainer = DPOTrainer(config, load_policy(work.folder), show=False)
    _mark(trainer, clock, 2 * (PROMPT + RESPONSE))
    pairs = work.pairs()
    trainer.train_on_preferences(pairs["prompt"], pairs["chosen"], pairs["rejected"])


def reward_model(work: Work, clock: Clock) -> None:
    """Bradley-Terry on the last token's score."""
    from agents.reward_model import RewardModel
    from agents.reward_trainer import RewardModelConfig, RewardModelTrainer

    config = RewardModelConfig(**_settings(work, work.rows // 2), centering_coef=0.0)
    trainer = RewardModelTrainer(config, RewardModel(work.folder), show=False)
    _mark(trainer, clock, 2 * (PROMPT + RESPONSE))
    pairs = work.pairs()
    trainer.train_on_preferences(pairs["prompt"], pairs["chosen"], pairs["rejected"])
    if trainer.course.num_tokens != trainer.course.num_episodes * 2 * (PROMPT + RESPONSE):
        raise RuntimeError("the pairs are not as long as they were meant to be")


def _settings(work: Work, batch_size: int) -> dict[str, Any]:
    return {
        "learning_rate": work.learning_rate,
        "num_iterations": work.steps + 1,
        "batch_size": batch_size,
        "checkpoint_every": 0,
    }


def _play(trainer: Any, work: Work, clock: Clock) -> None:
    """Train in the environment; prompts count as tokens, as they do on the other side."""
    agents.play.collect = clock.generation(agents.play.collect)
    _mark(trainer, clock, PROMPT, responses=True)
    trainer.train("BenchmarkWords-v0", words=work.vocabulary - len(SPECIAL))


def _mark(trainer: Any, clock: Clock, tokens: int, *, responses: bool = False) -> None:
    """Mark the clock after each step, which had `tokens` an episode (and the responses')."""
    course, step = trainer.course, trainer.course.step

    def marked(learn: Callable[[], dict[str, float]]) -> dict[str, float]:
        metrics = step(learn)
        clock.tokens = course.num_episodes * tokens + (course.num_tokens if responses else 0)
        clock.mark()
        return metrics

    course.step = marked


if __name__ == "__main__":
    main()
