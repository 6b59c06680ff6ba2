"""Worked values of binary cross-entropy of probabilities, and identities that every implementation must hold.

The trap: tutorials print no number for a probability of exactly 0, where torch answers 100 by its clamp.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

EXAMPLES = (
    Example("mean", {"probabilities": [[0.5]], "target": [[1.0]]}, 0.6931, source="log 2"),
    Example(
        "mean",
        {"probabilities": [[0.9, 0.2, 0.6]], "target": [[1.0, 0.0, 1.0]]},
        0.2798,
        source="-(log 0.9 + log 0.8 + log 0.6) / 3",
    ),
    Example(
        "class_weights",
        {"probabilities": [[0.9, 0.2]], "target": [[1.0, 0.0]]},
        0.2138,
        source="class weights gathered by the labels, w[t] = 3 and 0.5, divided by two elements",
    ),
    Example(
        "mean",
        {"probabilities": [[1e-30]], "target": [[1.0]]},
        69.0776,
        source="catalogue row 24: 30 log 10",
    ),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none")


def _floored(evaluate: Evaluate, sample: Sample) -> Tensor:
    """Under torch's own contract; no logarithm of the regime is near its floor."""
    return evaluate(*sample.tensors, reduction="none", log_floor=-100.0)


def _of_logits(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.binary_cross_entropy_with_logits import SUITE as WITH_LOGITS

    p, target = sample.tensors
    return evaluate.truth(WITH_LOGITS, layout="elements", logits=torch.logit(p), target=target)


def _two_classes(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.nll import SUITE as NLL

    p, target = sample.tensors
    rows = torch.stack([torch.log1p(-p), torch.log(p)], -1).reshape(-1, 2)
    losses = evaluate.truth(NLL, log_probabilities=rows, target=target.reshape(-1).long())
    return losses.reshape(p.shape)


def _mirrored(evaluate: Evaluate, sample: Sample) -> Tensor:
    p, target = sample.tensors
    return evaluate(1 - p, 1 - target, reduction="none")


IDENTITIES = (
    Identity(
        "with_logits_of_the_logit",
        _plain,
        _of_logits,
        variant="mean",
        regime="uniform",
        source="tutorial D: BCE = BCEWithLogits after logit",
    ),
    Identity(
        "with_logits_of_the_logit_as_torch_clamps",
        _floored,
        _of_logits,
        variant="mean",
        regime="uniform",
        source="tutorial D: BCE = BCEWithLogits after logit, for those that keep log above -100",
    ),
    Identity(
        "two_class_negative_log_likelihood",
        _plain,
        _two_classes,
        variant="mean",
        regime="uniform",
        source="tutorial D: NLL of [1 - p, p]",
    ),
    Identity(
        "label_and_probability_mirrored",
        _plain,
        _mirrored,
        variant="mean",
        regime="uniform",
        source="the two answers change places",
    ),
)
