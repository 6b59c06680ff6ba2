"""Worked values of the focal loss over classes, and identities that every implementation must hold.

The trap: the mean divides by the kept rows here, so it is cross-entropy's mean only without class weights.
"""

from __future__ import annotations

from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

EXAMPLES = (
    Example(
        "mean",
        {"logits": [[2.1972245773362196, 0.0]], "target": [0]},
        0.001054,
        digits=6,
        source="Lin et al. 2017, section 3.2: at p_t = 0.9 a hundredth of the cross-entropy 0.10536",
    ),
    Example(
        "mean",
        {"logits": [[3.0, 1.0, -3.0]], "target": [1]},
        1.6527,
        source="tutorial C: p_t = 0.1189 and cross-entropy 2.1291, times (1 - p_t)^2",
    ),
    Example(
        "gamma_zero",
        {"logits": [[3.0, 1.0, -3.0]], "target": [1]},
        2.1291,
        source="tutorial C: gamma = 0 is cross-entropy",
    ),
    Example(
        "ignore_index",
        {"logits": [[3.0, 1.0, -3.0], [0.0, 9.0, 0.0]], "target": [1, -1]},
        1.6527,
        source="an ignored row adds nothing to the sum nor to the number of rows",
    ),
)


def _unfocused(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, gamma=0.0)


def _cross_entropy(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.cross_entropy import SUITE as CROSS_ENTROPY

    logits, target = sample.tensors
    return evaluate.truth(CROSS_ENTROPY, logits=logits, target=target)


def _two_classes(evaluate: Evaluate, sample: Sample) -> Tensor:
    """The first two classes alone."""
    logits, target = sample.tensors
    pair = logits[:, :2]
    return evaluate(pair, target % 2)


def _binary(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.sigmoid_focal import SUITE as BINARY

    logits, target = sample.tensors
    gap = logits[:, 0] - logits[:, 1]
    label = (target % 2 == 0).double()
    return evaluate.truth(BINARY, layout="elements", logits=gap, target=label, alpha=-1.0)


IDENTITIES = (
    Identity(
        "cross_entropy_at_gamma_zero",
        _unfocused,
        _cross_entropy,
        variant="gamma_zero",
        regime="unit_normal",
        source="Lin et al. 2017, definition",
        about="the focal loss at gamma = 0 = CE",
    ),
    Identity(
        "binary_focal_loss_of_two_classes",
        _two_classes,
        _binary,
        variant="mean",
        regime="unit_normal",
        source="softmax of two logits is the sigmoid of their difference",
        about="the focal loss of [a, b] = the binary focal loss of a - b",
    ),
)
