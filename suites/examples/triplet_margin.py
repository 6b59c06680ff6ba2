"""Worked triplets, and identities that every implementation must hold.

Worked by hand from differences (3, 4) and (0, 1): distances 5 and 1 in the 2-norm, 7 and 1 in the 1-norm.
The trap: torch adds 1e-6 to each difference, which changes the sixth digit.
"""

from __future__ import annotations

from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

_FAR_POSITIVE = {"anchor": [[3.0, 4.0]], "positive": [[0.0, 0.0]], "negative": [[3.0, 3.0]]}
_SWAPPED = {"anchor": [[0.0, 0.0]], "positive": [[3.0, 4.0]], "negative": [[3.0, 5.0]]}

EXAMPLES = (
    Example("mean", _FAR_POSITIVE, 5.0, source="by hand: 5 - 1 + 1"),
    Example("p1", _FAR_POSITIVE, 7.0, source="by hand: 7 - 1 + 1"),
    Example("swap", _SWAPPED, 5.0, source="by hand: 5 - 1 + 1, the negative is closer to the positive"),
    Example("mean", _SWAPPED, 0.1690, source="by hand: 5 - sqrt(34) + 1"),
    Example(
        "mean",
        _FAR_POSITIVE,
        25.0,
        source="tutorial B's form with squared distances, by hand: 25 - 1 + 1",
        options={"squared": True, "eps": 0.0},
    ),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none")


def _mirrored(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*(vectors.flip(1) for vectors in sample.tensors), reduction="none")


def _collapsed(evaluate: Evaluate, sample: Sample) -> Tensor:
    anchor = sample["anchor"]
    return evaluate(anchor, anchor, anchor, reduction="none")


def _margin(evaluate: Evaluate, sample: Sample) -> Tensor:
    return sample["anchor"].new_ones(len(sample["anchor"]))


IDENTITIES = (
    Identity(
        "order_of_entries",
        _plain,
        _mirrored,
        variant="mean",
        regime="triplet",
        source="a norm does not know the order of its entries",
    ),
    Identity(
        "collapsed_model_pays_the_margin",
        _collapsed,
        _margin,
        variant="mean",
        regime="triplet",
        source="d(a, a) - d(a, a) + 1 = 1",
    ),
)
