"""Worked cross-entropy numbers from tutorials, and identities that every implementation must hold.

Printed values carry the digits of the text. The trap: one text prints 2.2265 as the result of its
own label-smoothing code; the code gives 1.9955 for these inputs, so 1.9955 is held.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Example, Identity, Sample

Evaluate = Callable[..., Tensor]

_HANDWRITTEN = {
    "logits": [
        [-1.5616, -0.7906, 1.4143, -0.0957, 0.1657],
        [-1.4285, 0.3045, 1.5844, -2.1508, 1.8181],
        [1.0205, -1.3493, -1.2965, 0.1715, -1.2118],
    ],
    "target": [2, 0, 3],
}
_WEIGHTED = {"logits": _HANDWRITTEN["logits"], "target": [4, 1, 0]}
_WEIGHTS = [1.0, 2.0, 1.0, 1.0, 10.0]
_THREE_CLASSES = {"logits": [[3.0, 1.0, -3.0]], "target": [1]}
_FIVE_ROWS = {
    "logits": [
        [0.2319, 0.2875, -0.2994],
        [0.7351, -1.3286, -0.4470],
        [0.9836, -0.5633, -0.3552],
        [0.8043, -0.3892, 1.2848],
        [0.9196, 2.2589, -1.3184],
    ],
    "target": [2, 0, 2, 1, 1],
}

EXAMPLES = (
    Example("mean", _HANDWRITTEN, 1.9606, source="tutorial A, naive row loop"),
    Example(
        "mean",
        _HANDWRITTEN,
        1.9606,
        source="tutorial A, label smoothing 0",
        options={"label_smoothing": 0.0},
    ),
    Example(
        "smoothed_other",
        _HANDWRITTEN,
        1.9954971374,
        digits=10,
        source="tutorial A, label smoothing 0.1 over the other classes",
        note="the text's comment prints 2.2265, which its own code does not give for these inputs",
    ),
    Example("smoothed", _HANDWRITTEN, 1.9885, source="tutorial A, torch's smoothing 0.1 over all classes"),
    Example(
        "weighted",
        _WEIGHTED,
        1.7413114,
        digits=7,
        source="tutorial A, class weights; the mean divides by the weights used",
        options={"weight": _WEIGHTS},
    ),
    Example(
        "weighted",
        _WEIGHTED,
        7.5456825,
        digits=7,
        source="tutorial A, class weights; the text's loop divides by the number of rows",
        options={"weight": _WEIGHTS, "mean_denominator": "rows"},
    ),
    Example("mean", _THREE_CLASSES, 2.1291, source="tutorial C, one row", dtype="float32"),
    Example(
        "mean",
        _FIVE_ROWS,
        1.2223,
        source="tutorial C, five rows",
        tolerance=1e-4,
        note="the text prints its inputs to four digits",
    ),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none")


def _entropy_plus_divergence(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    entropy = torch.special.entr(target).sum(1)
    divergence = F.kl_div(F.log_softmax(logits, 1), target, reduction="none").sum(1)
    return entropy + divergence


def _shifted(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    # A power of two: the shift is exact for logits that were rounded to float32 first.
    return evaluate(logits + 8.0, target, reduction="none")


def _log_likelihood(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    return F.nll_loss(F.log_softmax(logits, 1), target, reduction="none")


def _one_hot(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    return evaluate(logits, F.one_hot(target, logits.shape[1]).to(logits.dtype), reduction="none")


def _smoothed_over_others(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none", label_smoothing=0.1, smoothing_over="others")


def _smoothed_over_all(evaluate: Evaluate, sample: Sample) -> Tensor:
    classes = sample["logits"].shape[1]
    return evaluate(*sample.tensors, reduction="none", label_smoothing=0.1 * classes / (classes - 1))


IDENTITIES = (
    Identity(
        "cross_entropy_is_entropy_plus_divergence",
        _plain,
        _entropy_plus_divergence,
        variant="probability",
        regime="unit_normal",
        source="tutorial D",
    ),
    Identity("shift_invariance", _plain, _shifted, variant="mean", regime="unit_normal", source="tutorial D"),
    Identity(
        "negative_log_likelihood",
        _plain,
        _log_likelihood,
        variant="mean",
        regime="unit_normal",
        source="tutorial D",
    ),
    Identity(
        "one_hot_probabilities_are_indices",
        _plain,
        _one_hot,
        variant="mean",
        regime="unit_normal",
        source="tutorial D",
    ),
    Identity(
        "smoothing_over_all_is_a_rescaled_smoothing_over_others",
        _smoothed_over_others,
        _smoothed_over_all,
        variant="mean",
        regime="unit_normal",
        source="tutorial A: eps_all = eps_other C / (C - 1)",
    ),
)
