"""Every way in which people compute cross-entropy, as plain functions of (logits, target, options).

All take the options of `torch.nn.functional.cross_entropy` that they can honour; the harness passes
what a signature names. The trap: an ignored or zero-weighted row must be cut out with `where`, since
0 * inf is NaN.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _class_axis(logits: Tensor) -> int:
    """Returns the axis of the classes, which comes first where there is no batch."""
    return 0 if logits.dim() == 1 else 1


def _rows(logits: Tensor) -> Tensor:
    """Unfolds (N, C, H, W), and (C,) of a row without a batch, into rows (R, C)."""
    if logits.dim() == 2:
        return logits
    return logits.movedim(_class_axis(logits), -1).reshape(-1, logits.shape[_class_axis(logits)])


def _flattened(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Unfolds (N, C, H, W) and (N, H, W), or one row and its label, into rows; rows pass through."""
    return _rows(logits), target.reshape(-1)


def _reduced(losses: Tensor, weights: Tensor, reduction: str, shape: torch.Size) -> Tensor:
    if reduction == "none":
        return losses.reshape(shape)
    if reduction == "sum":
        return losses.sum()
    return losses.sum() / weights.sum()


def _row_weights(
    logits: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Returns labels that can be gathered and the weight of every row, 0 where it is ignored."""
    kept = target != ignore_index
    safe = torch.where(kept, target, 0)
    ones = torch.ones_like(safe, dtype=logits.dtype) if weight is None else weight[safe]
    return safe, torch.where(kept, ones, torch.zeros_like(ones))


def naive_loop(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """The textbook row loop -log(exp(z_y) / sum exp(z)), without a shift."""
    rows, labels = _flattened(logits, target)
    losses, weights = [], []
    for row, label in zip(rows, labels.tolist(), strict=True):
        if label == ignore_index:
            # An empty sum: 0 with a gradient of 0, whatever stands in the row.
            losses.append(row[:0].sum())
            weights.append(torch.zeros_like(row[0]))
            continue
        scale = torch.ones_like(row[0]) if weight is None else weight[label]
        losses.append(-torch.log(torch.exp(row[label]) / torch.exp(row).sum()) * scale)
        weights.append(scale)
    return _reduced(torch.stack(losses), torch.stack(weights).detach(), reduction, target.shape)


def one_hot(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    smoothing_over: str = "all",
) -> Tensor:
    """The dense formula: target distribution times log_softmax, summed over classes."""
    axis, rows = _class_axis(logits), _rows(logits)
    classes = rows.shape[1]
    shape = logits.shape[:axis] + logits.shape[axis + 1 :]
    if target.is_floating_point():
        # In rows, where the class weights stand beside the classes and not beside the width of an image.
        distribution = _rows(target)
        row_weights = torch.ones(rows.shape[0], dtype=logits.dtype, device=logits.device)
        kept = torch.ones_like(row_weights, dtype=torch.bool)
    else:
        labels = target.reshape(-1)
        safe, row_weights = _row_weights(rows, labels, weight, ignore_index)
        distribution = F.one_hot(safe, classes).to(logits.dtype)
        kept = labels != ignore_index
    if label_smoothing:
        if smoothing_over == "others":
            share = label_smoothing / max(classes - 1, 1)
            distribution = (1 - label_smoothing) * distribution + share * (1 - distribution)
        else:
            distribution = (1 - label_smoothing) * distribution + label_smoothing / classes
    if weight is not None:
        distribution = distribution * weight
    terms = distribution * F.log_softmax(rows, 1)
    # A class of coefficient 0 must not contribute 0 * -inf.
    losses = -torch.where(distribution == 0, torch.zeros_like(terms), terms).sum(1)
    losses = torch.where(kept, losses, torch.zeros_like(losses))
    return _reduced(losses, row_weights, reduction, shape)


def _by_label(
    label_losses: Tensor,
    target: Tensor,
    logits: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
) -> Tensor:
    rows, labels = _flattened(label_losses, target)
    safe, weights = _row_weights(logits, labels, weight, ignore_index)
    picked = rows.gather(1, safe.unsqueeze(1)).squeeze(1)
    losses = torch.where(weights == 0, torch.zeros_like(picked), picked * weights)
    return _reduced(losses, weights, reduction, target.shape)


def softmax_log(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """softmax, then log, then the label: unstable on purpose, seen everywhere."""
    probabilities = torch.softmax(logits, _class_axis(logits))
    return _by_label(-probabilities.log(), target, logits, weight, ignore_index, reduction)


def log_softmax_gather(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """log_softmax, then gather the label."""
    losses = -F.log_softmax(logits, _class_axis(logits))
    return _by_label(losses, target, logits, weight, ignore_index, reduction)


def logsumexp_gather(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """logsumexp minus the label's logit: cancels under a common offset."""
    rows, labels = _flattened(logits, target)
    safe, weights = _row_weights(rows, labels, weight, ignore_index)
    picked = torch.logsumexp(rows, 1) - rows.gather(1, safe.unsqueeze(1)).squeeze(1)
    losses = torch.where(weights == 0, torch.zeros_like(picked), picked * weights)
    return _reduced(losses, weights, reduction, target.shape)


def log_softmax_nll(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """nll_loss of log_softmax, the form that tutorials teach: labels only, and no smoothing."""
    log_probabilities = F.log_softmax(logits, _class_axis(logits))
    return F.nll_loss(log_probabilities, target, weight, ignore_index=ignore_index, reduction=reduction)


def native(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """torch.nn.functional.cross_entropy."""
    return F.cross_entropy(
        logits,
        target,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def mean_of_rows(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100
) -> Tensor:
    """Native without a reduction, then the mean: all rows are counted, whatever their weight or label."""
    return native(logits, target, "none", weight, ignore_index).mean()


def upcast(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    loss = native(
        logits.to(wide_dtype),
        target.to(wide_dtype) if target.is_floating_point() else target,
        reduction,
        None if weight is None else weight.to(wide_dtype),
        ignore_index,
        label_smoothing,
    )
    return loss.to(logits.dtype)


def chunked(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    fewest_rows: int = 16,
) -> Tensor:
    """Native over at most 16 chunks of rows, never fewer than 16 rows in one."""
    if logits.dim() == 1:
        return native(logits, target, reduction, weight, ignore_index, label_smoothing)
    rows_per_chunk = max(fewest_rows, -(-logits.shape[0] // 16))
    pieces = zip(logits.split(rows_per_chunk), target.split(rows_per_chunk), strict=True)
    losses = torch.cat([native(x, y, "none", weight, ignore_index, label_smoothing) for x, y in pieces])
    if target.is_floating_point():
        weights = torch.ones_like(losses)
    else:
        _, weights = _row_weights(logits, target.reshape(-1), weight, ignore_index)
    return _reduced(losses, weights, reduction, losses.shape)


class _ExactGradient(torch.autograd.Function):
    """Row losses and logit gradients by closed forms in float64, for index targets."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, label: Tensor, row_weight: Tensor) -> Tensor:
        x = logits.double()
        top, place = x.max(1, keepdim=True)
        # A label at +inf is certain: the difference to itself is 0 there, not inf - inf.
        powers = torch.where(x == top, 0.0, x - top).exp()
        rest = powers.scatter(1, place, 0.0).sum(1, keepdim=True)
        # Where every class is forbidden or one is NaN nothing is defined, be there one class or many.
        rest = torch.where(top > -math.inf, rest, math.nan)
        column = label.unsqueeze(1)
        at_label = x.gather(1, column)
        lead = torch.where(at_label == top, 0.0, top - at_label)
        share = powers / (1 + rest)
        missing = torch.where(column == place, rest, 1 + rest - powers.gather(1, column)) / (1 + rest)
        share.scatter_(1, column, -missing)
        weight = row_weight.double().unsqueeze(1)
        ctx.save_for_backward(torch.where(weight == 0, torch.zeros_like(share), share * weight))
        losses = (torch.log1p(rest) + lead) * weight
        return torch.where(weight == 0, torch.zeros_like(losses), losses).squeeze(1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (share,) = ctx.saved_tensors
        return share * upstream.unsqueeze(1), None, None


def exact_gradient(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradient, rounded once."""
    rows, labels = _flattened(logits.double(), target)
    safe, weights = _row_weights(rows, labels, None if weight is None else weight.double(), ignore_index)
    losses = _ExactGradient.apply(rows, safe, weights)
    return _reduced(losses, weights, reduction, target.shape).to(logits.dtype)
