"""What the worked examples of all losses of a residual share: the numbers, and what a residual alone implies.

The sides of an identity ask for one loss per entry. The trap: a sum hides which entry is wrong, so the
identities are about entries.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness import Evaluate, Identity, Sample

# |d| = 0.5, 3, 0, 2, 3, 2, in numbers that every dtype holds.
PAIRS = {"prediction": [[1.0, -2.0, 0.5], [0.0, 4.0, -1.0]], "target": [[0.5, 1.0, 0.5], [-2.0, 1.0, 1.0]]}
# Weights of the entries of every row; they sum to 3.5 over both rows.
WEIGHT = {"weight": torch.tensor([0.5, 1.25, 0.0], dtype=torch.float64)}


def plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    """Returns the losses as they are."""
    return evaluate(*sample.tensors, reduction="none")


def swapped(evaluate: Evaluate, sample: Sample) -> Tensor:
    """Returns the losses with prediction and target exchanged."""
    prediction, target = sample.tensors
    return evaluate(target, prediction, reduction="none")


def negated(evaluate: Evaluate, sample: Sample) -> Tensor:
    """Returns the losses of both tensors negated."""
    prediction, target = sample.tensors
    return evaluate(-prediction, -target, reduction="none")


def difference(evaluate: Evaluate, sample: Sample) -> Tensor:
    """Returns the losses of the difference against 0."""
    prediction, target = sample.tensors
    residual = prediction - target
    return evaluate(residual, torch.zeros_like(residual), reduction="none")


def quartered(factor: float, **options: float) -> Callable[[Evaluate, Sample], Tensor]:
    """Returns a side of an identity: `factor` times the losses of a quarter of both tensors."""

    def side(evaluate: Evaluate, sample: Sample) -> Tensor:
        prediction, target = sample.tensors
        return factor * evaluate(prediction / 4, target / 4, reduction="none", **options)

    return side


SYMMETRIC = Identity("symmetric", plain, swapped, variant="mean", regime="unit_normal", source="tutorial B")
EVEN = Identity("even", plain, negated, variant="mean", regime="outliers", source="tutorial B")
OF_THE_DIFFERENCE = Identity(
    "of_the_difference", plain, difference, variant="mean", regime="wide", source="tutorial B"
)
