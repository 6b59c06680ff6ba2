"""Faults between the row losses and the number that comes back: who counts, in which precision, how.

Row losses and row gradients are right in all of them. The trap: with equal weights, no ignored row
and a few dozen rows every one of them is right, and that is what unit tests use.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.tests.mutants.correct import (
    DenseLoss,
    Fused,
    RowLoss,
    as_rows,
    coefficients,
    fused_by,
    reduced,
    row_weights,
    rowwise_cross_entropy,
    weighted_losses,
)


def reduces_none(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """m4: reduction none is not known and ends in the branch of the mean."""
    known = "mean" if reduction == "none" else reduction
    return rowwise_cross_entropy(logits, target, known, weight, ignore_index)


class MeanOnly(Fused):
    """m7: forward divides the saved gradient by the rows that count, whatever the reduction."""

    @staticmethod
    def forward(
        logits: Tensor, target: Tensor, reduction: str, weight: Any, ignore_index: int, rowwise: Any
    ) -> Any:
        loss, gradient = Fused.forward(logits, target, reduction, weight, ignore_index, rowwise)
        if reduction != "mean":
            _, labels = as_rows(logits, target)
            gradient = gradient / row_weights(labels, weight, ignore_index)[1].sum()
        return loss, gradient


def mean_only(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """m7: the backward pass is right for the mean alone."""
    return fused_by(MeanOnly, logits, target, reduction, weight, ignore_index)


class FirstUpstream(Fused):
    """m3: the upstream gradient is read as a scalar, which is its first entry."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Any) -> Any:
        return Fused.backward(ctx, upstream.reshape(-1)[:1].sum().expand(upstream.shape), _)


def first_upstream(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """m3: every row is scaled by the first entry of the upstream gradient."""
    return fused_by(FirstUpstream, logits, target, reduction, weight, ignore_index)


class DenseUpstream(Fused):
    """m8: the upstream gradient is read one element after the other, whatever its strides."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Any) -> Any:
        stored = torch.empty(0, dtype=upstream.dtype).set_(upstream.untyped_storage())
        read = stored[upstream.storage_offset() :][: upstream.numel()]
        # What lies behind the end of the storage is nobody's; here it is 0.
        read = F.pad(read, (0, upstream.numel() - read.numel()))
        return Fused.backward(ctx, read.reshape(upstream.shape), _)


def dense_upstream(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """m8: an expanded upstream gradient is read past its end."""
    return fused_by(DenseUpstream, logits, target, reduction, weight, ignore_index)


def counts_ignored(
    logits: Tensor, target: Tensor, reduction: str = "mean", ignore_index: int = -100
) -> Tensor:
    """m9: the mean divides by all rows, ignored ones included."""
    losses, weights = weighted_losses(logits, target, None, ignore_index)
    return reduced(losses, torch.ones_like(weights), reduction, target).to(logits.dtype)


def smooths_ignored(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """m12: the smoothing term is summed over all rows, ignored ones included."""
    q, weights = coefficients(logits, target, weight, ignore_index, label_smoothing)
    rows, labels = as_rows(logits, target)
    if label_smoothing and not target.is_floating_point():
        share = torch.full_like(q, label_smoothing / q.shape[1])
        share = share if weight is None else share * weight.double()
        q = torch.where((labels != ignore_index).unsqueeze(1), q, share)
    rows = torch.where((q == 0).all(1, keepdim=True), 0.0, rows.double())
    shape = target[..., 0] if target.is_floating_point() else target
    return reduced(DenseLoss.apply(rows, q), weights, reduction, shape).to(logits.dtype)


def times_zero(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """m13: with every row ignored the declared 0 is made as logits.sum() * 0."""
    if reduction == "mean" and bool((target == ignore_index).all()):
        return logits.sum() * 0.0
    return rowwise_cross_entropy(logits, target, reduction, weight, ignore_index)


def narrow_sum(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """m14: loss sum and weight sum are stored in the logits' dtype before the division."""
    losses, weights = weighted_losses(logits, target, weight, ignore_index)
    if reduction != "mean":
        return reduced(losses, weights, reduction, target).to(logits.dtype)
    return losses.sum().to(logits.dtype) / weights.sum().to(logits.dtype)


def masked_after(logits: Tensor, target: Tensor, reduction: str = "mean", ignore_index: int = -100) -> Tensor:
    """m17: ignored rows are masked out of the losses, not out of what the losses are made from."""
    rows, labels = as_rows(logits, target)
    safe, weights = row_weights(labels, None, ignore_index)
    losses = RowLoss.apply(rows.double(), safe)
    losses = torch.where(weights == 0, 0.0, losses)
    return reduced(losses, weights, reduction, target).to(logits.dtype)


def stored_rows(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """m19: row losses are stored in the logits' dtype and then averaged in float64."""
    losses, weights = weighted_losses(logits, target, weight, ignore_index)
    stored = losses.to(logits.dtype).double()
    return reduced(stored, weights, reduction, target).to(logits.dtype)


CALLS = {"varying_order": 0}


def varying_order(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """m27: the losses arrive at one accumulator in another order each time, as with atomic adds."""
    losses, weights = weighted_losses(logits, target, weight, ignore_index)
    if reduction == "none":
        return reduced(losses, weights, reduction, target).to(logits.dtype)
    CALLS["varying_order"] += 1
    generator = torch.Generator().manual_seed(CALLS["varying_order"])
    order = torch.randperm(losses.shape[0], generator=generator)
    accumulated = losses.to(torch.promote_types(logits.dtype, torch.float32))[order]
    return reduced(accumulated, weights.to(accumulated.dtype), reduction, target).to(logits.dtype)
