"""The softmax family in pairs (tier B1): the terms of `harness.oracle.softmax` to about 2^-66.

For a stored row x with a = argmax: d_j = x_j - x_a exactly as a pair, e_j = exp(d_j) and
S1 = sum_{j!=a} e_j by order-free extraction, so that a row has the same bits however its classes are
permuted. The trap: the extraction must be anchored at the largest of the *other* terms; anchored at the
maximum's own term, 1, it loses on confident rows as many bits as they are confident.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from harness.oracle.elementary import log1p
from harness.oracle.pair import (
    Pair,
    addcmul_is_fused,
    exponential,
    lifted,
    minus,
    order_free_sum,
    product,
    quick_two_sum,
    ratio,
    two_product,
    two_sum,
)
from harness.oracle.softmax import limits, places_of_maxima


@dataclass(frozen=True)
class SoftmaxPairs:
    """Shared terms of a chunk as pairs: d and e (R, C), S1 (R, 1); `largest` (R, 1) is the maximum's column.

    `exponentials` are unnormalised, |low| <= 2^-15 high.
    """

    shifted: Pair
    exponentials: Pair
    others: Pair
    largest: Tensor

    @cached_property
    def total(self) -> Pair:
        """1 + S1 (R, 1)."""
        return total(self.others)

    @cached_property
    def share(self) -> Pair:
        """1 / (1 + S1) (R, 1)."""
        return ratio(lifted(torch.ones_like(self.others.high)), self.total)

    @cached_property
    def logarithm(self) -> Pair:
        """log1p(S1) (R, 1), the loss of the maximum."""
        return log1p(self.others)

    def class_losses(self) -> Pair:
        """Returns l_c for every class (R, C)."""
        return with_infinities(minus(self.logarithm, self.shifted), self.shifted.high)

    def at(self, column: Tensor) -> PairsAtColumn:
        """Returns what stands at one column per row (R, 1)."""
        return PairsAtColumn(
            self.shifted.gathered(column),
            self.exponentials.gathered(column),
            self.others,
            column == self.largest,
        )

    def complements(self) -> Pair:
        """Returns 1 - p for every class (R, C), without cancellation."""
        without = minus(self.total, self.exponentials)
        without.high.scatter_(1, self.largest, self.others.high)
        without.low.scatter_(1, self.largest, self.others.low)
        return product(without, self.share)

    def times_probabilities(self, factor: Pair, room: Pair | None = None) -> Pair:
        """Returns factor p_c (R, C) for one factor per row (R, 1), normalised; in the room if given."""
        scale = product(factor, self.share)
        if addcmul_is_fused():
            # The lesser terms first, 2^-15 of the product: three roundings of 2^-69, and two passes less.
            lesser = self.exponentials.low * scale.high
            lesser.addcmul_(self.exponentials.high, scale.low)
            whole, rest = room or (torch.empty_like(lesser), lesser)
            torch.addcmul(lesser, self.exponentials.high, scale.high, out=whole)
            beyond = torch.addcmul(whole, self.exponentials.high, scale.high, value=-1)
            return Pair(whole, torch.sub(lesser, beyond, out=rest))
        high, error = two_product(self.exponentials.high, scale.high)
        error.addcmul_(self.exponentials.low, scale.high).addcmul_(self.exponentials.high, scale.low)
        return quick_two_sum(high, error)


@dataclass(frozen=True)
class PairsAtColumn:
    """What stands at one column of each row, all (R, 1): d, e, S1 and whether the column is the maximum's."""

    shifted: Pair
    exponentials: Pair
    others: Pair
    is_largest: Tensor

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """The fields, of pairs both tensors."""
        return (*self.shifted, *self.exponentials, *self.others, self.is_largest)

    @classmethod
    def of_parts(cls, parts: tuple[Tensor, ...]) -> PairsAtColumn:
        """Returns what has these `parts`."""
        return cls(Pair(*parts[0:2]), Pair(*parts[2:4]), Pair(*parts[4:6]), parts[6])

    def complement(self) -> Pair:
        """Returns 1 - p_c = sum_{j!=c} p_j (R, 1), without cancellation."""
        whole, own = total(self.others), self.exponentials
        # Nothing cancels where it counts: off the maximum a term is at most half of the total.
        without = two_sum(whole.high, -own.high)
        without = quick_two_sum(without.high, without.low + (whole.low - own.low))
        return ratio(chosen(self.is_largest, self.others, without), whole)


def total(others: Pair) -> Pair:
    """Returns 1 + S1 (R, 1)."""
    # All terms are positive, so the lesser parts may be rounded once.
    whole = two_sum(others.high, torch.ones_like(others.high))
    return quick_two_sum(whole.high, whole.low + others.low)


def chosen(condition: Tensor, one: Pair, other: Pair) -> Pair:
    """Returns one where the condition holds and the other elsewhere."""
    return Pair(torch.where(condition, one.high, other.high), torch.where(condition, one.low, other.low))


def with_infinities(losses: Pair, shifted: Tensor) -> Pair:
    """Returns losses with +inf for classes at -inf: error terms of an infinity are NaN."""
    masked = torch.isneginf(shifted)
    if not bool(masked.any()):
        return losses
    return Pair(losses.high.masked_fill(masked, torch.inf), losses.low.masked_fill(masked, 0.0))


def softmax_pairs(logits: Tensor) -> SoftmaxPairs:
    """Returns the shared terms of float64 logits (R, C); infinite logits follow `softmax.limits`."""
    largest = places_of_maxima(logits)
    top = logits.gather(1, largest)
    bottom = logits.amin(1, keepdim=True)
    shifted = difference(logits, top, bottom)
    high, low = limits(shifted.high, top, largest), shifted.low
    # Differences of stored float32 mostly are exact. NaN is an end too, and is equal to nothing.
    ends = [float(end) for end in low.aminmax()] if low.numel() else [0.0, 0.0]
    if not all(math.isfinite(end) for end in ends):
        low = torch.where(high.isfinite(), low.nan_to_num(0.0, 0.0, 0.0), 0.0)
    least = float((bottom - top).amin()) if len(top) else 0.0
    exponentials = exponential(Pair(high, low), exact=ends == [0.0, 0.0], least=least)
    # The maximum's own term is 1 (or NaN), without a low part: it is left out, not subtracted.
    own = exponentials.high.gather(1, largest)
    exponentials.high.scatter_(1, largest, 0.0)
    others = order_free_sum(*exponentials, positive=True)
    exponentials.high.scatter_(1, largest, own)
    # A NaN row must not look finite because its maximum was cut out.
    return SoftmaxPairs(Pair(high, low), exponentials, Pair(others.high + 0 * own, others.low), largest)


def difference(logits: Tensor, top: Tensor, bottom: Tensor) -> Pair:
    """Returns x - x_a exactly; in three passes if x_a is a multiple of every logit's ulp, as of float32.

    Then the short sum is exact for |x_a| < |x| too: x_a - x is a multiple of ulp(x) below 2^54 ulp(x), so
    rounding moves it by one such ulp at most, and what comes back from the sum has no more than 53 bits.
    A row with a -inf says nothing about its other logits, so it takes the long way.
    """
    mantissa, place = torch.frexp(top)
    units = place - torch.maximum(place, torch.frexp(bottom).exponent) + 53
    # x_a in units of the largest ulp; what would underflow to a whole number 0 stays a fraction.
    top_in_ulps = torch.ldexp(mantissa, units.clamp(min=-53))
    if math.isfinite(float(bottom.sum())) and bool((top_in_ulps == top_in_ulps.round()).all()):
        return quick_two_sum(-top, logits)
    return two_sum(logits, -top)
