"""Metrics: what is logged comes back, a resumed run's file is the uninterrupted one's."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch

from agents.metrics import METRICS, TIMING, MetricsLogger, plot_learning_curve, read_metrics


def log_rows(folder, first, last, **options):
    with MetricsLogger(folder, num_iterations=40, start=first - 1, **options) as logger:
        for i in range(first, last + 1):
            logger.log(i, {"episodes": 8 * i, "return_mean": i / 40, "kl": 0.01 * i})


def test_a_row_comes_back_as_plain_numbers(tmp_path):
    with MetricsLogger(tmp_path, num_iterations=1, show=False) as logger:
        logger.log(
            1,
            {
                "episodes": np.int64(64),
                "entropy": torch.tensor(0.5),
                "return_mean": np.float32(0.25),
                "grad_norm": 2,
            },
        )
    assert (tmp_path / "metrics.jsonl").read_text() == (
        '{"iteration": 1, "episodes": 64, "entropy": 0.5, "return_mean": 0.25, "grad_norm": 2}\n'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, torch.tensor(-math.inf)])
def test_a_value_that_is_not_finite_becomes_null(tmp_path, value):
    with MetricsLogger(tmp_path, num_iterations=1, show=False) as logger:
        logger.log(1, {"explained_variance": value})
    assert read_metrics(tmp_path) == [{"iteration": 1, "explained_variance": None}]


def test_a_line_is_on_disk_when_log_returns(tmp_path):
    logger = MetricsLogger(tmp_path, num_iterations=2, show=False)
    logger.log(1, {"kl": 0.5})
    assert read_metrics(tmp_path) == [{"iteration": 1, "kl": 0.5}]
    logger.close()


def test_an_unknown_metric_is_refused_and_nothing_is_written(tmp_path):
    with MetricsLogger(tmp_path, num_iterations=1, show=False) as logger:
        with pytest.raises(ValueError, match=r"'rewrad': add its formula to agents\.metrics"):
            logger.log(1, {"kl": 0.0, "rewrad": 1.0})
    assert read_metrics(tmp_path) == []


def test_timing_metrics_are_in_the_table():
    assert set(TIMING) <= METRICS.keys()


@pytest.mark.parametrize("torn", [b"", b'{"iteration": 9, "epis'])
def test_a_resumed_file_equals_an_uninterrupted_one(tmp_path, torn):
    log_rows(tmp_path / "whole", 1, 12, show=False)
    log_rows(tmp_path / "resumed", 1, 8, show=False)
    with (tmp_path / "resumed" / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    log_rows(tmp_path / "resumed", 6, 12, show=False)
    whole, resumed = ((tmp_path / f / "metrics.jsonl").read_bytes() for f in ("whole", "resumed"))
    assert resumed == whole


def test_a_run_from_the_start_drops_the_lines_of_an_older_one(tmp_path):
    log_rows(tmp_path, 1, 8, show=False)
    log_rows(tmp_path, 1, 2, show=False)
    assert [row["iteration"] for row in read_metrics(tmp_path)] == [1, 2]


def test_tensorboard_shows_each_iteration_once_after_a_resume(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log_rows(tmp_path, 1, 8, show=False)
    time.sleep(1.1)  # event files are named, and so ordered, by the second
    log_rows(tmp_path, 6, 12, show=False)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("kl")] == list(range(1, 13))
    assert [event.value for event in events.Scalars("return_mean")] == pytest.approx(
        [i / 40 for i in range(1, 13)]
    )


def test_progress_off_a_terminal_is_about_twenty_lines(tmp_path, capsys):
    log_rows(tmp_path, 1, 40)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 21
    assert lines[0].startswith("iteration 1/40  reward 0.025  KL 0.0100  ETA ")
    assert lines[-1] == "iteration 40/40  reward 1.000  KL 0.4000  ETA 0:00"


def test_progress_shows_no_negative_zero(tmp_path, capsys):
    with MetricsLogger(tmp_path, num_iterations=1) as logger:
        logger.log(1, {"kl": -1e-7, "preference_accuracy": 0.5, "reward_margin": -1e-9})
    line = capsys.readouterr().out
    assert line == "iteration 1/1  accuracy 0.500  margin 0.000  KL 0.0000  ETA 0:00\n"


def test_progress_on_a_terminal_is_one_live_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich's word for "this is a terminal"
    monkeypatch.setenv("COLUMNS", "120")
    log_rows(tmp_path, 1, 40)
    output = capsys.readouterr().out
    assert "iteration 40/40" in output
    assert output.count("\n") <= 2


def test_the_curve_is_drawn_whatever_is_missing(tmp_path):
    with MetricsLogger(tmp_path, num_iterations=30, show=False) as logger:
        for i in range(1, 31):
            validation = {"validation_success": i / 40} if i % 10 == 0 else {}
            kl = math.nan if i == 3 else 0.01
            logger.log(i, {"episodes": 64 * i, "return_mean": i / 30, "kl": kl} | validation)
    path = plot_learning_curve(tmp_path)
    assert path == tmp_path / "learning_curve.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_curve_without_success_has_none(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    log_rows(tmp_path, 1, 4, show=False)
    plot_learning_curve(tmp_path)
    assert [axes.get_ylabel() for axes in drawn[0].axes][0] == "return"
    assert not any("success" in axes.get_ylabel() for axes in drawn[0].axes)


def test_the_curve_of_a_run_without_rows_is_empty_not_an_error(tmp_path):
    MetricsLogger(tmp_path, num_iterations=1, show=False).close()
    assert plot_learning_curve(tmp_path).exists()


def test_without_a_folder_the_progress_is_shown_and_nothing_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with MetricsLogger(None, num_iterations=1) as logger:
        logger.log(1, {"return_mean": 0.5})
    assert "iteration 1/1  reward 0.500" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
