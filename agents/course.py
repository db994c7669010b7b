"""The course of a training run: its iterations, and all that is around them for any learner.

The learning rate, counters, metrics, TensorBoard, progress, checkpoints that resume to the last
bit, and Ctrl-C, which saves first. What an iteration is, only the learner knows.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import nn

from agents.checkpoint import FILE_NAME, load_checkpoint, save_checkpoint
from agents.config import TrainingConfig
from agents.distributed import any_, gather, num_ranks, rank, whole
from agents.environments import curriculum_of
from agents.interrupt import held_back_interrupts
from agents.metrics import METRICS_FILE, MetricsLogger, plot_learning_curve
from textgym.curriculum import Curriculum

Metrics = dict[str, float]

COUNTERS = ("iteration", "num_episodes", "num_tokens", "seconds", "cpu_seconds")


class Course:
    """The iterations of one training run.

    Example, a learner's skeleton::

        self.course = Course(config, self.policy, self.optimizer, folder=folder, show=show)

        def train(self, env):
            envs = ...
            self.course.run(lambda: self.step(envs))

        def step(self, envs):
            return self.course.step(lambda: self._learn(envs))

    Args:
        config: num_iterations, learning_rate, warmup_iterations, checkpoint_every and seed are read
            here.
        model: what checkpoints hold the weights of.
        optimizer: whose learning rate is set (of a group with a `rate`, to the config's field of
            that name), and whose state checkpoints hold.
        folder: where metrics, checkpoints and the learning curve go; None: nowhere.
        show: whether to show progress.

    Attributes:
        iteration: how many are done.
        num_episodes: episodes (rows, where nothing is played) so far; the learner counts them.
        num_tokens: tokens that were learned from so far; likewise.
        seconds: of wall-clock time in those iterations.
        cpu_seconds: of this process in those iterations.
        state: the learner's own plain values (see `checkpoint.save_checkpoint`), kept with them.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        folder: str | Path | None = None,
        show: bool = True,
    ) -> None:
        self.config, self.model, self.optimizer = config, model, optimizer
        self.folder = None if folder is None else Path(folder)
        self.show = show
        self.iteration = self.num_episodes = self.num_tokens = 0
        self.seconds = self.cpu_seconds = 0.0
        self.state: dict[str, Any] = {}
        self._owns_folder = False  # what lies in the folder is this run's own
        self._curriculum: Curriculum | None = None
        self._curriculum_state: dict[str, Any] | None = None

    def follow(self, envs: gymnasium.Env | VectorEnv) -> None:
        """Keep the curriculum of adaptive environments with the run, and go on where it stood."""
        self._curriculum = curriculum_of(envs)
        if self._curriculum is not None and self._curriculum_state is not None:
            self._curriculum.load_state_dict(self._curriculum_state)
        self._curriculum_state = None

    def run(self, step: Callable[[], Metrics]) -> None:
        """Run the iterations that are left.

        Args:
            step: does one and returns its metrics; it calls `Course.step`.

        Raises:
            FileExistsError: if the folder holds another run.
            ValueError: if processes that train together begin with different weights.
            KeyboardInterrupt: on Ctrl-C (of several processes, in any), after the iteration under
                way and a checkpoint.
        """
        every = self.config.checkpoint_every
        self._check_same_start()
        self._claim_folder()
        with self._logger() as log, held_back_interrupts() as interrupted:
            while not self.is_over:
                metrics = step()
                log(self.iteration, metrics)
                if any_(interrupted()):
                    self.save_checkpoint()
                    gather(None)  # who ends earlier ends the one that is still writing
                    raise KeyboardInterrupt
                if self.is_over or (every and self.iteration % every == 0):
                    self.save_checkpoint()
        if self._writes:
            plot_learning_curve(self.folder)

    @property
    def is_over(self) -> bool:
        """Whether no iteration is left."""
        return self.iteration >= self.config.num_iterations

    def stop(self) -> None:
        """Let the iterations done be all: the aim is reached."""
        self.config = dataclasses.replace(self.config, num_iterations=self.iteration)

    def step(self, learn: Callable[[], Metrics]) -> Metrics:
        """One iteration: set the learning rate, learn, count.

        Args:
            learn: the learner's part; returns its metrics.

        Raises:
            FloatingPointError: as `learn` does, with the iteration's number.
        """
        start, cpu_start, tokens = time.perf_counter(), time.process_time(), self.num_tokens
        self._set_learning_rate()
        try:
            with self._own_chance():
                metrics = learn()
        except FloatingPointError as error:
            raise FloatingPointError(f"iteration {self.iteration + 1}: {error}") from None
        self.iteration += 1
        seconds = time.perf_counter() - start
        self.seconds += seconds
        self.cpu_seconds += time.process_time() - cpu_start
        return {
            "episodes": self.num_episodes,
            "tokens": self.num_tokens,
            **metrics,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "seconds": seconds,
            "tokens_per_second": (self.num_tokens - tokens) / seconds,
        }

    @contextmanager
    def _own_chance(self) -> Iterator[None]:
        """Draw what torch draws from its global generators, dropout, by (seed, iteration, process).

        So a resumed run needs no random state; the caller's is left as it was.
        """
        device = self.optimizer.param_groups[0]["params"][0].device
        drawn = np.random.SeedSequence([self.config.seed, self.iteration, rank()])
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(drawn.generate_state(1, np.uint64)[0] >> 1))
            yield

    def _check_same_start(self) -> None:
        """Processes that add up gradients stay equal only if they begin so."""
        if num_ranks() == 1:
            return
        sums = [whole(p.detach().sum(dtype=torch.float64)) for p in self.model.parameters()]
        starts = gather((self.iteration, torch.stack(sums).tolist()))
        for number, start in enumerate(starts):
            if start != starts[0]:
                raise ValueError(
                    f"process {number} begins with other weights, or at another iteration, than "
                    "process 0: make the model with the same seed, or load the same checkpoint"
                )

    def _set_learning_rate(self) -> None:
        config = self.config
        rise = (self.iteration + 1) / (config.warmup_iterations + 1)
        fall = 1.0 - 0.9 * self.iteration / config.num_iterations
        for group in self.optimizer.param_groups:
            peak = getattr(config, group.get("rate", "learning_rate"))
            group["lr"] = peak * min(rise, 1.0) * fall

    # -------------------------------------------------------------- run folder

    @property
    def _writes(self) -> bool:
        """Whether this process writes a folder: of several, one does."""
        return self.folder is not None and rank() == 0

    def _claim_folder(self) -> None:
        """Refuse another run's folder, and make a new one resumable from the very start."""
        if self.folder is None or self._owns_folder:
            return
        if rank() == 0 and any((self.folder / name).exists() for name in (METRICS_FILE, FILE_NAME)):
            raise FileExistsError(
                f"{self.folder} holds a run: choose another folder, or go on with it by "
                "load_checkpoint()"
            )
        self.save_checkpoint()
        self._owns_folder = True

    @contextmanager
    def _logger(self) -> Iterator[Callable[[int, Metrics], None]]:
        with MetricsLogger(
            self.folder if self._writes else None,
            num_iterations=self.config.num_iterations,
            start=self.iteration,
            show=self.show and rank() == 0,
        ) as logger:
            yield logger.log

    def save_checkpoint(self) -> None:
        """Write everything that an exact resume needs to the run folder, if there is one.

        Of several processes all call it, and the first writes what they hold together.
        """
        if self.folder is None:
            return
        state = {name: getattr(self, name) for name in COUNTERS}
        curriculum = None if self._curriculum is None else self._curriculum.state_dict()
        state |= {"learner": self.state, "curriculum": curriculum}
        folder = self.folder if self._writes else None
        save_checkpoint(folder, model=self.model, optimizer=self.optimizer, state=state)

    def load_checkpoint(self) -> None:
        """Go on where the run folder's checkpoint stands.

        A reference stays the one that the learner was made with, so make it with the policy that
        the run began with.

        Raises:
            ValueError: if there is no folder, or the checkpoint is of another model.
            FileNotFoundError: if the folder holds no checkpoint.
        """
        if self.folder is None:
            raise ValueError("folder is None, expected the run folder that the checkpoint lies in")
        saved = load_checkpoint(self.folder, model=self.model, optimizer=self.optimizer)
        for name in COUNTERS:
            setattr(self, name, saved[name])
        self.state, self._curriculum_state = saved["learner"], saved["curriculum"]
        self._owns_folder = True
