"""Worked divergences from tutorials, and identities that every implementation must hold.

The scores of tutorial A are not normalised, so its negative divergences are right. The trap: its
float32 example has targets of exactly 0, where the printed definition is NaN, so the textbook form is
declared not to give its number.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness import Example, Identity, Sample
from suites.examples.cross_entropy import EXAMPLES as CROSS_ENTROPY_EXAMPLES

Evaluate = Callable[..., Tensor]

_SCORES = CROSS_ENTROPY_EXAMPLES[0].inputs["logits"]
# Label smoothing 0.1 over the four other classes of the labels 2, 0, 3.
_SMOOTHED = {
    "log_probabilities": _SCORES,
    "target": [[0.9 if c == label else 0.1 / 4 for c in range(5)] for label in (2, 0, 3)],
}
ONE_HOT = {
    "log_probabilities": [[0.0, 0.1, 0.3], [0.1, 0.9, 0.3], [0.0, 0.1, 0.0]],
    "target": [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]],
}

EXAMPLES = (
    Example("sum", _SMOOTHED, -1.4436297, digits=7, source="tutorial A, KL of smoothed labels, sum"),
    Example(
        "mean", _SMOOTHED, -0.0962420, digits=7, source="tutorial A, KL of smoothed labels, mean of elements"
    ),
    Example(
        "batchmean", _SMOOTHED, -0.4812099, digits=7, source="tutorial A, KL of smoothed labels, batchmean"
    ),
    Example(
        "sum",
        _SMOOTHED,
        -1.4434798,
        digits=7,
        source="tutorial A, KL with 1e-5 inside the logarithm, sum",
        options={"epsilon": 1e-5},
        note="a biased form: the divergence itself is -1.4436297",
    ),
    Example(
        "sum",
        ONE_HOT,
        -1.1999700,
        digits=7,
        source="tutorial A, KL of labels with 1e-5 inside the logarithm, float32",
        dtype="float32",
        options={"epsilon": 1e-5},
        tolerance=2e-7,
        note="float32 at this size has steps of 1.2e-7",
    ),
    Example(
        "sum",
        ONE_HOT,
        -1.2000000,
        digits=7,
        source="tutorial A, KL of labels, float32",
        dtype="float32",
        tolerance=2e-7,
        note="float32 at this size has steps of 1.2e-7",
        divergent={
            "textbook": "0 * log 0 is NaN",
            "compiled": "0 * log 0 is NaN",
        },
    ),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none")


def _normalised(sample: Sample) -> tuple[Tensor, Tensor]:
    x, target = sample.tensors
    return x - x.logsumexp(1, keepdim=True), target / target.sum(1, keepdim=True)


def _of_normalised(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*_normalised(sample), reduction="none")


def _size_of_normalised(evaluate: Evaluate, sample: Sample) -> Tensor:
    return _of_normalised(evaluate, sample).abs()


def _of_itself(evaluate: Evaluate, sample: Sample) -> Tensor:
    _, target = _normalised(sample)
    return evaluate(target.log(), target, reduction="none")


def _nothing(evaluate: Evaluate, sample: Sample) -> Tensor:
    return torch.zeros(sample["target"].shape[0], dtype=torch.float64)


def _cross_entropy_minus_entropy(evaluate: Evaluate, sample: Sample) -> Tensor:
    x, target = sample.tensors
    return -(target * x).sum(1) - torch.special.entr(target).sum(1)


def _with_logarithms(evaluate: Evaluate, sample: Sample) -> Tensor:
    x, target = sample.tensors
    return evaluate(x, target.log(), reduction="none", log_target=True)


def _from_logits(evaluate: Evaluate, sample: Sample) -> Tensor:
    x, target = sample.tensors
    # A power of two: the shift is exact for scores that were rounded to float32 first.
    return evaluate(x + 8.0, target, reduction="none", from_logits=True)


def _after_log_softmax(evaluate: Evaluate, sample: Sample) -> Tensor:
    x, target = sample.tensors
    return evaluate(x.log_softmax(1), target, reduction="none")


def _first_slope(loss: Tensor, logits: Tensor) -> Tensor:
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    return slope[:, 0]


def _slope_of_divergence(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits = sample["log_probabilities"].detach().clone().requires_grad_(True)
    loss = evaluate(logits.log_softmax(1), sample["target"], reduction="none")
    return _first_slope(loss, logits)


def _slope_of_cross_entropy(evaluate: Evaluate, sample: Sample) -> Tensor:
    logits = sample["log_probabilities"].detach().clone().requires_grad_(True)
    return _first_slope(-(sample["target"] * logits.log_softmax(1)).sum(1), logits)


IDENTITIES = (
    Identity(
        "cross_entropy_is_entropy_plus_divergence",
        _plain,
        _cross_entropy_minus_entropy,
        variant="batchmean",
        regime="independent",
        source="tutorial D",
    ),
    Identity(
        "never_negative",
        _of_normalised,
        _size_of_normalised,
        variant="batchmean",
        regime="near",
        source="tutorial D: KL >= 0",
    ),
    Identity(
        "nothing_from_itself",
        _of_itself,
        _nothing,
        variant="batchmean",
        regime="independent",
        source="tutorial D: KL = 0 where p = q",
    ),
    Identity(
        "logarithms_are_probabilities",
        _plain,
        _with_logarithms,
        variant="batchmean",
        regime="independent",
        source="torch documentation of log_target",
    ),
    Identity(
        "shift_invariance_of_logits",
        _from_logits,
        _after_log_softmax,
        variant="batchmean",
        regime="unnormalised",
        source="tutorial D",
    ),
    Identity(
        "same_gradient_as_cross_entropy",
        _slope_of_divergence,
        _slope_of_cross_entropy,
        variant="batchmean",
        regime="unnormalised",
        source="tutorial D: minimising either is the same",
    ),
)
