"""What public versions get wrong about the binary focal loss (`--include known_bad`).

The trap: all of them fall during training, and most are right for a batch of one element.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation
from suites.implementations.sigmoid_focal import ALPHA, GAMMA, composed

USUAL = Contract(variants=("mean",))


def focus_on_the_mean(logits: Tensor, target: Tensor, alpha: float = ALPHA, gamma: float = GAMMA) -> Tensor:
    """The mean cross-entropy taken as that of one element, then focused."""
    loss = F.binary_cross_entropy_with_logits(logits, target)
    return alpha * (1 - torch.exp(-loss)) ** gamma * loss


def alpha_for_both(logits: Tensor, target: Tensor, alpha: float = ALPHA, gamma: float = GAMMA) -> Tensor:
    """alpha times everything, so that it balances nothing."""
    return alpha * composed(logits, target, "mean", -1.0, gamma)


def alpha_swapped(logits: Tensor, target: Tensor, alpha: float = ALPHA, gamma: float = GAMMA) -> Tensor:
    """alpha at label 0 and 1 - alpha at label 1."""
    return composed(logits, target, "mean", 1 - alpha, gamma)


def alpha_by_truth(logits: Tensor, target: Tensor, alpha: float = ALPHA, gamma: float = GAMMA) -> Tensor:
    """`if alpha:`, which takes an alpha of 0 for none."""
    return composed(logits, target, "mean", alpha if alpha else -1.0, gamma)


def detached_factor(logits: Tensor, target: Tensor, alpha: float = ALPHA, gamma: float = GAMMA) -> Tensor:
    """(1 - p_t)^gamma computed without gradient: the right value, another slope."""
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    with torch.no_grad():
        p = torch.sigmoid(logits)
        factor = torch.where(target == 1, 1 - p, p) ** gamma
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * factor * losses).mean()


def sure_ones_in_focus(logits: Tensor, target: Tensor, alpha: float = ALPHA, gamma: float = GAMMA) -> Tensor:
    """p_t^gamma in the place of (1 - p_t)^gamma."""
    p = torch.sigmoid(logits)
    p_t = torch.where(target == 1, p, 1 - p)
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((alpha * target + (1 - alpha) * (1 - target)) * p_t**gamma * losses).mean()


def double_sigmoid(logits: Tensor, target: Tensor) -> Tensor:
    """Probabilities passed off as logits."""
    return composed(torch.sigmoid(logits), target)


KNOWN_BAD = (
    Implementation(
        focus_on_the_mean,
        contract=USUAL,
        known_bad="(1 - p_t)^gamma belongs to each element; ask reduction='none', focus, then take the mean",
    ),
    Implementation(
        alpha_for_both,
        contract=USUAL,
        known_bad="alpha weights label 1 and 1 - alpha label 0: alpha * t + (1 - alpha) * (1 - t)",
    ),
    Implementation(
        alpha_swapped,
        contract=USUAL,
        known_bad="alpha belongs to label 1, 1 - alpha to label 0; write alpha * t + (1 - alpha) * (1 - t)",
    ),
    Implementation(
        alpha_by_truth,
        contract=Contract(variants=("alpha_zero",)),
        known_bad="alpha = 0 is a weight, a negative alpha means none; write `if alpha >= 0`, not `if alpha`",
    ),
    Implementation(
        detached_factor,
        contract=USUAL,
        known_bad="the factor (1 - p_t)^gamma depends on the logits as well; leave it out of torch.no_grad()",
    ),
    Implementation(
        sure_ones_in_focus,
        contract=USUAL,
        known_bad="p_t^gamma keeps the easy elements and drops the hard ones; the factor is (1 - p_t)^gamma",
    ),
    Implementation(
        double_sigmoid,
        contract=USUAL,
        known_bad="the loss takes logits and applies the sigmoid itself; pass z, not torch.sigmoid(z)",
    ),
)
