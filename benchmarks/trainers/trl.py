"""TRL's side: `PYTHON -m benchmarks.trainers.trl WORK`, with an interpreter that has TRL.

Its settings are its defaults but for what both sides share (float32, no gradient checkpointing, no
dropout, no logging) and what makes it faster: all rows in one micro-batch, one optimizer step per
generated batch, so that GRPO needs no second pass for old log-probabilities. Its LM head is fused
and chunked by default; Liger's kernels and padding-free batches want a GPU.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from typing import Any

import torch
import trl
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    TrainerCallback,
)
from transformers.generation import GenerationMixin  # noqa: F401 - loaded before memory is counted

from benchmarks.trainers.work import GROUP, PROMPT, RESPONSE, Clock, Work, reward


def main() -> None:
    """Train, and print the figures."""
    torch.set_num_threads(1)
    work = Work.given()
    prepare: dict[str, Callable[[Work, Clock], Any]] = {
        "grpo": grpo,
        "ppo": ppo,
        "dpo": dpo,
        "reward_model": reward_model,
    }
    make = prepare[work.learner]
    _import(work.learner)
    clock = Clock()
    trainer = make(work, clock)
    trainer.add_callback(Marks(clock))
    trainer.train()
    clock.report(version=f"trl {trl.__version__}", torch=torch.__version__)


class Marks(TrainerCallback):
    """Marks the clock after each step."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """After the optimizer's step, in PPO after the last of a batch."""
        self.clock.mark()


def _import(learner: str) -> None:
    """TRL imports a trainer when it is first asked for."""
    if learner == "ppo":
        importlib.import_module("trl.experimental.ppo")
    else:
        _ = trl.GRPOTrainer, trl.DPOTrainer, trl.RewardTrainer


def _settings(work: Work, rows: int) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": rows,
        "max_steps": work.steps + 1,
        "learning_rate": work.learning_rate,
        "lr_scheduler_type": "constant",
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
    }


def _policy(work: Work) -> tuple[Any, Any]:
    tokenizer = AutoTokenizer.from_pretrained(work.folder, padding_side="left")
    return AutoModelForCausalLM.from_pretrained(work.folder, dtype=torch.float32), tokenizer


def grpo(work: Work, clock: Clock) -> Any:
    """Groups of GROUP; one step on each batch, so old log-probabilities need no second pass."""
    model, tokenizer = _policy(work)
    model.generate = clock.generation(model.generate)

    def rewards(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        clock.tokens += sum(PROMPT + len(ids) for ids in completion_ids)
        return [reward(completion) for completion in completions]

    config = trl.GRPOConfig(
        **_settings(work, work.rows),
        num_generations=GROUP,
        max_completion_length=RESPONSE,
        beta=work.beta,
    )
    prompts = work.prompts((work.steps + 1) * work.rows // GROUP)
    return trl.GRPOTrainer(
        model,
        reward_funcs=rewards,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
    )


def ppo(work: Work, clock: Clock) -> Any:
    """A value model of the policy's size, as TRL demands; a reward model that costs nothing."""
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    model, tokenizer = _policy(work)
    model.generate = clock.generation(model.generate)
    value = AutoModelForSequenceClassification.from_pretrained(
        work.folder, num_labels=1, dtype=torch.float32
    )
    tiny = LlamaConfig(
        vocab_size=work.vocabulary,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    count = (work.steps + 1) * work.rows
    settings = _settings(work, work.rows)
    del settings["max_steps"]
    config = PPOConfig(
        **settings,
        total_episodes=count,
        num_ppo_epochs=work.epochs,
        num_mini_batches=1,
        local_rollout_forward_batch_size=work.rows,
        num_sample_generations=0,
        response_length=RESPONSE,
        temperature=1.0,
        kl_coef=work.beta,
    )
    ids = tokenizer(work.prompts(count))["input_ids"]
    trainer = PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=model,
        ref_model=AutoModelForCausalLM.from_pretrained(work.folder, dtype=torch.float32),
        reward_model=LlamaForSequenceClassification(tiny),
        value_model=value,
        train_dataset=Dataset.from_dict({"input_ids": ids}),
        eval_dataset=Dataset.from_dict({"input_ids": ids[: work.rows]}),
    )
    trainer.log = lambda metrics: _count(clock, work)
    return trainer


def _count(clock: Clock, work: Work) -> None:
    """TRL's PPO has no stop token here: every response is of full length."""
    clock.tokens += work.rows * (PROMPT + RESPONSE)


def dpo(work: Work, clock: Clock) -> Any:
    """The sigmoid loss; the reference is asked in every step, as ours is."""
    model, tokenizer = _policy(work)
    config = trl.DPOConfig(**_settings(work, work.rows // 2), beta=0.1)
    trainer = trl.DPOTrainer(
        model,
        args=config,
        train_dataset=Dataset.from_dict(work.pairs()),
        processing_class=tokenizer,
    )
    return _counting(trainer, clock)


def reward_model(work: Work, clock: Clock) -> Any:
    """Bradley-Terry on the last token's score."""
    tokenizer = AutoTokenizer.from_pretrained(work.folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        work.folder, num_labels=1, dtype=torch.float32
    )
    trainer = trl.RewardTrainer(
        model,
        args=trl.RewardConfig(**_settings(work, work.rows // 2)),
        train_dataset=Dataset.from_dict(work.pairs()),
        processing_class=tokenizer,
    )
    return _counting(trainer, clock)


def _counting(trainer: Any, clock: Clock) -> Any:
    """Count the real tokens of each batch."""
    compute_loss = trainer.compute_loss

    def counted(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        clock.tokens += int(inputs["attention_mask"].sum())
        return compute_loss(model, inputs, *args, **kwargs)

    trainer.compute_loss = counted
    return trainer


if __name__ == "__main__":
    main()
