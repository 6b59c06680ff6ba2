"""Worked divergences from tutorials, and identities that every implementation must hold.

The scores of tutorial A are not normalised, so its negative divergences are right. The trap: its
float32 example has targets of exactly 0, where the printed definition is NaN, so the textbook form is
declared not to give its number.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness import Evaluate, Example, Identity, Sample
from suites.examples.cross_entropy import EXAMPLES as CROSS_ENTROPY_EXAMPLES
from suites.examples.cross_entropy import NO_INPUTS, TRIPLES

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


def _triple(number: int, value: float, words: str) -> Example:
    target, logits = TRIPLES[number]
    x = torch.tensor(logits, dtype=torch.float64).log_softmax(0).tolist()
    given = {"log_probabilities": [x], "target": [target]}
    return Example("batchmean", given, value, source=f"tutorial D, {words}", note=NO_INPUTS)


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
    _triple(0, 0.1108, "KL of 1.7736 = .1108 + 1.6628"),
    _triple(1, 1.1138, "KL of 2.5585 = 1.1138 + 1.4447"),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors)


def _normalised(sample: Sample) -> tuple[Tensor, Tensor]:
    x, target = sample.tensors
    return x.log_softmax(1), target / target.sum(1, keepdim=True)


def _of_normalised(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*_normalised(sample))


def _half_of_squared_distance(evaluate: Evaluate, sample: Sample) -> Tensor:
    x, target = _normalised(sample)
    return 0.5 * (x.exp() - target).abs().sum(1).square()


def _of_itself(evaluate: Evaluate, sample: Sample) -> Tensor:
    _, target = _normalised(sample)
    return evaluate(target.log(), target)


def _nothing(evaluate: Evaluate, sample: Sample) -> Tensor:
    return torch.zeros(sample["target"].shape[0], dtype=torch.float64)


def _after_log_softmax(evaluate: Evaluate, sample: Sample) -> Tensor:
    x, target = sample.tensors
    return evaluate(x.log_softmax(1), target)


def _cross_entropy_minus_entropy(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.cross_entropy import SUITE as CROSS_ENTROPY

    x, target = sample.tensors
    return evaluate.truth(CROSS_ENTROPY, logits=x, target=target) - torch.special.entr(target).sum(1)


def _with_logarithms(evaluate: Evaluate, sample: Sample) -> Tensor:
    x, target = sample.tensors
    return evaluate(x, target.log(), log_target=True)


def _from_logits(evaluate: Evaluate, sample: Sample) -> Tensor:
    x, target = sample.tensors
    # A power of two: the shift is exact for scores that were rounded to float32 first.
    return evaluate(x + 8.0, target, from_logits=True)


IDENTITIES = (
    Identity(
        "divergence_is_cross_entropy_minus_entropy",
        _after_log_softmax,
        _cross_entropy_minus_entropy,
        variant="batchmean",
        regime="unnormalised",
        source="tutorial D: CE = H + KL; minimising either is the same",
        about="KL(T || softmax x) = CE(T, x) - H(T), and both have the same gradient",
    ),
    Identity(
        "never_negative",
        _of_normalised,
        _nothing,
        variant="batchmean",
        regime="near",
        source="tutorial D",
        about="KL >= 0",
        relation="at_least",
    ),
    Identity(
        "nothing_from_itself",
        _of_itself,
        _nothing,
        variant="batchmean",
        regime="independent",
        source="tutorial D",
        about="KL = 0 where p = q",
    ),
    Identity(
        "something_from_another",
        _of_normalised,
        _half_of_squared_distance,
        variant="batchmean",
        regime="independent",
        source="tutorial D: KL = 0 only where p = q; Pinsker's inequality",
        about="KL >= |p - q|_1^2 / 2",
        relation="at_least",
    ),
    Identity(
        "logarithms_are_probabilities",
        _plain,
        _with_logarithms,
        variant="batchmean",
        regime="independent",
        source="torch documentation of log_target",
        about="KL of log T = KL of T",
    ),
    Identity(
        "shift_invariance_of_logits",
        _from_logits,
        _after_log_softmax,
        variant="batchmean",
        regime="unnormalised",
        source="tutorial D",
        about="KL(T || softmax(x + 8)) = KL(T || softmax x)",
    ),
)
