"""The truth about the multi-label margin loss: L = (1 / C) sum_{j in T, k not in T} max(0, 1 - x_j + x_k).

T are the labels of a row (R, C) up to its first -1; what stands behind is ignored. Option `duplicates` says
whether a label that is named twice counts twice ("counted", torch) or once ("once", whoever makes a mask of
the labels). Slopes, N and kinks are those of `suites.oracles.class_hinges`, one pass per place in the list.
The trap: a row without labels, or with all, has no pair at all: its loss is 0 and not undefined.
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
MARGIN = 1.0
HINGE = {"margin": MARGIN, "p": 1, "power": "outside"}


def named(target: Tensor) -> Tensor:
    """Returns which places of the label lists (R, C) count: those before the first -1."""
    return (target >= 0).long().cumprod(1).bool()


def label_mask(target: Tensor) -> Tensor:
    """Returns which classes are labels (R, C)."""
    counts = torch.zeros(target.shape, dtype=torch.long)
    return counts.scatter_add_(1, target.clamp(min=0), named(target).long()) > 0


def gradient_groups(inputs: Inputs, options: Options) -> dict[str, Tensor]:
    """Returns the labels' entries as a mask (R, C)."""
    return {"target": label_mask(inputs["target"])}


def denominator(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each row adds to the mean's denominator: one."""
    return torch.ones(inputs["target"].shape[0], dtype=torch.float64)


def terms(inputs: Inputs, options: Options) -> Passes:
    """Returns the sums of the passes over the places of a chunk of float64 rows."""
    x, target = inputs["scores"], inputs["target"]
    places, others, found = named(target), ~label_mask(target), Passes.none(x)
    for place in range(int(places.sum(1).max()) if len(target) else 0):
        column, counts = target[:, place : place + 1].clamp(min=0), places[:, place : place + 1]
        if options["duplicates"] == "once":
            counts = counts & ~(target[:, :place] == column).any(1, keepdim=True)
        share = torch.ones_like(x.gather(1, column)) / x.shape[1]
        found.add(x, column, others, counts * share, margin=MARGIN, power=1)
    return found


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradient of one stored row as Arb balls; NaN where a difference is undefined."""
    from flint import arb

    x, target = [arb(v) for v in row["scores"]], row["target"]
    labels = target[: target.index(-1)] if -1 in target else target
    others = [k for k in range(len(x)) if k not in labels]
    loss, slopes = arb(0), [arb(0)] * len(x)
    for label in dict.fromkeys(labels) if options["duplicates"] == "once" else labels:
        of_pass, found = exact_pass(x, label, others, arb(1) / len(x), HINGE)
        loss += of_pass
        for k, slope in found.items():
            slopes[k] += slope
    return loss, {"scores": slopes}


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
