"""Worked rankings, by hand, and identities that every implementation must hold."""

from __future__ import annotations

from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

_SCORES = {"first": [[1.0, 2.0, 0.5]], "second": [[2.0, 1.0, 0.5]], "target": [[1, 1, -1]]}
EXAMPLES = (
    Example("sum", _SCORES, 1.0, source="by hand: 1 + 0 + 0"),
    Example("mean", _SCORES, 0.3333, source="by hand: 1 / 3"),
    Example("margin", _SCORES, 0.6667, source="by hand: (3/2 + 0 + 1/2) / 3"),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none")


def _exchanged(evaluate: Evaluate, sample: Sample) -> Tensor:
    first, second, target = sample.tensors
    return evaluate(second, first, -target, reduction="none")


IDENTITIES = (
    Identity(
        "exchanged_scores_under_the_other_label",
        _plain,
        _exchanged,
        variant="margin",
        regime="scores",
        source="-y (x1 - x2) = y (x2 - x1)",
    ),
)
