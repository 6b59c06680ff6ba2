"""What people get wrong about smooth L1: runs only on request (`--include known_bad`).

The trap: at beta = 1 it is Huber's loss, so a test at beta = 1 tells the two definitions not apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness import Contract, Implementation

# Calls that name no reduction of their own.
USUAL = Contract(variants=("mean", "beta_half"))


def signed_threshold(prediction: Tensor, target: Tensor, beta: float = 1.0) -> Tensor:
    """The threshold on x - t instead of |x - t|."""
    residual = prediction - target
    linear = residual.abs() - 0.5 * beta
    return torch.where(residual < beta, 0.5 * residual**2 / beta, linear).mean()


def huber_for_smooth_l1(prediction: Tensor, target: Tensor, beta: float = 1.0) -> Tensor:
    """Huber's loss with delta = beta: beta times too large."""
    size = (prediction - target).abs()
    return torch.where(size < beta, 0.5 * size**2, beta * (size - 0.5 * beta)).mean()


def jump_at_threshold(prediction: Tensor, target: Tensor, beta: float = 1.0) -> Tensor:
    """The linear branch without its constant: the loss jumps at the threshold, the gradient is right."""
    size = (prediction - target).abs()
    return torch.where(size < beta, 0.5 * size**2 / beta, size).mean()


KNOWN_BAD = (
    Implementation(
        signed_threshold,
        contract=USUAL,
        known_bad="residuals below -beta take the quadratic branch; compare (x - t).abs() with beta",
    ),
    Implementation(
        huber_for_smooth_l1,
        contract=USUAL,
        known_bad="Huber's loss is beta times smooth L1; divide it by beta, or call smooth_l1_loss",
    ),
    Implementation(
        jump_at_threshold,
        contract=USUAL,
        known_bad="the branches have to meet at beta: subtract beta / 2 in the linear one",
    ),
)
