"""The truth about the multi-label soft margin loss, row by row, on stored numbers.

L_i = (1/C) sum_c w_c [(1 - t_c) sp(x_c) + t_c sp(-x_c)]: binary cross-entropy of logits, one number per row.
Option `over_classes` is "mean" as in torch or "sum" as texts print it, without the 1/C. Terms, gradients
and sensitivities are those of `binary_cross_entropy_with_logits`, over C. The trap: the sum comes before
the division, and in float16 it overflows where its mean is about 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm
from suites.oracles import binary_cross_entropy_with_logits as binary

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Terms:
    """Shared terms of a chunk of rows (R, C), and what their sums are divided by."""

    elements: binary.Terms
    divisor: float


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 rows."""
    target, weight = inputs["target"], options["weight"]
    one = torch.ones_like(target)
    weight = one if weight is None else weight.expand_as(target)
    elements = binary.Terms(
        binary.logistic(inputs["logits"]), weight * (1 - target), weight * target, weight, one
    )
    return Terms(elements, divisor(target.shape[1], options))


def divisor(classes: int, options: Options) -> float:
    """Returns what the sum over the classes is divided by."""
    return float(classes) if options["over_classes"] == "mean" else 1.0


def _divided(entries: Mapping[str, Tensor], by: float) -> dict[str, Tensor]:
    return {name: entry / by for name, entry in entries.items()}


def ones(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each row adds to the mean's denominator: one."""
    return torch.ones(len(inputs["target"]), dtype=torch.float64)


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradients of one stored row as Arb balls."""
    from flint import arb

    classes = len(row["logits"])
    weight = [1.0] * classes if options["weight"] is None else list(options["weight"])
    by = arb(divisor(classes, options))
    loss: Any = arb(0)
    slopes: dict[str, list[Any]] = {"logits": [], "target": []}
    for c in range(classes):
        element = {"logits": row["logits"][c], "target": row["target"][c], "weight": weight[c]}
        own, found = binary.exact(element, {"class_weights": None})
        loss += own
        for name, entries in slopes.items():
            entries.append(found[name][0] / by)
    return loss / by, slopes


ORACLE = ClosedForm(
    terms=terms,
    rows=lambda t: binary.losses(t.elements).sum(1) / t.divisor,
    gradient=lambda t: _divided(binary.gradients(t.elements), t.divisor),
    sensitivity=lambda t: binary.sensitivity(t.elements).sum(1) / t.divisor,
    gradient_sensitivity=lambda t: _divided(binary.gradient_sensitivity(t.elements), t.divisor),
    denominator=ones,
    exact=exact,
    roundoffs=16.0,
)
