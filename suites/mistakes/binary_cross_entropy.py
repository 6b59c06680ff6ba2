"""What tutorials get wrong about binary cross-entropy of probabilities (`--include known_bad`).

The trap: torch refuses logits outside of [0, 1] and takes those inside without a word.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation

USUAL = Contract(variants=("mean", "both_gradients"))
EPSILON = 1e-8


def logits_for_probabilities(probabilities: Tensor, target: Tensor) -> Tensor:
    """Logits in the place of probabilities: torch refuses those outside of [0, 1]."""
    return F.binary_cross_entropy(torch.logit(probabilities), target)


def double_sigmoid(probabilities: Tensor, target: Tensor) -> Tensor:
    """The sigmoid of what is a probability already."""
    return F.binary_cross_entropy(torch.sigmoid(probabilities), target)


def signed_labels(probabilities: Tensor, target: Tensor) -> Tensor:
    """Labels in {-1, 1}."""
    return F.binary_cross_entropy(probabilities, 2 * target - 1)


def bool_labels(probabilities: Tensor, target: Tensor) -> Tensor:
    """Labels as booleans: torch raises."""
    return F.binary_cross_entropy(probabilities, target > 0.5)


def one_term_only(probabilities: Tensor, target: Tensor) -> Tensor:
    """-t log x alone: an answer of 1 to everything is free."""
    return -(target * torch.log(probabilities)).mean()


def clamped_probabilities(probabilities: Tensor, target: Tensor) -> Tensor:
    """Probabilities kept between 1e-6 and 1 - 1e-6: no gradient beyond, and none of it in 16 bits."""
    return F.binary_cross_entropy(probabilities.clamp(1e-6, 1 - 1e-6), target)


def epsilon_inside(probabilities: Tensor, target: Tensor) -> Tensor:
    """log(x + 1e-8): finite everywhere, and another number for what is small."""
    x = probabilities
    return -(target * torch.log(x + EPSILON) + (1 - target) * torch.log(1 - x + EPSILON)).mean()


def divided_by_weights(probabilities: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """The weighted mean divided by the sum of the weights, as cross_entropy does it."""
    losses = F.binary_cross_entropy(probabilities, target, reduction="none")
    factor = torch.ones_like(losses) if weight is None else weight.expand_as(losses)
    return (losses * factor).sum() / factor.sum()


KNOWN_BAD = (
    Implementation(
        logits_for_probabilities,
        contract=USUAL,
        known_bad="logits are no probabilities; use binary_cross_entropy_with_logits, which takes them",
    ),
    Implementation(
        double_sigmoid,
        contract=USUAL,
        known_bad="the sigmoid once is enough; pass x as it is, or z to binary_cross_entropy_with_logits",
    ),
    Implementation(
        signed_labels,
        contract=USUAL,
        known_bad="labels are 0 and 1; write (y + 1) / 2 for labels in {-1, 1}, torch refuses them here",
    ),
    Implementation(
        bool_labels,
        contract=USUAL,
        known_bad="boolean labels raise; the target has the dtype of the input: write t.to(x.dtype)",
    ),
    Implementation(
        one_term_only,
        contract=USUAL,
        known_bad="the second term, -(1 - t) log(1 - x), is missing: answering 1 to everything costs nothing",
    ),
    Implementation(
        clamped_probabilities,
        contract=USUAL,
        known_bad="a clamp cuts off the gradient of the sure ones; pass logits to the fused loss instead",
    ),
    Implementation(
        epsilon_inside,
        contract=USUAL,
        known_bad="log(x + 1e-8) ends at 18.4 and has a slope of 1e8 at most; where logits exist pass those, "
        "else cut out the terms of coefficient 0 and leave the logarithm alone",
    ),
    Implementation(
        divided_by_weights,
        contract=Contract(variants=("weighted",)),
        known_bad="the mean of a binary loss divides by the number of elements, not by their weights",
    ),
)
