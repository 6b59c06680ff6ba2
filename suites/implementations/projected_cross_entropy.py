"""The textbook forms of cross-entropy over projections, functions of (hidden, linear_weight, target, bias).

Each makes all logits z = x W^T + b (N, C) and hands them to a form of the family `cross_entropy`. The trap:
what such a form loses, it loses on logits that the projection has rounded already, and the slopes of all
rows meet in W and b, where one NaN is the end of the whole step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from suites.implementations import cross_entropy


def projected_one_hot(
    hidden: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    smoothing_over: str = "all",
) -> Tensor:
    """linear, then the dense formula: target distribution times log_softmax, summed over classes."""
    logits = F.linear(hidden, linear_weight, linear_bias)
    return cross_entropy.one_hot(
        logits, target, reduction, weight, ignore_index, label_smoothing, smoothing_over
    )


def projected(
    hidden: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    *,
    form: Callable[..., Tensor],
) -> Tensor:
    """linear, then a form of cross-entropy over logits that takes labels without smoothing."""
    logits = F.linear(hidden, linear_weight, linear_bias)
    return form(logits, target, reduction, weight, ignore_index)
