"""Supervised fine-tuning on responses: a task's reference answers, or texts of one's own.

Maximises log pi(response, eos | prompt). On a task it is the warm-up before reinforcement learning,
and stops at a stated sampled success, because a fixed number of steps does not give a fixed
starting point.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from agents.config import TrainingConfig, check_ranges, validated
from agents.course import Course
from agents.distributed import num_ranks, rank
from agents.losses import Metrics, policy_gradient_loss
from agents.models import Policy, as_policy
from agents.optimization import adamw, micro_batches, update
from agents.rollout import as_vector_env, check_tokens, evaluate
from agents.text_data import (
    TextData,
    TooLong,
    chat_render,
    check_columns,
    context_of,
    tokenise,
)
from textgym.bank import ProblemBank
from textgym.data_sets import Layout, load_rows
from textgym.dialogues import (
    Render,
    as_messages,
    as_prompt,
    read_filled_dialogue,
    read_messages,
    split_last,
)
from textgym.row_files import Row
from textgym.tokenizer import Tokenizer
from textgym.vector import TokenVectorEnv

WEIGHT_DECAY = 0.01

STREAM = 0x5F7
"""Sets the draws of batches apart from all others of one seed."""

_COLUMNS = ("prompt", "response")
_DIALOGUES = {"read": dict.fromkeys(_COLUMNS, read_filled_dialogue), "key": _COLUMNS}

LAYOUTS = (
    Layout("responses", prompt="prompt", response="response", **_DIALOGUES),
    Layout("TRL", prompt="prompt", response="completion", **_DIALOGUES),
    Layout("Alpaca", prompt="instruction", response="output", key=_COLUMNS),
    Layout(
        "TRL, messages",
        messages="messages",
        read={"messages": read_messages},
        key=("messages",),
    ),
)
"""Columns of files that can be imitated. Prompts and responses are texts or messages."""

STEPS_ON_TASK = 4000
"""Optimizer steps on a task, where the config does not say."""


@dataclass
class SFTConfig(TrainingConfig):
    """What SFTTrainer reads."""

    optional: ClassVar[tuple[str, ...]] = ("max_tokens", "num_iterations")

    learning_rate: float = 2e-3
    """Peak of AdamW's rate: linear rise, then linear fall to a tenth."""
    num_iterations: int | None = None
    """Optimizer steps at most (None: on a task 4000, on texts num_epochs passes)."""
    num_epochs: int = 3
    """On texts: passes over them; not read where num_iterations is given."""
    batch_size: int = 128
    """Responses per step."""
    warmup_iterations: int = 50
    """Steps over which the rate rises."""
    target_success: float | None = None
    """On a task: stop once this sampled success on the validation split is reached (of a data set
    that has none: on the training split); None: never."""
    evaluate_every: int = 50
    """On a task: steps between two measurements of success."""
    evaluate_episodes: int = 256
    """Validation problems that each of them plays."""

    def validate(self) -> None:
        """Check each field's range.

        Raises:
            ValueError: naming the field, what it is and what was expected.
        """
        super().validate()
        check_ranges(
            self,
            integers=dict.fromkeys(("num_epochs", "evaluate_every", "evaluate_episodes"), 1),
            unit=("target_success",),
            optional=("target_success",),
        )


class SFTTrainer:
    """Fits a policy to responses.

    Example:
        >>> trainer = SFTTrainer(SFTConfig(target_success=0.25), load_policy("tiny"))
        >>> trainer.train("TextSort-v0")  # doctest: +SKIP

    Args:
        config: the algorithm's constants.
        model: a Policy, or a causal language model. Changed in place.
        tokenizer: the model's; needed if `model` is no Policy.
        folder: where metrics, checkpoints and the learning curve go; None: nowhere.
        show: whether to show progress.

    Attributes:
        data: of texts, their tokens; `data.report` tells what was left out.
    """

    def __init__(
        self,
        config: SFTConfig,
        model: Policy | nn.Module,
        tokenizer: Tokenizer | None = None,
        *,
        folder: str | Path | None = None,
        show: bool = True,
    ) -> None:
        self.config, self.policy = validated(config, SFTConfig), as_policy(model, tokenizer)
        self.optimizer = adamw(self.policy.model, config.learning_rate, weight_decay=WEIGHT_DECAY)
        lasting = config.lasting(STEPS_ON_TASK)
        self.course = Course(lasting, self.policy, self.optimizer, folder=folder, show=show)
        self.data: TextData | None = None

    def train_on_responses(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        *,
        max_length: int | None = None,
        too_long: TooLong = "drop",
    ) -> nn.Module:
        """Train on texts; returns the trained model (without the value head).

        So often as num_epochs says, or for num_iterations optimizer steps if that is given.

        Args:
            prompts: N texts.
            responses: one to each.
            max_length: most tokens of prompt and response (None: the model's context).
            too_long: what becomes of longer ones; see `text_data.tokenise`.

        Raises:
            TypeError, ValueError: for lists that are no data.
            FileExistsError, FloatingPointError, KeyboardInterrupt: see `Course`.
        """
        check_columns(prompts=prompts, responses=responses)
        if self.config.target_success is not None:
            raise ValueError(
                f"target_success is {self.config.target_success}, and texts come without a task to "
                "measure success on: leave it out; num_epochs or num_iterations says when to stop"
            )
        data = self.data = tokenise(
            prompts,
            [(response,) for response in responses],
            self.policy.tokenizer,
            max_length=context_of(self.policy.model) if max_length is None else max_length,
            too_long=too_long,
        )
        config, course = self.config, self.course
        steps = -(-len(data) // config.batch_size)  # per epoch
        course.config = config.lasting(config.num_epochs * steps)

        def step() -> dict[str, float]:
            epoch, number = divmod(course.iteration, steps)
            shuffled = self._rng(epoch).permutation(len(data))
            return self.step(*data.batch(np.array_split(shuffled, steps)[number].tolist()))

        self._run(step)
        return self.policy.model

    def train_on_file(
        self,
        path: str | os.PathLike[str],
        *,
        fields: Mapping[str, str] | None = None,
        **kwargs: object,
    ) -> nn.Module:
        """`train_on_responses` on the rows of a file, a folder or a data set on the hub.

        Its columns are prompt and response, those of another of LAYOUTS, or what `fields` says,
        such as {"prompt": "question", "response": "answer"}. Of messages the last one, the
        assistant's, is the response; those before it are the prompt, as the tokenizer's chat
        template writes them if it has one, else as `textgym.load_preferences` does.

        Raises:
            FileNotFoundError, ImportError, ValueError: see `textgym.data_sets.load_rows`; for
                messages that end with another's than the assistant's, or begin with the last.
        """
        rows = load_rows(path, layouts=LAYOUTS, fields=fields)
        render = chat_render(self.policy.tokenizer)
        prompts, responses = zip(*(prompt_and_response(row, render) for row in rows), strict=True)
        return self.train_on_responses(prompts, responses, **kwargs)

    def train(
        self,
        env: str | gymnasium.Env | VectorEnv,
        *,
        difficulties: Sequence[int] | None = None,
        report: Callable[[dict[str, float]], None] | None = None,
    ) -> float:
        """Train on a task's reference answers; returns the last sampled validation success.

        Args:
            env: an id or a textgym environment.
            difficulties: positions of the levels to draw from, one draw each as often as it stands
                here (None: the environment's own level). Success is measured at the env's own.
            report: called at each evaluation with step, loss and success.

        Raises:
            ValueError: if the task has no reference answers or the tokenizers differ.
            FileExistsError, FloatingPointError, KeyboardInterrupt: see `Course`.
        """
        config, course = self.config, self.course
        settings = {"tokenizer": self.policy.tokenizer} if isinstance(env, str) else {}
        envs = as_vector_env(env, 1, group_size=1, **settings)
        if not isinstance(envs, TokenVectorEnv):
            raise ValueError("supervised training needs a textgym environment: it knows references")
        check_tokens(self.policy, envs)
        bank, levels = envs.mdp.bank, np.array(difficulties or [envs.difficulty])
        validation, losses = self._validation(envs), list[float]()

        def look() -> dict[str, float]:
            ended = evaluate(
                self.policy, validation, num_episodes=config.evaluate_episodes, seed=config.seed
            )
            course.state["success"] = success = float(ended.success.mean())
            if report is not None:
                loss = float(np.mean(losses)) if losses else math.nan
                report({"step": course.iteration, "loss": loss, "success": success})
            losses.clear()
            return {"validation_success": success} if ended.has_success else {}

        def is_good_enough() -> bool:
            target = config.target_success
            return target is not None and course.state["success"] >= target

        def step() -> dict[str, float]:
            rng = self._rng(course.iteration)
            numbers = rng.integers(bank.num_problems, size=config.batch_size)
            rows = rng.choice(levels, size=config.batch_size) * bank.num_problems + numbers
            metrics = self.step(*reference_batch(bank, rows))
            losses.append(metrics["nll"])
            if course.iteration % config.evaluate_every == 0 or course.is_over:
                metrics |= look()
                if is_good_enough():
                    course.stop()
            return metrics

        if not course.iteration:
            look()
        if is_good_enough():
            course.stop()
        self._run(step)
        return course.state["success"]

    def load_checkpoint(self) -> None:
        """Go on where the run folder's checkpoint stands (see `Course.load_checkpoint`)."""
        self.course.load_checkpoint()

    def step(self, tokens: Tensor, mask: Tensor) -> dict[str, float]:
        """One optimizer step on -mean log pi of the masked tokens [B, L]; returns its metrics."""
        return self.course.step(lambda: self._learn(tokens, mask))

    def _run(self, step: Callable[[], dict[str, float]]) -> None:
        training = self.policy.training
        try:
            self.course.run(step)
        finally:
            self.policy.train(training)

    def _rng(self, number: int) -> np.random.Generator:
        """The source of a step's or an epoch's randomness: nothing needs saving for a resume."""
        return np.random.Generator(np.random.PCG64([self.config.seed, STREAM, number]))

    def _learn(self, tokens: Tensor, mask: Tensor) -> dict[str, float]:
        self.policy.train()
        self.course.num_episodes += len(tokens)
        self.course.num_tokens += (count := int(mask.sum()))
        own = slice(rank(), None, num_ranks())
        return update(
            self.policy,
            self.optimizer,
            self._losses(tokens[own], mask[own], count),
            max_grad_norm=self.config.max_grad_norm,
        )

    def _losses(self, tokens: Tensor, mask: Tensor, count: int) -> Iterator[tuple[Tensor, Metrics]]:
        lengths = (mask * torch.arange(1, mask.shape[1] + 1)).amax(1)
        for rows in micro_batches(lengths, self.config):
            width = max(lengths[rows].tolist(), default=0)
            part, chosen = (x[rows, :width].to(self.policy.device) for x in (tokens, mask))
            log_probs = self.policy(part, chosen).log_probs
            # The likelihood's gradient is the policy gradient with every advantage 1.
            ones = torch.ones_like(log_probs)
            loss, _ = policy_gradient_loss(log_probs, ones, chosen, count=count)
            yield loss, {"nll": loss.detach()}

    def _validation(self, envs: TokenVectorEnv) -> TokenVectorEnv:
        """The same task on its validation split."""
        bank = envs.mdp.bank
        split = "validation" if bank.lists.has("validation") else "train"
        return TokenVectorEnv(
            envs.mdp.task,
            difficulty=envs.difficulty,
            tokenizer=self.policy.tokenizer,
            split="all" if bank.split == "all" else split,
            max_response_tokens=bank.max_response_tokens,
            max_prompt_tokens=bank.max_prompt_tokens,
        )


def prompt_and_response(row: Row, render: Render | None = None) -> tuple[str, str]:
    """The two texts that a row in one of LAYOUTS stands for; see `SFTTrainer.train_on_file`."""
    if "messages" in row:
        prompt, response = split_last(row["messages"], row.place)
    else:
        prompt, response = row["prompt"], row["response"]
        if not isinstance(response, str):
            before, response = split_last(response, row.place)
            prompt = (*as_messages(prompt), *before)
    if not prompt:
        raise ValueError(f"{row.place} has the assistant's message alone, expected a prompt before")
    return as_prompt(prompt, row.place, render), response


def reference_batch(bank: ProblemBank, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Prompts with their reference answers and eos: tokens [B, L] and the answers' mask [B, L].

    Raises:
        ValueError: if a problem has no reference answer.
    """
    bank.ensure(rows)
    references = bank.references[rows]
    if (references[:, 0] < 0).any():
        raise ValueError(
            f"{type(bank.task).__name__} gives no reference answer for some problems, so there is "
            "nothing to imitate: start from a policy that can already do the task a little"
        )
    tokens, starts = bank.prompts[rows].astype(np.int64), bank.facts[rows, 0]
    is_eos = references == bank.vocabulary.eos
    lengths = np.where(is_eos.any(1), is_eos.argmax(1) + 1, references.shape[1])
    columns = np.arange(tokens.shape[1]) - starts[:, None]
    mask = (columns >= 0) & (columns < lengths[:, None])
    inside = np.arange(references.shape[1]) < lengths[:, None]
    tokens[mask] = references[inside]
    longest = int((starts + lengths).max())
    return torch.from_numpy(tokens[:, :longest].copy()), torch.from_numpy(mask[:, :longest].copy())
