"""Worked Huber losses, and identities that every implementation must hold.

Tutorial B defines the loss and prints no number; the examples are its definition on numbers that every
dtype holds. The trap: a sum hides which entry is wrong, so the identities are about entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness import Evaluate, Example, Identity, Sample
from suites.examples.residuals import EVEN, OF_THE_DIFFERENCE, PAIRS, SYMMETRIC, WEIGHT, plain, quartered

EXAMPLES = (
    # |d| = 0.5, 3, 0, 2, 3, 2.
    Example("mean", PAIRS, 8.125 / 6, digits=15, source="tutorial B, smooth L1 (Huber) at delta = 1"),
    Example("sum", PAIRS, 8.125, digits=15, source="tutorial B, smooth L1 (Huber) at delta = 1"),
    Example("delta_two", PAIRS, 12.125 / 6, digits=15, source="torch documentation of huber_loss, delta"),
    Example(
        "weighted",
        PAIRS,
        7.0625 / 6,
        digits=15,
        source="torch documentation of huber_loss, weight",
        options=WEIGHT,
        note="divided by the 6 entries, not by the sum of the weights",
    ),
)


def _far_below(evaluate: Evaluate, sample: Sample) -> Tensor:
    return 2 * evaluate(*sample.tensors, reduction="none", delta=1024.0)


def _square(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target = sample.tensors
    return (prediction - target) ** 2


def _smooth(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target = sample.tensors
    return 2 * torch.nn.functional.smooth_l1_loss(prediction, target, reduction="none", beta=2.0)


def _of_two(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none", delta=2.0)


IDENTITIES = (
    SYMMETRIC,
    EVEN,
    Identity(
        "homogeneous_with_delta",
        plain,
        quartered(16, delta=0.25),
        variant="mean",
        regime="wide",
        source="tutorial B",
    ),
    OF_THE_DIFFERENCE,
    Identity(
        "half_of_the_square_below_delta",
        _far_below,
        _square,
        variant="mean",
        regime="unit_normal",
        source="torch documentation of huber_loss",
    ),
    Identity(
        "delta_times_smooth_l1",
        _of_two,
        _smooth,
        variant="delta_two",
        regime="unit_normal",
        source="torch documentation of huber_loss",
    ),
)
