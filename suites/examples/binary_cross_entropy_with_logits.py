"""Worked values of binary cross-entropy of logits, and identities that every implementation must hold.

Tutorial D prints no numbers for it, so the examples are values of the definition, rounded to four
digits. The trap: each example is of one element, because a mean would hide which side of the label is lost.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

NO_POSITIVES = "0 * inf is NaN"
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
    Example(
        "mean",
        {"logits": [[2.0]], "target": [[0.0]]},
        2.1269,
        source="catalogue row 29: an infinite weight of positives, and none of them; log(1 + e^2)",
        options={"pos_weight": [math.inf]},
        divergent=dict.fromkeys(("native", "native_module", "log_sigmoid", "by_sides"), NO_POSITIVES),
    ),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors)


def _of_sigmoid(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.binary_cross_entropy import SUITE as OF_PROBABILITIES

    logits, target = sample.tensors
    p = logits.sigmoid()
    return evaluate.truth(OF_PROBABILITIES, layout="elements", probabilities=p, target=target)


def _likelihood_of_two_classes(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.nll import SUITE as LIKELIHOOD

    logits, target = (tensor.reshape(-1) for tensor in sample.tensors)
    # The logarithms of 1 - p and p, without the cancellation of 1 - p.
    both = torch.nn.functional.logsigmoid(torch.stack([-logits, logits], 1))
    return evaluate.truth(LIKELIHOOD, log_probabilities=both, target=target.long())


def _cross_entropy_of_two_classes(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.cross_entropy import SUITE as CROSS_ENTROPY

    logits, target = (tensor.reshape(-1) for tensor in sample.tensors)
    both = torch.stack([torch.zeros_like(logits), logits], 1)
    return evaluate.truth(CROSS_ENTROPY, logits=both, target=target.long())


def _mirrored(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    return evaluate(-logits, 1 - target)


def _soft_margin(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.soft_margin import SUITE as SOFT_MARGIN

    logits, target = sample.tensors
    return evaluate.truth(SOFT_MARGIN, layout="elements", x=logits, y=2 * target - 1)


IDENTITIES = (
    Identity(
        "binary_cross_entropy_of_the_sigmoid",
        _plain,
        _of_sigmoid,
        variant="mean",
        regime="unit_normal",
        source="tutorial D",
        about="BCE with logits of z = BCE of sigmoid(z)",
    ),
    Identity(
        "two_class_negative_log_likelihood",
        _plain,
        _likelihood_of_two_classes,
        variant="mean",
        regime="unit_normal",
        source="tutorial D",
        about="BCE with logits of z = NLL of log [1 - p, p], p = sigmoid(z)",
    ),
    Identity(
        "two_class_cross_entropy",
        _plain,
        _cross_entropy_of_two_classes,
        variant="mean",
        regime="unit_normal",
        source="tutorial D",
        about="BCE with logits of z = CE of [0, z]",
    ),
    Identity(
        "label_and_sign_mirrored",
        _plain,
        _mirrored,
        variant="mean",
        regime="unit_normal",
        source="1 - s(z) = s(-z)",
        about="the loss of -z under 1 - t = the loss of z under t",
    ),
    Identity(
        "soft_margin_with_signed_labels",
        _plain,
        _soft_margin,
        variant="mean",
        regime="unit_normal",
        source="log(1 + e^(-yz)) with y = 2 t - 1",
        about="BCE with logits under t = soft margin under 2 t - 1",
    ),
)
