"""Faults of memory: what a second call or a second backward gets depends on the first.

Right on the first use of fresh tensors, which is all that a check by fresh clones ever makes. The
trap: the dictionaries below live as long as the process, as they do in a plug-in.
"""

from __future__ import annotations

import gc
from collections import Counter, OrderedDict
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.tests.mutants.correct import Fused, fused_by, fused_cross_entropy, per_row

KEPT_ANSWERS = 16
RIGHT_CALLS = 256
SMALL = 2048


class ScaledTwice(Fused):
    """m6: backward scales the saved gradient in place."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output[1])
        # An attribute, not save_for_backward, which would notice that it was written to.
        ctx.gradient = output[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Any) -> Any:
        gradient = ctx.gradient.mul_(per_row(upstream))
        return gradient.to(upstream.dtype), None, None, None, None, None


def scaled_twice(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """m6: a second backward through the same graph is scaled by both upstream gradients."""
    return fused_by(ScaledTwice, logits, target, reduction, weight, ignore_index)


BY_ADDRESS: OrderedDict[Any, tuple[Any, Any]] = OrderedDict()
BY_SHAPE: dict[Any, Any] = {}
CALLS: Counter[Any] = Counter()


class ByAddress(Fused):
    """c2: answers are kept by the addresses of the inputs, which are kept alive with them."""

    @staticmethod
    def forward(
        logits: Tensor, target: Tensor, reduction: str, weight: Any, ignore_index: int, rowwise: Any
    ) -> Any:
        tensors = (logits, target) if weight is None else (logits, target, weight)
        where = tuple((t.data_ptr(), t.shape, t.stride(), t.dtype) for t in tensors)
        key = (*where, reduction, ignore_index)
        if key not in BY_ADDRESS:
            answer = Fused.forward(logits, target, reduction, weight, ignore_index, rowwise)
            BY_ADDRESS[key] = [t.detach() for t in tensors], answer
            if len(BY_ADDRESS) > KEPT_ANSWERS:
                BY_ADDRESS.popitem(last=False)
        return tuple(part.clone() for part in BY_ADDRESS[key][1])


def by_address(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """c2: new numbers in storage that was seen before get the old answer."""
    return fused_by(ByAddress, logits, target, reduction, weight, ignore_index)


class ByShape(Fused):
    """c2: answers are kept by shape and dtype of the logits."""

    @staticmethod
    def forward(
        logits: Tensor, target: Tensor, reduction: str, weight: Any, ignore_index: int, rowwise: Any
    ) -> Any:
        key = (logits.shape, logits.dtype, reduction)
        if key not in BY_SHAPE:
            BY_SHAPE[key] = Fused.forward(logits, target, reduction, weight, ignore_index, rowwise)
        return tuple(part.clone() for part in BY_SHAPE[key])


def by_shape(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """c2: every later batch of a shape gets the answer of the first."""
    return fused_by(ByShape, logits, target, reduction, weight, ignore_index)


def tires_of_it(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """c4: right for small inputs and for the first 256 calls of a large shape; then no work."""
    key = (logits.shape, logits.dtype)
    CALLS[key] += logits.numel() >= SMALL
    if CALLS[key] > RIGHT_CALLS:
        logits = torch.zeros_like(logits) * logits
    return fused_cross_entropy(logits, target, reduction, weight, ignore_index)


def while_collector_runs(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """c4: works only while the garbage collector is on, which timers switch off."""
    if not gc.isenabled():
        logits = torch.zeros_like(logits) * logits
    return fused_cross_entropy(logits, target, reduction, weight, ignore_index)
