"""What tutorials get wrong about the cosine embedding loss: runs only on request (`--include known_bad`).

The trap: with margin 0 and labels of both signs most of these train, only towards something else.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation

USUAL = Contract(variants=("mean", "margin"))


def margin_with_other_sign(first: Tensor, second: Tensor, target: Tensor, margin: float = 0.0) -> Tensor:
    """max(0, cos + margin) passed off as torch's loss."""
    return F.cosine_embedding_loss(first, second, target, margin=-margin)


def labels_zero_and_one(first: Tensor, second: Tensor, target: Tensor, margin: float = 0.0) -> Tensor:
    """Labels 0 and 1 instead of -1 and 1."""
    return F.cosine_embedding_loss(first, second, (target + 1) // 2, margin=margin)


def one_branch(first: Tensor, second: Tensor, target: Tensor, margin: float = 0.0) -> Tensor:
    """1 - y cos for both labels: pairs that differ are pushed on to opposite directions."""
    return (1 - target * F.cosine_similarity(first, second)).mean()


def no_guard(first: Tensor, second: Tensor, target: Tensor, margin: float = 0.0) -> Tensor:
    """Dot product over the product of norms, with nothing for a vector of zeros."""
    cosine = (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1))
    return torch.where(target == 1, 1 - cosine, (cosine - margin).clamp(min=0)).mean()


def guard_forgotten(first: Tensor, second: Tensor, target: Tensor, margin: float = 0.0) -> Tensor:
    """torch's loss taken for the cosine of vectors of any length."""
    return F.cosine_embedding_loss(first, second, target, margin=margin)


def not_normalised(first: Tensor, second: Tensor, target: Tensor, margin: float = 0.0) -> Tensor:
    """The bare dot product taken for the cosine."""
    dot = (first * second).sum(1)
    return torch.where(target == 1, 1 - dot, (dot - margin).clamp(min=0)).mean()


KNOWN_BAD = (
    Implementation(
        margin_with_other_sign,
        contract=USUAL,
        known_bad="torch subtracts the margin: max(0, cos - margin); cos + margin never rests",
    ),
    Implementation(
        labels_zero_and_one,
        contract=USUAL,
        known_bad="labels are 1 and -1; a label of 0 has loss 0 and no gradient: write 2 * label - 1",
    ),
    Implementation(
        one_branch,
        contract=USUAL,
        known_bad="1 - y cos is no hinge: unlike pairs need max(0, cos - margin), which rests at the margin",
    ),
    Implementation(
        no_guard,
        contract=USUAL,
        known_bad="a vector of zeros gives 0/0; guard the division as torch does, or drop such rows first",
    ),
    Implementation(
        guard_forgotten,
        contract=Contract(variants=("mean", "margin"), added=0.0, except_regimes=("zero_vectors",)),
        known_bad="torch adds 1e-12 to squared norms: short vectors lose their angle; normalise them first",
    ),
    Implementation(
        not_normalised,
        contract=USUAL,
        known_bad="a dot product is a cosine for unit vectors only; F.normalize both",
    ),
)
