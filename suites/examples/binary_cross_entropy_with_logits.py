"""Worked values of binary cross-entropy of logits, and identities that every implementation must hold.

Tutorial D prints no numbers for it, so the examples are values of the definition, rounded to four
digits. The trap: each example is of one element, because a mean would hide which side of the label is lost.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Example, Identity, Sample

Evaluate = Callable[..., Tensor]

EXAMPLES = (
    Example(
        "mean", {"logits": [[0.0]], "target": [[1.0]]}, 0.6931, source="log 2, an answer that knows nothing"
    ),
    Example(
        "mean",
        {"logits": [[2.0, -1.0, 0.5]], "target": [[1.0, 0.0, 1.0]]},
        0.3048,
        source="(log(1 + e^-2) + log(1 + e^-1) + log(1 + e^-0.5)) / 3",
    ),
    Example(
        "sum",
        {"logits": [[2.0, -1.0, 0.5]], "target": [[0.25, 0.5, 0.75]]},
        3.0393,
        source="soft targets: 1.6269 + 0.8133 + 0.5991",
    ),
    Example(
        "mean",
        {"logits": [[-50.0]], "target": [[1.0]]},
        50.0,
        source="catalogue row 25: wrong and sure costs |z|",
        dtype="float32",
    ),
    Example(
        "class_weights",
        {"logits": [[2.0, -1.0]], "target": [[1.0, 0.0]]},
        0.2687,
        source="class weights gathered by the labels, w[t] = 3 and 0.5, divided by two elements",
    ),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none")


def _of_sigmoid(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    return F.binary_cross_entropy(logits.sigmoid(), target, reduction="none")


def _of_two_classes(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    p = logits.sigmoid()
    rows = torch.stack([1 - p, p], -1).log().reshape(-1, 2)
    losses = F.nll_loss(rows, target.reshape(-1).long(), reduction="none")
    return losses.reshape(logits.shape)


def _mirrored(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    return evaluate(-logits, 1 - target, reduction="none")


def _soft_margin(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    return F.soft_margin_loss(logits, 2 * target - 1, reduction="none")


IDENTITIES = (
    Identity(
        "binary_cross_entropy_of_the_sigmoid",
        _plain,
        _of_sigmoid,
        variant="mean",
        regime="unit_normal",
        source="tutorial D: BCE = BCEWithLogits after logit",
    ),
    Identity(
        "two_class_negative_log_likelihood",
        _plain,
        _of_two_classes,
        variant="mean",
        regime="unit_normal",
        source="tutorial D: NLL of [1 - p, p]",
    ),
    Identity(
        "label_and_sign_mirrored",
        _plain,
        _mirrored,
        variant="mean",
        regime="unit_normal",
        source="1 - s(z) = s(-z)",
    ),
    Identity(
        "soft_margin_with_signed_labels",
        _plain,
        _soft_margin,
        variant="mean",
        regime="unit_normal",
        source="log(1 + e^(-yz)) with y = 2 t - 1",
    ),
)
