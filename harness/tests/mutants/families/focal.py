"""The focal losses of one question and of many classes, with one fault each.

The trap: with gamma 2 and nothing ignored the factor (1 - p_t)^gamma is smooth everywhere and every row
counts, so neither its slope nor the denominator is looked at.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.tests.mutants.grafts import InPlace, grafted, precomputed
from harness.tests.mutants.mutant import (
    INACCURATE,
    NAN,
    OVERWRITES,
    SPURIOUS,
    UP_TO_FLOAT32,
    WRONG,
    Expected,
    Mutant,
    planted,
)
from suites.implementations import binary_cross_entropy_with_logits as with_logits
from suites.implementations import multi_margin, sigmoid_focal, softmax_focal


def constant_factor(
    logits: Tensor, target: Tensor, reduction: str = "mean", alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """f7: the focal factor is a constant to the backward pass."""
    z, t = logits.double(), target.double()
    right = sigmoid_focal.exact_gradient(z, t, "none", alpha, gamma)
    wrong = torch.sigmoid(torch.where(t == 1, -z, z)).detach()
    crossed = sigmoid_focal.exact_gradient(z, t, "none", alpha, 0.0)
    return with_logits.reduced(grafted(right, wrong**gamma * crossed), reduction).to(logits.dtype)


def falsy_alpha(
    logits: Tensor, target: Tensor, reduction: str = "mean", alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """f8: `if alpha:` takes an alpha of 0 for none."""
    return sigmoid_focal.exact_gradient(logits, target, reduction, alpha or -1.0, gamma)


def in_place(
    logits: Tensor, target: Tensor, reduction: str = "mean", alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """f9: the gradient is written into the logits' storage."""
    t = target.double()
    return precomputed(InPlace, logits, lambda z: sigmoid_focal.exact_gradient(z, t, reduction, alpha, gamma))


def counts_ignored(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    alpha: Tensor | None = None,
    gamma: float = 2.0,
    ignore_index: int = -100,
) -> Tensor:
    """f23: the mean divides by all rows, ignored ones included."""
    wide = None if alpha is None else alpha.double()
    losses = softmax_focal.exact_gradient(logits.double(), target, "none", wide, gamma, ignore_index)
    return multi_margin.reduced(losses, reduction).to(logits.dtype)


def power_of_difference(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    gamma: float = 2.0,
) -> Tensor:
    """f24: 1 - p_t is 0 for a sure row, where its power has no slope for gamma below 1."""
    losses = F.cross_entropy(logits.double(), target, reduction="none")
    losses = (1 - torch.exp(-losses)) ** gamma * losses
    return multi_margin.reduced(losses, reduction).to(logits.dtype)


def shifted_by_all(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    gamma: float = 2.0,
) -> Tensor:
    """f47: the exponentials of every row are shifted by the largest logit of the batch."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    shifted = wide - wide.detach().amax()
    sums = shifted.exp().sum(1).log()
    losses = sums - shifted.gather(1, target.unsqueeze(1)).squeeze(1)
    right = softmax_focal.exact_gradient(logits.double(), target, "none", None, gamma)
    lost = sums.isinf().detach()
    losses = torch.where(lost, losses.double(), right)
    return multi_margin.reduced(losses, reduction).to(logits.dtype)


_focal = partial(planted, "sigmoid_focal")

MUTANTS: tuple[Mutant, ...] = (
    _focal(
        "f7",
        constant_factor,
        WRONG,
        source="like m20",
        fault="the focal factor is a constant to the backward pass",
        right="gamma 0",
        right_at="gamma_zero/unit_normal/float32",
    ),
    _focal(
        "f8",
        falsy_alpha,
        INACCURATE,
        source="a slip",
        fault="`if alpha:` takes an alpha of 0 for none",
        right="every alpha but 0",
        right_at="mean/unit_normal/float32",
    ),
    _focal(
        "f9",
        in_place,
        OVERWRITES,
        source="like m5",
        fault="the gradient is written into the logits' storage",
        right="logits that nobody reads afterwards",
    ),
    planted(
        "softmax_focal",
        "f23",
        counts_ignored,
        Expected(("inaccurate", "nan_swallowed")),
        source="like m9",
        fault="the mean divides by all rows instead of those that count",
        right="no ignored row",
        right_at="mean/unit_normal/float32",
    ),
    planted(
        "softmax_focal",
        "f24",
        power_of_difference,
        NAN,
        source="like m25",
        fault="1 - p_t is 0 for a sure row, and 0^(gamma - 1) is infinite for gamma below 1",
        right="gamma 2",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none", "gamma_half"),
        dtypes=UP_TO_FLOAT32,
    ),
    planted(
        "softmax_focal",
        "f47",
        shifted_by_all,
        Expected((*SPURIOUS.kinds, "neighbours")).by("accuracy", "overflow", "determinism"),
        source="like m23",
        fault="exponentials are shifted by the largest logit of the batch, so a row far below it is lost",
        right="rows of one level",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none", "gamma_zero"),
        dtypes=("float32",),
    ),
)
