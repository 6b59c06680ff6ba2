"""Losses of one question per entry, with one fault each: probabilities, logits, margins and focal factors.

The trap: with a sigmoid in between, almost everything that is wrong for a sure entry is right for a doubtful
one, and a model that has just been initialised has no sure entries.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from harness.tests.mutants.grafts import FirstUpstream, ScaledTwice, grafted, precomputed
from harness.tests.mutants.mutant import (
    HALF,
    INACCURATE,
    NAN,
    SECOND_BACKWARD,
    UPSTREAM,
    WRONG,
    Expected,
    Mutant,
    planted,
)
from suites.implementations import (
    binary_cross_entropy,
    soft_margin,
)
from suites.implementations import binary_cross_entropy_with_logits as with_logits

LEAST_LOGARITHM = -100.0
LEAST_VARIANCE = 1e-12


def floored_logs(probabilities: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """m16: both logarithms are kept above -100, so the loss stops there and its gradient is 0."""
    x, t = probabilities.double(), target.double()
    of_x = torch.where(t == 0, 0.0, t * torch.log(torch.where(t == 0, 1.0, x)).clamp(min=LEAST_LOGARITHM))
    rest = torch.where(t == 1, 0.0, x)
    of_rest = torch.where(t == 1, 0.0, (1 - t) * torch.log1p(-rest).clamp(min=LEAST_LOGARITHM))
    losses = (-of_x - of_rest).masked_fill((x < 0) | (x > 1), float("nan"))
    return with_logits.reduced(losses, reduction).to(probabilities.dtype)


def floored_denominator(probabilities: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """m16: the gradient divides by max(x (1 - x), 1e-12)."""
    x, t = probabilities.double(), target.double()
    with torch.no_grad():
        exact = binary_cross_entropy.exact_gradient(x, t, "none")
        slopes = (x - t) / (x * (1 - x)).clamp(min=LEAST_VARIANCE)
    losses = grafted(exact, x * slopes)
    return with_logits.reduced(losses, reduction).to(probabilities.dtype)


def clamped_probability(probabilities: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """m22: what keeps 1 - x above 0 is clamp(max=1 - 1e-6), which in 16 bits clamps nothing."""
    clamped = probabilities.clamp(max=1 - 1e-6).double()
    t = target.double()
    # One `where` chooses the value; behind it the gradient of log(1 - 1) is 0 * inf.
    losses = torch.where(t == 0, 0.0, -t * torch.log(torch.where(t == 0, 1.0, clamped)))
    losses = losses + torch.where(t == 1, 0.0, -(1 - t) * torch.log1p(-clamped))
    losses = losses.masked_fill((probabilities < 0) | (probabilities > 1), float("nan"))
    return with_logits.reduced(losses, reduction).to(probabilities.dtype)


def sigmoid_twice(probabilities: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """m26: the loss of logits is given probabilities."""
    return with_logits.exact_gradient(probabilities, target, reduction)


def logits_as_probabilities(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """m26: the loss of probabilities is given logits."""
    return binary_cross_entropy.exact_gradient(logits, target, reduction)


def lost_emphasis(
    logits: Tensor, target: Tensor, reduction: str = "mean", pos_weight: Tensor | None = None
) -> Tensor:
    """f1: forward knows pos_weight, backward does not."""
    z, t = logits.double(), target.double()
    wide = None if pos_weight is None else pos_weight.double()
    right = with_logits.exact_gradient(z, t, "none", None, wide)
    losses = grafted(right, with_logits.exact_gradient(z, t, "none"))
    return with_logits.reduced(losses, reduction).to(logits.dtype)


def weights_denominator(
    logits: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """f2: the mean divides by the sum of the weights, not by the number of elements."""
    wide = None if weight is None else weight.double()
    losses = with_logits.exact_gradient(logits.double(), target.double(), "none", wide)
    if reduction == "mean" and wide is not None:
        return (losses.sum() / wide.expand_as(losses).sum()).to(logits.dtype)
    return with_logits.reduced(losses, reduction).to(logits.dtype)


def scaled_twice(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """f3: backward scales the saved gradient in place."""
    t = target.double()
    return precomputed(ScaledTwice, logits, lambda z: with_logits.exact_gradient(z, t, reduction))


def half_weighted(
    logits: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """f4: the class weight multiplies the positive term alone."""
    x, t = logits.double(), target.double()
    wide = None if weight is None else weight.double()
    right = with_logits.exact_gradient(x, t, "none", None, wide)
    return with_logits.reduced(right.mean(1), reduction).to(logits.dtype)


def rounded_share(x: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    """f5: the slope is -y (1 - s) with s = sigmoid(y x) as it was stored in the input's dtype."""
    wide, labels = x.double(), y.double()
    stored = torch.sigmoid(labels * wide).to(x.dtype).double()
    slopes = (-labels * (1 - stored)).detach()
    losses = grafted(soft_margin.exact_gradient(wide, labels, "none"), wide * slopes)
    return with_logits.reduced(losses, reduction).to(x.dtype)


def first_upstream(x: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    """f6: the upstream gradient is read as a scalar."""
    labels = y.double()
    return precomputed(FirstUpstream, x, lambda z: soft_margin.exact_gradient(z, labels, reduction))


_probabilities = partial(planted, "binary_cross_entropy", variants=("mean", "sum", "none"))
_logits = partial(planted, "binary_cross_entropy_with_logits", variants=("mean", "sum", "none"))

MUTANTS: tuple[Mutant, ...] = (
    _probabilities(
        "m16",
        floored_logs,
        Expected(("inaccurate", "dead_gradient", "saturated")),
        source="pytorch#103316",
        fault="both logarithms are clamped at -100, undeclared",
        right="probabilities above e^-100",
        right_at="mean/uniform/float32",
    ),
    _probabilities(
        "m16",
        floored_denominator,
        WRONG,
        source="pytorch#103316",
        fault="the gradient divides by max(x (1 - x), 1e-12): off by ten orders after a saturated sigmoid",
        right="probabilities of 1e-12 and more on either side",
        right_at="mean/uniform/float32",
    ),
    _probabilities(
        "m22",
        clamped_probability,
        NAN,
        source="GLiNER2#155",
        fault="clamp(max=1 - 1e-6) in 16 bits clamps nothing: loss finite, gradient 0 * inf",
        right="probabilities below 1",
        right_at="mean/uniform/float16",
        dtypes=HALF,
    ),
    _probabilities(
        "m26",
        sigmoid_twice,
        INACCURATE,
        source="many tutorials",
        fault="the sigmoid is applied twice",
        right="no probability at all",
    ),
    _logits(
        "m26",
        logits_as_probabilities,
        Expected(("inaccurate", "spurious_nan")),
        source="many tutorials",
        fault="logits are taken for probabilities",
        right="no logit at all",
    ),
    _logits(
        "f1",
        lost_emphasis,
        WRONG,
        source="like m20",
        fault="backward drops the pos_weight that forward kept",
        right="no pos_weight",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none", "pos_weight"),
    ),
    _logits(
        "f2",
        weights_denominator,
        INACCURATE,
        source="like m9",
        fault="the mean divides by the sum of the weights instead of the number of elements",
        right="no weight",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none", "weighted"),
    ),
    _logits(
        "f3",
        scaled_twice,
        SECOND_BACKWARD,
        source="like m6",
        fault="backward scales the saved gradient in place",
        right="the first backward of a graph",
        right_at="mean/unit_normal/float32",
    ),
    planted(
        "multilabel_soft_margin",
        "f4",
        half_weighted,
        INACCURATE,
        source="a slip",
        fault="the class weight multiplies the positive term alone",
        right="no weight",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none", "weighted"),
    ),
    planted(
        "soft_margin",
        "f5",
        rounded_share,
        WRONG,
        source="like m1",
        fault="the slope is -y (1 - s) with s as stored in the input's dtype",
        right="margins near 0",
        right_at="mean/tiny/float32",
    ),
    planted(
        "soft_margin",
        "f6",
        first_upstream,
        UPSTREAM,
        source="like m3",
        fault="the upstream gradient is read as a scalar",
        right="one upstream gradient for all entries",
        right_at="mean/unit_normal/float32",
    ),
)
