"""Ways to compute the multi-label margin loss, as functions of (scores, target, options).

target holds the labels of a row up to its first -1, in the shape of the scores: (N, C), or (C,) of a single
row. The trap: who makes a mask of the labels counts one that is named twice once, torch counts it twice.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from suites.implementations.multi_margin import hinge
from suites.implementations.reductions import reduced


def places(target: Tensor) -> Tensor:
    """Returns which places of the lists (N, C) count: those before the first -1."""
    return (target >= 0).long().cumprod(1).bool()


def mask_of(target: Tensor) -> Tensor:
    """Returns which classes are labels (N, C)."""
    counts = torch.zeros_like(target).scatter_add(1, target.clamp(min=0), places(target).long())
    return counts > 0


def naive_loop(scores: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Three loops: over rows, over their labels, over the classes that are none."""
    rows, lists = torch.atleast_2d(scores), torch.atleast_2d(target)
    losses = [rows[:0].sum(1)]
    for row, entries in zip(rows, lists.tolist(), strict=True):
        labels = entries[: entries.index(-1)] if -1 in entries else entries
        total = row[:0].sum()
        for label in labels:
            for k, score in enumerate(row):
                if k not in labels:
                    total = total + (1 - row[label] + score).clamp(min=0)
        losses.append((total / len(row)).reshape(1))
    return reduced(torch.cat(losses).reshape(scores.shape[:-1]), reduction)


def by_masks(scores: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The textbook form: relu of all C x C differences, cut to pairs of a label and none."""
    rows, labels = torch.atleast_2d(scores), mask_of(torch.atleast_2d(target))
    excess = 1 - rows.unsqueeze(2) + rows.unsqueeze(1)
    pairs = labels.unsqueeze(2) & ~labels.unsqueeze(1)
    losses = torch.where(pairs, F.relu(excess), 0.0).sum((1, 2)) / rows.shape[1]
    return reduced(losses.reshape(scores.shape[:-1]), reduction)


def in_float64(scores: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Clean control: the textbook form in float64, rounded once; native answers no empty batch."""
    return by_masks(scores.double(), target, reduction).to(scores.dtype)


def stable(scores: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The labels of the lists alone, differences first, in float32 at least, rounded once."""
    rows, lists = torch.atleast_2d(scores), torch.atleast_2d(target)
    named, labels = places(lists), mask_of(lists)
    # No list is longer than the longest one.
    longest = int(named.sum(1).max()) if len(rows) else 0
    columns, counted = lists[:, :longest].clamp(min=0), named[:, :longest]
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    excess = (wide.unsqueeze(1) - wide.gather(1, columns).unsqueeze(2)) + 1
    pairs = counted.unsqueeze(2) & ~labels.unsqueeze(1)
    losses = hinge(torch.where(pairs, excess, -1.0)).sum((1, 2)) / rows.shape[1]
    return reduced(losses.reshape(scores.shape[:-1]), reduction).to(scores.dtype)


def native(scores: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """torch.nn.functional.multilabel_margin_loss."""
    return F.multilabel_margin_loss(scores, target, reduction=reduction)


def upcast(scores: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Upcast to float32, native, round the loss once."""
    return native(scores.float(), target, reduction).to(scores.dtype)


class _ExactGradient(torch.autograd.Function):
    """Row losses and slopes by the closed forms, one pass per place of the lists, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, target: Tensor) -> Tensor:
        named, others = places(target), ~mask_of(target)
        losses, slopes = scores.new_zeros(len(scores)), torch.zeros_like(scores)
        for place in range(int(named.sum(1).max()) if len(scores) else 0):
            column = target[:, place : place + 1].clamp(min=0)
            excess = (scores - scores.gather(1, column)) + 1
            excess = torch.where(others & named[:, place : place + 1] & ~(excess <= 0), excess, 0.0)
            step = torch.where(excess.isnan(), excess, excess.sign())
            losses += excess.sum(1)
            slopes += step
            slopes.scatter_add_(1, column, -step.sum(1, keepdim=True))
        ctx.save_for_backward(slopes / scores.shape[1])
        return losses / scores.shape[1]

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (slopes,) = ctx.saved_tensors
        return slopes * upstream.unsqueeze(1), None


def exact_gradient(scores: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradient, rounded once."""
    losses = _ExactGradient.apply(torch.atleast_2d(scores.double()), torch.atleast_2d(target))
    return reduced(losses.reshape(scores.shape[:-1]), reduction).to(scores.dtype)
