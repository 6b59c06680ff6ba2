"""Every way in which people compute the hinge embedding loss, as functions of (distance, target, options).

target is 1 for pairs that should be close and -1 for pairs at least a margin apart. The trap: any other label
falls between the branches, and implementations differ in which of them it then pays.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from suites.implementations.multi_margin import hinge
from suites.implementations.reductions import reduced


def naive_loop(distance: Tensor, target: Tensor, reduction: str = "mean", margin: float = 1.0) -> Tensor:
    """A loop over the entries."""
    entries = zip(distance.flatten(), target.flatten(), strict=True)
    losses = [x if label == 1 else hinge(margin - x) for x, label in entries]
    flat = torch.stack(losses) if losses else distance.flatten()
    return reduced(flat.reshape(distance.shape), reduction)


def textbook(distance: Tensor, target: Tensor, reduction: str = "mean", margin: float = 1.0) -> Tensor:
    """x where the label is 1, relu of margin - x elsewhere."""
    return reduced(torch.where(target == 1, distance, F.relu(margin - distance)), reduction)


def native(distance: Tensor, target: Tensor, reduction: str = "mean", margin: float = 1.0) -> Tensor:
    """torch.nn.functional.hinge_embedding_loss."""
    return F.hinge_embedding_loss(distance, target, margin=margin, reduction=reduction)


def by_products(distance: Tensor, target: Tensor, reduction: str = "mean", margin: float = 1.0) -> Tensor:
    """Both branches times 0 or 1 and added, without a choice."""
    close = (target + 1).to(distance.dtype) / 2
    return reduced(close * distance + (1 - close) * F.relu(margin - distance), reduction)


def upcast(
    distance: Tensor,
    target: Tensor,
    reduction: str = "mean",
    margin: float = 1.0,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    return native(distance.to(wide_dtype), target, reduction, margin).to(distance.dtype)


class _ExactGradient(torch.autograd.Function):
    """Losses and slopes by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor, target: Tensor, margin: float) -> Tensor:
        close = target == 1
        # A NaN is on neither side of the margin.
        beyond = torch.where(distance.isnan(), distance, -(distance <= margin).double())
        ctx.save_for_backward(torch.where(close, 1.0, beyond))
        return torch.where(close, distance, (margin - distance).clamp(min=0))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return slope * upstream, None, None


def exact_gradient(distance: Tensor, target: Tensor, reduction: str = "mean", margin: float = 1.0) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradients, rounded once."""
    losses = _ExactGradient.apply(distance.double(), target, margin)
    return reduced(losses, reduction).to(distance.dtype)
