"""What tutorials get wrong about the margin ranking loss: runs only on request (`--include known_bad`)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation

USUAL = Contract(variants=("mean", "margin"))


def sign_forgotten(first: Tensor, second: Tensor, target: Tensor, margin: float = 0.0) -> Tensor:
    """y (x1 - x2) without its minus: pairs are driven into the wrong order."""
    return F.relu(target * (first - second) + margin).mean()


def labels_zero_and_one(first: Tensor, second: Tensor, target: Tensor, margin: float = 0.0) -> Tensor:
    """Labels 0 and 1 instead of -1 and 1."""
    return F.margin_ranking_loss(first, second, (target + 1) // 2, margin=margin)


def margin_outside(first: Tensor, second: Tensor, target: Tensor, margin: float = 0.0) -> Tensor:
    """The margin added behind the hinge: a constant that no gradient sees."""
    return (F.relu(-target * (first - second)) + margin).mean()


KNOWN_BAD = (
    Implementation(
        sign_forgotten,
        contract=USUAL,
        known_bad="y = 1 asks for x1 > x2, so the hinge is max(0, -y (x1 - x2) + margin), with the minus",
    ),
    Implementation(
        labels_zero_and_one,
        contract=USUAL,
        known_bad="labels are 1 and -1; under 0 the loss is the margin without a gradient: 2 * label - 1",
    ),
    Implementation(
        margin_outside,
        contract=Contract(variants=("margin",)),
        known_bad="the margin belongs inside max(0, .); outside it changes the number and nothing else",
    ),
)
