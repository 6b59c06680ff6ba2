"""Every way in which people compute the squared error, as plain functions of (prediction, target, options).

The trap: the expanded square x^2 - 2 x t + t^2 cancels where x is close to t, which is where training ends.
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
    widened,
)


def naive_loop(
    prediction: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """A loop over rows."""
    rows = [(x - t) ** 2 for x, t in zip(prediction, target, strict=True)]
    return reduced(torch.stack(rows) if rows else prediction - target, reduction, weight)


def textbook(
    prediction: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """The definition as printed, (x - t)^2."""
    return reduced((prediction - target) ** 2, reduction, weight)


def expanded_square(
    prediction: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """x^2 - 2 x t + t^2, as pairwise distances are computed: cancels, and may come out negative."""
    losses = prediction**2 - 2 * prediction * target + target**2
    return reduced(losses, reduction, weight)


def native(
    prediction: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """torch.nn.functional.mse_loss."""
    spread = expanded(weight, prediction)
    # torch's own stubs know no weight here.
    return F.mse_loss(prediction, target, reduction=reduction, weight=spread)  # type: ignore[call-arg]


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
    return reduced_over((x - t) ** 2, kept, reduction).to(prediction.dtype)


def masked_after(
    prediction: Tensor, target: Tensor, reduction: str = "mean", ignore_nan: bool = False
) -> Tensor:
    """Missing entries are thrown out of the losses."""
    return selected(F.mse_loss(prediction, target, reduction="none"), target, reduction)


def exact_gradient(
    prediction: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradients in float64, rounded once."""
    x, t = prediction.double(), target.double()
    residual = counted(x - t, weight)
    losses = attached(x, t, residual * residual, 2 * residual)
    return reduced(losses, reduction, converted(weight, torch.float64)).to(prediction.dtype)
