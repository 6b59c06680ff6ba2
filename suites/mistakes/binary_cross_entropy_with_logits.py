"""What tutorials get wrong about binary cross-entropy of logits (`--include known_bad`).

The trap: each of these but one returns a plausible positive number, and a network trained with it learns
something.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation

# Calls that name no option of their own.
USUAL = Contract(variants=("mean", "both_gradients"))


def double_sigmoid(logits: Tensor, target: Tensor) -> Tensor:
    """Probabilities passed off as logits: the logistic function twice."""
    return F.binary_cross_entropy_with_logits(torch.sigmoid(logits), target)


def signed_labels(logits: Tensor, target: Tensor) -> Tensor:
    """Labels in {-1, 1}: torch takes them, and the loss falls without end."""
    return F.binary_cross_entropy_with_logits(logits, 2 * target - 1)


def bool_labels(logits: Tensor, target: Tensor) -> Tensor:
    """Labels as booleans: torch raises."""
    return F.binary_cross_entropy_with_logits(logits, target > 0.5)


def logits_as_probabilities(logits: Tensor, target: Tensor) -> Tensor:
    """Logits cut to [0, 1] so that binary_cross_entropy takes them."""
    return F.binary_cross_entropy(logits.clamp(0, 1), target)


def softmax_of_columns(logits: Tensor, target: Tensor) -> Tensor:
    """Softmax over the columns, though each is a question of its own."""
    return F.binary_cross_entropy(torch.softmax(logits, 1), target)


def clamped_probabilities(logits: Tensor, target: Tensor) -> Tensor:
    """sigmoid(z) kept between 1e-6 and 1 - 1e-6: sure answers have no gradient, 16 bits have NaN."""
    p = torch.sigmoid(logits).clamp(1e-6, 1 - 1e-6)
    return -(target * torch.log(p) + (1 - target) * torch.log(1 - p)).mean()


def divided_by_weights(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, class_weights: object = None
) -> Tensor:
    """The weighted mean divided by the sum of the weights, as cross_entropy does it."""
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    factor = torch.ones_like(losses) if weight is None else weight.expand_as(losses)
    return (losses * factor).sum() / factor.sum()


def emphasis_on_everything(logits: Tensor, target: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """pos_weight given as weight, so that the negative answers are weighted as well."""
    return F.binary_cross_entropy_with_logits(logits, target, weight=pos_weight)


KNOWN_BAD = (
    Implementation(
        double_sigmoid,
        contract=USUAL,
        known_bad="the loss takes logits and applies the sigmoid itself; pass z, not torch.sigmoid(z)",
    ),
    Implementation(
        signed_labels,
        contract=USUAL,
        known_bad="labels in {-1, 1} are for soft_margin_loss; write (y + 1) / 2 to get labels in {0, 1}",
    ),
    Implementation(
        bool_labels,
        contract=USUAL,
        known_bad="boolean labels raise; the target has the dtype of the logits: write t.to(z.dtype)",
    ),
    Implementation(
        logits_as_probabilities,
        contract=USUAL,
        known_bad="logits are no probabilities; use binary_cross_entropy_with_logits, which takes them",
    ),
    Implementation(
        softmax_of_columns,
        contract=USUAL,
        known_bad="independent questions need a sigmoid each; softmax lets one answer forbid the others",
    ),
    Implementation(
        clamped_probabilities,
        contract=USUAL,
        known_bad="a clamp cuts off the gradient of sure answers, and 1 - 1e-6 is 1 in 16 bits; pass logits",
    ),
    Implementation(
        divided_by_weights,
        contract=Contract(variants=("weighted",)),
        known_bad="the mean of a binary loss divides by the number of elements, not by their weights",
    ),
    Implementation(
        emphasis_on_everything,
        contract=Contract(variants=("pos_weight",)),
        known_bad="weight multiplies both terms; pos_weight= multiplies that of the positive answers alone",
    ),
)
