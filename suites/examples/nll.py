"""Worked numbers of the negative log-likelihood, and identities that every implementation must hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from harness import Evaluate, Example, Identity, Sample


def _log_softmax(row: Sequence[float]) -> list[float]:
    total = math.log(math.fsum(math.exp(x) for x in row))
    return [x - total for x in row]


_PRINTED = [-0.1291, -2.1291, -6.1291]
_FIVE_ROWS = {
    "log_probabilities": [
        _log_softmax(row)
        for row in (
            (0.2319, 0.2875, -0.2994),
            (0.7351, -1.3286, -0.4470),
            (0.9836, -0.5633, -0.3552),
            (0.8043, -0.3892, 1.2848),
            (0.9196, 2.2589, -1.3184),
        )
    ],
    "target": [2, 0, 2, 1, 1],
}
_FLAT = {"log_probabilities": [[-1.0, -2.0], [-3.0, -4.0]], "target": [0, 1]}

EXAMPLES = (
    Example(
        "mean",
        {"log_probabilities": [_PRINTED], "target": [1]},
        2.1291,
        source="tutorial C, log_softmax of [3, 1, -3]",
        dtype="float32",
    ),
    Example(
        "mean",
        {"log_probabilities": [_log_softmax((3.0, 1.0, -3.0))], "target": [1]},
        2.1291,
        source="tutorial C, one row",
        dtype="float32",
    ),
    Example(
        "mean",
        {"log_probabilities": _PRINTED, "target": 1},
        2.1291,
        source="tutorial C, the same row without a batch axis",
    ),
    Example(
        "images",
        {"log_probabilities": [[[[x]] for x in _PRINTED]], "target": [[[1]]]},
        2.1291,
        source="tutorial C, the same row as an image of one pixel",
    ),
    Example(
        "mean",
        _FIVE_ROWS,
        1.2223,
        source="tutorial C, five rows",
        tolerance=1e-4,
        note="the text prints its inputs to four digits",
    ),
    Example("sum", _FLAT, 5.0, source="by hand: 1 + 4"),
    Example(
        "weighted",
        _FLAT,
        3.25,
        source="by hand: (1 * 1 + 3 * 4) / (1 + 3)",
        options={"weight": [1.0, 3.0]},
    ),
    Example(
        "ignore_index",
        _FLAT,
        1.0,
        source="by hand: the second row is ignored, and not counted",
        options={"ignore_index": 1},
    ),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none")


def _renamed(evaluate: Evaluate, sample: Sample) -> Tensor:
    x, target = sample.tensors
    return evaluate(x.flip(1), x.shape[1] - 1 - target, reduction="none")


def _of_log_softmax(evaluate: Evaluate, sample: Sample) -> Tensor:
    x, target = sample.tensors
    return evaluate(F.log_softmax(x, 1), target, reduction="none")


def _cross_entropy(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.cross_entropy import SUITE as CROSS_ENTROPY

    x, target = sample.tensors
    return evaluate.truth(CROSS_ENTROPY, logits=x, target=target)


IDENTITIES = (
    Identity(
        "classes_in_reverse_order",
        _plain,
        _renamed,
        variant="mean",
        regime="unit_normal",
        source="tutorial D",
    ),
    Identity(
        "nll_of_log_softmax_is_cross_entropy",
        _of_log_softmax,
        _cross_entropy,
        variant="mean",
        regime="unit_normal",
        source="tutorial D: CE = NLL of log_softmax",
    ),
)
