"""Every way in which people compute the soft margin loss, as plain functions of (x, y, reduction).

The trap: log1p(exp(-y x)) guards the side on which exp vanishes and not the one on which it overflows;
torch computes it so in every dtype.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from suites.implementations.reductions import reduced


def naive_loop(x: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    """A row loop over log(1 + e^(-y x))."""
    rows = [torch.log(1 + torch.exp(-b * a)) for a, b in zip(x, y, strict=True)]
    return reduced(torch.stack(rows) if rows else x * y, reduction)


def textbook(x: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    """log1p(exp(-y x)), the definition as printed."""
    return reduced(torch.log1p(torch.exp(-y * x)), reduction)


def text_sum(x: Tensor, y: Tensor) -> Tensor:
    """The text's definition, a sum over all elements instead of a mean."""
    return -F.logsigmoid(y * x).sum()


def softplus(x: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    """softplus(-y x) with torch's threshold of 20, beyond which it answers -y x itself."""
    return reduced(F.softplus(-y * x), reduction)


def log_sigmoid(x: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    """-logsigmoid(y x): the shifted form."""
    return reduced(-F.logsigmoid(y * x), reduction)


def with_logits(x: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    """binary_cross_entropy_with_logits of the labels (y + 1) / 2."""
    return F.binary_cross_entropy_with_logits(x, (y + 1) / 2, reduction=reduction)


def native(x: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    """torch.nn.functional.soft_margin_loss."""
    return F.soft_margin_loss(x, y, reduction=reduction)


def upcast(
    x: Tensor, y: Tensor, reduction: str = "mean", *, wide_dtype: torch.dtype = torch.float32
) -> Tensor:
    """Upcast, native, round the loss once."""
    return native(x.to(wide_dtype), y.to(wide_dtype), reduction).to(x.dtype)


class _ExactGradient(torch.autograd.Function):
    """Element losses and the gradient by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        wrong = -y * x
        power = torch.exp(-wrong.abs())
        share = torch.where(wrong > 0, torch.ones_like(power), power) / (1 + power)
        ctx.save_for_backward(-y * share)
        return wrong.clamp(min=0) + torch.log1p(power)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return slope * upstream, None


def exact_gradient(x: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradient, rounded once."""
    return reduced(_ExactGradient.apply(x.double(), y.double()), reduction).to(x.dtype)
