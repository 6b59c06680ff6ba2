"""Every way in which people compute the Gaussian likelihood, as plain functions of (x, t, variance, options).

`eps` is the least variance, `full` adds log(2 pi) / 2, `one_variance` says that a row shares its first
variance. The trap: a clamp that autograd sees has no slope below eps, so a variance that has fallen there
never comes back; torch's clamp is unseen.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

from suites.implementations.likelihoods import at_least_float32, stated
from suites.implementations.reductions import reduced

CONSTANT = 0.5 * math.log(2 * math.pi)


def checked(variance: Tensor) -> Tensor:
    """Returns the variance; raises ValueError where one is negative, as torch does."""
    if bool((variance < 0).any()):
        raise ValueError("a variance is negative")
    return variance


def lifted(variance: Tensor, eps: float) -> Tensor:
    """Returns max(variance, eps) with the slope 1 everywhere: the clamp is unseen, as torch's is."""
    return torch.where(variance < eps, eps + (variance - variance.detach()), variance)


def _printed(residual: Tensor, v: Tensor, full: bool) -> Tensor:
    losses = 0.5 * (torch.log(v) + residual**2 / v)
    return losses + CONSTANT if full else losses


def naive_loop(
    prediction: Tensor,
    target: Tensor,
    variance: Tensor,
    reduction: str = "mean",
    full: bool = False,
    eps: float = 1e-6,
) -> Tensor:
    """A loop over rows."""
    rows = [
        _printed(x - t, lifted(checked(v), eps), full)
        for x, t, v in zip(prediction, target, variance, strict=True)
    ]
    return reduced(torch.stack(rows) if rows else (prediction - target) * variance, reduction)


def textbook(
    prediction: Tensor,
    target: Tensor,
    variance: Tensor,
    reduction: str = "mean",
    full: bool = False,
    eps: float = 1e-6,
) -> Tensor:
    """The definition as printed, (log v + (x - t)^2 / v) / 2, with a clamp that autograd does not see."""
    return reduced(_printed(prediction - target, lifted(checked(variance), eps), full), reduction)


def clamped(
    prediction: Tensor,
    target: Tensor,
    variance: Tensor,
    reduction: str = "mean",
    full: bool = False,
    eps: float = 1e-6,
) -> Tensor:
    """The definition with variance.clamp(min=eps), whose slope is 0 below eps."""
    return reduced(_printed(prediction - target, checked(variance).clamp(min=eps), full), reduction)


def log_prob(
    prediction: Tensor,
    target: Tensor,
    variance: Tensor,
    reduction: str = "mean",
    full: bool = True,
    eps: float = 1e-6,
) -> Tensor:
    """torch.distributions.Normal(x, sqrt(v)).log_prob(t), which always has the constant."""
    # Its own validation has a host synchronisation and refuses NaN; the variance is checked here.
    scale = lifted(checked(variance), eps).sqrt()
    return reduced(-Normal(prediction, scale, validate_args=False).log_prob(target), reduction)


def native(
    prediction: Tensor,
    target: Tensor,
    variance: Tensor,
    reduction: str = "mean",
    full: bool = False,
    eps: float = 1e-6,
    one_variance: bool = False,
) -> Tensor:
    """torch.nn.functional.gaussian_nll_loss."""
    given = variance[:, :1] if one_variance else variance
    return F.gaussian_nll_loss(prediction, target, given, full=full, eps=eps, reduction=reduction)


class NativeModule(nn.GaussianNLLLoss):
    """torch.nn.GaussianNLLLoss."""

    def __init__(self, reduction: str = "mean", full: bool = False, eps: float = 1e-6) -> None:
        """Builds the module."""
        super().__init__(full=full, eps=eps, reduction=reduction)


def upcast(
    prediction: Tensor,
    target: Tensor,
    variance: Tensor,
    reduction: str = "mean",
    full: bool = False,
    eps: float = 1e-6,
    one_variance: bool = False,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    x, t, v = (tensor.to(wide_dtype) for tensor in (prediction, target, variance))
    return native(x, t, v, reduction, full, eps, one_variance).to(prediction.dtype)


def standardised(
    prediction: Tensor,
    target: Tensor,
    variance: Tensor,
    reduction: str = "mean",
    full: bool = False,
    eps: float = 1e-6,
    one_variance: bool = False,
    *,
    least: torch.dtype = torch.float32,
) -> Tensor:
    """r (r / 2v): divided and halved before it is multiplied: no square leaves the range; slopes stated."""
    wide = torch.promote_types(at_least_float32(prediction.dtype), least)
    x, t, stored = (tensor.to(wide) for tensor in (prediction, target, variance))
    with torch.no_grad():
        v, residual = checked(stored).clamp(min=eps), x - t
        slope = residual / v
        half = residual * (0.5 * slope)
        losses = 0.5 * torch.log(v) + half + (CONSTANT if full else 0.0)
        slopes = (slope, -slope, (0.5 - half) / v)
    return reduced(stated(losses, (x, t, stored), slopes), reduction).to(prediction.dtype)


def exact_gradient(
    prediction: Tensor,
    target: Tensor,
    variance: Tensor,
    reduction: str = "mean",
    full: bool = False,
    eps: float = 1e-6,
    one_variance: bool = False,
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradients in float64, rounded once."""
    return standardised(prediction, target, variance, reduction, full, eps, one_variance, least=torch.float64)
