"""Every way in which people compute the multi-label soft margin loss, as plain functions of (x, t, options).

`weight` is one number per class. The trap: torch composes it of 16-bit steps and sums over the classes
before it divides by their number.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from suites.implementations.binary_cross_entropy_with_logits import exact_elements, sided
from suites.implementations.reductions import converted, reduced


def naive_loop(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """A row loop over the sigmoid and its logarithms."""
    rows = []
    for x, t in zip(logits, target, strict=True):
        p = torch.sigmoid(x)
        rows.append(-(t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean())
    return reduced(torch.stack(rows) if rows else (logits * target).sum(1), reduction)


def _terms(logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Returns the losses (N, C) of all classes, in float32 at least."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    x, t = logits.to(wide), target.to(wide)
    losses = -(t * F.logsigmoid(x) + (1 - t) * F.logsigmoid(-x))
    return losses if weight is None else losses * weight.to(wide)


def log_sigmoid(
    logits: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """Both logsigmoids in float32 at least, the mean over classes, round once."""
    return reduced(_terms(logits, target, weight).mean(1), reduction).to(logits.dtype)


def by_sides(logits: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """The form that survives infinite logits, in float32 at least, the mean over classes, round once."""
    return reduced(sided(logits, target, weight).mean(1), reduction).to(logits.dtype)


def text_sum(logits: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """The text's definition: the sum over the classes, without the division by their number."""
    return reduced(_terms(logits, target, weight).sum(1), reduction).to(logits.dtype)


def with_logits(
    logits: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """binary_cross_entropy_with_logits, averaged over the classes."""
    losses = F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="none")
    return reduced(losses.mean(1), reduction)


def native(logits: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """torch.nn.functional.multilabel_soft_margin_loss."""
    return F.multilabel_soft_margin_loss(logits, target, weight=weight, reduction=reduction)


def upcast(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    x, t = logits.to(wide_dtype), target.to(wide_dtype)
    return native(x, t, reduction, converted(weight, wide_dtype)).to(logits.dtype)


def exact_gradient(
    logits: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """Clean control: the closed-form gradients of each element in float64, rounded once."""
    return reduced(exact_elements(logits, target, weight).mean(1), reduction).to(logits.dtype)
