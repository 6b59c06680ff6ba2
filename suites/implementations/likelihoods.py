"""What the implementations of both likelihoods share: wider formats and stated gradients.

The trap: a gradient that is stated and not derived has to be stated for every input that asks for one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from suites.implementations.reductions import reduced as reduced


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Returns float32 for the 16-bit formats, the dtype itself for the others."""
    return torch.promote_types(dtype, torch.float32)


class _Stated(torch.autograd.Function):
    """Losses with given slopes: what comes from above times its slope goes to each input."""

    @staticmethod
    def forward(ctx: Any, losses: Tensor, count: int, *both: Tensor) -> Tensor:
        ctx.save_for_backward(*both[count:])
        return losses.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        slopes = ctx.saved_tensors
        return None, None, *(slope * upstream for slope in slopes), *(None for _ in slopes)


def stated(losses: Tensor, inputs: tuple[Tensor, ...], slopes: tuple[Tensor, ...]) -> Tensor:
    """Returns losses whose gradient with respect to each input is its slope."""
    found: Tensor = _Stated.apply(
        losses.detach(), len(inputs), *inputs, *(slope.detach() for slope in slopes)
    )
    return found
