"""Worked cross-entropy numbers reached through a projection, and what a projection leaves as it is.

The identity as weights gives the printed numbers of the texts themselves; a permutation with a bias gives
them under labels that are permuted alike. The trap: with the identity alone, a form that mixes up W and its
transpose would pass.
"""

from __future__ import annotations

from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

_EYE = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
_ROW = {"hidden": [[3.0, 1.0, -3.0]], "linear_weight": _EYE, "target": [1]}
# Class c takes feature c + 1: the logits are [1, -3, 3].
_TURNED = {
    "hidden": [[3.0, 1.0, -3.0]],
    "linear_weight": [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]],
    "target": [0],
    "linear_bias": [0.0, 0.0, 0.0],
}
_HANDWRITTEN = {
    "hidden": [
        [-1.5616, -0.7906, 1.4143, -0.0957, 0.1657],
        [-1.4285, 0.3045, 1.5844, -2.1508, 1.8181],
        [1.0205, -1.3493, -1.2965, 0.1715, -1.2118],
    ],
    "linear_weight": [[1.0 if row == column else 0.0 for column in range(5)] for row in range(5)],
    "target": [2, 0, 3],
}
_DOUBLED = {
    "hidden": [[1.5, 0.5, -1.5]],
    "linear_weight": [[2.0, 0.0, 0.0], [0.0, 0.0, 2.0]],
    "target": [1],
    "linear_bias": [-2.0, 4.0],
}

EXAMPLES = (
    Example("mean", _ROW, 2.1291, source="tutorial C", note="the weights are the identity"),
    Example("mean", _ROW, 2.1291, source="tutorial C", dtype="float32"),
    Example("biased", _TURNED, 2.1291, source="tutorial C", note="features permuted, labels with them"),
    Example("mean", _HANDWRITTEN, 1.9606, source="tutorial A, naive row loop"),
    Example(
        "mean",
        _HANDWRITTEN,
        1.9885,
        source="tutorial A, label_smoothing=0.1",
        options={"label_smoothing": 0.1},
    ),
    # Logits 2 * 1.5 - 2 = 1 and 2 * -1.5 + 4 = 1.
    Example("biased", _DOUBLED, 0.6931471805599453, digits=15, source="log 2: both logits are 1"),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors)


def _of_the_logits(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.cross_entropy import SUITE as CROSS_ENTROPY

    logits = sample["hidden"] @ sample["linear_weight"].T + sample["linear_bias"]
    return evaluate.truth(CROSS_ENTROPY, logits=logits, target=sample["target"])


def _shifted_bias(evaluate: Evaluate, sample: Sample) -> Tensor:
    # A power of two: the shift is exact for a bias that was rounded to float32 first.
    moved = {**sample.named, "linear_bias": sample["linear_bias"] + 8.0}
    return evaluate(*moved.values())


IDENTITIES = (
    Identity(
        "cross_entropy_of_the_logits",
        _plain,
        _of_the_logits,
        variant="none",
        regime="unit",
        source="torch's documentation of linear_cross_entropy",
        about="the loss of x, W and b = CE(x W^T + b)",
    ),
    Identity(
        "bias_shift_invariance",
        _plain,
        _shifted_bias,
        variant="none",
        regime="unit",
        source="tutorial D",
        about="what is added to the bias of every class changes nothing",
    ),
)
