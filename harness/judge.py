"""Compares what came back with the truth, entry by entry: classes first, then the strict rule.

A `Yardstick` is made once per truth and used for every implementation of a block; `judge` returns
the defects (kind, severity, group, count, first place) and the error arrays that the metrics are
taken from. The trap: a NaN never compares, so classes are decided with masks before any
difference is formed, and a reduced gradient is brought back to its row's scale before the
error floor is applied.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.metrics import Format, Terms, error_bound, rounds_to_infinity, strict_bound, ulp
from harness.oracle.reduction import Array
from harness.results import Severity

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Yardstick:
    """Truth with its bounds: what each entry may be off by, and beyond what it is an error.

    The truth is `truth + tail` where a tail is given (oracle tier B1, for float64), and any number
    of `reach` (lowest, highest) where a kink leaves the choice. `labels` gives each
    entry the index of its group in `groups`. `is_loss` switches the rules that
    differ between losses and gradients; `poisoned` says that an input holds NaN, so that a gradient that is
    undefined must be NaN too: without it 0 is as good (nothing counts, 0/0).
    """

    truth: Array
    strict: Array
    error: Array
    spacing: Array
    sensitivity: Array
    infinite: Mask
    defined: Mask
    labels: NDArray[np.int8]
    groups: tuple[str, ...]
    form: Format
    is_loss: bool
    poisoned: bool
    tail: Array | None = None
    reach: tuple[Array, Array] | None = None

    def off(self, got: Array) -> Array:
        """Returns got - truth, high part first: the low part is below the rounding of that difference.

        At a kink it is the distance from the nearest element of the subdifferential.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            if self.reach is not None:
                low, high = self.reach
                at_kink = low < high
                difference = np.where(at_kink, got - np.clip(got, low, high), got - self.truth)
                return (
                    difference if self.tail is None else np.where(at_kink, difference, difference - self.tail)
                )
            difference = got - self.truth
            return difference if self.tail is None else np.asarray(difference - self.tail)


@dataclass(frozen=True)
class Defect:
    """One kind of defect in one group: how many entries, and the flat index of the worst.

    `times` is the largest error among them in units of the larger of the two bounds, so that an inaccuracy
    above 1 is an error and one up to 1 a warning; finite, and None where nothing was compared (NaN, an
    infinity).
    """

    kind: str
    severity: Severity
    group: str
    count: int
    place: int
    times: float | None = None


@dataclass(frozen=True)
class Judgement:
    """Defects of one result and its absolute errors (NaN where truth or result is not finite)."""

    defects: tuple[Defect, ...]
    errors: Array
    finite: bool


def yardstick(
    truth: Array,
    sensitivity: Array,
    form: Format,
    terms: Terms,
    *,
    rounding: float = 0.0,
    groups: tuple[str, ...],
    labels: NDArray[np.int8] | None = None,
    scale: Array | float = 1.0,
    is_loss: bool,
    poisoned: bool = False,
    tail: Array | None = None,
    reach: tuple[Array, Array] | None = None,
    floor: float = 0.0,
    forgiven: float = 0.0,
) -> Yardstick:
    """Returns the yardstick of a truth; `labels` default to the first group.

    An error of severity error is beyond `forgiven` times the sensitivity besides (`ClosedForm.staged`).
    """
    error = error_bound(truth, form, terms, scale)
    if forgiven:
        with np.errstate(over="ignore"):
            error = error + forgiven * sensitivity
    return Yardstick(
        truth=truth,
        strict=strict_bound(truth, sensitivity, form, terms, rounding) + floor,
        error=error,
        spacing=ulp(truth, form),
        sensitivity=sensitivity,
        infinite=rounds_to_infinity(truth, form),
        defined=~np.isnan(truth),
        labels=np.zeros(truth.shape, dtype=np.int8) if labels is None else labels,
        groups=groups,
        form=form,
        is_loss=is_loss,
        poisoned=poisoned,
        tail=tail,
        reach=reach,
    )


def judge(stick: Yardstick, got: Array) -> Judgement:
    """Judges an array of results (float64, exact copies of what came back) of the truth's shape."""
    got_finite = np.isfinite(got)
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.abs(stick.off(got))
        comparable = got_finite & stick.defined & ~stick.infinite
        if comparable.all():
            broken = errors > stick.strict
            if not broken.any() and not (stick.is_loss and _negative_zeros(stick, got).any()):
                return Judgement((), errors, True)
        else:
            broken = comparable & (errors > stick.strict)
            errors = np.where(comparable, errors, np.nan)
    defects: list[Defect] = []
    zero, magnitude = got == 0, np.abs(stick.truth)
    severe = broken & (errors > stick.error)
    normal = magnitude >= stick.form.smallest_normal
    dead = broken & zero
    if stick.is_loss:
        signed = ~broken & _negative_zeros(stick, got)
        _collect(defects, stick, "negative_zero", signed, magnitude, "note")
        negative = broken & (got < 0) & (stick.truth >= 0)
        _collect(defects, stick, "negative", negative, errors, "error", sized=True)
        faint = dead & ~severe & normal
        _collect(defects, stick, "dead_loss", faint, errors, "note", sized=True)
        rest = broken & ~negative & ~faint & ~(dead & ~normal)
    else:
        _split(defects, stick, "dead_gradient", dead & normal, severe, errors)
        rest = broken & ~dead
    _collect(defects, stick, "flushed", dead & ~normal, errors, "note", sized=True)
    _split(defects, stick, "inaccurate", rest, severe, errors)
    if not comparable.all():
        _classes(defects, stick, got)
    return Judgement(tuple(defects), errors, bool(got_finite[stick.defined & ~stick.infinite].all()))


def certain_bound(stick: Yardstick) -> Array:
    """Returns the deviation beyond which `judge` calls a finite answer an error, of whatever kind.

    Infinite where size does not decide. It spares whoever expects errors, as of null answers, the judging.
    """
    normal = np.abs(stick.truth) >= stick.form.smallest_normal
    judged_by_size = normal & stick.defined & ~stick.infinite
    return np.where(judged_by_size, np.fmax(stick.strict, stick.error), np.inf)


def _negative_zeros(stick: Yardstick, got: Array) -> Mask:
    """Returns where a loss is -0 whose true value is not below 0; -0 equals 0, but 1 / -0 is -inf."""
    return np.asarray((got == 0) & np.signbit(got) & (stick.truth >= 0) & ~np.signbit(stick.truth))


def _classes(defects: list[Defect], stick: Yardstick, got: Array) -> None:
    nan, infinite = np.isnan(got), np.isinf(got)
    finite_truth = stick.defined & ~stick.infinite
    weight = np.abs(np.nan_to_num(stick.truth, posinf=np.inf, neginf=np.inf))
    lost = "nan_leak" if stick.poisoned else "spurious_nan"
    _collect(defects, stick, lost, nan & stick.defined, weight, "error")
    wrong_sign = infinite & stick.infinite & (np.sign(got) != np.sign(stick.truth))
    # At the edge of the range an ulp more or less decides between W and infinity: with infinity read
    # as the next power of two, an answer within the strict bound is as good there as elsewhere.
    edge = np.copysign(2.0 ** (math.frexp(stick.form.largest)[1] - 1) * 2.0, got)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(np.where(infinite, edge, got) - stick.truth) <= stick.strict
    spurious = (infinite & finite_truth & ~near) | wrong_sign
    _collect(defects, stick, "spurious_overflow", spurious, weight, "error")
    _collect(defects, stick, "saturated", np.isfinite(got) & stick.infinite & ~near, weight, "error")
    answered = ~nan & ~stick.defined
    if not (stick.is_loss or stick.poisoned):
        # A gradient that no NaN made undefined (no row counts: 0/0) may be 0; an undefined loss must be NaN.
        answered &= got != 0
    _collect(defects, stick, "nan_swallowed", answered, np.ones_like(weight), "error")


def _split(
    defects: list[Defect],
    stick: Yardstick,
    kind: str,
    mask: Mask,
    severe: Mask,
    errors: Array,
) -> None:
    _collect(defects, stick, kind, mask & severe, errors, "error", sized=True)
    _collect(defects, stick, kind, mask & ~severe, errors, "warning", sized=True)


def _collect(
    defects: list[Defect],
    stick: Yardstick,
    kind: str,
    mask: Mask,
    weight: Array,
    severity: Severity,
    *,
    sized: bool = False,
) -> None:
    """Adds a defect for every group that the mask reaches; `sized` says that the weights are errors.

    Few entries of many are defective as a rule, so everything is taken at their places alone.
    """
    places = np.flatnonzero(mask)
    if not places.size:
        return
    labels, weights = stick.labels.reshape(-1)[places], weight.reshape(-1)[places]
    for index, group in enumerate(stick.groups):
        inside = labels == index
        if inside.any():
            within, sizes = places[inside], weights[inside]
            times = _in_bounds(sizes, stick, within) if sized else None
            worst = int(within[np.nan_to_num(sizes).argmax()])
            defects.append(Defect(kind, severity, group, within.size, worst, times))


def _in_bounds(errors: Array, stick: Yardstick, places: NDArray[np.intp]) -> float:
    """Returns the largest error in units of the larger bound; the largest number where that overflows."""
    bound = np.fmax(stick.strict.reshape(-1)[places], stick.error.reshape(-1)[places])
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        return float(np.fmin(errors / bound, sys.float_info.max).max())


def group_labels(
    gradient: Array, masks: Sequence[tuple[str, Mask]], ignored: Mask | None
) -> tuple[tuple[str, ...], NDArray[np.int8]]:
    """Returns group names and the group of every entry: ignored, declared masks, tail, off-target.

    The tail are entries below 2^-12 of the largest magnitude of their row.
    """
    names = ("off_target" if masks else "all", "tail", *(name for name, _ in masks), "ignored")
    magnitude = np.abs(np.nan_to_num(gradient))
    if gradient.ndim > 1:
        entries = tuple(range(1, gradient.ndim))
        top = magnitude.max(axis=entries, keepdims=True, initial=0.0)
        labels = np.where(magnitude < top * 2.0**-12, 1, 0).astype(np.int8)
    else:
        labels = np.zeros(gradient.shape, dtype=np.int8)
    for index, (_, mask) in enumerate(masks, start=2):
        labels[mask] = index
    if ignored is not None:
        labels[ignored] = len(names) - 1
    return names, labels
