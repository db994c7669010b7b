"""One dict of numbers per iteration: to a JSON line, to TensorBoard and to the person watching.

Every metric is defined once, in `METRICS`, and only those named there can be logged.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

# Means are over the tokens that the policy chose ("per token") or over this iteration's episodes
# ("per episode"), those without a verdict left out. With π the current policy, π_old the one that
# collected them, π_ref the frozen initial one: r = π / π_old. v: value, G: its target, A: advantage
METRICS: dict[str, str] = {
    "episodes": "episodes finished since the start of the run",
    "tokens": "tokens chosen by the policy in graded episodes since the start of the run",
    "return_mean": "Σ_t R_t of the environment, undiscounted, before any KL penalty; per episode",
    "success": "component `correct` of the grade, else the first, if from 0 to 1; per episode",
    "component": "component/NAME: that component of the grade, unweighted; per episode",
    "validation_success": "the same on the validation problems, which are never trained on",
    "response_length": "number of tokens that the policy chose; per episode",
    "stop_eos": "[stop_reason = eos]; per episode",
    "stop_length": "[stop_reason = length]; per episode",
    "level": "position of the level that an adaptive difficulty has reached after the iteration",
    "equal_groups": "episodes in groups whose returns are all equal, which teach nothing; share",
    "verifier_errors": "episodes without a verdict, which no other metric but `episodes` counts",
    "kl": "log π_old - log π_ref, which is KL(π_old || π_ref) on average; in nats, per token",
    "entropy": "-Σ_a π(a|s) log π(a|s); in nats, per token",
    "loss": "loss/NAME: what a loss of one's own calls NAME",
    "policy_loss": "-min(r A, clip(r, 1 - ε, 1 + ε) A), or -A log π without a clip; per token",
    "value_loss": "½ max((v - G)², (v_old + clip(v - v_old, -ε, ε) - G)²); per token",
    "value_clip_fraction": "[the clipped value error is the greater one]; per token",
    "explained_variance": "1 - Var[G - v_old] / Var[G] over tokens; 1 is perfect, 0 a constant's",
    "ratio": "r; per token",
    "clip_fraction": "[clip(r, 1 - ε, 1 + ε) A < r A]: the policy gets no gradient; per token",
    "importance_weight": "min(π_old / π_sampler, max_importance_weight), per token",
    "approx_kl": "(r - 1) - log r, which is KL(π_old || π) on average; in nats, per token",
    "nll": "-log π of the responses that are imitated; in nats, per token",
    "preference_loss": "the loss of agents.preference_losses; per pair, as are the next six",
    "chosen_reward": "r of the chosen response: β log(π / π_ref) unless the loss says otherwise",
    "rejected_reward": "the same of the rejected response",
    "reward_margin": "r(chosen) - r(rejected)",
    "preference_accuracy": "[r(chosen) > r(rejected)], half of one where they are equal",
    "chosen_logp": "log π of the whole chosen response, in nats",
    "rejected_logp": "the same of the rejected response",
    "validation_accuracy": "preference_accuracy of the pairs held out",
    "validation_margin": "reward_margin of the pairs held out",
    "reward_loss": "of a reward model: agents.reward_losses; per pair, or per score given",
    "reward_mean": "(r(chosen) + r(rejected)) / 2; per pair",
    "validation_calibration_error": "Σ_bins share |accuracy - confidence| of the pairs held out",
    "pairs": "pairs of the iteration's episodes of which one is better",
    "variance": "of what a VarianceLoss is given, over the tokens of a micro-batch",
    "grad_norm": "‖∇‖₂ over all parameters before clipping; mean over optimizer steps",
    "learning_rate": "the optimizer's, at the end of the iteration",
    "kl_coef": "weight of the KL penalty during the iteration",
    "seconds": "wall-clock time of the iteration",
    "tokens_per_second": "tokens chosen in the iteration / seconds",
}
"""Name -> formula of everything that may be logged. A new metric starts with its entry here."""

TIMING = ("seconds", "tokens_per_second")
"""The metrics in which two runs with one seed differ."""

METRICS_FILE = "metrics.jsonl"
CURVE_FILE = "learning_curve.png"


class MetricsLogger:
    """Writes `metrics.jsonl` and TensorBoard events to a run folder and shows the progress.

    On a terminal the progress is one live line, elsewhere about twenty plain ones.

    Args:
        folder: The run folder; made if missing. None: nothing is written.
        num_iterations: How many iterations the whole run has.
        start: How many are done already. What the folder has of later ones (all of it, at 0) is
            dropped, so that the resumed run's file equals an uninterrupted one's.
        show: Whether to show the progress.

    Example:
        >>> with MetricsLogger("runs/first", num_iterations=2) as logger:
        ...     logger.log(1, {"return_mean": 0.5, "kl": 0.0})
        ...     logger.log(2, {"return_mean": 0.7, "kl": 0.01})
    """

    def __init__(
        self, folder: str | Path | None, *, num_iterations: int, start: int = 0, show: bool = True
    ) -> None:
        self._files = None if folder is None else _Files(Path(folder), start)
        self._progress = _Progress(num_iterations, start) if show else None

    def log(self, iteration: int, metrics: Mapping[str, Any]) -> None:
        """Record one iteration, the first being number 1.

        Args:
            iteration: Its number.
            metrics: Name -> number, or anything that `float` takes. NaN and infinities, which
                JSON has not, become null.

        Raises:
            ValueError: If METRICS lacks a name.
        """
        for name in metrics:
            if name.partition("/")[0] not in METRICS:
                raise ValueError(
                    f"unknown metric {name!r}: add its formula to agents.metrics.METRICS"
                )
        row = {name: _plain_number(value) for name, value in metrics.items()}
        if self._files is not None:
            self._files.write(iteration, row)
        if self._progress is not None:
            self._progress.show(iteration, row)

    def close(self) -> None:
        """Flush everything and leave the terminal as it was. Calling it twice does no harm."""
        if self._files is not None:
            self._files.close()
        if self._progress is not None:
            self._progress.close()

    def __enter__(self) -> MetricsLogger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of a run folder's `metrics.jsonl`, in order; what was not finite is None."""
    with (Path(folder) / METRICS_FILE).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def plot_learning_curve(folder: str | Path) -> Path:
    """Draw a run folder's `metrics.jsonl`; returns the path of the picture.

    Above are return and success (dots: of the validation problems), below KL and entropy. Success
    is left out where it is the return, so that one thing is not two curves, and where it is no
    share. Of preferences: above the accuracy (dots: of the pairs held out), below the margin.
    """
    # Figure without pyplot: no window system, no global state.
    from matplotlib.figure import Figure

    rows = read_metrics(folder)
    figure = Figure(figsize=(8, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    if any("preference_accuracy" in row for row in rows):
        _draw(upper, rows, "preference_accuracy", "accuracy", "tab:green")
        upper.plot(*_series(rows, "validation_accuracy"), "o", color="tab:green")
        _draw(lower, rows, "reward_margin", "r(chosen) - r(rejected)", "tab:blue")
        lower.set_xlabel("pairs")
    else:
        _draw_episodes(upper, lower, rows)
    path = Path(folder) / CURVE_FILE
    figure.savefig(path, dpi=120)
    return path


def _draw_episodes(upper: Any, lower: Any, rows: list[dict[str, Any]]) -> None:
    same = all(row.get("return_mean") == row.get("success") for row in rows)
    if not same:
        _draw(upper, rows, "return_mean", "return", "tab:blue")
    if same or any("success" in row or "validation_success" in row for row in rows):
        success = upper if same else upper.twinx()
        _draw(success, rows, "success", "success (the return)" if same else "success", "tab:green")
        success.plot(*_series(rows, "validation_success"), "o", color="tab:green")
        success.set_ylim(-0.02, 1.02)
    _draw(lower, rows, "kl", "KL to the reference (nats per token)", "tab:red")
    _draw(lower.twinx(), rows, "entropy", "entropy (nats per token)", "tab:purple")
    lower.set_xlabel("episodes")


class _Files:
    """A run folder's `metrics.jsonl` and TensorBoard events."""

    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        _drop_lines_after(folder / METRICS_FILE, start)
        self._lines = (folder / METRICS_FILE).open("a", encoding="utf-8")
        # TensorBoard hides what earlier event files have from this step on.
        self._events = SummaryWriter(str(folder), purge_step=start + 1)

    def write(self, iteration: int, row: Mapping[str, float | None]) -> None:
        self._lines.write(json.dumps({"iteration": iteration, **row}, allow_nan=False) + "\n")
        self._lines.flush()
        for name, value in row.items():
            if value is not None:
                self._events.add_scalar(name, value, iteration)
        self._events.flush()

    def close(self) -> None:
        self._lines.close()
        self._events.close()


class _Progress:
    """Iteration, reward, KL, speed and time to go: live on a terminal, else a line now and then."""

    def __init__(self, num_iterations: int, start: int) -> None:
        self._num_iterations = num_iterations
        self._start = start
        self._started_at = time.monotonic()
        self._console = Console()
        self._live: Progress | None = None
        if self._console.is_terminal:
            self._live = Progress(
                BarColumn(20), TextColumn("{task.description}"), console=self._console
            )
            self._task = self._live.add_task("", total=num_iterations, completed=start)
            self._live.start()

    def show(self, iteration: int, row: Mapping[str, float | None]) -> None:
        line = self._line(iteration, row)
        every = max(1, self._num_iterations // 20)
        if self._live is not None:
            self._live.update(self._task, completed=iteration, description=line)
        elif iteration in (self._start + 1, self._num_iterations) or iteration % every == 0:
            print(line, flush=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _line(self, iteration: int, row: Mapping[str, float | None]) -> str:
        words = [f"iteration {iteration}/{self._num_iterations}"]
        for name, form in (
            ("return_mean", "reward {:z.3f}"),
            ("success", "success {:.3f}"),
            ("nll", "nll {:.3f}"),
            ("preference_accuracy", "accuracy {:.3f}"),
            ("reward_margin", "margin {:z.3f}"),
            ("kl", "KL {:z.4f}"),
            ("tokens_per_second", "{:,.0f} tokens/s"),
        ):
            if row.get(name) is not None:
                words.append(form.format(row[name]))
        mean = (time.monotonic() - self._started_at) / max(1, iteration - self._start)
        minutes, seconds = divmod(round(mean * (self._num_iterations - iteration)), 60)
        return "  ".join([*words, f"ETA {minutes}:{seconds:02}"])


def _plain_number(value: Any) -> float | int | None:
    if isinstance(value, Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None


def _drop_lines_after(path: Path, iteration: int) -> None:
    """Cut the file before its first line of a later iteration, or that a kill left half written."""
    if not path.exists():
        return
    length = 0
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n") or json.loads(line)["iteration"] > iteration:
            break
        length += len(line)
    os.truncate(path, length)


def _series(rows: list[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Episodes so far (iterations, where nobody counted them) and the metric, where it has one."""
    points = [
        (row.get("episodes", row["iteration"]), row[name])
        for row in rows
        if row.get(name) is not None
    ]
    x, y = np.array(points, dtype=float).reshape(-1, 2).T
    return x, y


def _draw(axes: Any, rows: list[dict[str, Any]], name: str, label: str, color: str) -> None:
    """The metric as it is, faint, and smoothed over a tenth of the run."""
    x, y = _series(rows, name)
    half = len(y) // 20
    smooth = [y[max(0, i - half) : i + half + 1].mean() for i in range(len(y))]
    axes.plot(x, y, color=color, alpha=0.25)
    axes.plot(x, smooth, color=color)
    axes.set_ylabel(label, color=color)
