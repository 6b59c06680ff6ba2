"""What people get wrong about the Gaussian likelihood: runs only on request (`--include known_bad`).

The trap: variance, standard deviation and log-variance are all called sigma in some text, and near 1 all
three are the same number.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation

# Calls that name no reduction of their own.
USUAL = Contract(variants=("mean",))


def deviation_for_variance(prediction: Tensor, target: Tensor, variance: Tensor) -> Tensor:
    """The standard deviation handed over in the place of the variance."""
    return F.gaussian_nll_loss(prediction, target, variance.sqrt())


def logarithm_unhalved(prediction: Tensor, target: Tensor, variance: Tensor) -> Tensor:
    """log v + r^2 / (2 v): the logarithm of the variance where that of the deviation is meant."""
    v = variance.clamp(min=1e-6)
    return (torch.log(v) + 0.5 * (prediction - target) ** 2 / v).mean()


def logarithm_left_out(prediction: Tensor, target: Tensor, variance: Tensor) -> Tensor:
    """r^2 / (2 v) alone: an ever larger variance costs nothing."""
    return (0.5 * (prediction - target) ** 2 / variance.clamp(min=1e-6)).mean()


def squared_twice(prediction: Tensor, target: Tensor, variance: Tensor) -> Tensor:
    """The variance squared as if it were the standard deviation."""
    v = (variance**2).clamp(min=1e-6)
    return 0.5 * (torch.log(v) + (prediction - target) ** 2 / v).mean()


KNOWN_BAD = (
    Implementation(
        deviation_for_variance,
        contract=USUAL,
        known_bad="gaussian_nll_loss takes the variance; square a standard deviation, exponentiate a log",
    ),
    Implementation(
        logarithm_unhalved,
        contract=USUAL,
        known_bad="the logarithm belongs to the deviation: write 0.5 * (log(v) + r ** 2 / v), both halved",
    ),
    Implementation(
        logarithm_left_out,
        contract=USUAL,
        known_bad="without 0.5 * log(v) the loss falls as v grows without bound; keep both terms",
    ),
    Implementation(
        squared_twice,
        contract=USUAL,
        known_bad="what the model predicts here is the variance already: divide by v, not by v ** 2",
    ),
)
