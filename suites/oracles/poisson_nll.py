"""The truth about the negative log-likelihood of counts under a Poisson rate, element by element.

With the rate l = e^x (`log_input`) or x, and log l = x or log(x + eps): L = l - t log l; `full` adds
Stirling's t log t - t + log(2 pi t) / 2 where t > 1 and nothing elsewhere, as torch does (its documentation
of PoissonNLLLoss), so L jumps at t = 1. Gradients: dx = e^x - t or 1 - t / (x + eps), dt = -log l, and
log t + 1 / (2 t) more with Stirling's term. A target of 0 asks nothing of the logarithm: 0 * log 0 is 0.
Derivation of the form without cancellation: with d = log l - log t, Stirling's first part and t log l are
-t d - t, so L = (l - t) - t d + log(2 pi t) / 2, and l - t = t (e^d - 1) - eps [of rates]: two numbers of the
size of t |d|, where the printed terms are of the size of t log t. N is |L| + |x dx| + |t dt| + |eps deps|
(numerics: F, the general rule). The trap: near the optimum of a count of 10^6 the printed terms leave 1 of
10^7, so N must not be the sum of them.
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


def counted(coefficient: Tensor, value: Tensor) -> Tensor:
    """Returns the product, exactly 0 where the coefficient is 0."""
    return torch.where(coefficient == 0, 0.0, coefficient * value)


def ones(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each element adds to the mean's denominator: one."""
    return torch.ones(len(inputs["target"]), dtype=torch.float64)


@dataclass(frozen=True)
class Terms:
    """Shared terms of a chunk (R,): x, t, l, log l, d = log l - log t, whether Stirling's term counts.

    `shift` is eps of rates and 0 of logarithms; `surplus` is l - t, `distance` d, both meant where t > 1.
    """

    x: Tensor
    target: Tensor
    rate: Tensor
    logarithm: Tensor
    distance: Tensor
    surplus: Tensor
    stirling: Tensor
    of_logarithms: bool
    shift: float


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 elements."""
    x, target = inputs["prediction"], inputs["target"]
    of_logarithms = bool(options["log_input"])
    shift = 0.0 if of_logarithms else float(options["eps"])
    stirling = (target > 1) & bool(options["full"])
    # Where the term does not count its logarithm is not asked for.
    count = torch.where(target > 1, target, 2.0)
    if of_logarithms:
        rate, logarithm = torch.exp(x), x
        distance = x - torch.log(count)
        surplus = count * torch.expm1(distance)
    else:
        rate, logarithm = x, torch.log(x + shift)
        surplus = x - count
        share = (surplus + shift) / count
        near = share.abs() < 0.5
        distance = torch.where(near, torch.log1p(share), torch.log((x + shift) / count))
    return Terms(x, target, rate, logarithm, distance, surplus, stirling, of_logarithms, shift)


def losses(t: Terms) -> Tensor:
    """Returns L (R,)."""
    plain = t.rate - counted(t.target, t.logarithm)
    full = (t.surplus - t.target * t.distance) + 0.5 * torch.log(2 * pi_like(t.target) * t.target)
    return torch.where(t.stirling, full, plain)


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns dL/dx and dL/dt (R,)."""
    by_target = torch.where(t.stirling, 0.5 / t.target - t.distance, -t.logarithm)
    return {"prediction": _slope(t), "target": by_target}


def _slope(t: Terms) -> Tensor:
    return t.rate - t.target if t.of_logarithms else 1 - t.target / (t.x + t.shift)


def sensitivity(t: Terms) -> Tensor:
    """Returns N = |L| + |x dL/dx| + |t dL/dt| + |eps dL/deps| (R,)."""
    by_target = torch.where(t.stirling, 0.5 - t.target * t.distance, counted(t.target, t.logarithm))
    reach = losses(t).abs() + counted(_slope(t), t.x).abs() + by_target.abs()
    return reach if t.of_logarithms else reach + t.shift * t.target / (t.x + t.shift)


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns N of each gradient entry: |g| and what a rounding of x, t and eps changes."""
    if t.of_logarithms:
        by_x = _slope(t).abs() + counted(t.rate, t.x).abs() + t.target
        moved = t.x.abs()
    else:
        # |x| + eps over (x + eps)^2 is 1 / (x + eps).
        by_x = _slope(t).abs() + 2 * t.target / (t.x + t.shift)
        moved = torch.ones_like(t.x)
    by_target = gradients(t)["target"].abs() + moved
    return {
        "prediction": by_x,
        "target": by_target + torch.where(t.stirling, (1 - 0.5 / t.target).abs(), 0.0),
    }


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradients of one stored element as Arb balls, by the definition as printed.

    NaN where x or t is, for a rate below -eps and for an infinite one.
    """
    from flint import arb

    x, target = row["prediction"], row["target"]
    rate, logarithm, slope = _rate(x, target, options)
    t = arb(target)
    # The product of 0 and the logarithm of a rate of 0 is 0 by definition.
    loss = rate if target == 0 else rate - t * logarithm
    by_target = -logarithm
    if options["full"] and target > 1:
        loss += t * t.log() - t + (2 * arb.pi() * t).log() / 2
        by_target += t.log() + 1 / (2 * t)
    return loss, {"prediction": [slope], "target": [by_target]}


def _rate(x: float, target: float, options: Options) -> tuple[Any, Any, Any]:
    """Returns l, log l and dL/dx as balls."""
    from flint import arb

    if math.isnan(x) or math.isnan(target) or x == math.inf:
        return arb("nan"), arb("nan"), arb("nan")
    if options["log_input"]:
        if x == -math.inf:
            return arb(0), arb("-inf"), -arb(target)
        return arb(x).exp(), arb(x), arb(x).exp() - arb(target)
    inside = arb(x) + arb(float(options["eps"]))
    if not inside > 0:
        return arb("nan"), arb("nan"), arb("nan")
    return arb(x), inside.log(), 1 - arb(target) / inside


ORACLE = ClosedForm(
    terms=terms,
    rows=losses,
    gradient=gradients,
    sensitivity=sensitivity,
    gradient_sensitivity=gradient_sensitivity,
    denominator=ones,
    exact=exact,
    roundoffs=8.0,
)
