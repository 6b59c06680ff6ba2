"""Worked absolute errors, and identities that every implementation must hold.

Tutorial B defines the loss and prints no number; the examples are its definition on numbers that every
dtype holds. The trap: a sum hides which entry is wrong, so the identities are about entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

PAIRS = {"prediction": [[1.0, -2.0, 0.5], [0.0, 4.0, -1.0]], "target": [[0.5, 1.0, 0.5], [-2.0, 1.0, 1.0]]}

EXAMPLES = (
    # |d| = 0.5, 3, 0, 2, 3, 2.
    Example("mean", PAIRS, 1.75, digits=15, source="tutorial B, definition by hand"),
    Example("sum", PAIRS, 10.5, digits=15, source="tutorial B, definition by hand"),
    Example("mean", PAIRS, 1.75, digits=7, source="tutorial B, definition by hand", dtype="float16"),
    Example(
        "weighted",
        PAIRS,
        8.75 / 3.5,
        digits=15,
        source="torch documentation of l1_loss, weight",
        options={"weight": torch.tensor([0.5, 1.25, 0.0], dtype=torch.float64)},
        note="divided by the sum of the weights, 3.5",
    ),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none")


def _swapped(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target = sample.tensors
    return evaluate(target, prediction, reduction="none")


def _negated(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target = sample.tensors
    return evaluate(-prediction, -target, reduction="none")


def _quartered(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target = sample.tensors
    return evaluate(prediction / 4, target / 4, reduction="none") * 4


def _difference(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target = sample.tensors
    difference = prediction - target
    return evaluate(difference, torch.zeros_like(difference), reduction="none")


IDENTITIES = (
    Identity("symmetric", _plain, _swapped, variant="mean", regime="unit_normal", source="tutorial B"),
    Identity("even", _plain, _negated, variant="mean", regime="outliers", source="tutorial B"),
    Identity("homogeneous", _plain, _quartered, variant="mean", regime="wide", source="tutorial B"),
    Identity("of_the_difference", _plain, _difference, variant="mean", regime="wide", source="tutorial B"),
)
