"""What public versions get wrong about the focal loss over classes (`--include known_bad`).

The trap: class weights handed to cross_entropy end up in p_t, because p_t is taken back out of the loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation
from suites.implementations.softmax_focal import GAMMA, composed

USUAL = Contract(variants=("mean",))
WEIGHTED = Contract(variants=("weighted",))


def focus_on_the_mean(logits: Tensor, target: Tensor, gamma: float = GAMMA) -> Tensor:
    """The mean cross-entropy taken as that of one row, then focused."""
    loss = F.cross_entropy(logits, target)
    return (1 - torch.exp(-loss)) ** gamma * loss


def weight_inside(
    logits: Tensor, target: Tensor, alpha: Tensor | None = None, gamma: float = GAMMA
) -> Tensor:
    """p_t as e^-(alpha CE), which is p_t^alpha."""
    losses = F.cross_entropy(logits, target, alpha, reduction="none")
    return ((1 - torch.exp(-losses)) ** gamma * losses).mean()


def divided_by_weights(
    logits: Tensor, target: Tensor, alpha: Tensor | None = None, gamma: float = GAMMA
) -> Tensor:
    """The mean divided by the alphas of the labels, as cross_entropy does it."""
    total = composed(logits, target, "sum", alpha, gamma)
    return total / (len(target) if alpha is None else alpha[target].sum())


def ignored_rows_counted(
    logits: Tensor, target: Tensor, gamma: float = GAMMA, ignore_index: int = -100
) -> Tensor:
    """The mean over all rows, ignored ones included."""
    return composed(logits, target, "none", None, gamma, ignore_index).mean()


def detached_factor(logits: Tensor, target: Tensor, gamma: float = GAMMA) -> Tensor:
    """(1 - p_t)^gamma computed without gradient: the right value, another slope."""
    losses = F.cross_entropy(logits, target, reduction="none")
    return ((1 - torch.exp(-losses.detach())) ** gamma * losses).mean()


def double_softmax(logits: Tensor, target: Tensor, gamma: float = GAMMA) -> Tensor:
    """Probabilities passed off as logits."""
    return composed(torch.softmax(logits, 1), target, "mean", None, gamma)


KNOWN_BAD = (
    Implementation(
        focus_on_the_mean,
        contract=USUAL,
        known_bad="(1 - p_t)^gamma belongs to each row; ask reduction='none', focus, then take the mean",
    ),
    Implementation(
        weight_inside,
        contract=WEIGHTED,
        known_bad="e^-loss is p_t only without weights; take p_t from the plain loss, multiply by alpha last",
    ),
    Implementation(
        divided_by_weights,
        contract=WEIGHTED,
        known_bad="the mean is over the kept rows; dividing by the alphas undoes what they were chosen for",
    ),
    Implementation(
        ignored_rows_counted,
        contract=Contract(variants=("ignore_index",)),
        known_bad="ignored rows add nothing to the sum, so they must not be counted: divide by kept.sum()",
    ),
    Implementation(
        detached_factor,
        contract=USUAL,
        known_bad="the factor (1 - p_t)^gamma depends on the logits as well; do not detach it",
    ),
    Implementation(
        double_softmax,
        contract=USUAL,
        known_bad="the loss takes logits and applies softmax itself; pass x, not torch.softmax(x, 1)",
    ),
)
