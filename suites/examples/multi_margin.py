"""Worked multi-class margins, by hand and of torch's documentation, and identities that must hold."""

from __future__ import annotations

from torch import Tensor

from harness import Evaluate, Example, Identity, Sample
from suites.examples.scores import ROW, SHIFT_INVARIANCE, plain

_DOCUMENTED = {"scores": [ROW], "target": [3]}

EXAMPLES = (
    Example("mean", _DOCUMENTED, 0.325, source="torch documentation: (0.3 + 0.4 + 0.6) / 4"),
    Example(
        "mean",
        {"scores": ROW, "target": 3},
        0.325,
        source="torch documentation, the same row without a batch axis",
    ),
    Example("squared", _DOCUMENTED, 0.1525, source="by hand: (0.09 + 0.16 + 0.36) / 4"),
    Example(
        "squared",
        _DOCUMENTED,
        0.0,
        source="by hand: with a margin of 1/4 every class is far enough",
        options={"margin": 0.25},
    ),
    Example(
        "squared",
        _DOCUMENTED,
        0.0869,
        source="tutorial B, the power inside of the maximum: (0.2025 + 0.1225 + 0.0225) / 4",
        options={"margin": 0.25, "power": "inside"},
    ),
    Example(
        "weighted_squared",
        {"scores": [ROW, ROW], "target": [3, 0]},
        1.6,
        source="by hand: (2 * 0.1525 + 2 * 1.4475) / 2, the weight of each label times its row",
        options={"weight": [2.0, 5.0, 5.0, 2.0]},
        note="the second row is (1.21 + 1.69 + 2.89) / 4 = 1.4475",
    ),
)


def _renamed(evaluate: Evaluate, sample: Sample) -> Tensor:
    scores, target = sample.tensors
    return evaluate(scores.flip(1), scores.shape[1] - 1 - target, reduction="none")


IDENTITIES = (
    Identity("classes_in_reverse_order", plain, _renamed, variant="squared", regime="unit_normal"),
    SHIFT_INVARIANCE,
)
