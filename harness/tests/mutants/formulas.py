"""Faults of the formula: definitions that are right on paper or for small logits only.

The trap: each stands in a tutorial or a released loss, and on unit normal logits of a few classes all
but the double softmax agree with the truth to the last bits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.tests.mutants.correct import RowLoss, as_rows, reduced, row_weights, weighted_losses


def _picked(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Returns rows in float32 at least and the labels as a column."""
    rows, labels = as_rows(logits, target)
    return rows.to(torch.promote_types(logits.dtype, torch.float32)), labels.unsqueeze(1)


def _finished(losses: Tensor, logits: Tensor, target: Tensor, reduction: str) -> Tensor:
    losses = losses.squeeze(1).double()
    return reduced(losses, torch.ones_like(losses), reduction, target).to(logits.dtype)


def without_shift(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """m23: log(sum(exp(x))) - x_t, exponentials unshifted."""
    rows, column = _picked(logits, target)
    losses = rows.exp().sum(1, keepdim=True).log() - rows.gather(1, column)
    return _finished(losses, logits, target, reduction)


def softmax_then_log(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """m23: -log(softmax(x)_t), which underflows."""
    rows, column = _picked(logits, target)
    return _finished(-torch.softmax(rows, 1).gather(1, column).log(), logits, target, reduction)


def epsilon_in_log(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """m23: -log(softmax(x)_t + 1e-12), which saturates at 27.6 with a dead gradient."""
    rows, column = _picked(logits, target)
    return _finished(-(torch.softmax(rows, 1).gather(1, column) + 1e-12).log(), logits, target, reduction)


def half_clamp(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """m22: softplus of minus the log odds of p_t, kept below 1 by clamp(max=1 - 1e-6) in the stored dtype.

    L + log(1 - exp(-L)) are minus the log odds; in 16 bits 1 - 1e-6 rounds to 1, so the clamp does
    nothing, log(1 - p) is -inf, its softplus 0 and the gradient 0 * inf.
    """
    losses, weights = weighted_losses(logits, target)
    probability = (-losses).exp().to(logits.dtype).clamp(max=1 - 1e-6)
    through_odds = F.softplus(losses + torch.log1p(-probability.double()))
    return reduced(through_odds, weights, reduction, target).to(logits.dtype)


def double_softmax(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """m26: cross-entropy of probabilities, since softmax was applied before."""
    rows, labels = as_rows(logits, target)
    safe, weights = row_weights(labels, weight, ignore_index)
    rows = torch.where((weights == 0).unsqueeze(1), 0.0, rows.double())
    losses = RowLoss.apply(torch.softmax(rows, 1), safe) * weights
    return reduced(losses, weights, reduction, target).to(logits.dtype)
