"""Every way in which people compute the Huber loss, as plain functions of (prediction, target, options).

The trap: the threshold is on |x - t|, and `reduction='mean'` divides by the entries, weighted or not.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from suites.implementations.reductions import converted, reduced
from suites.implementations.residuals import (
    attached,
    counted,
    cut,
    expanded,
    reduced_over,
    selected,
    widened,
)


def averaged(losses: Tensor, reduction: str, weight: Tensor | None = None) -> Tensor:
    """Weights (N, C) losses and reduces them; the mean divides by the number of entries, as torch's does."""
    return reduced(losses if weight is None else losses * weight, reduction)


def naive_loop(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """A loop over rows, each by its own `where`."""
    rows = []
    for x, t in zip(prediction, target, strict=True):
        size = (x - t).abs()
        rows.append(torch.where(size < delta, 0.5 * size**2, delta * (size - 0.5 * delta)))
    return averaged(torch.stack(rows) if rows else prediction - target, reduction, weight)


def textbook(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """The definition as printed: r^2 / 2 below delta, delta (r - delta / 2) above."""
    size = (prediction - target).abs()
    losses = torch.where(size < delta, 0.5 * size**2, delta * (size - 0.5 * delta))
    return averaged(losses, reduction, weight)


def clamped(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Without a branch: q = min(r, delta), then q^2 / 2 + delta (r - q)."""
    size = (prediction - target).abs()
    quadratic = size.clamp(max=delta)
    return averaged(0.5 * quadratic**2 + delta * (size - quadratic), reduction, weight)


def native(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """torch.nn.functional.huber_loss."""
    # torch's own stubs know no weight here.
    return F.huber_loss(  # type: ignore[call-arg]
        prediction, target, reduction=reduction, delta=delta, weight=expanded(weight, prediction)
    )


def upcast(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    x, t = prediction.to(wide_dtype), target.to(wide_dtype)
    return native(x, t, reduction, delta, converted(weight, wide_dtype)).to(prediction.dtype)


def branched(residual: Tensor, delta: float) -> Tensor:
    """Huber's loss of residuals, whose square is taken below delta alone: no infinity waits in a branch."""
    size = residual.abs()
    below = size.clamp(max=delta)
    return torch.where(size < delta, below * (0.5 * below), delta * (size - 0.5 * delta))


def masked_before(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    ignore_nan: bool = False,
) -> Tensor:
    """Missing entries are cut out before anything is computed, in float32 at least."""
    x, t = widened(prediction, target)
    x, t, kept = cut(x, t, ignore_nan)
    return reduced_over(branched(x - t, delta), kept, reduction).to(prediction.dtype)


def masked_after(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    ignore_nan: bool = False,
) -> Tensor:
    """Missing entries are thrown out of the losses."""
    return selected(native(prediction, target, "none", delta), target, reduction)


def exact_gradient(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradients in float64, rounded once."""
    x, t = prediction.double(), target.double()
    residual = counted(x - t, weight)
    losses = attached(x, t, branched(residual, delta), residual.clamp(-delta, delta))
    return averaged(losses, reduction, converted(weight, torch.float64)).to(prediction.dtype)
