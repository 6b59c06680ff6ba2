"""Cross-entropy of projected rows with one fault each: the fused form has two gradients to lose.

The trap: the gradient of the weight is made beside that of the rows, long before the upstream gradient is
known, and is a sum over all rows, so what one row gets wrong lands in every class.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.tests.mutants.mutant import (
    LEAK,
    UP_TO_FLOAT32,
    UPSTREAM,
    Expected,
    Mutant,
    planted,
)
from suites.implementations import linear_cross_entropy, nll


class _UnscaledWeight(torch.autograd.Function):
    """Passes the weight on; its gradient comes back as for an upstream gradient of 1."""

    @staticmethod
    def forward(ctx: object, weight: Tensor, upstream_of: list[Tensor]) -> Tensor:
        ctx.upstream_of = upstream_of  # type: ignore[attr-defined]
        return weight.clone()

    @staticmethod
    def backward(ctx: object, upstream: Tensor) -> tuple[Tensor, None]:
        (above,) = ctx.upstream_of  # type: ignore[attr-defined]
        return upstream / above, None


class _Heard(torch.autograd.Function):
    """Passes the loss on and tells the weight what upstream gradient it got."""

    @staticmethod
    def forward(ctx: object, loss: Tensor, upstream_of: list[Tensor]) -> Tensor:
        ctx.upstream_of = upstream_of  # type: ignore[attr-defined]
        return loss.clone()

    @staticmethod
    def backward(ctx: object, upstream: Tensor) -> tuple[Tensor, None]:
        ctx.upstream_of[:] = [upstream]  # type: ignore[attr-defined]
        return upstream, None


def unscaled_weight(hidden: Tensor, linear_weight: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """f28: the gradient of the weight was made in the forward pass and is not scaled afterwards."""
    upstream: list[Tensor] = []
    weight = _UnscaledWeight.apply(linear_weight.double(), upstream)
    loss = linear_cross_entropy.exact_gradient(hidden.double(), weight, target, None, reduction)
    heard: Tensor = _Heard.apply(loss, upstream)
    return heard.to(hidden.dtype)


def uncut_rows(
    hidden: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """f29: an ignored row's logits get the gradient 0, which its NaN then multiplies."""
    wide = [None if option is None else option.double() for option in (linear_bias, weight)]
    logits = F.linear(hidden.double(), linear_weight.double(), wide[0])
    losses = nll.exact_gradient(F.log_softmax(logits, 1), target, reduction, wide[1], ignore_index)
    return losses.to(hidden.dtype)


def filtered(
    hidden: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """f30: entries of softmax - one_hot below 2^-12 are dropped."""
    wide = None if linear_bias is None else linear_bias.double()
    return linear_cross_entropy.class_chunks(
        hidden.double(), linear_weight.double(), target, wide, reduction, least_gradient=2.0**-12
    ).to(hidden.dtype)


_projected = partial(planted, "linear_cross_entropy")

MUTANTS: tuple[Mutant, ...] = (
    _projected(
        "f28",
        unscaled_weight,
        UPSTREAM,
        source="like m7",
        fault="the weight's gradient is not scaled by the upstream gradient",
        right="an upstream gradient of 1",
        variants=("mean", "sum"),
    ),
    _projected(
        "f29",
        uncut_rows,
        LEAK,
        source="like m17",
        fault="ignored rows are not cut out, and 0 times their NaN lands in every weight's gradient",
        right="finite hidden rows",
        right_at="mean/unit/float32",
        variants=("mean", "sum", "none", "biased", "weighted_ignored"),
        dtypes=UP_TO_FLOAT32,
    ),
    _projected(
        "f30",
        filtered,
        Expected(("dead_gradient", "inaccurate")).by("accuracy", "overflow"),
        source="like m10",
        fault="logit gradients below 2^-12 are dropped",
        right="doubtful rows",
        variants=("mean", "sum", "none", "biased"),
        dtypes=UP_TO_FLOAT32,
    ),
)
