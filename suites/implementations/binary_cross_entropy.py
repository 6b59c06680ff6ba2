"""Every way in which people compute binary cross-entropy of probabilities, as plain functions.

`weight` broadcasts to (N, C), `class_weights` is a pair of numbers that the labels pick from, w[t]; the
mean divides by the number of elements. The trap: everything that keeps log 0 out of the value (a clamp, an
epsilon) keeps the gradient out as well, or leaves 0/0 behind.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suites.implementations.binary_cross_entropy_with_logits import Pair, gathered
from suites.implementations.reductions import converted, reduced

# torch documents it for the value alone; its slopes it keeps finite by another, undocumented number.
FLOOR = -100.0


def naive_loop(probabilities: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """A row loop over the definition as printed."""
    rows = [
        -(t * torch.log(x) + (1 - t) * torch.log(1 - x)) for x, t in zip(probabilities, target, strict=True)
    ]
    return reduced(torch.stack(rows) if rows else probabilities * target, reduction)


def textbook(probabilities: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The definition as printed, -t log x - (1 - t) log(1 - x): undefined where x is 0 or 1."""
    x = probabilities
    return reduced(-(target * torch.log(x) + (1 - target) * torch.log(1 - x)), reduction)


def double_where(
    probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    class_weights: Pair | None = None,
) -> Tensor:
    """log and log1p in float32 at least; terms of coefficient 0 are cut out before and after them."""
    wide = torch.promote_types(probabilities.dtype, torch.float32)
    x, t = probabilities.to(wide), target.to(wide)
    if weight is not None:
        # An element of weight 0 is cut out as well: 0 * inf is NaN in value and gradient.
        x = torch.where(weight == 0, torch.full_like(x, 0.5), x)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    # Two `where`s: one alone leaves a NaN gradient, 0 * inf, behind the terms it cuts out.
    of_x = torch.where(t == 0, zero, -t * torch.log(torch.where(t == 0, one, x)))
    of_rest = torch.where(t == 1, zero, -(1 - t) * torch.log1p(-torch.where(t == 1, zero, x)))
    factor = gathered(t, converted(weight, wide), class_weights)
    # What is no probability must not vanish with the term that is cut out.
    losses = (of_x + of_rest).masked_fill((x < 0) | (x > 1), float("nan"))
    if factor is not None:
        losses = torch.where(factor == 0, zero, factor * losses)
    return reduced(losses, reduction).to(probabilities.dtype)


class _Floored(torch.autograd.Function):
    """Element losses by logarithms of FLOOR at least, with the slopes of the logarithms as they are."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, t: Tensor) -> Tensor:
        zero = torch.zeros_like(x)
        of_x = torch.where(t == 0, zero, -t * torch.log(x).clamp(min=FLOOR))
        return of_x + torch.where(t == 1, zero, -(1 - t) * torch.log1p(-x).clamp(min=FLOOR))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        x, t = ctx.saved_tensors
        zero = torch.zeros_like(x)
        # Divided last: 1 / x of a subnormal x overflows where the mean over the elements would not.
        of_rest = torch.where(t == 1, zero, upstream * (1 - t) / (1 - x))
        of_x = torch.where(t == 0, zero, upstream * t / x)
        return of_rest - of_x, upstream * (torch.log1p(-x) - torch.log(x))


def floored(
    probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    class_weights: Pair | None = None,
) -> Tensor:
    """torch's own definition in float32 at least: both logarithms are -100 or more, their slopes 1/x always.

    Native keeps x (1 - x) above 1e-12 in its slope, which is 0/0 in float16; nothing is kept here.
    """
    wide = torch.promote_types(probabilities.dtype, torch.float32)
    x, t = probabilities.to(wide), target.to(wide)
    factor = gathered(t, converted(weight, wide), class_weights)
    counted = x
    if factor is not None:
        # An element of weight 0 is cut out before: its slope may be infinite, and 0 * inf is NaN.
        counted = torch.where(factor == 0, torch.full_like(x, 0.5), x)
    losses = _Floored.apply(counted, t)
    if factor is not None:
        losses = factor * losses
    losses = losses.masked_fill((x < 0) | (x > 1), float("nan"))
    return reduced(losses, reduction).to(probabilities.dtype)


def native(
    probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    class_weights: Pair | None = None,
) -> Tensor:
    """torch.nn.functional.binary_cross_entropy."""
    factor = gathered(target, weight, class_weights)
    return F.binary_cross_entropy(probabilities, target, weight=factor, reduction=reduction)


class NativeModule(nn.BCELoss):
    """torch.nn.BCELoss."""

    def __init__(self, reduction: str = "mean", weight: Tensor | None = None) -> None:
        """Builds the module."""
        super().__init__(weight=weight, reduction=reduction)


def upcast(
    probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    class_weights: Pair | None = None,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    x, t = probabilities.to(wide_dtype), target.to(wide_dtype)
    return native(x, t, reduction, converted(weight, wide_dtype), class_weights).to(probabilities.dtype)


class _ExactGradient(torch.autograd.Function):
    """Element losses and both gradients by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, weight: Tensor) -> Tensor:
        negative, positive = weight * (1 - t), weight * t
        log_x, log_rest = torch.log(x), torch.log1p(-x)
        slope = torch.where(negative == 0, 0.0, negative / (1 - x))
        slope = slope - torch.where(positive == 0, 0.0, positive / x)
        ctx.save_for_backward(slope, torch.where(weight == 0, 0.0, weight * (log_rest - log_x)))
        losses = torch.where(negative == 0, 0.0, -negative * log_rest)
        losses = losses + torch.where(positive == 0, 0.0, -positive * log_x)
        return losses.masked_fill((x < 0) | (x > 1), float("nan"))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        of_probabilities, of_target = ctx.saved_tensors
        return of_probabilities * upstream, of_target * upstream, None


def exact_gradient(
    probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    class_weights: Pair | None = None,
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradients, rounded once."""
    x, t = probabilities.double(), target.double()
    factor = gathered(t, converted(weight, torch.float64), class_weights)
    if factor is None:
        factor = torch.ones_like(t)
    losses = _ExactGradient.apply(x, t, factor.expand_as(t))
    return reduced(losses, reduction).to(probabilities.dtype)
