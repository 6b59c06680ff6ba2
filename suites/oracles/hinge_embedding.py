"""The truth about the hinge embedding loss, on stored numbers.

L = x for y = 1, L = max(0, margin - x) for y = -1, one per entry; slopes 1 and -[margin > x]. N is |x| for
y = 1 and |x| + |margin| for y = -1, also where the hinge rests. The trap: torch sums both branches
for any label that is neither 1 nor -1, so 0 costs x + max(0, margin - x).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]
ROUNDOFFS = 4.0


def denominator(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each entry adds to the mean's denominator: one."""
    return torch.ones(inputs["distance"].shape[0], dtype=torch.float64)


@dataclass(frozen=True)
class Terms:
    """Distance, margin - distance, N and which entries should be close, each (E,)."""

    distance: Tensor
    excess: Tensor
    size: Tensor
    close: Tensor


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of entries."""
    distance, close = inputs["distance"], inputs["target"] == 1
    margin = float(options["margin"])
    size = distance.abs() + torch.where(close, 0.0, abs(margin))
    return Terms(distance, margin - distance, size, close)


def losses(t: Terms) -> Tensor:
    """Returns L (E,)."""
    return torch.where(t.close, t.distance, t.excess.clamp(min=0))


def _slope(t: Terms) -> Tensor:
    # A NaN has no slope behind the hinge; at the margin torch counts an entry as active.
    hinge = torch.where(t.excess.isnan(), t.excess, -(t.excess >= 0).double())
    return torch.where(t.close, 1.0, hinge)


def kinks(t: Terms) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns the ends of the subdifferential: -1 and 0 where a distance is the margin to the last bits."""
    at_kink = ~t.close & (t.excess.abs() <= ROUNDOFFS * 2.0**-53 * t.size)
    slope = _slope(t)
    return {"distance": (torch.where(at_kink, -1.0, slope), torch.where(at_kink, 0.0, slope))}


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and slope of one stored entry as Arb balls; a NaN has slope 1 or none."""
    from flint import arb

    distance = arb(row["distance"])
    if row["target"] == 1:
        return distance, {"distance": [arb(1)]}
    if distance.is_nan():
        return distance, {"distance": [distance]}
    excess = arb(float(options["margin"])) - distance
    return (arb(0), {"distance": [arb(0)]}) if excess < 0 else (excess, {"distance": [arb(-1)]})


ORACLE = ClosedForm(
    terms=terms,
    rows=losses,
    gradient=lambda t: {"distance": _slope(t)},
    sensitivity=lambda t: t.size,
    gradient_sensitivity=lambda t: {"distance": torch.ones_like(t.distance)},
    denominator=denominator,
    exact=exact,
    roundoffs=ROUNDOFFS,
    kinks=kinks,
)
