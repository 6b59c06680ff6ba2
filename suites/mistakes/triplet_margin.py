"""What tutorials get wrong about the triplet margin loss: runs only on request (`--include known_bad`).

The trap: each of these trains, since any hinge on any distance pulls positives closer than negatives.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation

USUAL = Contract(variants=("mean", "narrow"))


def squares_for_distances(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """Squared distances passed off as torch's loss."""
    near, far = (anchor - positive).square().sum(1), (anchor - negative).square().sum(1)
    return F.relu(near - far + margin).mean()


def positive_and_negative_swapped(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0
) -> Tensor:
    """Arguments in the order anchor, negative, positive."""
    return F.triplet_margin_loss(anchor, negative, positive, margin=margin)


def hinge_after_the_mean(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """The hinge on the mean of the batch: easy rows pay for hard ones."""
    near, far = F.pairwise_distance(anchor, positive), F.pairwise_distance(anchor, negative)
    return F.relu((near - far).mean() + margin)


def margin_forgotten(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """No margin: satisfied by a model that maps everything to one vector."""
    return F.triplet_margin_loss(anchor, positive, negative, margin=0.0)


KNOWN_BAD = (
    Implementation(
        squares_for_distances,
        contract=USUAL,
        known_bad="torch takes the norm, not its square; squares need another margin",
    ),
    Implementation(
        positive_and_negative_swapped,
        contract=USUAL,
        known_bad="the order is anchor, positive, negative; swapped, the loss pushes like pairs apart",
    ),
    Implementation(
        hinge_after_the_mean,
        contract=USUAL,
        known_bad="max(0, .) belongs to each row, before the mean; else easy triplets cancel hard ones",
    ),
    Implementation(
        margin_forgotten,
        contract=USUAL,
        known_bad="with margin 0 a constant embedding has loss 0; pass the margin (torch's default is 1)",
    ),
)
