"""Is it right? The rounded inputs go to implementation and oracle; every number is compared.

Loss and every gradient entry are judged by the strict rule, in groups; metrics A1-A6 are reported
beside. Where a loss has several gradients a column is about the one that does worst by it, statistic by
statistic: pooled, the entries of a large weight would bury the few of a bias. The trap: statistics of a
result with a NaN where the truth is finite are NaN, not the statistics of the rest, else the worst
implementation shows the best numbers; and a gradient that is so takes those of the others with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from harness.block import Answer, OpenBlock
from harness.calling import failure
from harness.columns import of_gradient
from harness.judge import Judgement, Yardstick
from harness.metrics import Spread, spread
from harness.observation import Observation, observe
from harness.oracle.reduction import Array, exact_sum
from harness.oracle.truth import RowTruth
from harness.outcome import severity
from harness.results import Finding
from harness.standard import Standard

NAME = "accuracy"
# The column that has one of each gradient beside it.
LARGEST = "gradient_ulps"


def accuracy(block: OpenBlock, name: str) -> Answer:
    """Asks one implementation for loss and gradients and judges both."""
    stand = block.standard(name)
    try:
        bound = block.bound(name)
    except Exception as error:
        status, reason = failure(error)
        if status is not None:
            return Answer(status, reason)
        return Answer(findings=(Finding("raises", severity("raises"), NAME, "prepare", reason),))
    seen = observe(bound, stand, block.case.dtype, block.case.device, NAME)
    with block.ledger.spending("judging"):
        numbers, notes = numbers_of(seen, stand), block.vacuity(name)
    return Answer(seen.status, seen.reason, seen.findings, numbers, notes)


def numbers_of(seen: Observation, stand: Standard) -> dict[str, float]:
    """Returns metrics A1-A6 of an observation; a spurious NaN or infinity makes its maxima so.

    Several gradients have the largest error of each beside the plain columns: `gradient_ulps/variance`.
    """
    if seen.loss is None or seen.loss_judgement is None or seen.gradients is None:
        return {}
    numbers = _loss_numbers(seen.loss, seen.loss_judgement, stand)
    assert seen.gradient_judgements is not None
    each = {
        tensor: _gradient_numbers(got, seen.gradient_judgements[tensor], tensor, stand)
        for tensor, got in seen.gradients.items()
    }
    numbers |= _worst(tuple(each.values()))
    if len(stand.gradients) > 1:
        for tensor, found in each.items():
            if LARGEST in found:
                numbers[of_gradient(LARGEST, tensor)] = found[LARGEST]
    return numbers


def _worst(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the worst of every statistic over the gradients; a signed one keeps its sign."""
    largest = [numbers[LARGEST] for numbers in each if LARGEST in numbers]
    lost = [value for value in largest if not math.isfinite(value)]
    if lost:
        return {LARGEST: math.nan if any(map(math.isnan, lost)) else math.inf}
    names = dict.fromkeys(name for numbers in each for name in numbers)
    return {name: max((n[name] for n in each if name in n), key=abs) for name in names}


def _loss_numbers(got: Array, judgement: Judgement, stand: Standard) -> dict[str, float]:
    stick, form = stand.loss, stand.loss.form
    if not _countable(stick).any():
        return {}
    unlike = _unlike(stick, got)
    if unlike is not None:
        return {"loss_ulps": unlike}
    errors = _finite(judgement.errors)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ulps = spread(_finite(judgement.errors / stick.spacing))
        half = form.smallest_subnormal / 2
        by_input = judgement.errors / (form.roundoff * stand.input_sensitivity + half)
        by_shift = judgement.errors / (form.roundoff * stick.sensitivity + half)
        floor = judgement.errors / (form.roundoff * np.maximum(1.0, np.abs(stick.truth)))
    if errors.size == 0:
        return {}
    numbers = {
        "loss_ulps": ulps.largest,
        "loss_ulps_median": ulps.median,
        "loss_ulps_p99": ulps.p99,
        "loss_eta_input": _largest(by_input),
        "loss_eta_shift": _largest(by_shift),
        "loss_floor": _largest(floor),
    }
    by_sum = reduction_eta(_largest(errors), stand)
    return numbers if by_sum is None else numbers | {"loss_eta_reduction": by_sum}


def reduction_eta(error: float, stand: Standard) -> float | None:
    """Returns |err| / ((2 + log2 N) u N_red + w/2), N_red = sum |L_i| / |denominator| over N rows (A6).

    At most about 1 for a pairwise sum in the dtype itself, growing with N for a sequential one. None for
    an unreduced loss, and where a row's loss or the denominator is undefined, infinite or 0.
    """
    reduction, losses = stand.asked["reduction"], stand.row_truth.losses
    if reduction == "none" or losses.size == 0:
        return None
    form = stand.loss.form
    total, weight = _sums(_ByIdentity(stand.row_truth))
    if reduction != "mean":
        weight = 1.0
    if not (weight > 0 and math.isfinite(weight) and math.isfinite(total)):
        return None
    allowed = (2.0 + math.log2(losses.size)) * form.roundoff * (total / weight)
    # Half of the smallest number of float64 would be 0.
    return error / max(allowed, form.smallest_subnormal)


@dataclass(frozen=True, eq=False)
class _ByIdentity:
    """The truth of some rows as a key; arrays have no hash."""

    rows: RowTruth

    def __hash__(self) -> int:
        return id(self.rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.rows is other.rows


# All implementations of a block are judged by the same rows, one after another.
@lru_cache(maxsize=2)
def _sums(key: _ByIdentity) -> tuple[float, float]:
    """Returns sum |L_i| and |denominator| of some rows."""
    return exact_sum(np.abs(key.rows.losses)), abs(exact_sum(key.rows.denominator))


def _gradient_numbers(got: Array, judgement: Judgement, tensor: str, stand: Standard) -> dict[str, float]:
    stick = stand.gradients[tensor]
    if not _countable(stick).any():
        return {}
    unlike = _unlike(stick, got)
    if unlike is not None:
        return {LARGEST: unlike}
    form, truth = stick.form, stick.truth
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        in_ulps = judgement.errors / stick.spacing
        ulps: Spread = spread(_finite(in_ulps))
        half = form.smallest_subnormal / 2
        eta = judgement.errors / (form.roundoff * stick.sensitivity + half)
        floor = judgement.errors / (form.roundoff * np.maximum(_scale(tensor, stand), np.abs(truth)))
        signed = stick.off(got) / stick.spacing
        # Errors of entries that are 0 count in the smallest numbers there are.
        bias = float(np.mean(_finite(signed))) if np.isfinite(signed).any() else math.nan
    normal = np.abs(truth) >= form.smallest_normal
    numbers = {
        LARGEST: ulps.largest,
        "gradient_ulps_median": ulps.median,
        "gradient_ulps_p99": ulps.p99,
        "gradient_eta": _largest(eta),
        "gradient_floor": _largest(floor),
        "gradient_dead_share": float(((got == 0) & normal).mean()),
        "gradient_bias_ulps": bias,
    }
    numbers |= _row_numbers(got, truth)
    for index, group in enumerate(stick.groups):
        short = group.rsplit("/", 1)[-1]
        inside = in_ulps[stick.labels == index]
        if inside.size and short in ("target", "off_target", "tail", "ignored"):
            numbers[f"{short}_ulps"] = _largest(inside)
    return {key: value for key, value in numbers.items() if not math.isnan(value)}


def _scale(tensor: str, stand: Standard) -> Array:
    """Returns what reduction and weight make of a gradient of 1, in a shape that fits the gradient."""
    scale = stand.truth.row_scale
    if tensor in stand.truth.shared:
        # A row adds its features times a gradient of this scale.
        return stand.row_truth.shared[tensor].largest(scale)
    return scale.reshape(-1, *([1] * (stand.gradients[tensor].truth.ndim - 1)))


def _row_numbers(got: Array, truth: Array) -> dict[str, float]:
    """Returns the norm-wise error of the worst row and, where the truth sums to 0, the zero sum."""
    if truth.ndim < 2 or truth.size == 0:
        return {}
    got, truth = (array.reshape(len(truth), -1) for array in (got, truth))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        size = np.linalg.norm(truth, axis=1)
        relative = np.linalg.norm(got - truth, axis=1) / size
        mass = np.abs(truth).sum(axis=1)
        balanced = np.abs(truth.sum(axis=1)) <= 1e-12 * mass
        tilt = np.abs(got.sum(axis=1)) / np.abs(got).sum(axis=1)
    numbers = {"gradient_relative_error": _largest(relative[size > 0])}
    if balanced.all():
        numbers["gradient_zero_sum"] = _largest(tilt[mass > 0])
    return numbers


def _countable(stick: Yardstick) -> Array:
    return np.asarray(stick.defined & ~stick.infinite)


def _unlike(stick: Yardstick, got: Array) -> float | None:
    """Returns NaN or infinity when a result is so where the truth is finite; NaN is worse."""
    if np.isfinite(got).all():
        return None
    answers = got[stick.defined & ~stick.infinite]
    if np.isnan(answers).any():
        return math.nan
    return math.inf if np.isinf(answers).any() else None


def _finite(values: Array) -> Array:
    """Returns the finite numbers in one row; without a copy where all are, which is the rule."""
    known = np.isfinite(values)
    return values.reshape(-1) if known.all() else np.asarray(values[known])


def _largest(values: Array) -> float:
    kept = _finite(values)
    return float(kept.max()) if kept.size else math.nan
