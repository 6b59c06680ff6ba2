"""How wrong is it usually? The norm-wise gradient error and its bias as a distribution over seeds.

K samples of one case give K values of |g^ - g|_2 / |g|_2 over the whole batch and of the mean signed
error in ulp; reported are lowest, median and highest, and the mean bias with its standard error. Bias,
not noise, broke training in jax#3381. Reported, not judged, but for one note: a 16-bit loss that is
further from the truth than one rounding of a float32 evaluation, 1/2 ulp + (4 + log2 C + reduction)
2^-24 N, had something rounded to 16 bits before (row losses stored before the mean). The trap: A2
forgives conditioning (p close to q), this figure does not, which is what it is for.
"""

from __future__ import annotations

import math

import numpy as np

from harness.block import Answer, OpenBlock
from harness.calling import failure
from harness.judge import Yardstick
from harness.observation import answered
from harness.oracle.reduction import Array
from harness.outcome import KINDS
from harness.witness import plain_finding

NAME = "spread"
SEEDS = 8


def spread_over_seeds(block: OpenBlock, name: str) -> Answer:
    """Asks one implementation SEEDS samples of the case."""
    errors: list[float] = []
    twice = 0
    biases: list[float] = []
    try:
        bound = block.bound(name)
    except Exception as error:
        status, reason = failure(error)
        return Answer(status or "skipped", reason)
    for repeat in range(SEEDS):
        stand = block.standard(name, repeat)
        seen = answered(bound, stand, block.case.device, NAME)
        if seen.status != "ok":
            return Answer(seen.status, seen.reason)
        wanted = stand.sample.gradients[0] if stand.sample.gradients else ""
        got = (seen.gradients or {}).get(wanted)
        if got is None:
            return Answer("skipped", "gives no gradient; see accuracy")
        errors.append(relative_error(got, stand.gradients[wanted].truth))
        biases.append(signed_ulps(got, stand.gradients[wanted]))
        twice += seen.loss is not None and rounded_twice(seen.loss, stand.loss)
    # By order alone: an infinite error is an answer, and interpolating beside it would warn.
    ordered = sorted(errors, key=lambda error: (math.isnan(error), error))
    low, middle, high = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    numbers = {
        "seeds": float(SEEDS),
        "norm_error_low": low,
        "norm_error_median": middle,
        "norm_error_high": high,
    }
    with np.errstate(over="ignore", invalid="ignore"):
        numbers["bias_ulps"] = float(np.mean(biases))
        numbers["bias_standard_error_ulps"] = float(np.std(biases, ddof=1) / math.sqrt(SEEDS))
    if not twice:
        return Answer(numbers=numbers)
    sentence = f"loss in {twice} of {SEEDS} samples: {KINDS['rounded_twice'].sentence}"
    return Answer(findings=(plain_finding("rounded_twice", NAME, "loss", sentence),), numbers=numbers)


def rounded_twice(got: Array, stick: Yardstick) -> bool:
    """Tells whether a 16-bit loss is further off than one rounding; False in wider formats.

    The strict bound grants 2 ulp, of which the one rounding needs a half: the rest is what is left out.
    """
    if stick.form.precision >= 24:
        return False
    with np.errstate(invalid="ignore", over="ignore"):
        excess = np.abs(stick.off(got)) - (stick.strict - 1.5 * stick.spacing)
    known = np.isfinite(got) & stick.defined & ~stick.infinite & (np.abs(stick.truth) > 0)
    return bool((excess[known] > 0).any())


def relative_error(got: Array, truth: Array) -> float:
    """Returns |g^ - g|_2 / |g|_2 over finite truth; NaN where the answer is, 0 for two zero gradients."""
    known = np.isfinite(truth)
    with np.errstate(invalid="ignore", over="ignore"):
        size, off = np.linalg.norm(truth[known]), np.linalg.norm(got[known] - truth[known])
    if size == 0:
        return 0.0 if off == 0 else math.inf
    with np.errstate(invalid="ignore", over="ignore"):
        return float(off / size)


def signed_ulps(got: Array, stick: Yardstick) -> float:
    """Returns the mean signed error in ulp over entries that are finite in truth and answer."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        signed = stick.off(got) / stick.spacing
        kept = signed[np.isfinite(signed)]
        return float(kept.mean()) if kept.size else math.nan
