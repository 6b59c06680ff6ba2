"""Sums of products over a common axis in float64, with a bound that does not grow with its length.

A projection sums over features, the gradient of what all rows share sums over rows. Blocks of BLOCK
terms go through a matrix product, whose order of summation is its own business (n u at most, Higham 2002,
3.1, with or without fused multiply-add); the sums of blocks are added with their errors kept (Knuth's
two-sum), so |result - exact| <= ROUNDOFFS 2^-53 sum |left| |right| however many terms there are. The trap:
the error term of an infinity is NaN, so what is not finite keeps the plain sum's class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.oracle.doubled import Doubled, of_parts, pair_of
from harness.oracle.reduction import Array, scaled_pair

BLOCK = 8
# Within a block n u, one u for the last addition, one for the second-order terms of all.
ROUNDOFFS = BLOCK + 2.0
# Entries of the partial sums that are held at once: 8 MiB.
PARTIAL_ENTRIES = 1 << 20


def contracted(left: Tensor, right: Tensor) -> Tensor:
    """Returns sum_k left[k, i] right[k, j] (I, J) of two float64 matrices (K, I) and (K, J), or of pairs."""
    if isinstance(left, Doubled) or isinstance(right, Doubled):
        return left.T @ right
    entries = left.shape[1] * right.shape[1]
    total = torch.zeros(left.shape[1], right.shape[1], dtype=torch.float64)
    error = torch.zeros_like(total)
    step = BLOCK * max(1, PARTIAL_ENTRIES // max(entries, 1))
    for start in range(0, len(left), step):
        parts = _block_sums(left[start : start + step], right[start : start + step])
        while len(parts) > 1:
            parts, lost = _two_sum(*_paired(parts))
            error += lost.sum(0)
        total, lost = _two_sum(total, parts[0])
        error += lost
    return torch.where(total.isfinite(), total + error, total)


def _block_sums(left: Tensor, right: Tensor) -> Tensor:
    """Returns the sums of products of every BLOCK terms (blocks, I, J)."""
    missing = -len(left) % BLOCK
    blocks = [
        torch.nn.functional.pad(side, (0, 0, 0, missing)).reshape(-1, BLOCK, side.shape[1])
        for side in (left, right)
    ]
    return blocks[0].transpose(1, 2) @ blocks[1]


def _paired(parts: Tensor) -> tuple[Tensor, Tensor]:
    """Returns two halves of as many parts each; one that is left over is added to zeros."""
    half = (len(parts) + 1) // 2
    return parts[:half], torch.cat([parts[half:], torch.zeros_like(parts[: 2 * half - len(parts)])])


def _two_sum(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the rounded sum and what it lost, exactly."""
    total = one + other
    shown = total - one
    return total, (one - (total - shown)) + (other - shown)


@dataclass(frozen=True)
class RowProducts:
    """The gradient of an input that all rows share, before it is summed: row r adds left[r, c] right[r, h].

    `left` (R, C) are the oracle's numbers, right to `rounding * sensitivity`; `right` (R, H) are stored ones,
    or (R,) for an input of one number per class (a bias), which then are ones. `left_tail` are the low parts
    of tier B1.
    """

    left: Array
    right: Array
    sensitivity: Array
    left_tail: Array | None = None

    def summed(self, factor: Array, factor_tail: float = 0.0) -> tuple[Array, Array, Array | None]:
        """Returns the sum over rows, each times its factor (R,), the sum of what u multiplies, and a tail.

        The tail is the low part of the sum in tier B1, and None without `left_tail`.
        """
        weights = factor.reshape(-1, 1)
        with np.errstate(invalid="ignore", over="ignore"):
            sensitivity = self._contracted(self.sensitivity * np.abs(weights), np.abs(self.right))
            if self.left_tail is None:
                return self._contracted(self.left * weights, self.right), sensitivity, None
            high, tail = scaled_pair(self.left, self.left_tail, factor, factor_tail)
            rows = of_parts(torch.from_numpy(high), torch.from_numpy(tail))
            found = pair_of(contracted(rows, torch.from_numpy(_columns(self.right))))
        parts = (np.asarray(part.numpy() if self.right.ndim > 1 else part.numpy()[:, 0]) for part in found)
        return next(parts), sensitivity, next(parts)

    def _contracted(self, left: Array, right: Array) -> Array:
        found = contracted(torch.from_numpy(left), torch.from_numpy(_columns(right))).numpy()
        return np.asarray(found if right.ndim > 1 else found[:, 0])

    def largest(self, scale: Array) -> Array:
        """Returns the most that a row adds for a logit gradient of `scale` (R,): (H,), or one number."""
        with np.errstate(invalid="ignore", over="ignore"):
            added = np.nan_to_num(np.abs(self.right) * scale.reshape(-1, *([1] * (self.right.ndim - 1))))
        return np.asarray(added.max(axis=0, initial=0.0))

    def shares(self, values: Array) -> Array:
        """Returns sum_ch |left right v_ch| of every row (R,) for the values (C, H) or (C,) of the input."""
        by_feature = np.abs(self.left) @ np.abs(_columns(values))
        return np.asarray((by_feature * np.abs(_columns(self.right))).sum(axis=1))


def _columns(values: Array) -> Array:
    return values if values.ndim > 1 else values[:, np.newaxis]
