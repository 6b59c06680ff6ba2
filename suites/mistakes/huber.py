"""What people get wrong about the Huber loss: runs only on request (`--include known_bad`).

The trap: at delta = 1 it is smooth L1, so a test at delta = 1 tells the two definitions not apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness import Contract, Implementation

# Calls that name no reduction of their own.
USUAL = Contract(variants=("mean", "delta_two"))


def signed_threshold(prediction: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """The threshold on x - t instead of |x - t|."""
    residual = prediction - target
    linear = delta * (residual.abs() - 0.5 * delta)
    return torch.where(residual < delta, 0.5 * residual**2, linear).mean()


def smooth_l1_for_huber(prediction: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """Smooth L1 with beta = delta: delta times too small."""
    size = (prediction - target).abs()
    return torch.where(size < delta, 0.5 * size**2 / delta, size - 0.5 * delta).mean()


def jump_at_threshold(prediction: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """The linear branch without its constant: the loss jumps at the threshold, the gradient is right."""
    size = (prediction - target).abs()
    return torch.where(size < delta, 0.5 * size**2, delta * size).mean()


KNOWN_BAD = (
    Implementation(
        signed_threshold,
        contract=USUAL,
        known_bad="residuals below -delta take the quadratic branch; compare (x - t).abs() with delta",
    ),
    Implementation(
        smooth_l1_for_huber,
        contract=USUAL,
        known_bad="smooth L1 is Huber's loss divided by delta; multiply by delta, or call huber_loss",
    ),
    Implementation(
        jump_at_threshold,
        contract=USUAL,
        known_bad="the branches have to meet at delta: subtract delta / 2 in the linear one",
    ),
)
