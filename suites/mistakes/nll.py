"""What tutorials get wrong about the negative log-likelihood: runs on request (`--include known_bad`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation

USUAL = Contract(variants=("mean",))


def fed_with_logits(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """Scores as a linear layer gives them, centred and not normalised."""
    return F.nll_loss(log_probabilities - log_probabilities.mean(1, keepdim=True), target)


def fed_with_probabilities(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """The output of softmax without its logarithm: minus the accuracy that is hoped for."""
    return F.nll_loss(log_probabilities.exp(), target)


def fed_with_softmax(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """cross_entropy of probabilities: softmax a second time."""
    return F.cross_entropy(log_probabilities.exp(), target)


def sign_forgotten(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """The log-likelihood itself, which training then drives down."""
    return log_probabilities.gather(1, target.unsqueeze(1)).mean()


def divides_by_rows(log_probabilities: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """The weighted mean divided by the number of rows."""
    return F.nll_loss(log_probabilities, target, weight, reduction="none").mean()


def counts_ignored_rows(log_probabilities: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """Ignored rows are 0 in the sum and still counted in the mean."""
    return F.nll_loss(log_probabilities, target, ignore_index=ignore_index, reduction="none").mean()


def masked_by_product(log_probabilities: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """Ignored rows are computed and multiplied by 0."""
    kept = (target != ignore_index).to(log_probabilities.dtype)
    picked = log_probabilities.gather(1, torch.where(target == ignore_index, 0, target).unsqueeze(1))
    return -(picked.squeeze(1) * kept).sum() / kept.sum()


def float_labels(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """Class labels as floating numbers."""
    return F.nll_loss(log_probabilities, target.to(log_probabilities.dtype))


def bool_labels(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """Class labels as a comparison gives them."""
    return F.nll_loss(log_probabilities, target > 0)


KNOWN_BAD = (
    Implementation(
        fed_with_logits,
        contract=USUAL,
        known_bad="nll_loss takes log-probabilities: pass F.log_softmax(logits, 1), or use F.cross_entropy",
    ),
    Implementation(
        fed_with_probabilities,
        contract=USUAL,
        known_bad="nll_loss takes log-probabilities and computes no logarithm: F.log_softmax, not softmax",
    ),
    Implementation(
        fed_with_softmax,
        contract=USUAL,
        known_bad="cross_entropy applies log_softmax itself; log-probabilities belong to nll_loss",
    ),
    Implementation(
        sign_forgotten,
        contract=USUAL,
        known_bad="the loss is minus the log-likelihood; minimised without its minus it learns to be wrong",
    ),
    Implementation(
        divides_by_rows,
        contract=Contract(variants=("weighted",)),
        known_bad="a weighted mean divides by the weights used, weight[target].sum(), not by the rows",
    ),
    Implementation(
        counts_ignored_rows,
        contract=Contract(variants=("ignore_index",)),
        known_bad="the mean counts kept rows only: reduction='mean', or divide by (target != ignore_index)",
    ),
    Implementation(
        masked_by_product,
        contract=Contract(variants=("ignore_index",)),
        known_bad="0 * NaN is NaN: cut ignored rows out by torch.where, do not multiply them by 0",
    ),
    Implementation(
        float_labels,
        contract=USUAL,
        known_bad="class labels must be integers: write target.long()",
    ),
    Implementation(
        bool_labels,
        contract=USUAL,
        known_bad="class labels must be integers: write (score > 0).long()",
    ),
)
