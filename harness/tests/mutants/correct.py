"""Cross-entropy without a fault: the ground that every mutant stands on.

Two forms, both in float64 with gradients by closed form and rounded once: `rowwise_cross_entropy`
leaves the reduction to autograd, `fused_cross_entropy` computes the reduced gradient in the forward
pass and scales it in the backward pass, as fused kernels do. A mutant replaces one step of one of
them. The trap: both run as clean controls beside the mutants, since a fault of the ground would kill
every mutant and prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

Terms = tuple[Tensor, Tensor]
Rowwise = Callable[[Tensor, Tensor], Terms]


def as_rows(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Unfolds (N, C, H, W) and (N, H, W) into rows; rows pass through."""
    if logits.dim() == 2:
        return logits, target
    return logits.movedim(1, -1).reshape(-1, logits.shape[1]), target.reshape(-1)


def as_logits(rows: Tensor, logits: Tensor) -> Tensor:
    """Folds rows (R, C) back into the shape of the logits."""
    if logits.dim() == 2:
        return rows
    return rows.reshape(logits.shape[0], *logits.shape[2:], logits.shape[1]).movedim(-1, 1)


def row_weights(labels: Tensor, weight: Tensor | None, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Returns labels that can be gathered and the float64 weight of every row, 0 where it is ignored."""
    kept = labels != ignore_index
    safe = torch.where(kept, labels, 0).long()
    weights = kept.double() if weight is None else torch.where(kept, weight.double()[safe], 0.0)
    return safe, weights


def softmax_terms(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns d = x - max, the maximum's column, exp(d), the sum over the other classes and the whole.

    A logit of +inf takes all probability, which is the limit.
    """
    place = x.argmax(1, keepdim=True)
    top = x.gather(1, place)
    shifted = torch.where((x == top) & (top > -math.inf), 0.0, x - top)
    powers = shifted.exp()
    others = powers.scatter(1, place, 0.0).sum(1, keepdim=True)
    return shifted, place, powers, others, 1 + others


def closed_form(rows: Tensor, labels: Tensor) -> Terms:
    """Returns losses (R,) and logit gradients (R, C) in float64, never forming 1 - p by subtraction."""
    column = labels.unsqueeze(1)
    shifted, place, powers, others, total = softmax_terms(rows.double())
    losses = torch.log1p(others) - shifted.gather(1, column)
    missing = torch.where(column == place, others, total - powers.gather(1, column)) / total
    return losses.squeeze(1), (powers / total).scatter(1, column, -missing)


def dense_closed_form(x: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns losses (R,) and the gradients for logits and class coefficients (R, C) of sum_c q_c l_c."""
    shifted, place, powers, others, total = softmax_terms(x)
    class_losses = torch.log1p(others) - shifted
    losses = torch.where(q == 0, 0.0, q * class_losses).sum(1)
    largest, where = q.max(1, keepdim=True)
    below = q.scatter(1, where, 0.0).sum(1, keepdim=True)
    remaining = (largest + below - q).scatter(1, where, below)
    complements = (total - powers).scatter(1, place, others) / total
    return losses, powers / total * remaining - q * complements, class_losses


class RowLoss(Function):
    """Row losses (R,) of float64 rows and labels; differentiable twice, and under torch.func."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, labels: Tensor) -> Tensor:
        return closed_form(rows, labels)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        return closed_form(*ctx.saved_tensors)[1] * upstream.unsqueeze(1), None


class DenseLoss(Function):
    """Row losses (R,) of float64 rows and class coefficients q (R, C); differentiable twice."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, q: Tensor) -> Tensor:
        return dense_closed_form(rows, q)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        _, for_rows, for_q = dense_closed_form(*ctx.saved_tensors)
        return for_rows * upstream.unsqueeze(1), for_q * upstream.unsqueeze(1)


def weighted_losses(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100
) -> tuple[Tensor, Tensor]:
    """Returns weighted row losses and weights in float64; rows that do not count are cut out *before*."""
    rows, labels = as_rows(logits, target)
    safe, weights = row_weights(labels, weight, ignore_index)
    rows = torch.where((weights == 0).unsqueeze(1), 0.0, rows.double())
    return RowLoss.apply(rows, safe) * weights, weights


def reduced(losses: Tensor, weights: Tensor, reduction: str, target: Tensor) -> Tensor:
    """Reduces weighted row losses in the dtype that they come in; mean divides by the sum of weights."""
    if reduction == "none":
        return losses.reshape(target.shape)
    return losses.sum() if reduction == "sum" else losses.sum() / weights.sum()


def rowwise_cross_entropy(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """The ground of mutants that leave the reduction to autograd."""
    losses, weights = weighted_losses(logits, target, weight, ignore_index)
    return reduced(losses, weights, reduction, target).to(logits.dtype)


def dense_cross_entropy(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The ground of mutants over probability targets and smoothing."""
    q, weights = coefficients(logits, target, weight, ignore_index, label_smoothing)
    rows, _ = as_rows(logits, target)
    rows = torch.where((q == 0).all(1, keepdim=True), 0.0, rows.double())
    shape = target[..., 0] if target.is_floating_point() else target
    return reduced(DenseLoss.apply(rows, q), weights, reduction, shape).to(logits.dtype)


def coefficients(
    logits: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """Returns class coefficients q (R, C) and what each row adds to the mean's denominator (R,)."""
    rows, labels = as_rows(logits, target)
    classes = rows.shape[1]
    if target.is_floating_point():
        one_hot, kept = target.double(), torch.ones_like(rows[:, 0], dtype=torch.bool)
        weights = kept.double()
    else:
        safe, weights = row_weights(labels, weight, ignore_index)
        kept = labels != ignore_index
        one_hot = torch.zeros_like(rows, dtype=torch.float64).scatter(1, safe.unsqueeze(1), 1.0)
    q = (1 - label_smoothing) * one_hot + label_smoothing / classes
    if weight is not None:
        q = q * weight.double()
    return torch.where(kept.unsqueeze(1), q, 0.0), weights


def fused_terms(
    logits: Tensor,
    target: Tensor,
    reduction: str,
    weight: Tensor | None,
    ignore_index: int,
    rowwise: Rowwise,
) -> Terms:
    """Returns the reduced loss and the gradient of the logits under upstream gradient 1, in float64."""
    rows, labels = as_rows(logits, target)
    safe, weights = row_weights(labels, weight, ignore_index)
    losses, gradient = rowwise(rows, safe)
    losses = torch.where(weights == 0, 0.0, losses * weights)
    column = weights.unsqueeze(1)
    gradient = torch.where(column == 0, 0.0, gradient * column)
    if reduction == "mean":
        gradient = gradient / weights.sum()
    return reduced(losses, weights, reduction, target), as_logits(gradient, logits)


def per_row(upstream: Tensor) -> Tensor:
    """Returns the upstream gradient so that it multiplies a gradient of logits: one entry per row."""
    return upstream if upstream.dim() == 0 else upstream.unsqueeze(1)


class Fused(Function):
    """Forward computes loss and gradient, backward scales what was saved."""

    @staticmethod
    def forward(
        logits: Tensor,
        target: Tensor,
        reduction: str,
        weight: Tensor | None,
        ignore_index: int,
        rowwise: Rowwise,
    ) -> Terms:
        loss, gradient = fused_terms(logits, target, reduction, weight, ignore_index, rowwise)
        return loss.to(logits.dtype), gradient

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Any) -> Any:
        (gradient,) = ctx.saved_tensors
        return (gradient * per_row(upstream)).to(upstream.dtype), None, None, None, None, None


def fused_cross_entropy(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """The ground of mutants that compute the gradient in the forward pass."""
    return fused_by(Fused, logits, target, reduction, weight, ignore_index)


def fused_by(
    function: type[Fused],
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    *,
    rowwise: Rowwise = closed_form,
) -> Tensor:
    """Returns the loss of a fused form with its own passes or its own row terms."""
    return function.apply(logits, target, reduction, weight, ignore_index, rowwise)[0]
