"""What the implementations of all losses of a residual share: reductions, weights, missing entries.

`reduction` is none, sum or mean; a weight (C,) belongs to the entries of every row. The trap: torch
divides a weighted mean by the sum of the weights for the absolute and the squared error, and by the number
of entries for Huber's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def reduced(losses: Tensor, reduction: str, weight: Tensor | None = None) -> Tensor:
    """Weights (N, C) losses and reduces them; the weighted mean divides by the sum of the weights."""
    if weight is not None:
        losses = losses * weight
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    return losses.mean() if weight is None else losses.sum() / weight.expand_as(losses).sum()


def expanded(weight: Tensor | None, like: Tensor) -> Tensor | None:
    """Returns the weight in the shape of the prediction, which is what torch insists on."""
    return None if weight is None else weight.expand_as(like)


def counted(residual: Tensor, weight: Tensor | None) -> Tensor:
    """Returns residuals that are 0 where their weight is 0, so that infinite ones count nothing either."""
    return residual if weight is None else torch.where(weight == 0, 0.0, residual)


def widened(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Returns the tensors in float32 at least, so that nothing is rounded to 16 bits on the way."""
    return tuple(tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors)


def cut(prediction: Tensor, target: Tensor, ignore_nan: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Returns both tensors with 0 where the target is missing, and which entries are kept."""
    kept = ~target.isnan() if ignore_nan else torch.ones_like(target, dtype=torch.bool)
    return torch.where(kept, prediction, 0.0), torch.where(kept, target, 0.0), kept


def signs(residual: Tensor) -> Tensor:
    """Returns the slope of |r|: 0 at 0, and NaN at NaN, where `sign` answers 0."""
    return torch.where(residual.isnan(), residual, residual.sign())


def reduced_over(losses: Tensor, kept: Tensor, reduction: str) -> Tensor:
    """Reduces losses that are 0 where they are not kept; the mean divides by those kept."""
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else total / kept.sum()


def selected(losses: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Throws out losses whose target is NaN after they were computed: value right, gradient NaN * 0."""
    kept = ~target.isnan()
    if reduction == "none":
        return torch.where(kept, losses, torch.zeros_like(losses))
    return losses[kept].sum() if reduction == "sum" else losses[kept].mean()


class _Attached(torch.autograd.Function):
    """Losses with a given slope: what comes from above times the slope goes to x, its negative to t."""

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, target: Tensor, losses: Tensor, slopes: Tensor) -> Tensor:
        ctx.save_for_backward(slopes)
        return losses.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (slopes,) = ctx.saved_tensors
        return slopes * upstream, -slopes * upstream, None, None


def attached(prediction: Tensor, target: Tensor, losses: Tensor, slopes: Tensor) -> Tensor:
    """Returns losses whose gradient is stated, not derived."""
    losses = _Attached.apply(prediction, target, losses.detach(), slopes.detach())
    return losses
