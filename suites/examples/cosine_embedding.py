"""Worked cosines, and identities that every implementation must hold.

Numbers were worked by hand from a = (3, 4), b = (4, 3): a.b = 24, |a| = |b| = 5, c = 24 / 25. The trap: the
guards change the sixth digit and later, so four digits hold for all of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness import Evaluate, Example, Identity, Sample
from suites.implementations.cosine_embedding import ADDED


def _pair(label: int) -> dict[str, list[list[float]] | list[int]]:
    return {"first": [[3.0, 4.0]], "second": [[4.0, 3.0]], "target": [label]}


SIGN = {"margin_added": "the printed form adds the margin: max(0, cos + margin)"}
EXAMPLES = (
    Example("mean", _pair(1), 0.0400, source="by hand: 1 - 24/25"),
    Example("mean", _pair(-1), 0.9600, source="by hand: 24/25"),
    Example("margin", _pair(-1), 0.4600, source="by hand: 24/25 - 1/2", divergent=SIGN),
    Example(
        "margin",
        _pair(-1),
        1.4600,
        source="tutorial B's form max(0, cos + margin), by hand: 24/25 + 1/2",
        options={"margin_sign": "plus"},
    ),
    Example(
        "mean",
        {"first": [[3.0, 4.0], [1.0, 0.0]], "second": [[4.0, 3.0], [-1.0, 0.0]], "target": [1, -1]},
        0.0200,
        source="by hand: opposite vectors that should differ cost nothing",
    ),
    Example(
        "mean",
        {"first": [[1e-7] * 8], "second": [[1e-7] * 8], "target": [1]},
        0.9259,
        source="catalogue row 43: the guard of 1e-12 outweighs the squares of short vectors, 1 - 2/27",
        dtype="float32",
        options={"added": ADDED},
    ),
)


def _asked(evaluate: Evaluate, sample: Sample, label: int, sign: float = 1.0) -> Tensor:
    first, second, target = sample.tensors
    return evaluate(first, sign * second, torch.full_like(target, label), reduction="none")


def _alike_and_turned(evaluate: Evaluate, sample: Sample) -> Tensor:
    return _asked(evaluate, sample, 1) + _asked(evaluate, sample, 1, -1.0)


def _two(evaluate: Evaluate, sample: Sample) -> Tensor:
    return torch.full((len(sample["target"]),), 2.0, dtype=torch.float64)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none")


def _swapped(evaluate: Evaluate, sample: Sample) -> Tensor:
    first, second, target = sample.tensors
    return evaluate(second, first, target, reduction="none")


def _unlike_and_turned(evaluate: Evaluate, sample: Sample) -> Tensor:
    return _asked(evaluate, sample, -1) - _asked(evaluate, sample, -1, -1.0)


def _cosine(evaluate: Evaluate, sample: Sample) -> Tensor:
    return 1 - _asked(evaluate, sample, 1)


IDENTITIES = (
    Identity("symmetric", _plain, _swapped, variant="mean", regime="independent", source="c(a, b) = c(b, a)"),
    Identity(
        "turned_pair_sums_to_two",
        _alike_and_turned,
        _two,
        variant="mean",
        regime="unit_512",
        source="c(a, -b) = -c(a, b)",
    ),
    Identity(
        "branches_meet",
        _unlike_and_turned,
        _cosine,
        variant="mean",
        regime="unit_512",
        source="max(0, c) - max(0, -c) = c",
    ),
)
