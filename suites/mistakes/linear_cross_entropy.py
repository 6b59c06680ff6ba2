"""What people get wrong about a fused projection and cross-entropy: runs only on request.

The trap: most of these are right in the loss, or in the gradient of the rows, so a test that looks at
one tensor passes; the gradient of the weights is a tensor of its own.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness import Implementation
from suites.implementations.linear_cross_entropy import class_chunks


def double_softmax(hidden: Tensor, linear_weight: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of projected probabilities: softmax is applied to the logits twice."""
    return F.cross_entropy(torch.softmax(F.linear(hidden, linear_weight), 1), target)


class _MadeInForward(torch.autograd.Function):
    """Gradients of the mean, made in the forward pass as chunked forms do."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
        logits = F.linear(hidden, weight)
        slope = torch.softmax(logits, 1)
        slope[torch.arange(len(target)), target] -= 1
        # The mean divides by the rows, but only the gradient of the rows is told.
        ctx.save_for_backward(slope @ weight / len(target), slope.T @ hidden)
        return F.cross_entropy(logits, target)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Any:
        back, of_weight = ctx.saved_tensors
        return back * upstream, of_weight * upstream, None


def weight_gradient_of_sum(hidden: Tensor, linear_weight: Tensor, target: Tensor) -> Tensor:
    """A mean whose weight gradient is that of the sum."""
    loss: Tensor = _MadeInForward.apply(hidden, linear_weight, target)
    return loss


def last_chunk_gradient(
    hidden: Tensor, linear_weight: Tensor, target: Tensor, reduction: str = "mean", rows: int = 16
) -> Tensor:
    """Chunks of rows of which only the last one reaches the weights."""
    parts = list(zip(hidden.split(rows), target.split(rows), strict=True))
    losses = []
    for index, (part, labels) in enumerate(parts):
        weight = linear_weight if index == len(parts) - 1 else linear_weight.detach()
        losses.append(F.cross_entropy(F.linear(part, weight), labels, reduction="none"))
    total = torch.cat(losses)
    return total if reduction == "none" else getattr(total, reduction)()


def divides_by_rows(
    hidden: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """A mean over all rows, ignored ones included."""
    logits = F.linear(hidden, linear_weight)
    total = F.cross_entropy(logits, target, weight, ignore_index=ignore_index, reduction="sum")
    return total / len(target)


KNOWN_BAD = (
    Implementation(
        double_softmax,
        known_bad="softmax is applied twice: cross_entropy takes logits; pass the projected rows themselves",
    ),
    Implementation(
        weight_gradient_of_sum,
        known_bad="the weight gradient lacks the mean's 1/N: scale whatever gradient is made in the forward",
    ),
    Implementation(
        last_chunk_gradient,
        known_bad="only the last chunk reaches the weights: their gradient is the sum over all chunks",
    ),
    Implementation(
        partial(class_chunks, least_gradient=2.0**-12),
        name="drops_small_gradients",
        known_bad="entries of softmax - one_hot below 2^-12 are dropped, and what many rows add to a "
        "rare class; keep them all (cut cross-entropy: filter_eps=None)",
    ),
    Implementation(
        divides_by_rows,
        known_bad="the mean divides by the weights of the kept rows, not by the number of all rows",
    ),
)
