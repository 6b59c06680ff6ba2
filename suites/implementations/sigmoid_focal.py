"""Every way in which people compute the binary focal loss, as plain functions of (z, t, options).

`alpha` weights label 1, 1 - alpha label 0, a negative alpha neither; the mean divides by the number of
elements. The trap: 1 - p_t formed from a rounded p_t is 0 for sure elements, and its power's slope
is infinite there for gamma < 1.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from suites.implementations.reductions import reduced

ALPHA, GAMMA = 0.25, 2.0


def balanced(losses: Tensor, target: Tensor, alpha: float) -> Tensor:
    """Returns the losses times alpha at label 1 and 1 - alpha at label 0; as they are if alpha < 0."""
    if alpha < 0:
        return losses
    return (alpha * target + (1 - alpha) * (1 - target)) * losses


def naive_loop(
    logits: Tensor, target: Tensor, reduction: str = "mean", alpha: float = ALPHA, gamma: float = GAMMA
) -> Tensor:
    """A row loop over the formula of the paper, -alpha_t (1 - p_t)^gamma log p_t."""
    rows = []
    for z, t in zip(logits, target, strict=True):
        p = torch.sigmoid(z)
        p_t = torch.where(t == 1, p, 1 - p)
        rows.append(balanced(-((1 - p_t) ** gamma) * torch.log(p_t), t, alpha))
    return reduced(torch.stack(rows) if rows else logits * target, reduction)


def composed(
    logits: Tensor, target: Tensor, reduction: str = "mean", alpha: float = ALPHA, gamma: float = GAMMA
) -> Tensor:
    """The usual composition: binary cross-entropy of logits times (1 - p_t)^gamma, p_t from the sigmoid."""
    p = torch.sigmoid(logits)
    p_t = p * target + (1 - p) * (1 - target)
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * (1 - p_t) ** gamma
    return reduced(balanced(losses, target, alpha), reduction)


def exp_of_loss(
    logits: Tensor, target: Tensor, reduction: str = "mean", alpha: float = ALPHA, gamma: float = GAMMA
) -> Tensor:
    """p_t taken back out of the cross-entropy, as e^-CE."""
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return reduced(balanced((1 - torch.exp(-losses)) ** gamma * losses, target, alpha), reduction)


def log_space(
    logits: Tensor, target: Tensor, reduction: str = "mean", alpha: float = ALPHA, gamma: float = GAMMA
) -> Tensor:
    """e^(gamma log s(-m)) log(1 + e^-m) of the margin m, in float32 at least: no 1 - p_t is formed."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    positive = target == 1
    margin = torch.where(positive, logits, -logits).to(wide)
    if alpha in (0, 1):
        # A label of weight 0 is left out beforehand: 0 * NaN is NaN.
        margin = torch.where(positive == (alpha == 0), torch.zeros_like(margin), margin)
    losses = -F.logsigmoid(margin)
    if gamma != 0:
        # Below -100 the factor is 1, and gamma times a loss near the top of the range overflows in its slope.
        # With gamma = 0 an infinite margin would make 0 * inf of the exponent.
        losses = torch.exp(gamma * F.logsigmoid(-margin.clamp(min=-100))) * losses
    return reduced(balanced(losses, target.to(wide), alpha), reduction).to(logits.dtype)


def upcast(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    alpha: float = ALPHA,
    gamma: float = GAMMA,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, the usual composition, round the loss once."""
    return composed(logits.to(wide_dtype), target.to(wide_dtype), reduction, alpha, gamma).to(logits.dtype)


class _ExactGradient(torch.autograd.Function):
    """Element losses and their slopes by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, t: Tensor, alpha: float, gamma: float) -> Tensor:
        sign = 2 * t - 1
        margin = sign * z
        small = torch.exp(-margin.abs())
        near, far = 1 / (1 + small), small / (1 + small)
        right, wrong = torch.where(margin > 0, near, far), torch.where(margin > 0, far, near)
        loss = (-margin).clamp(min=0) + torch.log1p(small)
        scale = torch.ones_like(z) if alpha < 0 else torch.where(t == 1, alpha, 1 - alpha)
        weight = scale * wrong**gamma
        lean = torch.where(right == 0, 0.0, gamma * right * loss) + wrong
        slope, losses = -sign * weight * lean, weight * loss
        ctx.save_for_backward(torch.where(scale == 0, 0.0, slope))
        return torch.where(scale == 0, 0.0, losses)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return slope * upstream, None, None, None


def exact_gradient(
    logits: Tensor, target: Tensor, reduction: str = "mean", alpha: float = ALPHA, gamma: float = GAMMA
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradient in float64, rounded once."""
    losses = _ExactGradient.apply(logits.double(), target.double(), alpha, gamma)
    return reduced(losses, reduction).to(logits.dtype)
