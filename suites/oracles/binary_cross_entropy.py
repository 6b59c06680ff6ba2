"""The truth about binary cross-entropy of probabilities, element by element, on stored numbers.

L = -b log x - a log1p(-x) with a = w (1 - t), b = w t; dx = a / (1 - x) - b / x, dt = w (log1p(-x) - log x).
A term whose coefficient is exactly 0 counts 0, log 0 included. Option `log_floor` puts max(log, floor) in
the place of both logarithms of the value and leaves the gradient, as torch documents it ("a finite loss
value and a linear backward"). N = |L| + min(x, 1 - x) (a / (1 - x) + b / x): x is moved by a share of
its distance from the nearer end, since 1 - x is exact in floating point where x is close to 1 and a share
of x itself (numerics: F) would allow any answer there; the label is exact. The trap: at x = t = 1 the
gradient is -1, and x (1 - x) is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm
from suites.oracles.binary_cross_entropy_with_logits import counted, element_weight, ones

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Terms:
    """Shared terms of a chunk of elements (R,): x, 1 - x, their logarithms, and the coefficients."""

    x: Tensor
    rest: Tensor
    log_x: Tensor
    log_rest: Tensor
    negative: Tensor
    positive: Tensor
    weight: Tensor
    floor: float

    def value(self) -> Tensor:
        """Returns L (R,), a sum of two terms of one sign."""
        of_x, of_rest = (-log.clamp(min=self.floor) for log in (self.log_x, self.log_rest))
        return counted(self.positive, of_x) + counted(self.negative, of_rest)

    def nearer(self) -> Tensor:
        """Returns min(x, 1 - x)."""
        return torch.minimum(self.x, self.rest)


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 elements."""
    x, target = inputs["probabilities"], inputs["target"]
    weight = element_weight(inputs, options)
    return Terms(
        x,
        1 - x,
        torch.log(x),
        torch.log1p(-x),
        weight * (1 - target),
        weight * target,
        weight,
        options["log_floor"],
    )


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns dL/dx and dL/dt (R,)."""
    slope = counted(t.negative, 1 / t.rest) - counted(t.positive, 1 / t.x)
    return {"probabilities": slope, "target": counted(t.weight, t.log_rest - t.log_x)}


def sensitivity(t: Terms) -> Tensor:
    """Returns N = |L| + min(x, 1 - x) (|a| / (1 - x) + |b| / x) (R,); both quotients are at most 1."""
    nearer = t.nearer()
    by_rest, by_x = (torch.where(nearer == 0, 0.0, nearer / end) for end in (t.rest, t.x))
    return t.value().abs() + counted(t.negative.abs(), by_rest) + counted(t.positive.abs(), by_x)


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns N of each gradient entry: twice its |terms|, and for dt what moving x changes."""
    own = counted(t.negative.abs(), 2 / t.rest) + counted(t.positive.abs(), 2 / t.x)
    by_target = t.log_rest.abs() + t.log_x.abs() + 2
    return {"probabilities": own, "target": counted(t.weight.abs(), by_target)}


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradients of one stored element as Arb balls, by the plain definition."""
    from flint import arb

    x, target = arb(row["probabilities"]), arb(row["target"])
    weight = arb(row.get("weight", 1.0))
    if options["class_weights"] is not None:
        weight *= arb(options["class_weights"][int(row["target"])])
    a, b = weight * (1 - target), weight * target
    ends = {"x": x, "rest": 1 - x}
    logs = {name: arb("-inf") if end == 0 else end.log() for name, end in ends.items()}
    floor = arb(options["log_floor"])

    def value(coefficient: Any, name: str) -> Any:
        if coefficient == 0:
            return arb(0)
        log = floor if logs[name] < floor else logs[name]
        return -coefficient * log

    def share(coefficient: Any, name: str) -> Any:
        if coefficient == 0:
            return arb(0)
        return coefficient * arb("+inf") if ends[name] == 0 else coefficient / ends[name]

    by_target = arb(0) if weight == 0 else weight * (logs["rest"] - logs["x"])
    loss = value(b, "x") + value(a, "rest")
    return loss, {"probabilities": [share(a, "rest") - share(b, "x")], "target": [by_target]}


ORACLE = ClosedForm(
    terms=terms,
    rows=Terms.value,
    gradient=gradients,
    sensitivity=sensitivity,
    gradient_sensitivity=gradient_sensitivity,
    denominator=ones,
    exact=exact,
    roundoffs=8.0,
)
