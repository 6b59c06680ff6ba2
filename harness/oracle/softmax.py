"""Cancellation-free float64 formulas of the softmax family, shared by losses of the form q . l.

For a stored row x with a = argmax, d_j = x_j - x_a <= 0, e_j = exp(d_j), S1 = sum_{j!=a} e_j:
l_c = log1p(S1) - d_c (all terms >= 0) is the loss of class c, p_j = e_j / (1 + S1), and a loss with
class coefficients q is L = sum q_c l_c with gradient Q p_c - q_c, Q = sum q. Neither 1 - p nor
logsumexp - x is ever formed (numerics: B0, F). The e_j are torch's softmax, whose divisor every quotient
loses again. Error: (C + 753) 2^-53 relative at worst, whatever the order of summation, typically a few
2^-53.

What u multiplies is shift-normalised: F(v) = sum_k p_k |x_k - v| and N = L + sum_c q_c F(x_c) for the
loss, N_i = |g_i| + Q p_i F(x_i) for gradients. F costs a sort; here it is bounded from above in O(C) by
min(sqrt(var + (m - v)^2), |m - x_a| + |x_a - v|) with m = sum p_k x_k (Jensen; triangle inequality),
exact at v = x_a. An upper bound cannot accuse falsely; on unit-normal rows it exceeds F by a factor of
less than 1.4 at the median and of about 2 at most (tested). The trap: terms whose coefficient is
exactly 0 are dropped, 0 * inf is not NaN here; what stands for infinite logits is said in `limits`.
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


@dataclass(frozen=True)
class SoftmaxRows:
    """Shared terms of a chunk of rows; every field is float64.

    `logits` and `exponentials` k e are (R, C), their maximum `top`, its column `largest`, its exponential
    `own` k and `others` k S1 are (R, 1). The factor k of a row is what torch's softmax divides by: nothing
    is taken from it but a common scale, which every quotient loses. Passes over (R, C) are what an oracle
    costs, so differences and probabilities are made on request.
    """

    logits: Tensor
    top: Tensor
    exponentials: Tensor
    own: Tensor
    others: Tensor
    largest: Tensor

    @cached_property
    def shifted(self) -> Tensor:
        """d = x - x_a (R, C)."""
        return self.logits - self.top

    def shift_at(self, column: Tensor) -> Tensor:
        """Returns d at one column per row (R, 1)."""
        return self.logits.gather(1, column) - self.top

    @cached_property
    def total(self) -> Tensor:
        """k (1 + S1) (R, 1)."""
        return self.own + self.others

    @cached_property
    def logarithm(self) -> Tensor:
        """log1p(S1) (R, 1), the loss of the maximum."""
        return torch.log1p(self.others / self.own)

    @cached_property
    def probabilities(self) -> Tensor:
        """p = e / (1 + S1) (R, C)."""
        return self.exponentials / self.total

    def class_losses(self) -> Tensor:
        """Returns l_c = logsumexp(x) - x_c for every class (R, C)."""
        return self.logarithm - self.shifted

    def loss_at(self, column: Tensor) -> Tensor:
        """Returns l_c at one column per row (R, 1)."""
        return self.logarithm - self.shift_at(column)

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
    def depth(self) -> Tensor:
        """d with classes of probability 0 at a depth whose square is finite: 0 * inf stays out."""
        # One number decides for the chunk; a NaN row answers no and stays NaN in both.
        plain = self.shifted.numel() == 0 or float(self.shifted.amin()) > DEEPEST
        return self.shifted if plain else self.shifted.clamp(min=DEEPEST)

    def reaches(self) -> Tensor:
        """Returns the upper bound of F at every class (R, C), at `depth`.

        The same bound as `distances` with one pass less, as min(v, w) = sqrt(w^2 + min(0, v^2 - w^2)): with
        v^2 = var + (d - m)^2 and w = -m - d the difference is var + 4 (-m) d. Little is lost to cancellation,
        4 C 2^-53 of the bound, as var >= m^2 / C (the maximum alone contributes that much).
        """
        mean, variance = self.spread
        excess = torch.addcmul(variance, self.depth, -4 * mean).clamp_(max=0)
        far = torch.sub(-mean, self.depth)
        excess.addcmul_(far, far)
        # In two thirds of the time of torch's root, in place.
        np.sqrt(excess.numpy(), out=excess.numpy())
        return excess

    def distances(self, shifted: Tensor) -> Tensor:
        """Returns the upper bound of F at values given by their shift from x_a."""
        mean, variance = self.spread
        jensen = (shifted - mean).square_().add_(variance).sqrt_()
        return torch.minimum(jensen, -mean - shifted, out=jensen)


def softmax_rows(logits: Tensor) -> SoftmaxRows:
    """Returns the shared terms of float64 logits (R, C), which are kept: nobody may write to them afterwards.

    Infinite logits follow `limits`; an undefined row is NaN throughout.
    """
    largest = places_of_maxima(logits)
    top = logits.gather(1, largest)
    if not _all_finite(top):
        logits = limits(logits - top, top, largest)
        top = torch.zeros_like(top)
    # One kernel for maximum, difference, exponential and sum: half the time of torch's exp alone where that
    # is MKL's on a processor that MKL does not tune for.
    exponentials = torch.softmax(logits, 1)
    # The maximum's own term is put aside: summing the others apart keeps 1 - p exact.
    own = exponentials.gather(1, largest)
    others = exponentials.scatter_(1, largest, 0.0).sum(1, keepdim=True)
    exponentials.scatter_(1, largest, own)
    # A NaN row must not look finite because its maximum was cut out.
    return SoftmaxRows(logits, top, exponentials, own, others + 0 * own, largest)


def places_of_maxima(logits: Tensor) -> Tensor:
    """Returns the column of each row's maximum, or of its first NaN (R, 1)."""
    # numpy finds it in a fifth of the time that torch's max takes.
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
