"""Ways to compute the triplet margin loss, as functions of (anchor, positive, negative, options).

They differ in the distance: torch adds 1e-6 to the signed difference and takes a P-norm, the printed form
of a tutorial squares it, others add nothing; each declares it. The trap: the root of a sum of squares has
no slope at 0, and anchor and positive are often one and the same vector.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from suites.implementations.multi_margin import hinge as hinge_with_nan
from suites.implementations.reductions import reduced

EPSILON = 1e-6


def clamped(excess: Tensor) -> Tensor:
    """Returns max(0, z), whose slope at NaN is 0."""
    return excess.clamp(min=0)


def hinge(
    distance: Callable[[Tensor, Tensor], Tensor],
    triplet: tuple[Tensor, Tensor, Tensor],
    reduction: str,
    margin: float,
    swap: bool,
    positive_part: Callable[[Tensor], Tensor] = clamped,
) -> Tensor:
    """Returns max(0, d(a, p) - d(a, n) + margin), with min(d(a, n), d(p, n)) where swap is asked."""
    anchor, positive, negative = triplet
    far = distance(anchor, negative)
    if swap:
        far = torch.minimum(far, distance(positive, negative))
    return reduced(positive_part(distance(anchor, positive) - far + margin), reduction)


def _norm(x: Tensor, y: Tensor, *, p: float, eps: float = EPSILON) -> Tensor:
    v = (x - y + eps).abs()
    if p == 1:
        return v.sum(1)
    return v.square().sum(1).sqrt() if p == 2 else v.pow(p).sum(1).pow(1 / p)


def naive_loop(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    reduction: str = "mean",
    margin: float = 1.0,
    p: float = 2.0,
    swap: bool = False,
    eps: float = EPSILON,
) -> Tensor:
    """A row loop over the definition."""
    losses = [
        hinge(partial(_norm, p=p, eps=eps), tuple(v.unsqueeze(0) for v in row), "sum", margin, swap)
        for row in zip(anchor, positive, negative, strict=True)
    ]
    return reduced(torch.stack(losses) if losses else (anchor + positive + negative).sum(1), reduction)


def textbook(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    reduction: str = "mean",
    margin: float = 1.0,
    p: float = 2.0,
    swap: bool = False,
    eps: float = EPSILON,
) -> Tensor:
    """The definition as printed: powers, their sum, its root."""
    return hinge(partial(_norm, p=p, eps=eps), (anchor, positive, negative), reduction, margin, swap)


def native(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    reduction: str = "mean",
    margin: float = 1.0,
    p: float = 2.0,
    swap: bool = False,
    eps: float = EPSILON,
) -> Tensor:
    """torch.nn.functional.triplet_margin_loss."""
    return F.triplet_margin_loss(
        anchor, positive, negative, margin=margin, p=p, eps=eps, swap=swap, reduction=reduction
    )


def with_distance(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    reduction: str = "mean",
    margin: float = 1.0,
    swap: bool = False,
) -> Tensor:
    """torch.nn.functional.triplet_margin_with_distance_loss with its default distance."""
    return F.triplet_margin_with_distance_loss(
        anchor, positive, negative, margin=margin, swap=swap, reduction=reduction
    )


def _square(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().sum(1)


def squared_distances(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    reduction: str = "mean",
    margin: float = 1.0,
    swap: bool = False,
) -> Tensor:
    """The printed form of a tutorial: squared distances, nothing added to a difference."""
    return hinge(_square, (anchor, positive, negative), reduction, margin, swap)


def root_of_squares(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    reduction: str = "mean",
    margin: float = 1.0,
    swap: bool = False,
) -> Tensor:
    """Roots of sums of squares, nothing added to a difference."""
    return hinge(partial(_norm, p=2.0, eps=0.0), (anchor, positive, negative), reduction, margin, swap)


def _wide_norm(x: Tensor, y: Tensor, *, p: float, eps: float) -> Tensor:
    """Returns the P-norm of x - y + eps whose powers stay in range, for float32 at least."""
    v = x - y + eps
    # A norm is proportional to what it is divided by, so that needs no gradient.
    largest = v.detach().abs().amax(1, keepdim=True)
    largest = torch.where(largest == 0, torch.ones_like(largest), largest)
    return torch.linalg.vector_norm(v / largest, p, 1) * largest.squeeze(1)


def stable(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    reduction: str = "mean",
    margin: float = 1.0,
    p: float = 2.0,
    swap: bool = False,
    eps: float = EPSILON,
) -> Tensor:
    """Each difference by its largest entry before its powers are taken, in float32 at least."""
    wide = torch.promote_types(anchor.dtype, torch.float32)
    triplet = anchor.to(wide), positive.to(wide), negative.to(wide)
    norm = partial(_wide_norm, p=p, eps=eps)
    return hinge(norm, triplet, reduction, margin, swap, hinge_with_nan).to(anchor.dtype)


def upcast(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    reduction: str = "mean",
    margin: float = 1.0,
    p: float = 2.0,
    swap: bool = False,
    eps: float = EPSILON,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    a, b, c = (vectors.to(wide_dtype) for vectors in (anchor, positive, negative))
    return native(a, b, c, reduction, margin, p, swap, eps).to(anchor.dtype)


class _ExactGradient(torch.autograd.Function):
    """Row losses and all gradients by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(
        ctx: Any,
        anchor: Tensor,
        positive: Tensor,
        negative: Tensor,
        margin: float,
        p: float,
        swap: bool,
        eps: float,
    ) -> Tensor:
        near, of_near = _with_slope(anchor, positive, p, eps)
        far, of_far = _with_slope(anchor, negative, p, eps)
        of_across = torch.zeros_like(of_far)
        if swap:
            across, slope = _with_slope(positive, negative, p, eps)
            smaller = across < far
            of_far, of_across = torch.where(smaller, 0.0, of_far), torch.where(smaller, slope, 0.0)
            far = torch.minimum(far, across)
        excess = near - far + margin
        found = of_near - of_far, -of_near - of_across, of_far + of_across
        # A NaN is on neither side of the margin.
        active = torch.where(excess.isnan(), excess, 1.0)
        ctx.save_for_backward(*(torch.where(excess < 0, 0.0, active * slope) for slope in found))
        return excess.clamp(min=0).squeeze(1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        factor = upstream.unsqueeze(1)
        return *(slope * factor for slope in ctx.saved_tensors), None, None, None, None


def _with_slope(x: Tensor, y: Tensor, p: float, eps: float) -> tuple[Tensor, Tensor]:
    """Returns the distances (N, 1) and their slopes by the first vector (N, D)."""
    v = x - y + eps
    largest = v.abs().amax(1, keepdim=True)
    largest = torch.where(largest == 0, 1.0, largest)
    root = torch.linalg.vector_norm(v / largest, p, 1, keepdim=True)
    share = torch.where(root == 0, 0.0, v / largest / root)
    return root * largest, share.sign() * share.abs() ** (p - 1)


def exact_gradient(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    reduction: str = "mean",
    margin: float = 1.0,
    p: float = 2.0,
    swap: bool = False,
    eps: float = EPSILON,
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradients, rounded once."""
    triplet = anchor.double(), positive.double(), negative.double()
    losses = _ExactGradient.apply(*triplet, margin, p, swap, eps)
    return reduced(losses, reduction).to(anchor.dtype)
