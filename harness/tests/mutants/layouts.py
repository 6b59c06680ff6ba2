"""Faults that depend on where a tensor lies: strides, offsets, and whose memory is written.

Right for a contiguous tensor at the start of its own storage that nobody looks at afterwards. The
trap: a checker that clones its inputs makes every tensor just that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from harness.tests.mutants.correct import (
    Fused,
    closed_form,
    fused_by,
    fused_terms,
    per_row,
    rowwise_cross_entropy,
)


class LostBuffer(Fused):
    """m2: the gradient is written to `.contiguous()` of the buffer, which may be a copy of it."""

    @staticmethod
    def forward(
        logits: Tensor, target: Tensor, reduction: str, weight: Any, ignore_index: int, rowwise: Any
    ) -> Any:
        loss, gradient = Fused.forward(logits, target, reduction, weight, ignore_index, rowwise)
        # A clone keeps the strides of dense tensors, and torch.double keeps them as well.
        buffer = logits.detach().to(torch.float64, copy=True)
        buffer.contiguous().copy_(gradient)
        return loss, buffer


def lost_buffer(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """m2: where the class stride is not 1 the logits come back as their own gradient."""
    return fused_by(LostBuffer, logits, target, reduction, weight, ignore_index)


class InPlace(Function):
    """m5: the gradient is written into the storage of the logits, where backward reads it."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, reduction: str, weight: Any, ignore_index: int
    ) -> Tensor:
        loss, gradient = fused_terms(logits, target, reduction, weight, ignore_index, closed_form)
        # Through .data, as a kernel writes: the version counter does not move.
        logits.data.copy_(gradient)
        ctx.save_for_backward(logits)
        return loss.to(logits.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return gradient * per_row(upstream), None, None, None, None


def in_place(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """m5: whoever uses the logits after the loss uses their gradient."""
    loss: Tensor = InPlace.apply(logits, target, reduction, weight, ignore_index)
    return loss


ALIGNMENT_BYTES = 16


def aligned_labels(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """m11: labels are loaded from the 16-byte boundary below their address."""
    too_far = target.data_ptr() % ALIGNMENT_BYTES // target.element_size()
    offset = target.storage_offset() - too_far
    if target.numel() and offset >= 0:
        target = target.as_strided(target.shape, target.stride(), offset)
    return rowwise_cross_entropy(logits, target, reduction, weight, ignore_index)


def zeroes_inputs(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """c3: the logits are set to 0 first, so that a truth computed from them afterwards agrees."""
    logits.data.zero_()
    return rowwise_cross_entropy(logits, target, reduction, weight, ignore_index)
