"""Worked smooth L1 losses, and identities that every implementation must hold.

Tutorial B defines the loss and prints no number; the examples are its definition on numbers that every
dtype holds. The trap: a sum hides which entry is wrong, so the identities are about entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness import Evaluate, Example, Identity, Sample
from suites.examples.l1 import PAIRS

FAR = {"prediction": [[1e20, -1e20]], "target": [[0.0, 0.0]]}

EXAMPLES = (
    # |d| = 0.5, 3, 0, 2, 3, 2.
    Example("mean", PAIRS, 8.125 / 6, digits=15, source="tutorial B, definition by hand"),
    Example("sum", PAIRS, 8.125, digits=15, source="tutorial B, definition by hand"),
    Example("beta_half", PAIRS, 9.25 / 6, digits=15, source="torch documentation of smooth_l1_loss, beta"),
    Example(
        "beta_zero",
        PAIRS,
        1.75,
        digits=15,
        source="torch documentation of smooth_l1_loss: beta = 0 is the absolute error",
        divergent={"clamped": "0 / 0 where x = t"},
    ),
    Example(
        "mean",
        FAR,
        2.5e19,
        dtype="float32",
        tolerance=1e13,
        source="pytorch smooth_l1_loss in float32, |d| = 1e20",
        options={"beta": 2e20},
        note="d * d overflows before it is divided by beta",
        divergent=dict.fromkeys(
            ("native", "native_module", "naive_loop", "textbook", "clamped", "compiled", "upcast"),
            "d * d overflows before it is divided by beta",
        ),
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


def _difference(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target = sample.tensors
    difference = prediction - target
    return evaluate(difference, torch.zeros_like(difference), reduction="none")


def _quartered(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target = sample.tensors
    return 4 * evaluate(prediction / 4, target / 4, reduction="none", beta=0.25)


def _of_zero(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none", beta=0.0)


def _absolute(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target = sample.tensors
    return (prediction - target).abs()


IDENTITIES = (
    Identity("symmetric", _plain, _swapped, variant="mean", regime="unit_normal", source="tutorial B"),
    Identity("even", _plain, _negated, variant="mean", regime="outliers", source="tutorial B"),
    Identity("homogeneous_with_beta", _plain, _quartered, variant="mean", regime="wide", source="tutorial B"),
    Identity("of_the_difference", _plain, _difference, variant="mean", regime="wide", source="tutorial B"),
    Identity(
        "absolute_error_at_zero",
        _of_zero,
        _absolute,
        variant="beta_zero",
        regime="unit_normal",
        source="torch documentation of smooth_l1_loss",
    ),
)
