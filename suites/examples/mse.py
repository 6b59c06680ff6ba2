"""Worked squared errors, and identities that every implementation must hold.

Tutorial B defines the loss and prints no number; the examples are its definition on numbers that every
dtype holds. The trap: a sum hides which entry is wrong, so the identities are about entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness import Evaluate, Example, Identity, Sample
from suites.examples.l1 import PAIRS

EXAMPLES = (
    # d^2 = 0.25, 9, 0, 4, 9, 4.
    Example("mean", PAIRS, 4.375, digits=15, source="tutorial B, definition by hand"),
    Example("sum", PAIRS, 26.25, digits=15, source="tutorial B, definition by hand"),
    Example("mean", PAIRS, 4.375, digits=7, source="tutorial B, definition by hand", dtype="float16"),
    Example(
        "weighted",
        PAIRS,
        24.625 / 3.5,
        digits=15,
        source="torch documentation of mse_loss, weight",
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
    return evaluate(prediction / 4, target / 4, reduction="none") * 16


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
