"""The absolute and the squared error with one fault each.

The trap: with contiguous tensors, no weight, nothing missing and no entry met exactly, every one of these
is right.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from harness.tests.mutants.grafts import DenseUpstream, grafted, precomputed
from harness.tests.mutants.mutant import (
    INACCURATE,
    LAYOUT,
    NAN,
    STRIDED_UPSTREAM,
    UP_TO_FLOAT32,
    Expected,
    Mutant,
    planted,
)
from suites.implementations.l1 import exact_gradient as absolute
from suites.implementations.mse import exact_gradient as squared
from suites.implementations.residuals import cut, reduced


def root_of_square(prediction: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """f13: |x - t| as sqrt((x - t)^2), which has no slope at 0; in float64 no square leaves the range."""
    residual = prediction.double() - target.double()
    return reduced((residual * residual).sqrt(), reduction).to(prediction.dtype)


def dense_upstream(prediction: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """f14: the upstream gradient is read as if it were contiguous."""
    residual = prediction.double() - target.double()
    return precomputed(DenseUpstream, residual, lambda r: reduced(r.abs(), reduction)).to(prediction.dtype)


def expanded(prediction: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """f15: the value is x^2 - 2 x t + t^2 in float32 at least; the gradient is right."""
    wide = torch.promote_types(prediction.dtype, torch.float32)
    x, t = prediction.detach().to(wide), target.detach().to(wide)
    right = squared(prediction.double(), target.double(), "none")
    losses = grafted((x * x - 2 * x * t + t * t).double(), right)
    return reduced(losses, reduction).to(prediction.dtype)


def counts_missing(
    prediction: Tensor, target: Tensor, reduction: str = "mean", ignore_nan: bool = False
) -> Tensor:
    """f16: the mean divides by all entries, missing ones included."""
    x, t, _ = cut(prediction.double(), target.double(), ignore_nan)
    return reduced((x - t) * (x - t), reduction).to(prediction.dtype)


def dense_target(prediction: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """f39: the target is read one element after the other, whatever its strides."""
    if target.numel() and not target.is_contiguous():
        target = target.as_strided(target.shape, torch.empty(target.shape).stride())
    return squared(prediction, target, reduction)


def normalises_weight(
    prediction: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """f52: the weight is divided by its largest entry where it is; a weighted mean does not notice."""
    if weight is not None:
        weight.div_(weight.max())
    return absolute(prediction, target, reduction, weight)


KEPT_WEIGHTS: dict[object, Tensor] = {}


def kept_weight(
    prediction: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """f48: the weight is kept by its shape, so that new numbers in it are not seen."""
    if weight is not None:
        key = weight.shape, weight.dtype
        weight = KEPT_WEIGHTS.setdefault(key, weight.clone())
    return squared(prediction, target, reduction, weight)


_absolute = partial(planted, "l1", variants=("mean", "sum", "none"))

MUTANTS: tuple[Mutant, ...] = (
    _absolute(
        "f13",
        root_of_square,
        NAN,
        source="like m25",
        fault="the absolute value is the root of a square: no slope where x equals t",
        right="x other than t",
        right_at="mean/unit_normal/float32",
        dtypes=UP_TO_FLOAT32,
    ),
    _absolute(
        "f14",
        dense_upstream,
        STRIDED_UPSTREAM,
        source="like m8",
        fault="the upstream gradient is read as if it were contiguous",
        right="a contiguous upstream gradient",
        right_at="none/unit_normal/float32",
    ),
    planted(
        "mse",
        "f15",
        expanded,
        Expected(("inaccurate", "negative")),
        source="like m18",
        fault="the square is expanded, x^2 - 2 x t + t^2, and cancels",
        right="targets of 0",
        variants=("mean", "sum", "none"),
        dtypes=UP_TO_FLOAT32,
    ),
    planted(
        "mse",
        "f16",
        counts_missing,
        INACCURATE,
        source="like m9",
        fault="the mean divides by all entries instead of those that are there",
        right="nothing missing",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none", "missing"),
    ),
    planted(
        "mse",
        "f39",
        dense_target,
        LAYOUT,
        source="like m2",
        fault="the target is read as if it were contiguous",
        right="contiguous targets",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none"),
    ),
    planted(
        "mse",
        "f48",
        kept_weight,
        Expected(("stale_result",), ("protocol",)),
        source="like c2",
        fault="the weight is kept by its shape, and new numbers in it are not seen",
        right="one weight for ever",
        right_at="weighted/unit_normal/float32",
        variants=("mean", "sum", "none", "weighted", "weighted_none"),
    ),
    planted(
        "l1",
        "f52",
        normalises_weight,
        Expected(("overwrites",), ("accuracy", "protocol")),
        source="like m5",
        fault="the weight is divided by its largest entry in the caller's tensor",
        right="the weighted mean itself",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none", "weighted"),
    ),
)
