"""What tutorials get wrong about the multi-class margin loss: runs on request (`--include known_bad`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation

USUAL = Contract(variants=("mean", "margin"))


def _excess(scores: Tensor, target: Tensor, margin: float) -> Tensor:
    return margin - scores.gather(1, target.unsqueeze(1)) + scores


def label_included(scores: Tensor, target: Tensor, margin: float = 1.0) -> Tensor:
    """The label put against itself: the margin over C on top of every row."""
    return F.relu(_excess(scores, target, margin)).mean()


def divides_by_others(scores: Tensor, target: Tensor, margin: float = 1.0) -> Tensor:
    """The sum over the other classes divided by C - 1."""
    return F.multi_margin_loss(scores, target, margin=margin) * scores.shape[1] / (scores.shape[1] - 1)


def sums_over_classes(scores: Tensor, target: Tensor, margin: float = 1.0) -> Tensor:
    """The sum over the other classes, divided by nothing."""
    return F.multi_margin_loss(scores, target, margin=margin) * scores.shape[1]


def sign_exchanged(scores: Tensor, target: Tensor, margin: float = 1.0) -> Tensor:
    """margin + x_t - x_k: the label is driven below the others."""
    return F.multi_margin_loss(-scores, target, margin=margin)


def hardest_only(scores: Tensor, target: Tensor, margin: float = 1.0) -> Tensor:
    """The largest other class alone, as Crammer and Singer define their hinge."""
    rest = _excess(scores, target, margin).scatter(1, target.unsqueeze(1), -torch.inf)
    return F.relu(rest.max(1).values).mean()


def fed_with_probabilities(scores: Tensor, target: Tensor, margin: float = 1.0) -> Tensor:
    """Probabilities in the place of scores: no two are ever a margin of 1 apart."""
    return F.multi_margin_loss(torch.softmax(scores, 1), target, margin=margin)


def weight_inside(scores: Tensor, target: Tensor, p: int = 1, weight: Tensor | None = None) -> Tensor:
    """The class weight inside of the power, where p = 2 squares it."""
    scale = scores.new_ones(scores.shape[1]) if weight is None else weight
    excess = _excess(scores, target, 1.0).scatter(1, target.unsqueeze(1), -torch.inf)
    return F.relu(scale[target].unsqueeze(1) * excess).pow(p).mean()


def divides_by_weights(scores: Tensor, target: Tensor, p: int = 1, weight: Tensor | None = None) -> Tensor:
    """The mean divided by the weights used, as cross-entropy does it."""
    scale = scores.new_ones(scores.shape[1]) if weight is None else weight
    return F.multi_margin_loss(scores, target, p=p, weight=weight, reduction="sum") / scale[target].sum()


def float_labels(scores: Tensor, target: Tensor, margin: float = 1.0) -> Tensor:
    """Class labels as floating numbers."""
    return F.multi_margin_loss(scores, target.to(scores.dtype), margin=margin)


KNOWN_BAD = (
    Implementation(
        label_included,
        contract=USUAL,
        known_bad="the sum leaves the label itself out; it would add margin / C to every row",
    ),
    Implementation(
        divides_by_others,
        contract=USUAL,
        known_bad="the sum over the other classes is divided by C, all classes, not by C - 1",
    ),
    Implementation(
        sums_over_classes,
        contract=USUAL,
        known_bad="a row's loss is divided by the number of classes; reduction='mean' is about rows alone",
    ),
    Implementation(
        sign_exchanged,
        contract=USUAL,
        known_bad="the hinge is max(0, margin - x_t + x_k): it pays while the label is not ahead",
    ),
    Implementation(
        hardest_only,
        contract=USUAL,
        known_bad="every class within the margin counts, not the largest alone: sum over classes, not max",
    ),
    Implementation(
        fed_with_probabilities,
        contract=USUAL,
        known_bad="this loss takes scores: probabilities are at most 1 apart, so the margin is never met",
    ),
    Implementation(
        weight_inside,
        contract=Contract(variants=("weighted_squared",)),
        known_bad="the class weight multiplies the power and is not squared with it: w * max(0, z) ** p",
    ),
    Implementation(
        divides_by_weights,
        contract=Contract(variants=("weighted_squared",)),
        known_bad="unlike cross_entropy's, this mean divides by the rows and not by the weights used",
    ),
    Implementation(
        float_labels,
        contract=USUAL,
        known_bad="class labels must be integers: write target.long()",
    ),
)
