"""How wrong is it usually? The norm-wise gradient error and its bias as a distribution over seeds.

K samples of one case give K values of |g^ - g|_2 / |g|_2 over the whole batch and of the mean signed
error in ulp; reported are lowest, median and highest, and the mean bias with its standard error. Bias,
not noise, broke training in jax#3381. Reported, never judged. The trap: A2 forgives conditioning
(p close to q), this figure does not, which is what it is for.
"""

from __future__ import annotations

import math

import numpy as np

from harness.block import Answer, OpenBlock
from harness.calling import failure
from harness.judge import Yardstick
from harness.observation import observe
from harness.oracle.reduction import Array

NAME = "spread"
SEEDS = 8


def spread_over_seeds(block: OpenBlock, name: str) -> Answer:
    """Asks one implementation SEEDS samples of the case."""
    errors: list[float] = []
    biases: list[float] = []
    try:
        bound = block.bound(name)
    except Exception as error:
        status, reason = failure(error)
        return Answer(status or "skipped", reason)
    for repeat in range(SEEDS):
        stand = block.standard(name, repeat)
        seen = observe(bound, stand, block.case.dtype, block.case.device, NAME)
        if seen.status != "ok":
            return Answer(seen.status, seen.reason)
        wanted = stand.sample.gradients[0] if stand.sample.gradients else ""
        got = (seen.gradients or {}).get(wanted)
        if got is None:
            return Answer("skipped", "gives no gradient; see accuracy")
        errors.append(relative_error(got, stand.gradients[wanted].truth))
        biases.append(signed_ulps(got, stand.gradients[wanted]))
    low, middle, high = (float(value) for value in np.quantile(errors, [0.0, 0.5, 1.0]))
    numbers = {
        "seeds": float(SEEDS),
        "norm_error_low": low,
        "norm_error_median": middle,
        "norm_error_high": high,
        "bias_ulps": float(np.mean(biases)),
        "bias_standard_error_ulps": float(np.std(biases, ddof=1) / math.sqrt(SEEDS)),
    }
    return Answer(numbers=numbers)


def relative_error(got: Array, truth: Array) -> float:
    """Returns |g^ - g|_2 / |g|_2 over finite truth; NaN where the answer is, 0 for two zero gradients."""
    known = np.isfinite(truth)
    with np.errstate(invalid="ignore", over="ignore"):
        size, off = np.linalg.norm(truth[known]), np.linalg.norm(got[known] - truth[known])
    if size == 0:
        return 0.0 if off == 0 else math.inf
    return float(off / size)


def signed_ulps(got: Array, stick: Yardstick) -> float:
    """Returns the mean signed error in ulp over entries that are finite in truth and answer."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        signed = stick.off(got) / stick.spacing
    kept = signed[np.isfinite(signed)]
    return float(kept.mean()) if kept.size else math.nan
