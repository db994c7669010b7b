"""`python -m agents reward-model`: a reward model learns from preferences."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agents import runs
from agents.commands.arguments import env_kwargs, parse
from agents.runs import UserError

if TYPE_CHECKING:
    from agents.reward_trainer import RewardModelConfig
    from textgym.task import Preference

NAME = "reward-model"
MODEL = "model"
"""The trained model's folder in the run's."""

SPLITS = ("train", "validation", "test")


@dataclass
class Source:
    """What is learned from, by what model, and where the results go."""

    env: str | None = None
    """Id of an environment whose pairs are drawn, such as TextPreference-v0."""
    pairs: str | None = None
    """Instead: a file, a folder or a data set's name on the hub with pairs of responses."""
    policy: str = "tiny"
    """Whose trunk to begin with: tiny (the embedded one), a Hugging Face name, a folder, a run."""
    pooling: Literal["last", "mean", "max", "cls", "attention"] = "last"
    """From tokens to one vector; cls is for encoders."""
    adapter_rank: int = 0
    """Train a LoRA adapter of this rank on all linear layers (0: train all weights)."""
    max_length: int | None = None
    """Tokens of prompt and response that are read: the end (None: as many as the model takes)."""
    difficulty: int | str | None = None
    """Name or position of the environment's level (None: its default)."""
    reward_weights: tuple[str, ...] = ()
    """Weights of the environment's components, NAME=WEIGHT, where they are not its own."""
    env_kwargs: tuple[str, ...] = ()
    """More keywords of the environment, NAME=VALUE; a VALUE is JSON, or else text."""
    out: Path | None = None
    """The run folder (None: runs/ENV-reward-model-SEED-DATE-TIME)."""
    resume: bool = False
    """Go on with the run in --out; settings of the training may be changed."""
    threads: int = 1
    """CPU threads; for a small model one is fastest."""

    def check(self) -> None:
        """Raise UserError if something is missing or out of its range."""
        if (self.env is None) == (self.pairs is None):
            raise UserError("give either --env ID or --pairs FILE: where the pairs come from")
        for name, least in (("threads", 1), ("adapter_rank", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}, expected at least {least}")

    def settings(self) -> dict[str, Any]:
        """Its part of config.json."""
        kept = {k: v for k, v in vars(self).items() if k not in ("out", "resume")}
        return {**kept, "env_id": self.env}


def run(arguments: Sequence[str]) -> None:
    """Train a reward model on preferences, into a run folder."""
    from agents.reward_trainer import RewardModelConfig

    fields = [("source", Source), ("config", RewardModelConfig)]
    kind = dataclasses.make_dataclass("RewardModel", fields)
    given = parse(NAME, run.__doc__, kind, arguments, kind(Source(), RewardModelConfig()))
    if given.source.resume:
        saved, out = runs.read_config(given.source.out, NAME), given.source.out
        with runs.user_errors(KeyError, TypeError, prefix=f"{out} was made by another version: "):
            names = [item.name for item in dataclasses.fields(Source)]
            source = Source(**{name: saved[name] for name in names if name in saved}, out=out)
            source.reward_weights = tuple(source.reward_weights)
            source.env_kwargs = tuple(source.env_kwargs)
            default = kind(source, RewardModelConfig(**saved["config"]))
        given = parse(NAME, run.__doc__, kind, arguments, default)
        for name, value in source.settings().items():
            got = given.source.settings()[name]
            if name != "threads" and got != value:
                raise UserError(f"{out} has {name} {value}, which --resume cannot change to {got}")
    given.source.check()
    with runs.user_errors(ValueError):
        given.config.validate()
    train(given.source, given.config)


def train(source: Source, config: RewardModelConfig) -> None:
    """Begin a run or go on with it, and bring it to its end."""
    import torch

    from agents.checkpoint import FILE_NAME
    from agents.reward_model import RewardModel
    from agents.reward_trainer import RewardModelTrainer

    torch.set_num_threads(source.threads)
    told = source.env or Path(source.pairs or "").stem
    folder = source.out if source.resume else runs.new_folder(source.out, told, NAME, config.seed)
    settings = {
        "algorithm": NAME,
        **source.settings(),
        "config": dataclasses.asdict(config),
        "versions": runs.versions(),
    }
    with runs.interruptible(NAME, folder):
        splits = {split: read_pairs(source, config, split) for split in SPLITS}
        if not source.resume:
            model = new_model(source, config)
            folder.mkdir(parents=True, exist_ok=True)
            model.save(folder / runs.INITIAL)
        runs.write_json(folder / runs.CONFIG_FILE, settings)
        (folder / runs.SUMMARY_FILE).unlink(missing_ok=True)  # not finished any more
        # Read from the run folder as a resumed run does, so that both are the same.
        model = RewardModel.load(folder / runs.INITIAL)
        if source.adapter_rank:
            model = new_model(source, config)
        trainer = RewardModelTrainer(config, model.train(), folder=folder)
        if (folder / FILE_NAME).exists():
            trainer.course.load_checkpoint()
        print(f"{told}: {len(splits['train'])} pairs, into {folder}", flush=True)
        with runs.user_errors(ValueError, prefix=f"{told}: "):
            trainer.train(splits["train"], validation=splits["validation"])
        model.eval().save(folder / MODEL)
        show(finish(folder, trainer, source, splits["test"]), folder)


def new_model(source: Source, config: RewardModelConfig) -> Any:
    """The untrained model that the user asks for."""
    from agents.adapters import Adapter
    from agents.reward_model import RewardModel

    rank = source.adapter_rank
    path = Path(source.policy)
    if source.policy.startswith(("/", ".", "~", "runs/")) and not path.is_dir():
        raise UserError(f"there is no policy or run folder {source.policy}")
    with runs.user_errors(OSError, ValueError, TypeError, prefix=f"policy {source.policy}: "):
        return RewardModel(
            source.policy,
            pooling=source.pooling,
            adapter=Adapter(rank=rank, alpha=2.0 * rank) if rank else None,
            max_length=source.max_length,
            seed=config.seed,
        )


def read_pairs(source: Source, config: RewardModelConfig, split: str) -> list[Preference]:
    """The pairs of a split; of an environment a quarter as many to validate and to test with.

    A file's split without any pair is empty, but that of training.

    Raises:
        UserError: if there are no pairs to train on.
    """
    import gymnasium

    from agents.preference_data import read_preferences

    kinds = (gymnasium.error.Error, ImportError, OSError, ValueError, TypeError)
    is_training = split == "train"
    with runs.user_errors(*kinds, prefix=f"{source.env or source.pairs}: "):
        if source.env is not None:
            num = config.num_pairs if is_training else max(1, config.num_pairs // 4)
            kwargs = {**env_kwargs(source), "split": split}
            return read_preferences(source.env, num_pairs=num, seed=config.seed, **kwargs)
        try:
            return read_preferences(Path(source.pairs or ""), split=split)
        except ValueError as error:
            if is_training or "has no pair in the split" not in str(error):
                raise
            return []


def finish(folder: Path, trainer: Any, source: Source, test: list[Preference]) -> dict[str, Any]:
    """Measure the model on the pairs that it never saw and write summary.json."""
    quality = trainer.evaluate(test) if test else None
    summary = {
        "env_id": source.env,
        "pairs": source.pairs,
        "algorithm": NAME,
        "policy": source.policy,
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


def show(summary: dict[str, Any], folder: Path) -> None:
    """What came of a run, where it lies and how to use it."""
    if summary["test_pairs"]:
        print(
            f"test split, {summary['test_pairs']} pairs: accuracy {summary['test_accuracy']:.3f}, "
            f"calibration error {summary['test_calibration_error']:.3f}"
        )
    else:
        print("no pair is in the test split: nothing to measure on")
    place = shlex.quote(str(folder / MODEL))
    print(f"{summary['tokens']:,} tokens, {summary['seconds']:.0f} s", end=" ")
    print(f"({summary['cpu_seconds']:.0f} CPU-seconds)")
    print(f"run       {folder} (summary.json, metrics.jsonl, learning_curve.png)")
    print(f"reward    --env-kwargs reward_fn=reward_model:{place}")
    print(f"load      agents.RewardModel.load({str(folder / MODEL)!r})")
