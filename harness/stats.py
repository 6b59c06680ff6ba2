"""Intervals for timings; the unit of replication is the process, never the sample.

Each fresh process gives one median of log seconds (or of per-round log ratios); the estimate is
their mean and the interval Student's t over processes. With one process the interval is the
distribution-free one of its median (binomial order statistics) and says so by its count. The trap:
pooling samples of several processes as if they were independent makes intervals several times too
narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A positive quantity with its 95 % interval, samples and processes behind it."""

    value: float
    low: float
    high: float
    samples: int
    processes: int


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Returns the order-statistic interval of a median; the range when there are too few values."""
    from scipy.stats import binom

    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    below = int(binom.ppf((1 - confidence) / 2, count, 0.5))
    return float(ordered[max(below - 1, 0)]), float(ordered[min(count - below, count - 1)])


def estimate(by_process: Sequence[Sequence[float]], confidence: float = 0.95) -> Estimate:
    """Returns the estimate of positive values grouped by process; raises ValueError without values."""
    groups = [np.log(np.asarray(group, dtype=np.float64)) for group in by_process if len(group)]
    if not groups:
        raise ValueError("estimate(by_process=...): holds no value")
    medians = np.asarray([float(np.median(group)) for group in groups])
    samples = sum(len(group) for group in groups)
    centre = float(medians.mean())
    if len(medians) == 1:
        low, high = median_interval(groups[0].tolist(), confidence)
        return Estimate(math.exp(centre), math.exp(low), math.exp(high), samples, 1)
    from scipy.stats import t

    reach = float(
        t.ppf(0.5 + confidence / 2, len(medians) - 1) * medians.std(ddof=1) / math.sqrt(len(medians))
    )
    return Estimate(
        math.exp(centre), math.exp(centre - reach), math.exp(centre + reach), samples, len(medians)
    )


def half_width(values: Sequence[float]) -> float:
    """Returns the relative half-width of a median of positive values: 1.253 x 1.4826 MAD / sqrt(n) x 1.96.

    Infinite for fewer than two values. The factor 1.253 is the normal efficiency of the median.
    """
    if len(values) < 2:
        return math.inf
    logs = np.log(np.asarray(values, dtype=np.float64))
    deviation = float(np.median(np.abs(logs - np.median(logs))))
    return 1.96 * 1.253 * 1.4826 * deviation / math.sqrt(len(logs))
