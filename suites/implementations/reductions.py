"""What every unweighted loss does last: its reduction, and its weights in the format that it computes in.

The losses themselves, their sum, or their sum over their number, as torch's `reduction` names them. The
trap: what a mean divides by where losses have weights, or where some do not count, is part of a family's
definition; such a mean stands with its family and not here.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """Returns the losses (N,) or (N, C), their sum, or their mean over all; the mean of none is NaN."""
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.mean()


def converted(weight: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Returns a weight in a dtype, None where there is none."""
    return None if weight is None else weight.to(dtype)
