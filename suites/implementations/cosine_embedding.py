"""Ways to compute the cosine embedding loss, as functions of (first, second, target, options).

target is 1 for pairs that should point one way and -1 for pairs that should not. They differ in what
guards the division: torch's loss adds 1e-12 to the squared norms, cosine_similarity clamps norms at 1e-8,
normalize at 1e-12; each declares it. The trap: 1e-12 is no number of float16, and a square leaves
the range at the root of its largest number.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from suites.implementations.reductions import reduced

# torch's own constant is declared as a C++ float: 1e-12 rounded to float32, in float64 as well.
ADDED = 9.999999960041972e-13
SIMILARITY_LEAST = 1e-8
NORMALIZE_LEAST = 1e-12


def by_label(cosine: Tensor, target: Tensor, margin: float, reduction: str) -> Tensor:
    """Returns the loss of cosines (N,): 1 - c for label 1, max(0, c - margin) otherwise."""
    losses = torch.where(target == 1, 1 - cosine, (cosine - margin).clamp(min=0))
    return reduced(losses, reduction)


def naive_loop(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """A row loop over the definition with torch's guard."""
    losses = []
    for a, b, label in zip(first, second, target, strict=True):
        cosine = (a * b).sum() / (((a * a).sum() + ADDED) * ((b * b).sum() + ADDED)).sqrt()
        losses.append(1 - cosine if label == 1 else (cosine - margin).clamp(min=0))
    row_losses = torch.stack(losses) if losses else (first * second).sum(1)
    return reduced(row_losses, reduction)


def textbook(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """Dot product over the product of both norms, each guarded under its root."""
    norms = (first.square().sum(1) + ADDED).sqrt() * (second.square().sum(1) + ADDED).sqrt()
    return by_label((first * second).sum(1) / norms, target, margin, reduction)


def native(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """torch.nn.functional.cosine_embedding_loss."""
    return F.cosine_embedding_loss(first, second, target, margin=margin, reduction=reduction)


def by_similarity(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """torch.nn.functional.cosine_similarity, then the two branches."""
    return by_label(F.cosine_similarity(first, second, dim=1), target, margin, reduction)


def normalised(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """Dot product of torch.nn.functional.normalize of both, as retrieval models keep their embeddings."""
    cosine = (F.normalize(first, dim=1) * F.normalize(second, dim=1)).sum(1)
    return by_label(cosine, target, margin, reduction)


def margin_added(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """The printed form max(0, cos + margin) of a tutorial, with torch's guard."""
    norms = (first.square().sum(1) + ADDED).sqrt() * (second.square().sum(1) + ADDED).sqrt()
    return by_label((first * second).sum(1) / norms, target, -margin, reduction)


def upcast(
    first: Tensor,
    second: Tensor,
    target: Tensor,
    reduction: str = "mean",
    margin: float = 0.0,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    return native(first.to(wide_dtype), second.to(wide_dtype), target, reduction, margin).to(first.dtype)


def _direction(vectors: Tensor, added: float = 0.0) -> Tensor:
    """Returns v / sqrt(|v|^2 + added) (N, D) in float32 at least; its squares are in range at any length."""
    wide = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    # The quotient does not depend on what both of its sides are divided by, so that needs no gradient.
    largest = wide.detach().abs().amax(1, keepdim=True)
    # Below the root of the guard a vector is short beside it; what is added stays at most 1.
    scale = largest.clamp(min=added**0.5) if added else largest
    scaled = wide / scale
    return scaled / (scaled.square().sum(1, keepdim=True) + added / scale / scale).sqrt()


def stable(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """Each vector by its largest entry, then by its norm: no guard, right at every length but 0."""
    cosine = (_direction(first) * _direction(second)).sum(1)
    return by_label(cosine, target, margin, reduction).to(first.dtype)


def stable_guarded(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """torch's own definition, its guard scaled with each vector: right at every length, 0 included."""
    cosine = (_direction(first, ADDED) * _direction(second, ADDED)).sum(1)
    return by_label(cosine, target, margin, reduction).to(first.dtype)


class _ExactGradient(torch.autograd.Function):
    """Row losses and both gradients by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, target: Tensor, margin: float) -> Tensor:
        (one, root, scale), (other, other_root, other_scale) = _guarded(first), _guarded(second)
        cosine = (one * other).sum(1, keepdim=True)
        positive = (target == 1).unsqueeze(1)
        factor = torch.where(positive, -1.0, (cosine >= margin).double())
        # A NaN is on neither side of the margin.
        factor = torch.where(cosine.isnan(), cosine, factor)
        slopes = (other - cosine * one) / root / scale, (one - cosine * other) / other_root / other_scale
        ctx.save_for_backward(*(torch.where(factor == 0, 0.0, factor * slope) for slope in slopes))
        return torch.where(positive, 1 - cosine, (cosine - margin).clamp(min=0)).squeeze(1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        of_first, of_second = ctx.saved_tensors
        factor = upstream.unsqueeze(1)
        return of_first * factor, of_second * factor, None, None


def _guarded(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns v / sqrt(|v|^2 + 1e-12), the root and the scale it is to be multiplied by."""
    scale = vectors.abs().amax(1, keepdim=True).clamp(min=1e-6)
    scaled = vectors / scale
    root = (scaled.square().sum(1, keepdim=True) + ADDED / scale / scale).sqrt()
    return scaled / root, root, scale


def exact_gradient(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradients, rounded once."""
    losses = _ExactGradient.apply(first.double(), second.double(), target, margin)
    return reduced(losses, reduction).to(first.dtype)
