"""Worked hinge embedding losses, by hand, and identities that every implementation must hold."""

from __future__ import annotations

import torch
from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

_DISTANCES = {"distance": [[0.25, 0.25, 3.0]], "target": [[1, -1, -1]]}
EXAMPLES = (
    Example("sum", _DISTANCES, 1.0, source="by hand: 1/4 + 3/4 + 0"),
    Example("mean", _DISTANCES, 0.3333, source="by hand: 1 / 3"),
    Example("wide", _DISTANCES, 1.0000, source="by hand, margin 3: (1/4 + 11/4 + 0) / 3"),
)


def _both_labels(evaluate: Evaluate, sample: Sample) -> Tensor:
    distance, target = sample.tensors
    ones = torch.ones_like(target)
    return evaluate(distance, ones, reduction="none") + evaluate(distance, -ones, reduction="none")


def _larger(evaluate: Evaluate, sample: Sample) -> Tensor:
    return sample["distance"].clamp(min=1.0)


IDENTITIES = (
    Identity(
        "both_labels_give_the_larger_of_distance_and_margin",
        _both_labels,
        _larger,
        variant="mean",
        regime="distances",
        source="x + max(0, 1 - x) = max(x, 1)",
    ),
)
