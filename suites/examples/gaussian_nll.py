"""Worked Gaussian likelihoods, and identities that every implementation must hold.

No tutorial prints a number; the examples are torch's documented formula worked by hand on numbers that
every dtype holds. The trap: without the constant the loss is no likelihood, and may be negative.
"""

from __future__ import annotations

import math

from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

# r = 2, 0, -3, 1 and v = 1, 4, 2, 1/4: r^2 / v = 4, 0, 4.5, 4; the logarithms add up to log 2.
TRIPLES = {
    "prediction": [[2.0, 1.0], [-1.0, 0.5]],
    "target": [[0.0, 1.0], [2.0, -0.5]],
    "variance": [[1.0, 4.0], [2.0, 0.25]],
}
PRINTED = 0.5 * (math.log(2) + 12.5)
EXACT = {"prediction": [[0.0]], "target": [[0.0]], "variance": [[0.0]]}
DOCUMENTED = "torch documentation of GaussianNLLLoss"

EXAMPLES = (
    Example("mean", TRIPLES, PRINTED / 4, digits=14, source=DOCUMENTED),
    Example("sum", TRIPLES, PRINTED, digits=14, source=DOCUMENTED),
    Example(
        "full", TRIPLES, PRINTED / 4 + 0.5 * math.log(2 * math.pi), digits=14, source=f"{DOCUMENTED}, full"
    ),
    Example("mean", EXACT, 0.5 * math.log(1e-6), digits=13, source=f"{DOCUMENTED}, eps"),
    Example(
        "mean",
        {"prediction": [[300.0]], "target": [[0.0]], "variance": [[10000.0]]},
        0.5 * (math.log(1e4) + 9),
        dtype="float16",
        tolerance=0.01,
        source=DOCUMENTED,
        note="300^2 leaves float16 before it is divided by the variance",
        divergent=dict.fromkeys(
            ("native", "native_module", "naive_loop", "textbook", "clamped"),
            "300^2 leaves float16 before it is divided by the variance",
        ),
    ),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none")


def _swapped(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target, variance = sample.tensors
    return evaluate(target, prediction, variance, reduction="none")


def _scaled(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target, variance = sample.tensors
    return evaluate(2 * prediction, 2 * target, 4 * variance, reduction="none") - math.log(2)


def _with_constant(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none", full=True) - 0.5 * math.log(2 * math.pi)


IDENTITIES = (
    Identity("symmetric", _plain, _swapped, variant="mean", regime="unit_normal", source=DOCUMENTED),
    Identity("units", _plain, _scaled, variant="mean", regime="calibrated", source="change of variables"),
    Identity("constant", _plain, _with_constant, variant="mean", regime="unit_normal", source=DOCUMENTED),
)
