"""What tutorials get wrong about the multi-label margin loss: runs on request (`--include known_bad`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation
from suites.implementations.multilabel_margin import mask_of

USUAL = Contract(variants=("mean",))


def _pairs(scores: Tensor, labels: Tensor, others: Tensor) -> Tensor:
    excess = F.relu(1 - scores.unsqueeze(2) + scores.unsqueeze(1))
    pairs = labels.unsqueeze(2) & others.unsqueeze(1)
    return torch.where(pairs, excess, 0.0).sum((1, 2))


def reads_past_the_end(scores: Tensor, target: Tensor) -> Tensor:
    """Every entry that is not -1 taken for a label, also those behind the first -1."""
    counts = torch.zeros_like(target).scatter_add(1, target.clamp(min=0), (target >= 0).long())
    labels = counts > 0
    return (_pairs(scores, labels, ~labels) / scores.shape[1]).mean()


def labels_among_others(scores: Tensor, target: Tensor) -> Tensor:
    """Labels put against each other, and each against itself."""
    labels = mask_of(target)
    return (_pairs(scores, labels, torch.ones_like(labels)) / scores.shape[1]).mean()


def divides_by_pairs(scores: Tensor, target: Tensor) -> Tensor:
    """The mean over the pairs of a row in the place of the sum over C."""
    labels = mask_of(target)
    pairs = labels.sum(1) * (~labels).sum(1)
    return (_pairs(scores, labels, ~labels) / pairs.clamp(min=1)).mean()


def multi_hot_target(scores: Tensor, target: Tensor) -> Tensor:
    """Zeros and ones in the place of a list: the numbers 0 and 1 are read as labels."""
    return F.multilabel_margin_loss(scores, mask_of(target).long())


def first_label_only(scores: Tensor, target: Tensor) -> Tensor:
    """multi_margin_loss of the first label: the others are pushed away with the rest."""
    return F.multi_margin_loss(scores, target[:, 0].clamp(min=0))


def float_labels(scores: Tensor, target: Tensor) -> Tensor:
    """Labels as floating numbers."""
    return F.multilabel_margin_loss(scores, target.to(scores.dtype))


KNOWN_BAD = (
    Implementation(
        reads_past_the_end,
        contract=USUAL,
        known_bad="a list ends at its first -1; what stands behind is no label: (target >= 0).cumprod(1)",
    ),
    Implementation(
        labels_among_others,
        contract=USUAL,
        known_bad="labels are put against classes that are none, not against each other or themselves",
    ),
    Implementation(
        divides_by_pairs,
        contract=USUAL,
        known_bad="the sum over the pairs of a row is divided by C, the number of classes, not of pairs",
    ),
    Implementation(
        multi_hot_target,
        contract=USUAL,
        known_bad="this loss takes lists of labels padded by -1; for 0 and 1 see multilabel_soft_margin_loss",
    ),
    Implementation(
        first_label_only,
        contract=USUAL,
        known_bad="every label of a row counts: multilabel_margin_loss takes the whole list",
    ),
    Implementation(
        float_labels,
        contract=USUAL,
        known_bad="labels must be integers: write target.long()",
    ),
)
