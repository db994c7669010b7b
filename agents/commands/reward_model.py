"""`python -m agents reward-model`: a reward model learns from preferences."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from agents import runs
from agents.commands.arguments import DATA_ERRORS, Source, columns, data_errors, env_kwargs
from agents.commands.training import TrainingCommand
from agents.runs import UserError

if TYPE_CHECKING:
    from agents.adapters import Adapter
    from textgym.dialogues import Render
    from textgym.task import Preference

MODEL = "model"
"""The trained model's folder in the run's."""

SPLITS = ("train", "validation", "test")


@dataclass
class RewardRun(Source):
    """What is learned from, and where the results go."""

    env: str | None = None
    """Id of an environment whose pairs are drawn, such as TextPreference-v0 (or give --pairs)."""
    policy: str = "tiny"
    """Whose trunk to begin with: tiny (the embedded one), a Hugging Face name, a folder, a run."""
    pairs: str | None = None
    """Instead of --env: a file, a folder or a data set's name on the hub, with pairs."""
    fields: tuple[str, ...] = ()
    """Columns of --pairs by other names than prompt, chosen and rejected, NAME=COLUMN, as in
    prompt=question chosen=good rejected=bad."""

    own: ClassVar[tuple[str, ...]] = ("pairs", "fields")

    def check(self) -> None:
        """Raise UserError if something is missing or out of its range."""
        super().check()
        if (self.env is None) == (self.pairs is None):
            raise UserError("give either --env ID or --pairs FILE: where the pairs come from")
        if columns(self.fields) and self.pairs is None:
            raise UserError("--fields is about the columns of --pairs, which is missing")


@dataclass
class Judge:
    """The reward model."""

    pooling: Literal["last", "mean", "max", "cls", "attention"] = "last"
    """From tokens to one vector; cls is for encoders."""
    adapter_rank: int = 0
    """Train a LoRA adapter of this rank on all linear layers (0: train all weights)."""
    max_length: int | None = None
    """Tokens of prompt and response that are read: the end (None: as many as the model takes)."""

    def check(self) -> None:
        """Raise UserError if something is out of its range."""
        if self.adapter_rank < 0:
            raise UserError(f"adapter_rank is {self.adapter_rank}, expected at least 0")

    def adapter(self) -> Adapter | None:
        """What is trained, if it is not all weights."""
        from agents.adapters import Adapter

        rank = self.adapter_rank
        return Adapter(rank=rank, alpha=2.0 * rank) if rank else None


class RewardModelCommand(TrainingCommand):
    """Trains a reward model on pairs of responses."""

    def __init__(self) -> None:
        super().__init__("reward-model", "Train a reward model on preferences, into a run folder.")

    def defaults(self) -> dict[str, Any]:
        """The groups of flags."""
        from agents.reward_trainer import RewardModelConfig

        return {"run": RewardRun(), "model": Judge(), "config": RewardModelConfig()}

    def file(self, given: Any) -> str | None:
        """The pairs."""
        return given.run.pairs

    def begin(self, given: Any, folder: Path, settings: dict[str, Any]) -> None:
        """Make the run folder, with the untrained model."""
        from agents.reward_model import RewardModel

        read_pairs(given, "train")  # before a model is loaded, which may take a while
        model = given.model
        runs.check_policy(given.run.policy)
        with runs.user_errors(*DATA_ERRORS, prefix=f"policy {given.run.policy}: "):
            untrained = RewardModel(
                given.run.policy,
                pooling=model.pooling,
                max_length=model.max_length,
                seed=given.config.seed,
            )
        with runs.made(folder):
            untrained.save(folder / runs.INITIAL)
            runs.write_json(folder / runs.CONFIG_FILE, {**settings, "versions": runs.versions()})

    def load(self, given: Any, folder: Path) -> tuple[Any, Any]:
        """The trainer and the pairs of each split."""
        from agents.reward_model import RewardModel
        from agents.reward_trainer import RewardModelTrainer
        from agents.text_data import chat_render

        model = RewardModel.load(
            folder / runs.INITIAL, adapter=given.model.adapter(), seed=given.config.seed
        )
        render = chat_render(model.tokenizer)
        pairs = {split: read_pairs(given, split, render) for split in SPLITS}
        return RewardModelTrainer(given.config, model.train(), folder=folder), pairs

    def learn(self, trainer: Any, data: Any, given: Any) -> None:
        """Learn from the pairs of the training split."""
        with runs.user_errors(ValueError, prefix=f"{self._told(given)}: "):
            trainer.train(data["train"], validation=data["validation"])

    def finish(self, trainer: Any, data: Any, given: Any, folder: Path) -> dict[str, Any]:
        """Save the model, measure it on the pairs that it never saw, and write summary.json."""
        from agents.distributed import by_first

        return by_first(lambda: self._finish(trainer, data["test"], given, folder))

    def _finish(
        self, trainer: Any, test: list[Preference], given: Any, folder: Path
    ) -> dict[str, Any]:
        trainer.model.eval().save(folder / MODEL)
        quality = trainer.evaluate(test) if test else None
        summary = {
            "env_id": given.run.env,
            "pairs": given.run.pairs,
            "algorithm": self.name,
            "policy": given.run.policy,
            "seed": trainer.config.seed,
            "iterations": trainer.course.iteration,
            "train_pairs": dataclasses.asdict(trainer.report),
            "tokens": trainer.course.num_tokens,
            "seconds": trainer.course.seconds,
            "cpu_seconds": trainer.course.cpu_seconds,
            "test_pairs": len(test),
            "test_accuracy": quality.accuracy if quality else None,
            "test_log_loss": quality.log_loss if quality else None,
            "test_calibration_error": quality.calibration_error if quality else None,
            "reliability": [dataclasses.asdict(b) for b in quality.bins] if quality else None,
        }
        runs.write_json(folder / runs.SUMMARY_FILE, summary)
        return summary

    def show(self, summary: dict[str, Any], folder: Path) -> None:
        """What came of a run, where it lies and how to use it."""
        if summary["test_pairs"]:
            print(
                f"test split, {summary['test_pairs']} pairs: accuracy "
                f"{summary['test_accuracy']:.3f}, calibration error "
                f"{summary['test_calibration_error']:.3f}"
            )
        else:
            print("no pair is in the test split: nothing to measure on")
        place = shlex.quote(str(folder / MODEL))
        print(f"{summary['tokens']:,} tokens, {summary['seconds']:.0f} s", end=" ")
        print(f"({summary['cpu_seconds']:.0f} CPU-seconds)")
        print(f"run       {folder} (summary.json, metrics.jsonl, learning_curve.png)")
        print(f"reward    --env-kwargs reward_fn=reward_model:{place}")
        print(f"load      agents.RewardModel.load({str(folder / MODEL)!r})")


def read_pairs(given: Any, split: str, render: Render | None = None) -> list[Preference]:
    """The pairs of a split; of an environment a quarter as many to validate and to test with.

    `render` writes a file's prompts of messages; see `agents.text_data.chat_render`.
    A file's split without any pair is empty, but that of training.

    Raises:
        UserError: if there are no pairs to train on.
    """
    import gymnasium

    from agents.preference_data import read_preferences

    run, config, is_training = given.run, given.config, split == "train"
    if run.env is not None:
        with runs.user_errors(gymnasium.error.Error, *DATA_ERRORS, prefix=f"{run.env}: "):
            num = config.num_pairs if is_training else max(1, config.num_pairs // 4)
            kwargs = {**env_kwargs(run), "split": split}
            return read_preferences(run.env, num_pairs=num, seed=config.seed, **kwargs)
    with data_errors(f"{run.pairs}: "):
        try:
            how = {"fields": columns(run.fields), "render": render}
            return read_preferences(Path(run.pairs), split=split, **how)
        except ValueError as error:
            if is_training or "has no pair in the split" not in str(error):
                raise
            return []


COMMAND = RewardModelCommand()
