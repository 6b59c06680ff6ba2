"""Faults of the row gradient: right loss, wrong entries; and answers that never were a loss.

Each function takes rows in their stored dtype and labels and returns losses (R,) and gradients
(R, C) in float64. The trap: all of them are right where the tests that missed them looked, at unit
normal logits and few classes.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from harness.tests.mutants.correct import (
    DenseLoss,
    Fused,
    Rowwise,
    Terms,
    as_rows,
    closed_form,
    coefficients,
    fused_by,
    reduced,
    softmax_terms,
)


def _fused(
    rowwise: Rowwise,
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    return fused_by(Fused, logits, target, reduction, weight, ignore_index, rowwise=rowwise)


def stored_probability_rows(rows: Tensor, labels: Tensor) -> Terms:
    """m1: the target entry is p_y - 1 with p_y read back from where it was stored in the logits' dtype."""
    losses, gradient = closed_form(rows, labels)
    _, _, powers, _, total = softmax_terms(rows.double())
    column = labels.unsqueeze(1)
    stored = (powers.gather(1, column) / total).to(rows.dtype)
    return losses, gradient.scatter(1, column, stored.double() - 1)


BLOCK = 128
THRESHOLD = 2.0**-12


def filtered_rows(rows: Tensor, labels: Tensor) -> Terms:
    """m10: a block of 128 rows x 128 classes without an entry above 2^-12 is skipped."""
    losses, gradient = closed_form(rows, labels)
    for top in range(0, rows.shape[0], BLOCK):
        for left in range(0, rows.shape[1], BLOCK):
            block = gradient[top : top + BLOCK, left : left + BLOCK]
            if bool((block.abs() < THRESHOLD).all()):
                block.zero_()
    return losses, gradient


def unshifted_rows(rows: Tensor, labels: Tensor) -> Terms:
    """m18: the loss is logsumexp(x) - x_t, in float32 at least; the gradient is right."""
    _, gradient = closed_form(rows, labels)
    x = rows.to(torch.promote_types(rows.dtype, torch.float32))
    losses = torch.logsumexp(x, 1) - x.gather(1, labels.unsqueeze(1)).squeeze(1)
    return losses.double(), gradient


def zero_rows(rows: Tensor, labels: Tensor) -> Terms:
    """c1: loss and gradient are 0."""
    return torch.zeros(rows.shape[0], dtype=torch.float64), torch.zeros_like(rows, dtype=torch.float64)


def untrained_rows(rows: Tensor, labels: Tensor) -> Terms:
    """c1: the loss of an untrained model, log C, and its gradient, whatever the logits."""
    count, classes = rows.shape
    gradient = torch.full((count, classes), 1 / classes, dtype=torch.float64)
    losses = torch.full((count,), math.log(classes), dtype=torch.float64)
    return losses, gradient.scatter(1, labels.unsqueeze(1), 1 / classes - 1)


def recycled_rows(rows: Tensor, labels: Tensor) -> Terms:
    """c3: computes nothing and returns fresh memory, in which the checker's own answer may lie."""
    return torch.empty(rows.shape[0], dtype=torch.float64), torch.empty_like(rows, dtype=torch.float64)


class LostMass(DenseLoss):
    """m20: forward keeps sum(q), backward is p - q as if it were 1."""

    @staticmethod
    def backward(ctx: object, upstream: Tensor) -> tuple[Tensor, Tensor]:
        for_rows, for_q = DenseLoss.backward(ctx, upstream)
        rows, q = ctx.saved_tensors  # type: ignore[attr-defined]
        _, _, powers, _, total = softmax_terms(rows)
        surplus = q.sum(1, keepdim=True) - 1
        return for_rows - powers / total * surplus * upstream.unsqueeze(1), for_q


def lost_mass(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """m20: targets that do not sum to one get the gradient p - q."""
    q, weights = coefficients(logits, target, None, ignore_index, label_smoothing)
    rows, _ = as_rows(logits, target)
    dropped = (q == 0).all(1, keepdim=True)
    rows, q = torch.where(dropped, 0.0, rows.double()), torch.where(dropped, 1 / q.shape[1], q)
    losses = torch.where(dropped.squeeze(1), 0.0, LostMass.apply(rows, q))
    shape = target[..., 0] if target.is_floating_point() else target
    return reduced(losses, weights, reduction, shape).to(logits.dtype)


stored_probability = partial(_fused, stored_probability_rows)
filtered = partial(_fused, filtered_rows)
unshifted = partial(_fused, unshifted_rows)
zero = partial(_fused, zero_rows)
untrained = partial(_fused, untrained_rows)
recycled = partial(_fused, recycled_rows)
