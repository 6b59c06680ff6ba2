"""Worked multi-label margins of tutorials, by hand and of torch's documentation, and identities."""

from __future__ import annotations

from torch import Tensor

from harness import Evaluate, Example, Identity, Sample
from suites.examples.scores import ROW, SHIFT_INVARIANCE, plain

EXAMPLES = (
    Example(
        "mean",
        {"scores": [ROW], "target": [[3, 0, -1, 1]]},
        0.85,
        source="tutorial B: labels 3 and 0; the 1 behind the -1 counts nothing",
        dtype="float32",
    ),
    Example(
        "mean",
        {"scores": ROW, "target": [3, 0, -1, 1]},
        0.85,
        source="tutorial B, the same row without a batch axis",
    ),
    Example(
        "mean",
        {"scores": [ROW], "target": [[-1, 3, 0, 1]]},
        0.0,
        source="by hand: a list that begins with -1 is empty",
    ),
    Example(
        "duplicates",
        {"scores": [ROW], "target": [[3, 3, 0, -1]]},
        1.1,
        source="by hand: a label that is named twice counts twice: (2 * 1 + 2.4) / 4",
        options={"duplicates": "counted"},
    ),
    Example(
        "duplicates",
        {"scores": [ROW], "target": [[3, 3, 0, -1]]},
        0.85,
        source="by hand: the same list as a set: (1 + 2.4) / 4",
        options={"duplicates": "once"},
    ),
)


def _renamed(evaluate: Evaluate, sample: Sample) -> Tensor:
    scores, target = sample.tensors
    last = scores.shape[1] - 1
    return evaluate(scores.flip(1), (last - target).where(target >= 0, -1), reduction="none")


IDENTITIES = (
    Identity("classes_in_reverse_order", plain, _renamed, variant="mean", regime="unit_normal"),
    SHIFT_INVARIANCE,
)
