"""Worked values of the multi-label soft margin loss, and identities that every implementation must hold.

The trap: the text's definition is a sum over the classes, so one form is declared not to give these numbers.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

EXAMPLES = (
    Example(
        "mean",
        {"logits": [[2.0, -1.0, 0.5]], "target": [[1.0, 0.0, 1.0]]},
        0.3048,
        source="(log(1 + e^-2) + log(1 + e^-1) + log(1 + e^-0.5)) / 3",
        divergent={"text_sum": "the text's definition is a sum over the classes"},
    ),
    Example(
        "mean",
        {"logits": [[2.0, -1.0, 0.5]], "target": [[1.0, 0.0, 1.0]]},
        0.9143,
        source="the same as texts print it, without the division by three classes",
        options={"over_classes": "sum"},
    ),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none")


def _with_logits(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)


def _mirrored(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    return evaluate(-logits, 1 - target, reduction="none")


IDENTITIES = (
    Identity(
        "mean_of_binary_cross_entropies",
        _plain,
        _with_logits,
        variant="mean",
        regime="unit_normal",
        source="the definition of torch",
    ),
    Identity(
        "label_and_sign_mirrored",
        _plain,
        _mirrored,
        variant="mean",
        regime="unit_normal",
        source="1 - s(z) = s(-z)",
    ),
)
