"""The truth about the negative log-likelihood under a Gaussian of predicted variance, element by element.

With r = x - t and v = max(variance, eps): L = (log v + r^2 / v) / 2, and log(2 pi) / 2 more with `full`
(torch documentation of GaussianNLLLoss). Gradients: dx = r / v, dt = -r / v, dv = (1 - r^2 / v) / (2 v).
Torch clamps a copy of the variance out of sight of autograd (measured in 2.13): below eps the slope is that
at eps, not 0. `clamp` says which is meant: "unseen" as torch does, or "seen", where the slope below eps is
0 and at eps anything between 0 and the slope. N is the sum of |terms| + |r dL/dr| + |v dL/dv|: what a
rounding of the difference and of v can do, as for the other losses of a residual. Nothing cancels but
1 - r^2 / v, of two rounded numbers whose sum N holds. The trap: r^2 overflows where r^2 / v does not, so r is
divided by v first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm
from harness.oracle.doubled import pi_like

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]


def ones(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each element adds to the mean's denominator: one."""
    return torch.ones(len(inputs["target"]), dtype=torch.float64)


@dataclass(frozen=True)
class Terms:
    """Shared terms of a chunk (R,): v, r / v, r^2 / v, which slopes the clamp cuts, and the constant."""

    variance: Tensor
    standardised: Tensor
    square: Tensor
    cut: Tensor
    tied: Tensor
    constant: Tensor | float

    def of_variance(self) -> Tensor:
        """Returns (1 - r^2 / v) / (2 v), the clamp not yet seen."""
        return 0.5 * (1 - self.square) / self.variance


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 elements."""
    stored, eps = inputs["variance"], float(options["eps"])
    residual = inputs["prediction"] - inputs["target"]
    variance = stored.clamp(min=eps)
    standardised = residual / variance
    seen = options["clamp"] == "seen"
    return Terms(
        variance,
        standardised,
        residual * standardised,
        (stored < eps) & seen,
        (stored == eps) & seen,
        0.5 * torch.log(2 * pi_like(stored) * torch.ones_like(stored)) if options["full"] else 0.0,
    )


def losses(t: Terms) -> Tensor:
    """Returns L (R,)."""
    return 0.5 * (torch.log(t.variance) + t.square) + t.constant


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns dL/dx, dL/dt and dL/dvariance (R,)."""
    return {
        "prediction": t.standardised,
        "target": -t.standardised,
        "variance": torch.where(t.cut, 0.0, t.of_variance()),
    }


def kinks(t: Terms) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns the lowest and highest slope of the variance: 0 counts as well where it ties with eps."""
    slope = gradients(t)["variance"]
    return {
        "variance": (
            torch.where(t.tied, slope.clamp(max=0.0), slope),
            torch.where(t.tied, slope.clamp(min=0.0), slope),
        )
    }


def sensitivity(t: Terms) -> Tensor:
    """Returns N = |log v| / 2 + r^2 / (2 v) + log(2 pi) / 2 + |r dL/dr| + |v dL/dv| (R,)."""
    own = 0.5 * (torch.log(t.variance).abs() + t.square) + t.constant
    return own + t.square + 0.5 * (1 - t.square).abs()


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns N of each gradient entry: |g| + |r dg/dr| + |v dg/dv|."""
    slope = 3 * t.standardised.abs()
    by_variance = (0.5 * (1 - t.square).abs() + t.square + (t.square - 0.5).abs()) / t.variance
    return {
        "prediction": slope,
        "target": slope,
        "variance": torch.where(t.cut, 0.0, by_variance),
    }


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradients of one stored element as Arb balls, by the definition as printed.

    NaN where a number is NaN or a residual has no value, inf - inf.
    """
    from flint import arb

    x, target, stored = row["prediction"], row["target"], row["variance"]
    eps = float(options["eps"])
    names = ("prediction", "target", "variance")
    if any(math.isnan(number) for number in (x, target, stored)) or (math.isinf(x) and x == target):
        return arb("nan"), {name: [arb("nan")] for name in names}
    v, r = arb(max(stored, eps)), arb(x) - arb(target)
    constant = (2 * arb.pi()).log() / 2 if options["full"] else arb(0)
    cut = stored < eps and options["clamp"] == "seen"
    if not r.is_finite():
        slope = arb("+inf") if r > 0 else arb("-inf")
        loss, by_variance = arb("+inf"), arb("-inf")
    else:
        slope = r / v
        loss, by_variance = (v.log() + r * r / v) / 2 + constant, (v - r * r) / (2 * v * v)
    return loss, {
        "prediction": [slope],
        "target": [-slope],
        "variance": [arb(0) if cut else by_variance],
    }


ORACLE = ClosedForm(
    terms=terms,
    rows=losses,
    gradient=gradients,
    sensitivity=sensitivity,
    gradient_sensitivity=gradient_sensitivity,
    denominator=ones,
    exact=exact,
    kinks=kinks,
    roundoffs=4.0,
)
