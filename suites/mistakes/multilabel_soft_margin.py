"""What tutorials get wrong about the multi-label soft margin loss (`--include known_bad`).

The trap: the name says margin, the labels are those of a cross-entropy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation

USUAL = Contract(variants=("mean",))


def signed_labels(logits: Tensor, target: Tensor) -> Tensor:
    """Labels in {-1, 1}, as for the soft margin loss."""
    return F.multilabel_soft_margin_loss(logits, 2 * target - 1)


def double_sigmoid(logits: Tensor, target: Tensor) -> Tensor:
    """Probabilities in the place of logits."""
    return F.multilabel_soft_margin_loss(torch.sigmoid(logits), target)


def softmax_of_classes(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy over the classes, as though one label excluded the others."""
    return F.cross_entropy(logits, target)


def sum_over_classes(logits: Tensor, target: Tensor) -> Tensor:
    """The text's sum over the classes where torch divides by their number."""
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return losses.sum(1).mean()


KNOWN_BAD = (
    Implementation(
        signed_labels,
        contract=USUAL,
        known_bad="the labels are 0 and 1; write (y + 1) / 2 for labels in {-1, 1}",
    ),
    Implementation(
        double_sigmoid,
        contract=USUAL,
        known_bad="the loss applies the sigmoid itself; pass logits, not torch.sigmoid(x)",
    ),
    Implementation(
        softmax_of_classes,
        contract=USUAL,
        known_bad="labels that may hold at once need a sigmoid each; cross_entropy lets one exclude others",
    ),
    Implementation(
        sum_over_classes,
        contract=USUAL,
        known_bad="torch divides by the number of classes; the sum makes the learning rate depend on it",
    ),
)
