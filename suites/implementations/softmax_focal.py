"""Every way in which people compute the focal loss over classes, as plain functions of (x, y, options).

`alpha` is one weight per class or None, ignored rows cost nothing, and the mean divides by the number
of kept rows. The trap: an ignored row has a cross-entropy of 0, so p_t = 1, where the slope of
(1 - p_t)^gamma is infinite for gamma < 1: masking its loss afterwards is too late.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from suites.implementations.reductions import converted

GAMMA, IGNORE = 2.0, -100


def reduced(losses: Tensor, kept: Tensor, reduction: str) -> Tensor:
    """Returns the losses (N,), their sum, or their sum over the number of kept rows, in float32 at least."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    total = losses.sum(dtype=torch.promote_types(losses.dtype, torch.float32))
    return (total / kept.sum()).to(losses.dtype)


def balanced(losses: Tensor, safe: Tensor, kept: Tensor, alpha: Tensor | None) -> Tensor:
    """Returns the losses times alpha of their labels, 0 in ignored rows."""
    weighted = losses if alpha is None else alpha[safe] * losses
    return torch.where(kept, weighted, torch.zeros_like(weighted))


def labels(target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Returns labels that can be gathered and which rows are kept."""
    kept = target != ignore_index
    return torch.where(kept, target, 0), kept


def naive_loop(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    alpha: Tensor | None = None,
    gamma: float = GAMMA,
    ignore_index: int = IGNORE,
) -> Tensor:
    """A row loop over -alpha_t (1 - p_t)^gamma log p_t, p without a shift."""
    rows, count = [], 0
    for x, y in zip(logits, target.tolist(), strict=True):
        if y == ignore_index:
            rows.append(x[:0].sum())
            continue
        if y < 0:
            # Python would take the last class, and every other form refuses such a label.
            raise IndexError(f"naive_loop(target): label {y} names no class; labels are 0 to {len(x) - 1}")
        count += 1
        p = torch.exp(x[y]) / torch.exp(x).sum()
        loss = -((1 - p) ** gamma) * torch.log(p)
        rows.append(loss if alpha is None else alpha[y] * loss)
    losses = torch.stack(rows) if rows else logits.sum(1)
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / count if count else losses.sum() * math.nan


def composed(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    alpha: Tensor | None = None,
    gamma: float = GAMMA,
    ignore_index: int = IGNORE,
) -> Tensor:
    """The usual composition: cross-entropy times (1 - p_t)^gamma, p_t = e^-CE."""
    safe, kept = labels(target, ignore_index)
    losses = F.cross_entropy(logits, target, reduction="none", ignore_index=ignore_index)
    losses = (1 - torch.exp(-losses)) ** gamma * losses
    return reduced(balanced(losses, safe, kept, alpha), kept, reduction)


def softmax_gather(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    alpha: Tensor | None = None,
    gamma: float = GAMMA,
    ignore_index: int = IGNORE,
) -> Tensor:
    """softmax, the label's probability, its logarithm: the formula of the paper as it stands."""
    safe, kept = labels(target, ignore_index)
    p = torch.softmax(logits, 1).gather(1, safe.unsqueeze(1)).squeeze(1)
    losses = -((1 - p) ** gamma) * torch.log(p)
    return reduced(balanced(losses, safe, kept, alpha), kept, reduction)


def log_softmax_gather(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    alpha: Tensor | None = None,
    gamma: float = GAMMA,
    ignore_index: int = IGNORE,
) -> Tensor:
    """log_softmax, then the label, p_t as its exponential."""
    safe, kept = labels(target, ignore_index)
    log_p = F.log_softmax(logits, 1).gather(1, safe.unsqueeze(1)).squeeze(1)
    losses = -((1 - torch.exp(log_p)) ** gamma) * log_p
    return reduced(balanced(losses, safe, kept, alpha), kept, reduction)


def one_hot(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    alpha: Tensor | None = None,
    gamma: float = GAMMA,
    ignore_index: int = IGNORE,
) -> Tensor:
    """The dense formula: the one-hot label times (1 - p)^gamma log p of every class, summed."""
    safe, kept = labels(target, ignore_index)
    log_p = F.log_softmax(logits, 1)
    terms = F.one_hot(safe, logits.shape[1]).to(logits.dtype) * (1 - torch.exp(log_p)) ** gamma * log_p
    return reduced(balanced(-terms.sum(1), safe, kept, alpha), kept, reduction)


def logsumexp_gather(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    alpha: Tensor | None = None,
    gamma: float = GAMMA,
    ignore_index: int = IGNORE,
) -> Tensor:
    """The cross-entropy as logsumexp minus the label's logit, which cancels under a common offset."""
    safe, kept = labels(target, ignore_index)
    entropies = torch.logsumexp(logits, 1) - logits.gather(1, safe.unsqueeze(1)).squeeze(1)
    losses = (1 - torch.exp(-entropies)) ** gamma * entropies
    return reduced(balanced(losses, safe, kept, alpha), kept, reduction)


def chunked(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    alpha: Tensor | None = None,
    gamma: float = GAMMA,
    ignore_index: int = IGNORE,
    fewest_rows: int = 16,
) -> Tensor:
    """The usual composition over at most 16 chunks of rows, never fewer than 16 rows in one."""
    rows_per_chunk = max(fewest_rows, -(-logits.shape[0] // 16))
    pieces = zip(logits.split(rows_per_chunk), target.split(rows_per_chunk), strict=True)
    losses = torch.cat([composed(x, y, "none", alpha, gamma, ignore_index) for x, y in pieces])
    return reduced(losses, target != ignore_index, reduction)


def off_target(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    alpha: Tensor | None = None,
    gamma: float = GAMMA,
    ignore_index: int = IGNORE,
) -> Tensor:
    """The binary form of d = logsumexp of the other classes - x_t: 1 - p_t is s(d), the loss log(1 + e^d).

    In float32 at least; ignored rows are replaced before anything is computed of them.
    """
    safe, kept = labels(target, ignore_index)
    wide = torch.promote_types(logits.dtype, torch.float32)
    column = safe.unsqueeze(1)
    x = torch.where(kept.unsqueeze(1), logits, torch.zeros_like(logits)).to(wide)
    others = x.scatter(1, column, -math.inf)
    # Where no other class is left, logsumexp has no slope: a finite stand-in, cut out below.
    alone = (others == -math.inf).all(1)
    others = others.masked_fill(alone.unsqueeze(1), 0.0)
    # The others among themselves first: next to a far label their own differences would be rounded.
    top = others.detach().amax(1, keepdim=True)
    lead = torch.logsumexp(others - top, 1) + (top - x.gather(1, column)).squeeze(1)
    losses = -F.logsigmoid(-lead)
    if gamma != 0:
        # Above 100 the factor is 1, and gamma times a loss near the top of the range overflows in its slope.
        losses = torch.exp(gamma * F.logsigmoid(lead.clamp(max=100))) * losses
    losses = losses.masked_fill(alone, 0.0)
    losses = balanced(losses, safe, kept, converted(alpha, wide))
    return reduced(losses, kept, reduction).to(logits.dtype)


def upcast(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    alpha: Tensor | None = None,
    gamma: float = GAMMA,
    ignore_index: int = IGNORE,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, the usual composition, round the loss once."""
    x, weight = logits.to(wide_dtype), converted(alpha, wide_dtype)
    return composed(x, target, reduction, weight, gamma, ignore_index).to(logits.dtype)


class _ExactGradient(torch.autograd.Function):
    """Row losses and logit gradients by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, label: Tensor, scale: Tensor, gamma: float) -> Tensor:
        column = label.unsqueeze(1)
        top, place = x.max(1, keepdim=True)
        # A label at +inf is certain: the difference to itself is 0 there, not inf - inf.
        powers = torch.where(x == top, 0.0, x - top).exp()
        own = powers.gather(1, column)
        rest = powers.scatter(1, place, 0.0).sum(1, keepdim=True)
        others = torch.where(column == place, rest, 1 + rest - own)
        mass, share = others / (1 + rest), own / (1 + rest)
        at_label = x.gather(1, column)
        loss = torch.log1p(rest) + torch.where(at_label == top, 0.0, top - at_label)
        turned = torch.where(share == 0, 0.0, gamma * share * loss)
        weight = scale.unsqueeze(1) * mass**gamma
        slope = weight * (turned + mass)
        entries = torch.where(others == 0, 0.0, powers / others) * slope
        counted = scale.unsqueeze(1) != 0
        ctx.save_for_backward(torch.where(counted, entries.scatter(1, column, -slope), 0.0))
        return torch.where(counted, weight * loss, 0.0).squeeze(1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (entries,) = ctx.saved_tensors
        return entries * upstream.unsqueeze(1), None, None, None


def exact_gradient(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    alpha: Tensor | None = None,
    gamma: float = GAMMA,
    ignore_index: int = IGNORE,
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradient in float64, rounded once."""
    safe, kept = labels(target, ignore_index)
    scale = kept.double() if alpha is None else torch.where(kept, alpha.double()[safe], 0.0)
    losses = _ExactGradient.apply(logits.double(), safe, scale, gamma)
    return reduced(losses, kept, reduction).to(logits.dtype)
