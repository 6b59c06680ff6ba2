"""Every way in which people compute smooth L1, as plain functions of (prediction, target, options).

The trap: `where` computes both branches, so a division by beta = 0 in the branch that is not taken
still puts a NaN into the gradient.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from suites.implementations.residuals import (
    attached,
    cut,
    reduced,
    reduced_over,
    selected,
    signs,
    widened,
)


def naive_loop(prediction: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """A loop over rows, each by its own `where`."""
    rows = []
    for x, t in zip(prediction, target, strict=True):
        size = (x - t).abs()
        linear = size - 0.5 * beta
        rows.append(torch.where(size < beta, 0.5 * size**2 / beta, linear) if beta else linear)
    return reduced(torch.stack(rows) if rows else prediction - target, reduction)


def textbook(prediction: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """The definition as printed: r^2 / (2 beta) below beta, r - beta / 2 above."""
    size = (prediction - target).abs()
    return reduced(torch.where(size < beta, 0.5 * size**2 / beta, size - 0.5 * beta), reduction)


def clamped(prediction: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Without a branch: q = min(r, beta), then q^2 / (2 beta) + (r - q)."""
    size = (prediction - target).abs()
    quadratic = size.clamp(max=beta)
    return reduced(0.5 * quadratic**2 / beta + (size - quadratic), reduction)


def native(prediction: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """torch.nn.functional.smooth_l1_loss."""
    return F.smooth_l1_loss(prediction, target, reduction=reduction, beta=beta)


def upcast(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    beta: float = 1.0,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    losses = native(prediction.to(wide_dtype), target.to(wide_dtype), reduction, beta)
    return losses.to(prediction.dtype)


def scaled(residual: Tensor, beta: float) -> Tensor:
    """Smooth L1 of residuals in units of beta: nothing is squared that is not below 1."""
    size = residual.abs()
    if beta == 0:
        return size
    share = (size / beta).clamp(max=1.0)
    # Where the share is 1, 0.5 * beta of the quadratic part and r - beta of the linear one.
    return torch.where(size < beta, 0.5 * size * share, size - 0.5 * beta)


def masked_before(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    beta: float = 1.0,
    ignore_nan: bool = False,
) -> Tensor:
    """Missing entries are cut out before anything is computed; in units of beta, in float32 at least."""
    x, t = widened(prediction, target)
    x, t, kept = cut(x, t, ignore_nan)
    return reduced_over(scaled(x - t, beta), kept, reduction).to(prediction.dtype)


def masked_after(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    beta: float = 1.0,
    ignore_nan: bool = False,
) -> Tensor:
    """Missing entries are thrown out of the losses."""
    return selected(native(prediction, target, "none", beta), target, reduction)


def exact_gradient(prediction: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradients in float64, rounded once."""
    x, t = prediction.double(), target.double()
    residual = x - t
    slopes = (residual / beta).clamp(-1.0, 1.0) if beta else signs(residual)
    return reduced(attached(x, t, scaled(residual, beta), slopes), reduction).to(prediction.dtype)
