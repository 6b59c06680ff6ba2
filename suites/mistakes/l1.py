"""What people get wrong about the absolute error: runs only on request (`--include known_bad`).

The trap: all of these return numbers of the right size on data with one row, or with errors of one sign.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness import Contract, Implementation

# Calls that name no reduction of their own.
USUAL = Contract(variants=("mean",))


def signed_mean(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of x - t: errors of opposite sign cancel."""
    return (prediction - target).mean()


def mean_over_rows(prediction: Tensor, target: Tensor) -> Tensor:
    """The sum over all entries divided by the rows."""
    return (prediction - target).abs().sum() / prediction.shape[0]


def broadcast(prediction: Tensor, target: Tensor) -> Tensor:
    """A target of shape (N, 1, C) against (N, C): every prediction against every target."""
    return (prediction - target.unsqueeze(1)).abs().mean()


def detached(prediction: Tensor, target: Tensor) -> Tensor:
    """The loss made a new tensor on the way: the number is right, and no gradient flows."""
    return torch.tensor((prediction - target).abs().mean().item(), dtype=prediction.dtype)


KNOWN_BAD = (
    Implementation(
        signed_mean,
        contract=USUAL,
        known_bad="errors of opposite sign cancel: take (x - t).abs() before the mean",
    ),
    Implementation(
        mean_over_rows,
        contract=USUAL,
        known_bad="reduction='mean' divides by all N C entries, not by the rows; write losses.mean()",
    ),
    Implementation(
        broadcast,
        contract=USUAL,
        known_bad="shapes (N, 1, C) and (N, C) broadcast to (N, N, C); give both tensors the same shape",
    ),
    Implementation(
        detached,
        contract=USUAL,
        known_bad="torch.tensor(loss.item()) has no history, so backward raises; return the loss itself",
    ),
)
