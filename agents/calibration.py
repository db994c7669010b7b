"""Whether predicted probabilities come true: accuracy, calibration error, reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bin:
    """Pairs whose predicted probability is alike.

    confidence: mean probability of the response that the model prefers, from 1/2 to 1.
    accuracy: share of these pairs whose label agrees. num: how many they are.
    """

    confidence: float
    accuracy: float
    num: int


@dataclass(frozen=True)
class PairQuality:
    """How well predicted preferences agree with labels.

    accuracy: share of pairs with P(chosen > rejected) > 1/2, a half for those at 1/2.
    log_loss: -E[log P(chosen > rejected)], in nats; ln 2 = 0.693 is a coin's.
    calibration_error: Σ_bins share |accuracy - confidence|, 0 at best. Guo et al. 2017, eq. 3.
    bins: the reliability diagram, without its empty bins.
    """

    accuracy: float
    log_loss: float
    calibration_error: float
    bins: tuple[Bin, ...]


def pair_quality(margins: Sequence[float], *, num_bins: int = 10) -> PairQuality:
    """How good differences of scores are as log-odds of the preferences.

    Args:
        margins: r(chosen) - r(rejected) of each pair, so that P(chosen > rejected) = σ(margin).
        num_bins: bins of equal width, over confidences from 1/2 to 1.

    Raises:
        ValueError: if there are none, or one is no finite number.
    """
    gaps = np.asarray(margins, dtype=np.float64)
    if gaps.ndim != 1 or not len(gaps):
        raise ValueError(f"margins has shape {list(gaps.shape)}, expected [B] with B at least 1")
    if not np.isfinite(gaps).all():
        where = int(np.flatnonzero(~np.isfinite(gaps))[0])
        raise ValueError(f"margins[{where}] is {gaps[where]}, expected a finite number")
    right = (gaps > 0) + 0.5 * (gaps == 0)
    confidence = 1.0 / (1.0 + np.exp(-np.abs(gaps)))
    places = np.minimum(((confidence - 0.5) * 2 * num_bins).astype(int), num_bins - 1)
    bins = tuple(
        Bin(float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum()))
        for inside in (places == place for place in range(num_bins))
        if inside.any()
    )
    error = sum(b.num * abs(b.accuracy - b.confidence) for b in bins) / len(gaps)
    return PairQuality(
        accuracy=float(right.mean()),
        log_loss=float(np.logaddexp(0.0, -gaps).mean()),
        calibration_error=float(error),
        bins=bins,
    )
