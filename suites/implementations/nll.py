"""Every way in which people compute the negative log-likelihood, as functions of (x, target, options).

x holds log-probabilities (N, C), (C,) of a single row, or (N, C, H, W). All take the options of
`torch.nn.functional.nll_loss` that they can honour. The trap: whatever multiplies a row by a mask, one-hot
or 0 for ignored, turns the infinities and NaNs of entries that do not count into NaN; `where` cuts them out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def unfolded(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Returns rows (R, C) and labels (R,) of rows, of one row without a batch, or of images."""
    if x.dim() == 1:
        return x.unsqueeze(0), target.reshape(1)
    if x.dim() == 2:
        return x, target
    return x.movedim(1, -1).reshape(-1, x.shape[1]), target.reshape(-1)


def reduced(losses: Tensor, weights: Tensor, reduction: str, target: Tensor) -> Tensor:
    """Returns row losses in the shape of the labels, their sum, or that over the sum of the weights."""
    if reduction == "none":
        return losses.reshape(target.shape)
    return losses.sum() if reduction == "sum" else losses.sum() / weights.sum()


def row_weights(x: Tensor, labels: Tensor, weight: Tensor | None, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Returns labels that can be gathered and the weight of every row, 0 where it is ignored."""
    kept = labels != ignore_index
    safe = torch.where(kept, labels, 0)
    ones = x.new_ones(safe.shape) if weight is None else weight[safe]
    return safe, torch.where(kept, ones, torch.zeros_like(ones))


def naive_loop(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """A loop over the rows that picks the label's entry."""
    rows, labels = unfolded(log_probabilities, target)
    losses, weights = [rows[:0].sum(1)], [rows.new_zeros(0)]
    for row, label in zip(rows, labels.tolist(), strict=True):
        if label == ignore_index:
            # An empty sum: 0 with a gradient of 0, whatever stands in the row.
            losses.append(row[:0].sum().reshape(1))
            weights.append(row.new_zeros(1))
            continue
        scale = row.new_ones(()) if weight is None else weight[label]
        losses.append((-row[label] * scale).reshape(1))
        weights.append(scale.reshape(1))
    return reduced(torch.cat(losses), torch.cat(weights), reduction, target)


def one_hot_dot(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """The textbook form: the dot product of the row with the one-hot label, times the weight."""
    rows, labels = unfolded(log_probabilities, target)
    safe, weights = row_weights(rows, labels, weight, ignore_index)
    losses = -(F.one_hot(safe, rows.shape[1]).to(rows.dtype) * rows).sum(1) * weights
    return reduced(losses, weights, reduction, target)


def one_hot_where(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """The dense form made safe: entries off the label are cut out before they are summed."""
    rows, labels = unfolded(log_probabilities, target)
    safe, weights = row_weights(rows, labels, weight, ignore_index)
    counted = F.one_hot(safe, rows.shape[1]).bool() & (weights != 0).unsqueeze(1)
    losses = -torch.where(counted, rows, 0.0).sum(1) * weights
    return reduced(losses, weights, reduction, target)


def gather(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """The label's entry by gather; rows that do not count are cut out by where."""
    rows, labels = unfolded(log_probabilities, target)
    safe, weights = row_weights(rows, labels, weight, ignore_index)
    picked = rows.gather(1, safe.unsqueeze(1)).squeeze(1)
    losses = torch.where(weights == 0, 0.0, -picked) * weights
    return reduced(losses, weights, reduction, target)


def native(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """torch.nn.functional.nll_loss."""
    return F.nll_loss(log_probabilities, target, weight, ignore_index=ignore_index, reduction=reduction)


def chunked(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    fewest_rows: int = 16,
) -> Tensor:
    """Native over at most 16 chunks of rows or images, never fewer than 16 of them in one."""
    if log_probabilities.dim() == 1:
        return native(log_probabilities, target, reduction, weight, ignore_index)
    most = max(fewest_rows, -(-log_probabilities.shape[0] // 16))
    pieces = zip(log_probabilities.split(most), target.split(most), strict=True)
    losses = torch.cat([native(x, labels, "none", weight, ignore_index) for x, labels in pieces])
    _, weights = row_weights(log_probabilities, target, weight, ignore_index)
    return reduced(losses, weights, reduction, target)


def deprecated_module(kind: Callable[..., nn.Module], options: Mapping[str, Any]) -> nn.Module:
    """Builds a module that torch has deprecated, without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kind(**options)


def upcast(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    wide_weight = None if weight is None else weight.to(wide_dtype)
    loss = native(log_probabilities.to(wide_dtype), target, reduction, wide_weight, ignore_index)
    return loss.to(log_probabilities.dtype)


class _ExactGradient(torch.autograd.Function):
    """Row losses and their one gradient entry by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, label: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(label, weight)
        ctx.shape = x.shape
        return torch.where(weight == 0, 0.0, -weight * x.gather(1, label.unsqueeze(1)).squeeze(1))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        label, weight = ctx.saved_tensors
        entries = upstream.new_zeros(ctx.shape)
        return entries.scatter_(1, label.unsqueeze(1), (-weight * upstream).unsqueeze(1)), None, None


def exact_gradient(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradient, rounded once."""
    rows, labels = unfolded(log_probabilities.double(), target)
    wide_weight = None if weight is None else weight.double()
    safe, weights = row_weights(rows, labels, wide_weight, ignore_index)
    losses = _ExactGradient.apply(rows, safe, weights)
    return reduced(losses, weights, reduction, target).to(log_probabilities.dtype)
