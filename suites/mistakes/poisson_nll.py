"""What people get wrong about the Poisson likelihood: runs only on request (`--include known_bad`).

The trap: a rate and its logarithm are both positive numbers of about the same size near 1, so a model
that mixes them up trains, to the wrong rates.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation

# Calls that name no reduction of their own.
USUAL = Contract(variants=("mean",))
FULL = Contract(variants=("full",), full=True)


def rate_as_logarithm(prediction: Tensor, target: Tensor) -> Tensor:
    """The rate e^x handed over as if it were its logarithm: exponentiated twice."""
    return F.poisson_nll_loss(prediction.exp(), target)


def logarithm_as_rate(prediction: Tensor, target: Tensor) -> Tensor:
    """The logarithm handed over as if it were the rate: NaN wherever the rate is below 1."""
    return F.poisson_nll_loss(prediction, target, log_input=False)


def swapped(prediction: Tensor, target: Tensor) -> Tensor:
    """Prediction and target exchanged."""
    return F.poisson_nll_loss(target, prediction)


def unmasked_stirling(prediction: Tensor, target: Tensor) -> Tensor:
    """Stirling's term at every count: NaN at 0, and another constant at 1."""
    stirling = target * torch.log(target) - target + 0.5 * torch.log(2 * math.pi * target)
    return (prediction.exp() - target * prediction + stirling).mean()


KNOWN_BAD = (
    Implementation(
        rate_as_logarithm,
        contract=USUAL,
        known_bad="log_input=True, the default, exponentiates x; hand over log rates, or say log_input=False",
    ),
    Implementation(
        logarithm_as_rate,
        contract=USUAL,
        known_bad="log_input=False takes the logarithm of x; hand over rates, or leave log_input=True",
    ),
    Implementation(
        swapped,
        contract=USUAL,
        known_bad="the prediction comes first: poisson_nll_loss(log_rate, count), not (count, log_rate)",
    ),
    Implementation(
        unmasked_stirling,
        contract=FULL,
        known_bad="Stirling's term is for t > 1; use torch.where, and mask t itself before its logarithm",
    ),
)
