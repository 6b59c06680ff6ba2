"""Worked smooth L1 losses, and identities that every implementation must hold.

Tutorial B defines the loss and prints no number; the examples are its definition on numbers that every
dtype holds. The trap: a sum hides which entry is wrong, so the identities are about entries.
"""

from __future__ import annotations

from torch import Tensor

from harness import Evaluate, Example, Identity, Sample
from suites.examples.residuals import EVEN, OF_THE_DIFFERENCE, PAIRS, SYMMETRIC, plain, quartered

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


def _of_zero(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none", beta=0.0)


def _absolute(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target = sample.tensors
    return (prediction - target).abs()


IDENTITIES = (
    SYMMETRIC,
    EVEN,
    Identity(
        "homogeneous_with_beta",
        plain,
        quartered(4, beta=0.25),
        variant="mean",
        regime="wide",
        source="tutorial B",
    ),
    OF_THE_DIFFERENCE,
    Identity(
        "absolute_error_at_zero",
        _of_zero,
        _absolute,
        variant="beta_zero",
        regime="unit_normal",
        source="torch documentation of smooth_l1_loss",
    ),
)
