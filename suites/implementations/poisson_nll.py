"""Every way in which people compute the Poisson likelihood, as plain functions of (x, t, options).

`log_input` says whether x is the logarithm of the rate or the rate, `full` whether Stirling's term is added
where t > 1, `eps` what is added to a rate inside the logarithm. The trap: Stirling's term is 0 where t <= 1,
yet its slope there is NaN to autograd, whichever way it is masked.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suites.implementations.likelihoods import at_least_float32, stated
from suites.implementations.reductions import reduced


def _printed(x: Tensor, t: Tensor, log_input: bool, full: bool, eps: float) -> Tensor:
    losses = x.exp() - t * x if log_input else x - t * torch.log(x + eps)
    if full:
        stirling = t * torch.log(t) - t + 0.5 * torch.log(2 * math.pi * t)
        losses = losses + torch.where(t > 1, stirling, torch.zeros_like(stirling))
    return losses


def naive_loop(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
) -> Tensor:
    """A loop over rows."""
    rows = [_printed(x, t, log_input, full, eps) for x, t in zip(prediction, target, strict=True)]
    return reduced(torch.stack(rows) if rows else prediction * target, reduction)


def textbook(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
) -> Tensor:
    """The definition as printed: e^x - t x, or x - t log(x + eps), Stirling's term by `where`."""
    return reduced(_printed(prediction, target, log_input, full, eps), reduction)


def native(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
) -> Tensor:
    """torch.nn.functional.poisson_nll_loss."""
    return F.poisson_nll_loss(
        prediction, target, log_input=log_input, full=full, eps=eps, reduction=reduction
    )


class NativeModule(nn.PoissonNLLLoss):
    """torch.nn.PoissonNLLLoss."""

    def __init__(
        self, reduction: str = "mean", log_input: bool = True, full: bool = False, eps: float = 1e-8
    ) -> None:
        """Builds the module."""
        super().__init__(log_input=log_input, full=full, eps=eps, reduction=reduction)


def upcast(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    x, t = prediction.to(wide_dtype), target.to(wide_dtype)
    return native(x, t, reduction, log_input, full, eps).to(prediction.dtype)


def _without_cancellation(
    x: Tensor, t: Tensor, log_input: bool, full: bool, eps: float
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Returns losses and both slopes; with Stirling's term by the distance d = log rate - log t."""
    if log_input:
        rate, logarithm, slope = x.exp(), x, x.exp() - t
    else:
        rate, logarithm, slope = x, torch.log(x + eps), 1 - t / (x + eps)
    losses, by_target = rate - torch.where(t == 0, 0.0, t * logarithm), -logarithm
    if full:
        # Below Stirling's range any count serves, as `where` throws it away and nothing is derived.
        count = torch.where(t > 1, t, 2.0)
        if log_input:
            distance = x - torch.log(count)
            surplus = count * torch.expm1(distance)
        else:
            surplus = x - count
            share = (surplus + eps) / count
            distance = torch.where(share.abs() < 0.5, torch.log1p(share), torch.log((x + eps) / count))
        likelihood = (surplus - count * distance) + 0.5 * torch.log(2 * math.pi * count)
        losses = torch.where(t > 1, likelihood, losses)
        by_target = torch.where(t > 1, 0.5 / count - distance, by_target)
    return losses, (slope, by_target)


def deviance(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    *,
    least: torch.dtype = torch.float32,
) -> Tensor:
    """Half the deviance, t (e^d - 1 - d) with d = log rate - log t, plus log(2 pi t) / 2; slopes stated."""
    wide = torch.promote_types(at_least_float32(prediction.dtype), least)
    x, t = prediction.to(wide), target.to(wide)
    with torch.no_grad():
        losses, slopes = _without_cancellation(x, t, log_input, full, eps)
    return reduced(stated(losses, (x, t), slopes), reduction).to(prediction.dtype)


def exact_gradient(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradients in float64, rounded once."""
    return deviance(prediction, target, reduction, log_input, full, eps, least=torch.float64)
