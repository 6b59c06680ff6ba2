"""Divergences and likelihoods with one fault each.

The trap: a target of 0, a count of 1 and a variance below its floor are where the definitions branch, and
random targets meet none of the three.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from harness.tests.mutants.grafts import grafted
from harness.tests.mutants.mutant import (
    INACCURATE,
    NAN,
    UP_TO_FLOAT32,
    WRONG,
    Expected,
    Mutant,
    planted,
)
from suites.implementations import gaussian_nll, kl_div, poisson_nll
from suites.implementations.likelihoods import reduced


def zero_case(
    log_probabilities: Tensor, target: Tensor, reduction: str = "mean", mean_over: str = "rows"
) -> Tensor:
    """m15: t (log t - x) without the case t = 0."""
    x, t = log_probabilities.double(), target.double()
    return kl_div.reduced(t * (t.log() - x), reduction, mean_over).to(log_probabilities.dtype)


def zero_slope(
    log_probabilities: Tensor, target: Tensor, reduction: str = "mean", mean_over: str = "rows"
) -> Tensor:
    """m15: the case t = 0 is chosen after the logarithm, so the value is right and the gradient 0 * inf."""
    x, t = log_probabilities.double(), target.double()
    terms = torch.where(t == 0, 0.0, t * (t.log() - x))
    return kl_div.reduced(terms, reduction, mean_over).to(log_probabilities.dtype)


def probabilities(
    log_probabilities: Tensor, target: Tensor, reduction: str = "mean", mean_over: str = "rows"
) -> Tensor:
    """m26: the first argument is given as probabilities."""
    x = log_probabilities.double().exp()
    return kl_div.exact_gradient(x, target.double(), reduction, mean_over).to(log_probabilities.dtype)


def lost_product_rule(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    mean_over: str = "rows",
    log_target: bool = False,
) -> Tensor:
    """f31: the target's slope is log t - x, without the 1 that t in front of the logarithm brings."""
    x, t = log_probabilities.double(), target.double()
    right = kl_div.exact_gradient(x, t, "none", mean_over, log_target)
    weight = torch.where(t == -math.inf, 0.0, t.exp()) if log_target else t
    sloped = right - (weight - weight.detach()).sum(1)
    losses = grafted(right, sloped)
    if reduction == "mean":
        count = target.numel() if mean_over == "elements" else target.shape[0]
        return (losses.sum() / count).to(log_probabilities.dtype)
    return (losses.sum() if reduction == "sum" else losses).to(log_probabilities.dtype)


MOST_CLASSES = 1024


def first_block(
    log_probabilities: Tensor, target: Tensor, reduction: str = "mean", mean_over: str = "rows"
) -> Tensor:
    """f45: one block of 1024 classes is read, as by a kernel whose loop over blocks was forgotten."""
    x, t = log_probabilities[:, :MOST_CLASSES].double(), target[:, :MOST_CLASSES].double()
    losses = kl_div.exact_gradient(x, t, "none")
    if reduction == "mean":
        count = target.numel() if mean_over == "elements" else target.shape[0]
        return (losses.sum() / count).to(log_probabilities.dtype)
    return (losses.sum() if reduction == "sum" else losses).to(log_probabilities.dtype)


def seen_clamp(
    prediction: Tensor,
    target: Tensor,
    variance: Tensor,
    reduction: str = "mean",
    full: bool = False,
    eps: float = 1e-6,
) -> Tensor:
    """f32: autograd sees the clamp, so a variance below eps gets no gradient."""
    floored = variance.double().clamp(min=eps)
    found = gaussian_nll.exact_gradient(prediction.double(), target.double(), floored, reduction, full, eps)
    return found.to(prediction.dtype)


def whole_constant(
    prediction: Tensor,
    target: Tensor,
    variance: Tensor,
    reduction: str = "mean",
    full: bool = False,
    eps: float = 1e-6,
) -> Tensor:
    """f33: the constant is log(2 pi), not half of it."""
    tensors = prediction.double(), target.double(), variance.double()
    losses = gaussian_nll.exact_gradient(*tensors, "none", full, eps)
    losses = losses + (gaussian_nll.CONSTANT if full else 0.0)
    return reduced(losses, reduction).to(prediction.dtype)


def stirling_at_one(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
) -> Tensor:
    """f34: Stirling's term is added for a count of 1 as well."""
    t = target.double()
    losses = poisson_nll.exact_gradient(prediction.double(), t, "none", log_input, full, eps)
    if full:
        losses = losses + torch.where(t == 1, 0.5 * math.log(2 * math.pi) - 1, 0.0)
    return reduced(losses, reduction).to(prediction.dtype)


def lost_epsilon(
    prediction: Tensor,
    target: Tensor,
    reduction: str = "mean",
    log_input: bool = True,
    eps: float = 1e-8,
) -> Tensor:
    """f35: forward adds eps inside the logarithm, backward divides by the rate alone."""
    x, t = prediction.double(), target.double()
    right = poisson_nll.exact_gradient(x, t, "none", log_input, False, eps)
    sloped = poisson_nll.exact_gradient(x, t, "none", log_input, False, eps if log_input else 0.0)
    return reduced(grafted(right, sloped), reduction).to(prediction.dtype)


_divergence = partial(planted, "kl_div", variants=("batchmean", "mean", "sum", "none"))
_gaussian = partial(planted, "gaussian_nll")
_poisson = partial(planted, "poisson_nll")

MUTANTS: tuple[Mutant, ...] = (
    _divergence(
        "m15",
        zero_case,
        NAN,
        source="pytorch#89558",
        fault="t log t without the case t = 0",
        right="targets above 0",
        right_at="batchmean/independent/float32",
        dtypes=UP_TO_FLOAT32,
    ),
    _divergence(
        "m15",
        zero_slope,
        NAN,
        source="pytorch#89558",
        fault="the case t = 0 is chosen after the logarithm: NaN in the target's gradient alone",
        right="the loss, and targets above 0",
        right_at="batchmean/independent/float32",
        variants=("batchmean", "mean", "sum", "none", "both_gradients"),
        dtypes=UP_TO_FLOAT32,
    ),
    _divergence(
        "m26",
        probabilities,
        INACCURATE,
        source="many tutorials",
        fault="probabilities where log-probabilities are expected",
        right="targets of 0",
    ),
    _divergence(
        "f31",
        lost_product_rule,
        WRONG,
        source="like m20",
        fault="the target's slope is log t - x, the 1 of the product rule is lost",
        right="the loss and the slope of x",
        right_at="batchmean/independent/float32",
        variants=("batchmean", "mean", "sum", "none", "both_gradients", "log_target"),
    ),
    _divergence(
        "f45",
        first_block,
        WRONG.by("accuracy", "overflow"),
        source="a slip",
        fault="classes beyond 1024 are not read",
        right="1024 classes and fewer",
        right_at="batchmean/independent/float32",
    ),
    _gaussian(
        "f32",
        seen_clamp,
        WRONG,
        source="like m16",
        fault="autograd sees the clamp of the variance, undeclared",
        right="variances above eps",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none", "full", "eps_eighth"),
    ),
    _gaussian(
        "f33",
        whole_constant,
        INACCURATE,
        source="a slip",
        fault="full adds log(2 pi) instead of half of it",
        right="full off",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none", "full"),
    ),
    _poisson(
        "f34",
        stirling_at_one,
        INACCURATE,
        source="a slip",
        fault="Stirling's term is added at a count of 1",
        right="every count but 1",
        right_at="mean/counts/float32",
    ),
    _poisson(
        "f35",
        lost_epsilon,
        Expected(("inaccurate", "dead_gradient", "spurious_overflow", "spurious_nan")),
        source="like m20",
        fault="forward adds eps inside the logarithm, backward divides by the rate alone",
        right="logarithms of rates",
        right_at="mean/counts/float32",
        variants=("mean", "sum", "none", "rates", "eps_tenth"),
    ),
)
