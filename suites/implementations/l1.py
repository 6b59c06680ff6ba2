"""Every way in which people compute the absolute error, as plain functions of (prediction, target, options).

The trap: the root of the square is the absolute value on paper, and has no gradient at 0 and no range.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from suites.implementations.reductions import converted
from suites.implementations.residuals import (
    attached,
    counted,
    cut,
    expanded,
    reduced,
    reduced_over,
    selected,
    signs,
    widened,
)


def naive_loop(
    prediction: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """A loop over rows."""
    rows = [(x - t).abs() for x, t in zip(prediction, target, strict=True)]
    return reduced(torch.stack(rows) if rows else prediction - target, reduction, weight)


def textbook(
    prediction: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """The definition as printed, |x - t|."""
    return reduced((prediction - target).abs(), reduction, weight)


def root_of_square(
    prediction: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """sqrt((x - t)^2): the square leaves the range, and the root has no slope at 0."""
    return reduced(((prediction - target) ** 2).sqrt(), reduction, weight)


def native(
    prediction: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """torch.nn.functional.l1_loss."""
    spread = expanded(weight, prediction)
    # torch's own stubs know no weight here.
    return F.l1_loss(prediction, target, reduction=reduction, weight=spread)  # type: ignore[call-arg]


def upcast(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    x, t = prediction.to(wide_dtype), target.to(wide_dtype)
    return native(x, t, reduction, converted(weight, wide_dtype)).to(prediction.dtype)


def masked_before(
    prediction: Tensor, target: Tensor, reduction: str = "mean", ignore_nan: bool = False
) -> Tensor:
    """Missing entries are cut out of both tensors before anything is computed, in float32 at least."""
    x, t = widened(prediction, target)
    x, t, kept = cut(x, t, ignore_nan)
    return reduced_over((x - t).abs(), kept, reduction).to(prediction.dtype)


def masked_after(
    prediction: Tensor, target: Tensor, reduction: str = "mean", ignore_nan: bool = False
) -> Tensor:
    """Missing entries are thrown out of the losses."""
    return selected(F.l1_loss(prediction, target, reduction="none"), target, reduction)


def exact_gradient(
    prediction: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradients in float64, rounded once."""
    x, t = prediction.double(), target.double()
    residual = counted(x - t, weight)
    losses = attached(x, t, residual.abs(), signs(residual))
    return reduced(losses, reduction, converted(weight, torch.float64)).to(prediction.dtype)
