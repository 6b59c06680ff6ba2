"""What tutorials get wrong about the hinge embedding loss: runs only on request (`--include known_bad`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation

USUAL = Contract(variants=("mean", "wide"))


def labels_zero_and_one(distance: Tensor, target: Tensor, margin: float = 1.0) -> Tensor:
    """Labels 0 and 1 instead of -1 and 1: 0 pays both branches."""
    return F.hinge_embedding_loss(distance, (target + 1) // 2, margin=margin)


def classifiers_hinge(distance: Tensor, target: Tensor, margin: float = 1.0) -> Tensor:
    """max(0, margin - y x), the hinge of a support vector machine."""
    return F.relu(margin - target * distance).mean()


def labels_exchanged(distance: Tensor, target: Tensor, margin: float = 1.0) -> Tensor:
    """1 taken for pairs that should be apart."""
    return torch.where(target == 1, F.relu(margin - distance), distance).mean()


KNOWN_BAD = (
    Implementation(
        labels_zero_and_one,
        contract=USUAL,
        known_bad="labels are 1 and -1; torch adds both branches under 0; write 2 * label - 1",
    ),
    Implementation(
        classifiers_hinge,
        contract=USUAL,
        known_bad="this loss takes a distance, not a score; for scores of a classifier write relu(1 - y * x)",
    ),
    Implementation(
        labels_exchanged,
        contract=USUAL,
        known_bad="1 means a pair that belongs together: its loss is the distance; -1 pushes apart",
    ),
)
