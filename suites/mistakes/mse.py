"""What people get wrong about the squared error: runs only on request (`--include known_bad`).

The trap: half or the root of it is minimal at the same place, so training works and every reported number
and every learning rate means something else.
"""

from __future__ import annotations

from torch import Tensor

from harness import Contract, Implementation

# Calls that name no reduction of their own.
USUAL = Contract(variants=("mean",))


def root_mean_square(prediction: Tensor, target: Tensor) -> Tensor:
    """The root of the mean: another loss, whose gradient is NaN where all residuals are 0."""
    return ((prediction - target) ** 2).mean().sqrt()


def halved(prediction: Tensor, target: Tensor) -> Tensor:
    """Half of the square, so that the slope has no factor 2."""
    return ((prediction - target) ** 2).mean() / 2


def mean_over_rows(prediction: Tensor, target: Tensor) -> Tensor:
    """The sum over all entries divided by the rows."""
    return ((prediction - target) ** 2).sum() / prediction.shape[0]


def broadcast(prediction: Tensor, target: Tensor) -> Tensor:
    """A target of shape (N, 1, C) against (N, C): every prediction against every target."""
    return ((prediction - target.unsqueeze(1)) ** 2).mean()


def square_of_mean(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean before the square: errors of opposite sign cancel."""
    return (prediction - target).mean() ** 2


KNOWN_BAD = (
    Implementation(
        root_mean_square,
        contract=USUAL,
        known_bad="the root mean square is a report, not this loss: train on the mean, take the root outside",
    ),
    Implementation(
        halved,
        contract=USUAL,
        known_bad="torch's mse_loss has no factor 1/2; leave it out, or every gradient is half as large",
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
        square_of_mean,
        contract=USUAL,
        known_bad="square first, then take the mean: ((x - t) ** 2).mean(), not (x - t).mean() ** 2",
    ),
)
