"""Ways to compute the margin ranking loss, as functions of (first, second, target, options).

target is 1 where the first score should be the larger, -1 where the second should. The trap: in 16 bits
the difference of two scores is rounded before the margin is added, so close scores lose the margin's bits.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from suites.implementations.reductions import reduced


def naive_loop(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """A loop over the entries."""
    entries = zip(first.flatten(), second.flatten(), target.flatten(), strict=True)
    losses = [(margin - label * (one - other)).clamp(min=0) for one, other, label in entries]
    flat = torch.stack(losses) if losses else (first + second).flatten()
    return reduced(flat.reshape(first.shape), reduction)


def textbook(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """relu of -y (x1 - x2) + margin."""
    return reduced(F.relu(-target * (first - second) + margin), reduction)


def native(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """torch.nn.functional.margin_ranking_loss."""
    return F.margin_ranking_loss(first, second, target, margin=margin, reduction=reduction)


def by_cases(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """The two orders told apart by `where` instead of a product with the label."""
    apart = torch.where(target == 1, second - first, first - second)
    return reduced((apart + margin).clamp(min=0), reduction)


def upcast(
    first: Tensor,
    second: Tensor,
    target: Tensor,
    reduction: str = "mean",
    margin: float = 0.0,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    return native(first.to(wide_dtype), second.to(wide_dtype), target, reduction, margin).to(first.dtype)


class _ExactGradient(torch.autograd.Function):
    """Losses and both slopes by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, target: Tensor, margin: float) -> Tensor:
        label = target.double()
        excess = margin - label * (first - second)
        # A NaN is on neither side of the margin.
        ctx.save_for_backward(label * torch.where(excess.isnan(), excess, (excess >= 0).double()))
        return excess.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return -slope * upstream, slope * upstream, None, None


def exact_gradient(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradients, rounded once."""
    losses = _ExactGradient.apply(first.double(), second.double(), target, margin)
    return reduced(losses, reduction).to(first.dtype)
