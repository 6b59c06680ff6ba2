"""The truth about the negative log-likelihood: L = -w_t x_t, and nothing else of the row counts.

x holds log-probabilities (R, C), t the label; the gradient is -w_t at the label and 0 elsewhere, N is 2 |L|,
and the mean divides by the class weights of the kept rows. An ignored row and a row of weight 0 do not count,
whatever stands in them. The trap: a label that the model forbids, x_t = -inf, has an infinite loss and an
ordinary gradient, and a class that is forbidden beside the label has no say at all.
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
# One product; what is granted is a rounding more than what happens.
ROUNDOFFS = 1.0


def ignored_rows(inputs: Inputs, options: Options) -> Tensor:
    """Returns which rows are ignored (R,)."""
    return inputs["target"] == options["ignore_index"]


def gradient_groups(inputs: Inputs, options: Options) -> dict[str, Tensor]:
    """Returns the label's entry of every row as a mask (R, C)."""
    column = torch.where(ignored_rows(inputs, options), 0, inputs["target"]).unsqueeze(1)
    mask = torch.zeros(inputs["log_probabilities"].shape, dtype=torch.bool)
    return {"target": mask.scatter_(1, column, True)}


def row_weights(inputs: Inputs, options: Options) -> Tensor:
    """Returns the class weight of every row (R,), 0 where it is ignored."""
    kept, weight = ~ignored_rows(inputs, options), options["weight"]
    if weight is None:
        return kept.double()
    return torch.where(kept, weight[torch.where(kept, inputs["target"], 0)], 0.0)


def denominator(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each row adds to the mean's denominator: its class weight, or one, or nothing."""
    if options["mean_denominator"] == "rows":
        return torch.ones(inputs["target"].shape[0], dtype=torch.float64)
    return row_weights(inputs, options)


@dataclass(frozen=True)
class Terms:
    """Shape of the input, the label's column (R, 1), w_t and L (R,)."""

    shape: torch.Size
    column: Tensor
    weight: Tensor
    losses: Tensor


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 rows."""
    x, weight = inputs["log_probabilities"], row_weights(inputs, options)
    column = torch.where(ignored_rows(inputs, options), 0, inputs["target"]).unsqueeze(1)
    losses = torch.where(weight == 0, 0.0, -weight * x.gather(1, column).squeeze(1))
    return Terms(x.shape, column, weight, losses)


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns dL/dx (R, C)."""
    entries = torch.zeros(t.shape, dtype=torch.float64)
    return {"log_probabilities": entries.scatter_(1, t.column, -t.weight.unsqueeze(1))}


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradient of one stored row as Arb balls; NaN only where the label's entry is NaN."""
    from flint import arb

    x, label, weights = row["log_probabilities"], row["target"], options["weight"]
    entries = [arb(0)] * len(x)
    if label == options["ignore_index"]:
        return arb(0), {"log_probabilities": entries}
    weight = arb(1) if weights is None else arb(weights[label])
    if weight.is_zero():
        return arb(0), {"log_probabilities": entries}
    entries[label] = -weight
    return -weight * arb(x[label]), {"log_probabilities": entries}


ORACLE = ClosedForm(
    terms=terms,
    rows=lambda t: t.losses,
    gradient=gradients,
    # An infinite loss has no bound, and needs none.
    sensitivity=lambda t: torch.where(t.losses.isfinite(), 2 * t.losses.abs(), 0.0),
    gradient_sensitivity=lambda t: {name: entries.abs() for name, entries in gradients(t).items()},
    denominator=denominator,
    exact=exact,
    roundoffs=ROUNDOFFS,
)
