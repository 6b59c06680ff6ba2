"""Worked cross-entropy numbers from tutorials, and identities that every implementation must hold.

Printed values carry the digits of the text. The other side of an identity is the truth of another family,
imported where it is asked, because families refer to one another. The trap: one text prints 2.2265 as the
result of its own label-smoothing code; the code gives 1.9955 for these inputs, so 1.9955 is held.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

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

# Tutorial D prints CE = KL + H and none of its inputs; each of these pairs has all three printed values.
TRIPLES = (
    ([0.14, 0.14, 0.19, 0.27, 0.23, 0.03], [-0.6, -1.5, -0.1, 0.4, -0.8, -1.8]),
    ([0.13, 0.17, 0.42, 0.21, 0.07], [-1.4, -1.4, 0.1, 2.5, 0.6]),
)
NO_INPUTS = "the text prints no inputs; these have its cross-entropy, its divergence and its entropy"


def _triple(number: int, value: float, words: str, *, itself: bool = False) -> Example:
    target, logits = TRIPLES[number]
    given = {"logits": [[math.log(t) for t in target] if itself else logits], "target": [target]}
    return Example("probability", given, value, source=f"tutorial D, {words}", note=NO_INPUTS)


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
    *(
        Example(
            "mean",
            {**_THREE_CLASSES, "target": [label]},
            value,
            source=f"tutorial C, one row: the logarithm of its softmax at class {label}",
            dtype="float32",
        )
        for label, value in ((0, 0.1291), (2, 6.1291))
    ),
    Example(
        "mean",
        {"logits": [3.0, 1.0, -3.0], "target": 1},
        2.1291,
        source="tutorial C, the same row without a batch axis",
    ),
    Example(
        "mean",
        _FIVE_ROWS,
        1.2223,
        source="tutorial C, five rows",
        tolerance=1e-4,
        note="the text prints its inputs to four digits",
    ),
    Example(
        "images",
        {"logits": [[[[3.0]], [[1.0]], [[-3.0]]]], "target": [[[1]]]},
        2.1291,
        source="tutorial C, the same row as an image of one pixel",
    ),
    Example(
        "probability",
        {"logits": TRIPLES[0][1], "target": TRIPLES[0][0]},
        1.7736,
        source="tutorial D, CE of 1.7736 = .1108 + 1.6628, the same row without a batch axis",
        note=NO_INPUTS,
    ),
    _triple(0, 1.7736, "CE of 1.7736 = .1108 + 1.6628"),
    _triple(0, 1.6628, "H of 1.7736 = .1108 + 1.6628, as CE(T, T)", itself=True),
    _triple(1, 2.5585, "CE of 2.5585 = 1.1138 + 1.4447"),
    _triple(1, 1.4447, "H of 2.5585 = 1.1138 + 1.4447, as CE(T, T)", itself=True),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors)


def _entropy_plus_divergence(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.kl_div import SUITE as DIVERGENCE

    logits, target = sample.tensors
    entropy = torch.special.entr(target).sum(1)
    return entropy + evaluate.truth(DIVERGENCE, log_probabilities=logits, target=target, from_logits=True)


def _shifted(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    # A power of two: the shift is exact for logits that were rounded to float32 first.
    return evaluate(logits + 8.0, target)


def _log_likelihood(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.nll import SUITE as LIKELIHOOD

    logits, target = sample.tensors
    return evaluate.truth(LIKELIHOOD, log_probabilities=logits.log_softmax(1), target=target)


def _one_hot(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    return evaluate(logits, F.one_hot(target, logits.shape[1]).to(logits.dtype))


def _of_two_classes(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    return evaluate(logits[:, :2], target % 2)


def _binary(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.binary_cross_entropy_with_logits import SUITE as BINARY

    logits, target = sample.tensors
    lead = logits[:, 1] - logits[:, 0]
    return evaluate.truth(BINARY, layout="elements", logits=lead, target=(target % 2).double())


def _of_nothing(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits, target = sample.tensors
    return evaluate(0.0 * logits, target)


def _natural_logarithm(evaluate: Evaluate, sample: Sample) -> Tensor:
    count, classes = sample["logits"].shape
    return torch.full((count,), math.log(classes), dtype=torch.float64)


def _smoothed_over_others(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.cross_entropy import SUITE as OWN

    logits, target = sample.tensors
    return evaluate.truth(OWN, logits=logits, target=target, label_smoothing=0.1, smoothing_over="others")


def _smoothed_over_all(evaluate: Evaluate, sample: Sample) -> Tensor:
    classes = sample["logits"].shape[1]
    return evaluate(*sample.tensors, label_smoothing=0.1 * classes / (classes - 1))


IDENTITIES = (
    Identity(
        "cross_entropy_is_entropy_plus_divergence",
        _plain,
        _entropy_plus_divergence,
        variant="probability",
        regime="unit_normal",
        source="tutorial D",
        about="CE(T, x) = H(T) + KL(T || softmax x), and both have the same gradient",
    ),
    Identity(
        "shift_invariance",
        _plain,
        _shifted,
        variant="mean",
        regime="unit_normal",
        source="tutorial D",
        about="CE(x + 8) = CE(x)",
    ),
    Identity(
        "negative_log_likelihood",
        _plain,
        _log_likelihood,
        variant="mean",
        regime="unit_normal",
        source="tutorial D",
        about="CE = NLL of log_softmax",
    ),
    Identity(
        "one_hot_probabilities_are_indices",
        _plain,
        _one_hot,
        variant="mean",
        regime="unit_normal",
        source="tutorial D",
        about="CE with one-hot probabilities = CE with indices",
    ),
    Identity(
        "two_classes_are_a_binary_cross_entropy",
        _of_two_classes,
        _binary,
        variant="mean",
        regime="unit_normal",
        source="tutorial D",
        about="CE of [x0, x1] = BCE with logits of x1 - x0",
    ),
    Identity(
        "logarithm_to_base_e",
        _of_nothing,
        _natural_logarithm,
        variant="mean",
        regime="unit_normal",
        source="tutorial D: log base e, not 2",
        about="equal logits cost log C to base e",
    ),
    Identity(
        "smoothing_over_all_is_a_rescaled_smoothing_over_others",
        _smoothed_over_all,
        _smoothed_over_others,
        variant="mean",
        regime="unit_normal",
        source="tutorial A",
        about="smoothing eps C / (C - 1) over all classes = smoothing eps over the others",
    ),
)
