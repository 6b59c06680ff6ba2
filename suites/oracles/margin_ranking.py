"""The truth about the margin ranking loss, on stored numbers, for both scores.

L = max(0, -y (x1 - x2) + margin), one per entry, y = 1 or -1; active entries have dx1 = -y, dx2 = y. N is
|x1| + |x2| + |margin|, also where the hinge rests, since a rounding may wake it. The trap: at
the kink, equal scores without a margin, any slope between 0 and y is right; torch counts it as active.
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
    return torch.ones(inputs["first"].shape[0], dtype=torch.float64)


@dataclass(frozen=True)
class Terms:
    """What the hinge sees, its N and the label as a number, each (E,)."""

    excess: Tensor
    size: Tensor
    label: Tensor


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of entries."""
    first, second, label = inputs["first"], inputs["second"], inputs["target"].double()
    margin = float(options["margin"])
    return Terms(margin - label * (first - second), first.abs() + second.abs() + abs(margin), label)


def losses(t: Terms) -> Tensor:
    """Returns L (E,)."""
    return t.excess.clamp(min=0)


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns dL/dx1 and dL/dx2 (E,); NaN scores have none."""
    active = torch.where(t.excess.isnan(), t.excess, (t.excess >= 0).double())
    return {"first": -t.label * active, "second": t.label * active}


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns N_i: the slopes are whole numbers (E,)."""
    one = torch.ones_like(t.excess)
    return {"first": one, "second": one}


def kinks(t: Terms) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns the ends of the subdifferential, 0 and the slope, where the hinge sees 0 to the last bits."""
    at_kink = t.excess.abs() <= ROUNDOFFS * 2.0**-53 * t.size
    found = {}
    for name, slope in gradients(t).items():
        whole = t.label if name == "second" else -t.label
        low, high = whole.clamp(max=0), whole.clamp(min=0)
        found[name] = torch.where(at_kink, low, slope), torch.where(at_kink, high, slope)
    return found


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and both slopes of one stored entry as Arb balls; NaN for NaN scores."""
    from flint import arb

    label = arb(row["target"])
    excess = arb(float(options["margin"])) - label * (arb(row["first"]) - arb(row["second"]))
    if excess < 0:
        return arb(0), {"first": [arb(0)], "second": [arb(0)]}
    if excess.is_nan():
        return excess, {"first": [excess], "second": [excess]}
    return excess, {"first": [-label], "second": [label]}


ORACLE = ClosedForm(
    terms=terms,
    rows=losses,
    gradient=gradients,
    sensitivity=lambda t: t.size,
    gradient_sensitivity=gradient_sensitivity,
    denominator=denominator,
    exact=exact,
    roundoffs=ROUNDOFFS,
    kinks=kinks,
)
