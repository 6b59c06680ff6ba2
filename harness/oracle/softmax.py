"""Cancellation-free float64 formulas of the softmax family, shared by losses of the form q . l.

For a stored row x with a = argmax, d_j = x_j - x_a <= 0, e_j = exp(d_j), S1 = sum_{j!=a} e_j:
l_c = log1p(S1) - d_c (all terms >= 0) is the loss of class c, p_j = e_j / (1 + S1), and a loss with
class coefficients q is L = sum q_c l_c with gradient Q p_c - q_c, Q = sum q. Neither 1 - p nor
logsumexp - x is ever formed (numerics: B0, F). Error: (C + 749) 2^-53 relative at worst, whatever
the order of summation, typically a few 2^-53.

What u multiplies is shift-normalised: F(v) = sum_k p_k |x_k - v| and N = L + sum_c q_c F(x_c) for the
loss, N_i = |g_i| + Q p_i F(x_i) for gradients. F costs a sort; here it is bounded from above in O(C) by
min(sqrt(var + (m - v)^2), |m - x_a| + |x_a - v|) with m = sum p_k x_k (Jensen; triangle inequality),
exact at v = x_a. An upper bound cannot accuse falsely; on unit-normal rows it exceeds F by a factor of
less than 1.4 at the median and of about 2 at most (tested). Where 1 + F is what counts, float32 is enough
for it (`reaches`). The trap: terms whose coefficient is exactly 0 are dropped, 0 * inf is not NaN here;
what stands for infinite logits is said in `limits`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from harness.oracle.doubled import leading

# exp(-746) is 0 in float64, so here a class has probability 0; the square of this is still finite.
DEEPEST = -1e100
# The same in float32.
DEEPEST_SINGLE = -1e18
# What float32 may take from 1 + F for up to 2^24 classes: d - m is off by 2^-23 |m|, a share of 2^-11 of the
# root of the variance, which is at least m^2 / C as the maximum alone adds that much.
REACH_ROUNDING = 2.0**-11


@dataclass(frozen=True)
class SoftmaxRows:
    """Shared terms of a chunk of rows; every field is float64.

    `shifted` d and `exponentials` e are (R, C), `others` S1 and the column `largest` of the maximum
    are (R, 1). Passes over (R, C) are what an oracle costs, so probabilities are made on request.
    """

    shifted: Tensor
    exponentials: Tensor
    others: Tensor
    largest: Tensor

    @cached_property
    def total(self) -> Tensor:
        """1 + S1 (R, 1)."""
        return 1 + self.others

    @cached_property
    def logarithm(self) -> Tensor:
        """log1p(S1) (R, 1), the loss of the maximum."""
        return torch.log1p(self.others)

    @cached_property
    def probabilities(self) -> Tensor:
        """p = e / (1 + S1) (R, C)."""
        return self.exponentials / self.total

    def class_losses(self) -> Tensor:
        """Returns l_c = logsumexp(x) - x_c for every class (R, C)."""
        return self.logarithm - self.shifted

    def loss_at(self, column: Tensor) -> Tensor:
        """Returns l_c at one column per row (R, 1)."""
        return self.logarithm - self.shifted.gather(1, column)

    def complement_at(self, column: Tensor) -> Tensor:
        """Returns 1 - p_c = sum_{j!=c} p_j at one column per row (R, 1), without cancellation."""
        without = self.total - self.exponentials.gather(1, column)
        return torch.where(column == self.largest, self.others, without) / self.total

    def complements(self) -> Tensor:
        """Returns 1 - p for every class (R, C), without cancellation."""
        apart = self.total - self.exponentials
        apart.scatter_(1, self.largest, self.others)
        return apart.div_(self.total)

    @cached_property
    def spread(self) -> tuple[Tensor, Tensor]:
        """m - x_a (<= 0) and the variance of x under p, both (R, 1)."""
        weighted = self.depth * self.exponentials
        mean = weighted.sum(1, keepdim=True).div_(self.total)
        square = weighted.mul_(self.depth).sum(1, keepdim=True)
        return mean, square.div_(self.total).sub_(mean * mean).clamp_(min=0)

    @cached_property
    def deepest(self) -> float:
        """The least d of the chunk: one number decides for it; a row with NaN makes it NaN."""
        return float(self.shifted.amin()) if self.shifted.numel() else 0.0

    @cached_property
    def depth(self) -> Tensor:
        """d with classes of probability 0 at a depth whose square is finite: 0 * inf stays out."""
        return self.shifted if self.deepest > DEEPEST else self.shifted.clamp(min=DEEPEST)

    def reaches(self) -> Tensor:
        """Returns the upper bound of F at every class (R, C) in float32, where a probability is not 0.

        For sums with at least 1, of which float32 loses no more than `REACH_ROUNDING`, in half of the time:
        roots are what costs most. Below 2^-63 it may be lost; where a probability is 0 it is finite.
        """
        mean, variance = (part.float() for part in self.spread)
        near = self.depth.float()
        far = (near + mean).square_()
        jensen = near.sub_(mean).square_().add_(variance)
        bound = torch.minimum(jensen, far, out=jensen)
        if not self.deepest > DEEPEST_SINGLE:
            bound.clamp_(max=DEEPEST_SINGLE**2)
        return bound.sqrt_()

    def distances(self, shifted: Tensor) -> Tensor:
        """Returns the upper bound of F at values given by their shift from x_a."""
        mean, variance = self.spread
        jensen = (shifted - mean).square_().add_(variance).sqrt_()
        return torch.minimum(jensen, -mean - shifted, out=jensen)


def softmax_rows(logits: Tensor) -> SoftmaxRows:
    """Returns the shared terms of float64 logits (R, C), which are overwritten by the shifted ones.

    Infinite logits follow `limits`; an undefined row is NaN throughout.
    """
    largest = places_of_maxima(logits)
    top = logits.gather(1, largest)
    shifted = limits(logits.sub_(top), top, largest)
    exponentials = exponential(shifted)
    # The maximum's own term is 1 (or NaN): summing the others apart keeps 1 - p exact.
    own = exponentials.gather(1, largest)
    others = exponentials.scatter_(1, largest, 0.0).sum(1, keepdim=True)
    exponentials.scatter_(1, largest, own)
    # A NaN row must not look finite because its maximum was cut out.
    return SoftmaxRows(shifted, exponentials, others + 0 * own, largest)


def exponential(values: Tensor) -> Tensor:
    """Returns exp of every number, in a room of its own."""
    if not isinstance(values, Tensor):
        return torch.exp(values)
    # numpy has loops of its own where torch calls MKL, which takes twice as long on processors that it is
    # not tuned for.
    found = torch.empty_like(values)
    np.exp(values.numpy(), out=found.numpy())
    return found


def places_of_maxima(logits: Tensor) -> Tensor:
    """Returns the column of each row's maximum, or of its first NaN (R, 1)."""
    # numpy finds it in a quarter of the time that torch's max takes.
    return torch.from_numpy(leading(logits).numpy().argmax(1, keepdims=True))


def _all_finite(top: Tensor) -> bool:
    # A sum that is not finite only for its size takes the long way for nothing, and rightly.
    return math.isfinite(float(top.sum()))


def limits(shifted: Tensor, top: Tensor, largest: Tensor) -> Tensor:
    """Puts the extended reals into x - x_a (R, C), in place; every tier of the oracle obeys these rules.

    A logit of -inf is a masked class: probability 0, the limit along every path. A row of nothing but
    -inf has no distribution: undefined, NaN. One +inf is the limit x_a -> inf: p is one-hot there, so
    the loss is 0 if all coefficients stand on it and +inf otherwise, and the gradient is the limit of
    Q p - q. With two or more +inf the limit depends on the path: undefined, NaN. NaN in a row makes NaN of
    what depends on it. A row that does not count (ignored, all coefficients 0) has loss and gradient
    0 whatever stands in it: the caller drops it by its coefficient, never by multiplying with 0.
    IEEE arithmetic answers NaN for inf - inf at the maximum itself, which would call a defined row
    undefined; hence rules and not propagation.
    """
    if _all_finite(top):
        return shifted
    # +inf - +inf is NaN at every infinite maximum, so these are counted before they are mended.
    several = shifted.isnan().sum(1, keepdim=True) > 1
    at_top = torch.where(torch.isposinf(top), 0.0, shifted.gather(1, largest))
    shifted.scatter_(1, largest, at_top)
    return shifted.masked_fill_(several & torch.isposinf(top), torch.nan)
