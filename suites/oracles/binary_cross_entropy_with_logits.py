"""The truth about binary cross-entropy of logits, element by element, on stored numbers.

L = a sp(z) + b sp(-z) with sp(z) = max(z, 0) + log1p(e^-|z|), a = w (1 - t) and b = w pos_weight t;
both terms are positive, so nothing cancels. Gradients: dz = a s(z) - b s(-z) with s the logistic
function, dt = w (pos_weight sp(-z) - sp(z)), which is -w z without pos_weight. A term whose coefficient
is exactly 0 counts 0 whatever z is, infinite or NaN. N = |L| + |z| (a s(z) + b s(-z)): the label is an
exact number, so what a rounding of t would do (numerics: F, |t dt|) is left out; it is 20 where the loss
of a sure and right element is 2e-9, and would hide that the loss is lost. The trap: s(z) - t, the
gradient as printed, is 0 long before the exact one is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Logistic:
    """What a tensor of logits needs: |z|, its sign, log1p(e^-|z|), and both logistic shares."""

    size: Tensor
    positive: Tensor
    tail: Tensor
    share: Tensor
    rest: Tensor

    def softplus(self, *, flipped: bool = False) -> Tensor:
        """Returns sp(z), or sp(-z) where flipped."""
        return torch.where(self.positive != flipped, self.size, 0.0) + self.tail

    def reach(self, *, flipped: bool = False) -> Tensor:
        """Returns |z| s(z), or |z| s(-z) where flipped; its limit where z is infinite."""
        share = self.rest if flipped else self.share
        return torch.where(share == 0, 0.0, self.size * share)

    def bend(self) -> Tensor:
        """Returns |z| s(z) s(-z); its limit 0 where z is infinite."""
        product = self.share * self.rest
        return torch.where(product == 0, 0.0, self.size * product)


def logistic(z: Tensor) -> Logistic:
    """Returns the terms of float64 logits; s(-z) is never formed as 1 - s(z)."""
    positive = z > 0
    size = z.abs()
    power = torch.exp(-size)
    large, small = 1 / (1 + power), power / (1 + power)
    share, rest = torch.where(positive, large, small), torch.where(positive, small, large)
    return Logistic(size, positive, torch.log1p(power), share, rest)


def counted(coefficient: Tensor, value: Tensor) -> Tensor:
    """Returns the product, exactly 0 where the coefficient is 0."""
    return torch.where(coefficient == 0, 0.0, coefficient * value)


def element_weight(inputs: Inputs, options: Options) -> Tensor:
    """Returns w of every element: `weight` times the entry of `class_weights` that its label picks."""
    target = inputs["target"]
    weight = inputs.get("weight", torch.ones_like(target))
    if options["class_weights"] is not None:
        of_class = torch.tensor(options["class_weights"], dtype=torch.float64)
        weight = weight * of_class[target.long()]
    return weight


def ones(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each element adds to the mean's denominator: one, weighted or not."""
    return torch.ones(len(inputs["target"]), dtype=torch.float64)


@dataclass(frozen=True)
class Terms:
    """Shared terms of a chunk of elements (R,): the logits' and the coefficients a, b, w and pos_weight."""

    z: Logistic
    negative: Tensor
    positive: Tensor
    weight: Tensor
    emphasis: Tensor


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 elements."""
    target = inputs["target"]
    weight = element_weight(inputs, options)
    emphasis = inputs.get("pos_weight", torch.ones_like(target))
    return Terms(
        logistic(inputs["logits"]),
        weight * (1 - target),
        counted(target, weight * emphasis),
        weight,
        emphasis,
    )


def losses(t: Terms) -> Tensor:
    """Returns L (R,)."""
    return counted(t.negative, t.z.softplus()) + counted(t.positive, t.z.softplus(flipped=True))


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns dL/dz and dL/dt (R,)."""
    slope = counted(t.negative, t.z.share) - counted(t.positive, t.z.rest)
    # sp(z) = z + sp(-z), so that the parts which cancel are taken out beforehand.
    straight = torch.where(t.z.positive, -t.z.size, t.emphasis * t.z.size)
    return {"logits": slope, "target": counted(t.weight, counted(t.emphasis - 1, t.z.tail) + straight)}


def sensitivity(t: Terms) -> Tensor:
    """Returns N = |L| + |z| (|a| s(z) + |b| s(-z)) (R,)."""
    a, b = t.negative.abs(), t.positive.abs()
    return (
        counted(a, t.z.softplus())
        + counted(b, t.z.softplus(flipped=True))
        + counted(a, t.z.reach())
        + counted(b, t.z.reach(flipped=True))
    )


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns N of each gradient entry: its |terms| and |z| times the slopes of their factors."""
    a, b, bend = t.negative.abs(), t.positive.abs(), t.z.bend()
    by_logit = counted(a, t.z.share + bend) + counted(b, t.z.rest + bend)
    own = (t.emphasis - 1).abs() * t.z.tail + torch.where(t.z.positive, 1.0, t.emphasis) * t.z.size
    moved = t.emphasis * t.z.reach(flipped=True) + t.z.reach()
    return {"logits": by_logit, "target": counted(t.weight.abs(), own + moved)}


def exact_softplus(z: float) -> tuple[Any, Any]:
    """Returns sp(z) and s(z) as Arb balls; their limits where z is infinite."""
    from flint import arb

    if math.isinf(z):
        return (arb("+inf"), arb(1)) if z > 0 else (arb(0), arb(0))
    power = (-abs(arb(z))).exp()
    share = (power if z < 0 else arb(1)) / (1 + power)
    return (arb(z) if z > 0 else arb(0)) + power.log1p(), share


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradients of one stored element as Arb balls, by the plain definition."""
    from flint import arb

    z, target = row["logits"], row["target"]
    weight, emphasis = arb(row.get("weight", 1.0)), arb(row.get("pos_weight", 1.0))
    if options["class_weights"] is not None:
        weight *= arb(options["class_weights"][int(target)])
    (up, share), (down, rest) = exact_softplus(z), exact_softplus(-z)
    a, b = weight * (1 - arb(target)), arb(0) if target == 0 else weight * emphasis * arb(target)

    def product(coefficient: Any, value: Any) -> Any:
        return arb(0) if coefficient == 0 else coefficient * value

    by_target = arb(0)
    if weight != 0:
        by_target = weight * (-arb(z) if emphasis == 1 or math.isinf(z) else emphasis * down - up)
    by_logit = product(a, share) - product(b, rest)
    return product(a, up) + product(b, down), {"logits": [by_logit], "target": [by_target]}


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
