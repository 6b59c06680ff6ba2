"""How wrong is it usually? The norm-wise gradient error and its bias as a distribution over seeds.

K samples of one case give K values of |g^ - g|_2 / |g|_2 over the whole batch and of the mean signed
error in ulp; reported are lowest, median and highest, and the mean bias with its standard error. Bias,
not noise, broke training in jax#3381. Gradients of several inputs have units of their own, so there is no
norm over all of them: a sample counts with its worst gradient, which no change of units can alter. Signed
errors of two gradients may cancel and are never averaged: the bias is that of the gradient in which it
stands out most from its own standard error, and each has its columns beside (`bias_ulps/variance`).

Reported, not judged, but for one note: a 16-bit loss that is
further from the truth than one rounding of a float32 evaluation, 1/2 ulp + (4 + log2 C + reduction)
2^-24 N, had something rounded to 16 bits before (row losses stored before the mean). The trap: A2
forgives conditioning (p close to q), this figure does not, which is what it is for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.block import Answer, OpenBlock
from harness.calling import failure
from harness.columns import of_gradient
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
    errors: dict[str, list[float]] = {}
    biases: dict[str, list[float]] = {}
    twice: list[Finding] = []
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
        given = seen.gradients or {}
        if not given or (errors and set(given) != set(errors)):
            return Answer("skipped", f"gives {'no' if not given else 'not every'} gradient; see accuracy")
        for tensor, got in given.items():
            stick = stand.gradients[tensor]
            errors.setdefault(tensor, []).append(relative_error(got, stored_truth(stick)))
            biases.setdefault(tensor, []).append(signed_ulps(got, stick))
        if seen.loss is not None and (place := rounded_twice(seen.loss, stand.loss)) is not None:
            defect = Defect("rounded_twice", severity("rounded_twice"), "loss", 1, place)
            shown = described(defect, stand.loss, seen.loss, stand, NAME, "loss")
            twice.append(replace(shown, witness={**shown.witness, "repeat": repeat}))
    numbers = {"seeds": float(SEEDS), **_distribution(errors), **_bias(biases)}
    if not twice:
        return Answer(numbers=numbers)
    sentence = f"loss in {len(twice)} of {SEEDS} samples: {KINDS['rounded_twice'].sentence}"
    return Answer(findings=(replace(twice[0], message=sentence),), numbers=numbers)


def _ordered(errors: Iterable[float]) -> list[float]:
    """Returns errors from the lowest to the highest; NaN is beyond infinity.

    By order alone: an infinite error is an answer, and interpolating beside it would warn.
    """
    return sorted(errors, key=lambda error: (math.isnan(error), error))


def _distribution(errors: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Returns lowest, median and highest error of the worst gradient of a sample, and medians of each."""
    ordered = _ordered(_ordered(sample)[-1] for sample in zip(*errors.values(), strict=True))
    middle = len(ordered) // 2
    numbers = {
        "norm_error_low": ordered[0],
        "norm_error_median": ordered[middle],
        "norm_error_high": ordered[-1],
    }
    if len(errors) > 1:
        for tensor, own in errors.items():
            numbers[of_gradient("norm_error_median", tensor)] = _ordered(own)[middle]
    return numbers


def _bias(biases: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Returns mean and standard error of the bias that stands out most, and those of each gradient."""
    with np.errstate(over="ignore", invalid="ignore"):
        means = {
            tensor: (float(np.mean(own)), float(np.std(own, ddof=1) / math.sqrt(len(own))))
            for tensor, own in biases.items()
        }
    mean, error = max(means.values(), key=_standing_out)
    numbers = {"bias_ulps": mean, "bias_standard_error_ulps": error}
    if len(means) > 1:
        for tensor, (mean, error) in means.items():
            numbers[of_gradient("bias_ulps", tensor)] = mean
            numbers[of_gradient("bias_standard_error_ulps", tensor)] = error
    return numbers


def _standing_out(bias: tuple[float, float]) -> float:
    """Returns |mean| over standard error; -1 for a bias that is not finite, which says nothing."""
    mean, error = abs(bias[0]), bias[1]
    if not (math.isfinite(mean) and math.isfinite(error)):
        return -1.0
    if error == 0:
        return math.inf if mean else 0.0
    return mean / error


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


def stored_truth(stick: Yardstick) -> Array:
    """Returns the truth with an infinity where its dtype has no number for it, and infinity is right."""
    return np.where(stick.infinite, np.copysign(math.inf, stick.truth), stick.truth)


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
