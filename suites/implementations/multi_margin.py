"""Ways to compute the multi-class margin loss, as functions of (scores, target, options).

scores are (N, C), or (C,) of a single row. All take the options of torch.nn.functional.multi_margin_loss. The
trap: margin - x_t + x_k from left to right rounds the margin away under large scores; the difference of the
two scores comes first.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from suites.implementations.reductions import reduced as reduced


def by_rows(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Returns scores (N, C) and labels (N, 1); a single row gets its batch axis."""
    return torch.atleast_2d(scores), target.reshape(-1, 1)


def weighted(losses: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
    """Multiplies the losses of the rows (N,) by the class weights of their labels (N, 1)."""
    return losses if weight is None else losses * weight[label.squeeze(1)]


def naive_loop(
    scores: Tensor,
    target: Tensor,
    reduction: str = "mean",
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Two loops, over rows and over the other classes."""
    rows, labels = by_rows(scores, target)
    losses = [rows[:0].sum(1)]
    for row, label in zip(rows, labels.flatten().tolist(), strict=True):
        total = row[:0].sum()
        for k, score in enumerate(row):
            if k != label:
                total = total + (margin - row[label] + score).clamp(min=0) ** p
        scale = 1 if weight is None else weight[label]
        losses.append((scale * total / len(row)).reshape(1))
    return reduced(torch.cat(losses).reshape(target.shape), reduction)


def _hinges(scores: Tensor, label: Tensor, margin: float) -> Tensor:
    """Returns margin - x_t + x_k (N, C), minus infinity at the label so that it rests."""
    excess = margin - scores.gather(1, label) + scores
    return excess.scatter(1, label, -torch.inf)


def textbook(
    scores: Tensor,
    target: Tensor,
    reduction: str = "mean",
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """relu of margin - x_t + x_k to the power p, averaged over all classes."""
    rows, label = by_rows(scores, target)
    losses = F.relu(_hinges(rows, label, margin)).pow(p).sum(1) / rows.shape[1]
    return reduced(weighted(losses, label, weight).reshape(target.shape), reduction)


def power_inside(
    scores: Tensor,
    target: Tensor,
    reduction: str = "mean",
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """The printed form max(0, (margin - x_t + x_k)^p): squares pay for classes that are far enough, too."""
    rows, label = by_rows(scores, target)
    excess = (margin - rows.gather(1, label) + rows).scatter(1, label, 0.0)
    losses = F.relu(excess.pow(p)).sum(1) / rows.shape[1]
    return reduced(weighted(losses, label, weight).reshape(target.shape), reduction)


def hinge(excess: Tensor) -> Tensor:
    """Returns max(0, z), whose slope at NaN is NaN; relu passes on the slope of a positive number there."""
    active = torch.where(excess.isnan(), excess, (excess > 0).to(excess.dtype)).detach()
    return torch.where(active == 0, 0.0, excess) * active


def stable(
    scores: Tensor,
    target: Tensor,
    reduction: str = "mean",
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """The difference of the scores first, in float32 at least, rounded once."""
    rows, label = by_rows(scores, target)
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    excess = (wide - wide.gather(1, label)) + margin
    others = torch.ones_like(label).expand_as(wide).scatter(1, label, 0).bool()
    losses = hinge(torch.where(others, excess, -1.0)).pow(p).sum(1) / rows.shape[1]
    losses = weighted(losses, label, None if weight is None else weight.to(wide.dtype))
    return reduced(losses.reshape(target.shape), reduction).to(scores.dtype)


def native(
    scores: Tensor,
    target: Tensor,
    reduction: str = "mean",
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """torch.nn.functional.multi_margin_loss."""
    return F.multi_margin_loss(scores, target, p=p, margin=margin, weight=weight, reduction=reduction)


def upcast(
    scores: Tensor,
    target: Tensor,
    reduction: str = "mean",
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Upcast to float32, native, round the loss once."""
    wide_weight = None if weight is None else weight.float()
    return native(scores.float(), target, reduction, p, margin, wide_weight).to(scores.dtype)


def in_float64(
    scores: Tensor,
    target: Tensor,
    reduction: str = "mean",
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Clean control: the textbook form in float64, rounded once; native answers no empty batch."""
    wide_weight = None if weight is None else weight.double()
    return textbook(scores.double(), target, reduction, p, margin, wide_weight).to(scores.dtype)


class _ExactGradient(torch.autograd.Function):
    """Row losses and slopes by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, label: Tensor, scale: Tensor, p: int, margin: float) -> Tensor:
        excess = (scores - scores.gather(1, label)) + margin
        excess = torch.where((excess <= 0) | (scale == 0), 0.0, excess).scatter(1, label, 0.0)
        step = torch.where(excess.isnan(), excess, excess.sign()) if p == 1 else 2 * excess
        slopes = scale * step
        ctx.save_for_backward(slopes.scatter(1, label, -slopes.sum(1, keepdim=True)))
        return (scale * excess.pow(p)).sum(1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (slopes,) = ctx.saved_tensors
        return slopes * upstream.unsqueeze(1), None, None, None, None


def exact_gradient(
    scores: Tensor,
    target: Tensor,
    reduction: str = "mean",
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradient, rounded once."""
    rows, label = by_rows(scores.double(), target)
    scale = torch.ones_like(label, dtype=torch.float64) if weight is None else weight.double()[label]
    losses = _ExactGradient.apply(rows, label, scale / rows.shape[1], p, margin)
    return reduced(losses.reshape(target.shape), reduction).to(scores.dtype)
