"""What hinges between a label and the other classes share: z = margin + (x_k - x_j), its powers and slopes.

One pass puts every other class k against one label j of each row: losses scale max(0, z)^p, slopes
p scale max(0, z)^(p-1) at k and their negative sum at j. N multiplies the slopes by |margin| + |x_k - x_j|,
the differences as they are: a common offset of all scores is no excuse, since x_k - x_j may be taken first
(an N of |g x| would forgive it). Classes within 2^-20 of the kink add to N, since a rounding may wake them.
The traps: z cancels next to the kink, so it is summed in pairs; and two infinite scores have no difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.oracle.doubled import Doubled
from harness.oracle.pair import two_sum

ROUNDOFFS = 8.0
NEAR = 2.0**-20
SQUARED_ROUNDOFF = 2.0**-24


def differences(x: Tensor, column: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Returns z = margin + (x_k - x_j) and |margin| + |x_k - x_j| (R, C) for the labels j (R, 1)."""
    if isinstance(x, Doubled):
        apart = x - x.gather(1, column)
        return margin + apart, abs(margin) + apart.abs()
    apart = two_sum(x, -x.gather(1, column))
    total = two_sum(apart.high, torch.full_like(x, margin))
    rest = total.low + apart.low
    # The error terms of an infinity are NaN.
    z = total.high + torch.where(total.high.isfinite(), rest, 0.0)
    return z, abs(margin) + apart.high.abs()


@dataclass
class Passes:
    """What the passes over the labels of a chunk add up to; losses and sizes (R,), the others (R, C).

    `low` and `high` are the ends of the subdifferential.
    """

    losses: Tensor
    sizes: Tensor
    slopes: Tensor
    slope_sizes: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def none(cls, x: Tensor) -> Passes:
        """Returns the sums before the first pass."""
        row = x.new_zeros(x.shape[0])
        return cls(row, row.clone(), *(torch.zeros_like(x) for _ in range(4)))

    def add(
        self,
        x: Tensor,
        column: Tensor,
        others: Tensor,
        scale: Tensor,
        *,
        margin: float,
        power: int,
        everywhere: bool = False,
    ) -> None:
        """Adds the pass over one label per row: `others` (R, C) are put against it, times `scale` (R, 1).

        `everywhere` takes the power of z below 0 as well, which an even power makes positive.
        """
        z, reach = differences(x, column, margin)
        counted = others & (scale != 0)
        undefined = counted & z.isnan()
        active = counted & ((z > 0) | everywhere) | undefined
        near = counted & ((z > -NEAR * reach) | everywhere)
        excess = torch.where(active, z, 0.0)
        reach = torch.where(near, reach, 0.0)
        if power == 1:
            terms, step, wake = excess, torch.where(undefined, z, active.double()), near.double()
            # At a kink the share that an answer takes is rounded as a whole slope is.
            slope_size = wake
        else:
            terms, step, wake = excess * excess, 2 * excess, 2 * (excess.abs() + SQUARED_ROUNDOFF * reach)
            slope_size = torch.where(step.isfinite(), step.abs() + 2 * reach, 0.0)
        self.losses += scale.squeeze(1) * terms.sum(1)
        sizes = torch.where(near, terms + wake * reach, 0.0)
        # An infinite loss has no bound, and needs none.
        self.sizes += scale.abs().squeeze(1) * torch.where(terms.isfinite(), sizes, 0.0).sum(1)
        self._spread(self.slopes, column, scale * step)
        self.slope_sizes += scale.abs() * slope_size
        self.slope_sizes.scatter_add_(1, column, scale.abs() * slope_size.sum(1, keepdim=True))
        at_kink = counted & z.isfinite() & (z.abs() <= 4 * 2.0**-53 * reach) & (power == 1)
        ends = torch.where(at_kink, 0.0, step), torch.where(at_kink, 1.0, step)
        low, high = (scale * end for end in ends)
        low, high = torch.minimum(low, high), torch.maximum(low, high)
        self.low += low
        self.high += high
        self.low.scatter_add_(1, column, -high.sum(1, keepdim=True))
        self.high.scatter_add_(1, column, -low.sum(1, keepdim=True))

    @staticmethod
    def _spread(total: Tensor, column: Tensor, slopes: Tensor) -> None:
        total += slopes
        total.scatter_add_(1, column, -slopes.sum(1, keepdim=True))


def exact_pass(
    x: Sequence[Any], label: int, others: Sequence[int], scale: Any, options: Mapping[str, Any]
) -> tuple[Any, dict[int, Any]]:
    """Returns loss and slopes by class of one pass over one stored row, as Arb balls.

    `options` holds "margin" and "p" as numbers; "power" says whether it is taken "inside" of the maximum.
    """
    from flint import arb

    margin, power = arb(float(options["margin"])), int(options["p"])
    everywhere = power == 2 and options["power"] == "inside"
    loss, slopes = arb(0), {label: arb(0)}
    for k in others:
        # The difference first: a margin beside scores of 2^1020 needs more bits than a ball has.
        z = margin + (x[k] - x[label])
        if not (z > 0 or z.is_nan() or everywhere):
            continue
        step = (z if z.is_nan() else arb(1)) if power == 1 else 2 * z
        loss += scale * z**power
        slopes[k] = scale * step
        slopes[label] -= scale * step
    return loss, slopes
