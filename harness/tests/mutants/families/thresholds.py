"""Huber's loss and smooth L1 with one fault each.

The trap: with a threshold of 1 the two are one loss, and with residuals below it both are the squared error,
so neither the threshold's power nor its sign is looked at.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from harness.tests.mutants.mutant import (
    INACCURATE,
    NAN,
    WRONG,
    Expected,
    Mutant,
    planted,
)
from suites.implementations.huber import averaged
from suites.implementations.huber import exact_gradient as huber
from suites.implementations.residuals import reduced
from suites.implementations.smooth_l1 import exact_gradient as smooth


def signed_threshold(
    prediction: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """m21: x - t < delta without the absolute value, so what is far below 0 is taken as small."""
    residual = prediction.double() - target.double()
    far = residual >= delta
    small = torch.where(far, 0.0, residual)
    losses = torch.where(far, delta * (residual - 0.5 * delta), 0.5 * small * small)
    return averaged(losses, reduction).to(prediction.dtype)


def unsquared_delta(
    prediction: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """f10: delta r - delta / 2, which is delta (r - delta / 2) for delta = 1."""
    size = (prediction.double() - target.double()).abs()
    below = torch.where(size < delta, size, 0.0)
    losses = torch.where(size < delta, 0.5 * below * below, delta * size - 0.5 * delta)
    return averaged(losses, reduction).to(prediction.dtype)


def undivided(prediction: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """f11: Huber's loss passed off as smooth L1, which is Huber's divided by its threshold."""
    size = (prediction.double() - target.double()).abs()
    below = torch.where(size < beta, size, 0.0)
    losses = torch.where(size < beta, 0.5 * below * below, beta * (size - 0.5 * beta))
    return reduced(losses, reduction).to(prediction.dtype)


def division_in_branch(
    prediction: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """f12: the branch that is not taken divides by beta, which may be 0."""
    size = (prediction.double() - target.double()).abs()
    losses = torch.where(size < beta, 0.5 * size * (size / beta).clamp(max=1.0), size - 0.5 * beta)
    return reduced(losses, reduction).to(prediction.dtype)


def empty_is_zero(prediction: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """f40: the mean of no entries is 0, undeclared."""
    losses = huber(prediction.double(), target.double(), "none", delta)
    if reduction == "mean":
        return (losses.sum() / max(losses.numel(), 1)).to(prediction.dtype)
    return averaged(losses, reduction).to(prediction.dtype)


def reseeds(prediction: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """f41: sets the seed of everybody's random numbers, as a script does that was made a function."""
    torch.manual_seed(0)
    return smooth(prediction, target, reduction, beta)


def detached(prediction: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """f49: a graph is made where the prediction wants one; the target alone gets none."""
    if not prediction.requires_grad:
        prediction, target = prediction.detach(), target.detach()
    return huber(prediction, target, reduction, delta)


_huber = partial(planted, "huber")
_smooth = partial(planted, "smooth_l1")

MUTANTS: tuple[Mutant, ...] = (
    _huber(
        "m21",
        signed_threshold,
        WRONG,
        source="attorch#13",
        fault="the threshold has a sign: a residual below -delta is taken as small",
        right="residuals above -delta",
        right_at="mean/tiny/float32",
        variants=("mean", "sum", "none", "delta_two", "delta_huge"),
    ),
    _huber(
        "f10",
        unsquared_delta,
        INACCURATE,
        source="a slip",
        fault="delta r - delta / 2 beyond the threshold, delta not squared",
        right="delta 1",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none", "delta_two", "delta_huge"),
    ),
    _smooth(
        "f11",
        undivided,
        WRONG,
        source="a slip",
        fault="Huber's loss, not divided by beta",
        right="beta 1",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none", "beta_half"),
    ),
    _smooth(
        "f12",
        division_in_branch,
        NAN,
        source="like m15",
        fault="the branch that is not taken divides by beta = 0",
        right="beta above 0",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none", "beta_half", "beta_zero"),
    ),
    _huber(
        "f40",
        empty_is_zero,
        Expected(("edge_shape",), ("protocol",)),
        source="like m13",
        fault="the mean of no entries is 0, undeclared",
        right="one entry and more",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none"),
    ),
    _smooth(
        "f41",
        reseeds,
        Expected(("changes_state",), ("accuracy", "protocol")),
        source="a slip",
        fault="sets the seed of everybody's random numbers",
        right="the loss and its gradient",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none"),
    ),
    _huber(
        "f49",
        detached,
        Expected(("grad_mode", "no_gradient"), ("accuracy", "protocol")),
        source="a slip",
        fault="the target gets a gradient only where the prediction gets one",
        right="gradients of both",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none"),
    ),
)
