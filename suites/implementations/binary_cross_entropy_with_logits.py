"""Every way in which people compute binary cross-entropy from logits, as plain functions of (z, t, options).

`weight` and `pos_weight` broadcast to (N, C), `class_weights` is a pair of numbers that the labels pick
from, w[t]; the mean divides by the number of elements whatever the weights are. The trap: each of the
usual stable forms subtracts somewhere, in the value (z - z t + ...) or in the gradient (s(z) - t), and
is exactly 0 on one side of the label long before the truth is.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suites.implementations.reductions import converted, reduced

Pair = tuple[float, float]


def gathered(target: Tensor, weight: Tensor | None, class_weights: Pair | None) -> Tensor | None:
    """Returns the weight of every element, class weights picked by the labels: w[t]."""
    if class_weights is None:
        return weight
    of_class = torch.tensor(class_weights, dtype=target.dtype, device=target.device)[target.long()]
    return of_class if weight is None else weight * of_class


def weighted(losses: Tensor, target: Tensor, weight: Tensor | None, class_weights: Pair | None) -> Tensor:
    """Returns the losses times the weights of their elements."""
    factor = gathered(target, weight, class_weights)
    return losses if factor is None else losses * factor


def naive_loop(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """A row loop over log(1 + e^-z) and log(1 + e^z): overflows, and loses what is small against 1."""
    rows = []
    for z, t in zip(logits, target, strict=True):
        up, down = torch.log(1 + torch.exp(z)), torch.log(1 + torch.exp(-z))
        rows.append((1 - t) * up + t * down)
    return reduced(torch.stack(rows) if rows else logits * target, reduction)


def sigmoid_log(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The textbook form: sigmoid, then log p and log(1 - p)."""
    p = torch.sigmoid(logits)
    return reduced(-(target * torch.log(p) + (1 - target) * torch.log(1 - p)), reduction)


def sigmoid_then_bce(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """binary_cross_entropy of sigmoid(z): what the fused loss was made to replace."""
    return F.binary_cross_entropy(torch.sigmoid(logits), target, reduction=reduction)


def shifted(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """max(z, 0) - z t + log(1 + e^-|z|), the form of the log-sum-exp trick that most texts print."""
    losses = logits.clamp(min=0) - logits * target + torch.log1p(torch.exp(-logits.abs()))
    return reduced(losses, reduction)


def log_sigmoid(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    class_weights: Pair | None = None,
) -> Tensor:
    """-t logsigmoid(z) - (1 - t) logsigmoid(-z): two positive terms, so nothing cancels."""
    positive = target if pos_weight is None else target * pos_weight
    losses = -(positive * F.logsigmoid(logits) + (1 - target) * F.logsigmoid(-logits))
    return reduced(weighted(losses, target, weight, class_weights), reduction)


def sided(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    class_weights: Pair | None = None,
) -> Tensor:
    """Returns the losses (N, C) of `by_sides`, in float32 at least."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    z, t = logits.to(wide), target.to(wide)
    positive = t if pos_weight is None else t * pos_weight.to(wide)
    losses = torch.zeros_like(z)
    for share, side in ((positive, F.logsigmoid(z)), (1 - t, F.logsigmoid(-z))):
        counted = weighted(share, t, weight, class_weights)
        losses = losses - counted * side.masked_fill((counted == 0) & side.isinf(), 0.0)
    return losses


def by_sides(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    class_weights: Pair | None = None,
) -> Tensor:
    """Both terms of `log_sigmoid` in at least float32; an infinite term of share 0 is left out.

    The weights belong to the shares, so that a weight of 0 meets no infinity either.
    """
    losses = sided(logits, target, weight, pos_weight, class_weights)
    return reduced(losses, reduction).to(logits.dtype)


def two_classes(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy of the two logits [0, z] with the probabilities [1 - t, t]."""
    rows = torch.stack([torch.zeros_like(logits), logits], -1).reshape(-1, 2)
    shares = torch.stack([1 - target, target], -1).reshape(-1, 2)
    losses = F.cross_entropy(rows, shares, reduction="none").reshape(logits.shape)
    return reduced(losses, reduction)


def native(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    class_weights: Pair | None = None,
) -> Tensor:
    """torch.nn.functional.binary_cross_entropy_with_logits."""
    factor = gathered(target, weight, class_weights)
    return F.binary_cross_entropy_with_logits(
        logits, target, weight=factor, pos_weight=pos_weight, reduction=reduction
    )


class NativeModule(nn.BCEWithLogitsLoss):
    """torch.nn.BCEWithLogitsLoss."""

    def __init__(
        self, reduction: str = "mean", weight: Tensor | None = None, pos_weight: Tensor | None = None
    ) -> None:
        """Builds the module."""
        super().__init__(weight=weight, reduction=reduction, pos_weight=pos_weight)


def upcast(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    class_weights: Pair | None = None,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    wide, emphasis = converted(weight, wide_dtype), converted(pos_weight, wide_dtype)
    z, t = logits.to(wide_dtype), target.to(wide_dtype)
    return native(z, t, reduction, wide, emphasis, class_weights).to(logits.dtype)


class _ExactGradient(torch.autograd.Function):
    """Element losses and both gradients by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, t: Tensor, weight: Tensor, emphasis: Tensor) -> Tensor:
        power = torch.exp(-z.abs())
        tail, large, small = torch.log1p(power), 1 / (1 + power), power / (1 + power)
        up, down = z.clamp(min=0) + tail, (-z).clamp(min=0) + tail
        share, rest = torch.where(z > 0, large, small), torch.where(z > 0, small, large)
        negative, positive = weight * (1 - t), weight * torch.where(t == 0, 0.0, emphasis * t)
        slope = negative * share - positive * rest
        straight = torch.where(z > 0, -z, -z * emphasis) + (emphasis - 1) * tail
        ctx.save_for_backward(slope, torch.where(weight == 0, 0.0, weight * straight))
        losses = torch.where(negative == 0, 0.0, negative * up)
        return losses + torch.where(positive == 0, 0.0, positive * down)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        of_logits, of_target = ctx.saved_tensors
        return of_logits * upstream, of_target * upstream, None, None


def exact_elements(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    class_weights: Pair | None = None,
) -> Tensor:
    """Returns the losses (N, C) in float64, with both gradients by the closed forms."""
    z, t = logits.double(), target.double()
    factor = gathered(t, converted(weight, torch.float64), class_weights)
    emphasis = torch.ones_like(t) if pos_weight is None else pos_weight.double().expand_as(t)
    if factor is None:
        factor = torch.ones_like(t)
    losses: Tensor = _ExactGradient.apply(z, t, factor.expand_as(t), emphasis)
    return losses


def exact_gradient(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    class_weights: Pair | None = None,
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradients, rounded once."""
    losses = exact_elements(logits, target, weight, pos_weight, class_weights)
    return reduced(losses, reduction).to(logits.dtype)
