"""The truth about the multi-class margin loss: L = (w_t / C) sum_{k != t} max(0, margin - x_t + x_k)^p.

p is 1 or 2, the class weight w_t of the label multiplies the whole row, and the mean divides by rows whatever
the weights. Option `power` "inside" asks for the printed form max(0, z^p), which for p = 2 pays for classes
that are far enough as well. Slopes, N and kinks are those of `suites.oracles.class_hinges`. The trap: at
p = 1 a class that is a margin behind stands at the kink, where any share of its slope is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm
from suites.oracles.class_hinges import ROUNDOFFS, Passes, exact_pass

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]


def gradient_groups(inputs: Inputs, options: Options) -> dict[str, Tensor]:
    """Returns the label's entry of every row as a mask (R, C)."""
    mask = torch.zeros(inputs["scores"].shape, dtype=torch.bool)
    return {"target": mask.scatter_(1, inputs["target"].unsqueeze(1), True)}


def denominator(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each row adds to the mean's denominator: one."""
    return torch.ones(inputs["target"].shape[0], dtype=torch.float64)


def terms(inputs: Inputs, options: Options) -> Passes:
    """Returns the sums of the one pass over a chunk of float64 rows."""
    x, column, weight = inputs["scores"], inputs["target"].unsqueeze(1), options["weight"]
    scale = torch.ones_like(x.gather(1, column))
    if weight is not None:
        scale = scale * weight[column]
    others = torch.ones(x.shape, dtype=torch.bool).scatter_(1, column, False)
    power, found = int(options["p"]), Passes.none(x)
    found.add(
        x,
        column,
        others,
        scale / x.shape[1],
        margin=float(options["margin"]),
        power=power,
        everywhere=power == 2 and options["power"] == "inside",
    )
    return found


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradient of one stored row as Arb balls; NaN where a difference is undefined."""
    from flint import arb

    x, label, weights = [arb(v) for v in row["scores"]], row["target"], options["weight"]
    scale = (arb(1) if weights is None else arb(weights[label])) / len(x)
    others = [] if scale.is_zero() else [k for k in range(len(x)) if k != label]
    loss, slopes = exact_pass(x, label, others, scale, options)
    return loss, {"scores": [slopes.get(k, arb(0)) for k in range(len(x))]}


ORACLE = ClosedForm(
    terms=terms,
    rows=lambda t: t.losses,
    gradient=lambda t: {"scores": t.slopes},
    sensitivity=lambda t: t.sizes,
    gradient_sensitivity=lambda t: {"scores": t.slope_sizes},
    denominator=denominator,
    exact=exact,
    roundoffs=ROUNDOFFS,
    kinks=lambda t: {"scores": (t.low, t.high)},
)
