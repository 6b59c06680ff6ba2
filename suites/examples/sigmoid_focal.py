"""Worked values of the binary focal loss, and identities that every implementation must hold.

The paper prints ratios to cross-entropy, which are examples here. The trap: at gamma = 0 without alpha it is
binary cross-entropy of logits, so whatever differs there is the implementation's own.
"""

from __future__ import annotations

from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

PAPER = "Lin et al. 2017, section 3.2"

EXAMPLES = (
    Example(
        "unweighted",
        {"logits": [[2.1972245773362196]], "target": [[1.0]]},
        0.001054,
        digits=6,
        source=f"{PAPER}: at gamma = 2 and p_t = 0.9 a hundredth of the cross-entropy 0.10536",
    ),
    Example(
        "unweighted",
        {"logits": [[-3.4094961844768505]], "target": [[0.0]]},
        0.0000333,
        digits=7,
        source=f"{PAPER}: at p_t = 0.968 about a thousandth of the cross-entropy 0.0325",
    ),
    Example(
        "mean",
        {"logits": [[0.0, 0.0]], "target": [[1.0, 0.0]]},
        0.0866,
        source="(0.25 + 0.75) / 4 log 2 / 2: alpha weights label 1, 1 - alpha label 0",
    ),
    Example(
        "gamma_zero",
        {"logits": [[2.0, -1.0, 0.5]], "target": [[1.0, 0.0, 1.0]]},
        0.3048,
        source="gamma = 0 without alpha is binary cross-entropy of logits",
    ),
)


def _unfocused(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, alpha=-1.0, gamma=0.0)


def _with_logits(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.binary_cross_entropy_with_logits import SUITE as WITH_LOGITS

    z, target = sample.tensors
    return evaluate.truth(WITH_LOGITS, layout="elements", logits=z, target=target)


def _weighted(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, alpha=0.25, gamma=2.0)


def _mirrored(evaluate: Evaluate, sample: Sample) -> Tensor:
    z, target = sample.tensors
    return evaluate(-z, 1 - target, alpha=0.75, gamma=2.0)


IDENTITIES = (
    Identity(
        "cross_entropy_at_gamma_zero",
        _unfocused,
        _with_logits,
        variant="gamma_zero",
        regime="unit_normal",
        source="Lin et al. 2017, definition",
        about="the focal loss at gamma = 0 without alpha = BCE with logits",
    ),
    Identity(
        "label_sign_and_alpha_mirrored",
        _weighted,
        _mirrored,
        variant="mean",
        regime="unit_normal",
        source="1 - s(z) = s(-z)",
        about="the loss of -z under 1 - t and 1 - alpha = the loss of z under t and alpha",
    ),
)
