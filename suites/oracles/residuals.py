"""The truth about losses of a residual: each entry costs L(r), r = |x - t|, times its weight.

A family is a `Curve`: L and dL/dr as functions of r and of its threshold b (beta, delta). Gradients are
w sign(x - t) dL/dr with respect to x, its negative with respect to t; where L has a kink at r = 0, every
number between -w and w times the slope is right. With `ignore_nan` an entry whose target is NaN is
missing: it counts neither in the sum nor in the mean's denominator, whatever the prediction is. An entry of
weight exactly 0 costs 0. N is |L| + |r dL/dr| + |b dL/db|, for gradients |g| + |r dg/dr| + |b dg/db|: what a
rounding of the *difference* and of b can do, sharper than |x| + |t| (numerics: F), since a subtraction of
stored numbers rounds once. The trap: the branch r < b has to be taken on the exact difference in `exact`,
and no form may square r before it divides by b.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]
OfSize = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Curve:
    """A loss L(r) of r >= 0 with its threshold b, as float64 tensors and on Arb balls.

    `reach` is |r dL/dr| + |b dL/db|, `bend` |r d2L/dr2| + |b d2L/drdb|. `exact(r, b, below)` returns
    (L, dL/dr), where `below` tells r < b. `threshold` names the option that holds b ("" for none);
    `kinked(b)` tells whether dL/dr at r = 0 is not 0.
    """

    value: OfSize
    slope: OfSize
    reach: OfSize
    bend: OfSize
    exact: Callable[[Any, Any, bool], tuple[Any, Any]]
    kinked: Callable[[float], bool]
    threshold: str = ""

    def threshold_of(self, options: Options) -> float:
        """Returns b; 1 for a loss that has none."""
        return float(options[self.threshold]) if self.threshold else 1.0


@dataclass(frozen=True)
class Terms:
    """Shared terms of a chunk of entries (R,): r, its sign, the weight, what counts nothing, and b."""

    size: Tensor
    sign: Tensor
    weight: Tensor
    dropped: Tensor
    threshold: float

    def weighted(self, entries: Tensor) -> Tensor:
        """Returns w * entries, exactly 0 where an entry counts nothing."""
        return torch.where(self.dropped, 0.0, self.weight * entries)

    def bounded(self, entries: Tensor) -> Tensor:
        """Returns |w| * entries, exactly 0 where an entry counts nothing."""
        return torch.where(self.dropped, 0.0, self.weight.abs() * entries)


def weights(inputs: Inputs) -> Tensor:
    """Returns the weight of every entry (R,); one where none is given."""
    return inputs["weight"] if "weight" in inputs else torch.ones_like(inputs["prediction"])


def missing(inputs: Inputs, options: Options) -> Tensor:
    """Tells which entries are missing (R,): their target is NaN, and the variant says that this means so."""
    absent: Tensor = inputs["target"].isnan()
    return absent if options["ignore_nan"] else torch.zeros_like(absent)


def denominator(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each entry adds to the mean's denominator: its weight or one; 0 where it is missing."""
    added = weights(inputs)
    if options["mean_denominator"] == "elements":
        added = torch.ones_like(added)
    return added.masked_fill(missing(inputs, options), 0.0)


def residual_form(curve: Curve) -> ClosedForm:
    """Returns the closed form of a loss of the residual."""

    def terms(inputs: Inputs, options: Options) -> Terms:
        absent, weight = missing(inputs, options), weights(inputs)
        residual = inputs["prediction"] - inputs["target"]
        return Terms(
            residual.abs(), residual.sign(), weight, absent | (weight == 0), curve.threshold_of(options)
        )

    def rows(t: Terms) -> Tensor:
        return t.weighted(curve.value(t.size, t.threshold))

    def gradient(t: Terms) -> dict[str, Tensor]:
        slope = t.weighted(t.sign * curve.slope(t.size, t.threshold))
        return {"prediction": slope, "target": -slope}

    def sensitivity(t: Terms) -> Tensor:
        return t.bounded(curve.value(t.size, t.threshold) + curve.reach(t.size, t.threshold))

    def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
        size = t.bounded(curve.slope(t.size, t.threshold) + curve.bend(t.size, t.threshold))
        return {"prediction": size, "target": size}

    def kinks(t: Terms) -> dict[str, tuple[Tensor, Tensor]]:
        slopes = gradient(t)
        steep = t.bounded(curve.slope(t.size, t.threshold))
        around = torch.where((t.size == 0) & curve.kinked(t.threshold), steep, 0.0)
        return {name: (slope - around, slope + around) for name, slope in slopes.items()}

    def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
        loss, slope = exact_entry(curve, row, options)
        return loss, {"prediction": [slope], "target": [-slope]}

    return ClosedForm(
        terms=terms,
        rows=rows,
        gradient=gradient,
        sensitivity=sensitivity,
        gradient_sensitivity=gradient_sensitivity,
        denominator=denominator,
        exact=exact,
        kinks=kinks,
        roundoffs=2.0,
    )


def exact_entry(curve: Curve, row: Mapping[str, Any], options: Options) -> tuple[Any, Any]:
    """Returns loss and dL/dx of one stored entry as Arb balls, by the plain definition.

    NaN where a number is NaN or both are the same infinity; at a kink dL/dx is 0, the middle.
    """
    from flint import arb

    x, t, weight = row["prediction"], row["target"], row.get("weight", 1.0)
    if weight == 0 or (options["ignore_nan"] and math.isnan(t)):
        return arb(0), arb(0)
    if math.isnan(x) or math.isnan(t) or (math.isinf(x) and x == t):
        return arb("nan"), arb("nan")
    threshold = curve.threshold_of(options)
    finite = math.isfinite(x) and math.isfinite(t)
    below = finite and abs(Fraction(x) - Fraction(t)) < Fraction(threshold)
    size = arb(x) - arb(t) if x > t else arb(t) - arb(x)
    loss, slope = curve.exact(size, arb(threshold), below)
    sign = (x > t) - (x < t)
    return arb(weight) * loss, arb(0) if sign == 0 else arb(weight) * sign * slope
