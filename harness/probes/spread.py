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
from dataclasses import replace

import numpy as np

from harness.block import Answer, OpenBlock
from harness.calling import failure
from harness.judge import Defect, Yardstick
from harness.observation import answered
from harness.oracle.reduction import Array
from harness.outcome import KINDS, severity
from harness.results import Finding
from harness.witness import described

NAME = "spread"
SEEDS = 8


def spread_over_seeds(block: OpenBlock, name: str) -> Answer:
    """Asks one implementation SEEDS samples of the case."""
    errors: list[float] = []
    twice: list[Finding] = []
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
        if seen.loss is not None and (place := rounded_twice(seen.loss, stand.loss)) is not None:
            defect = Defect("rounded_twice", severity("rounded_twice"), "loss", 1, place)
            shown = described(defect, stand.loss, seen.loss, stand, NAME, "loss")
            twice.append(replace(shown, witness={**shown.witness, "repeat": repeat}))
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
    sentence = f"loss in {len(twice)} of {SEEDS} samples: {KINDS['rounded_twice'].sentence}"
    return Answer(findings=(replace(twice[0], message=sentence),), numbers=numbers)


def one_rounding(stick: Yardstick) -> Array:
    """Returns the strict bound with one rounding of the result, a half ulp, in place of its 2 ulp."""
    return np.asarray(stick.strict - 1.5 * stick.spacing)


def rounded_twice(got: Array, stick: Yardstick) -> int | None:
    """Returns the flat place at which a 16-bit loss is furthest beyond one rounding; None where none is."""
    if stick.form.precision >= 24:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        excess = np.abs(stick.off(got)) - one_rounding(stick)
    known = np.isfinite(got) & stick.defined & ~stick.infinite & (np.abs(stick.truth) > 0)
    excess = np.where(known, excess, -np.inf)
    if not (excess > 0).any():
        return None
    return int(np.argmax(excess))


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
