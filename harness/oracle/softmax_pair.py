"""The softmax family in pairs (tier B1): the terms of `harness.oracle.softmax` to about 2^-66.

For a stored row x with a = argmax: d_j = x_j - x_a exactly as a pair, e_j = exp(d_j) and
S1 = sum_{j!=a} e_j by order-free extraction, so that a row has the same bits however its classes are
permuted. The trap: the extraction must be anchored at the largest of the *other* terms; anchored at the
maximum's own term, 1, it loses on confident rows as many bits as they are confident.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from harness.oracle.pair import (
    Pair,
    exponential,
    lifted,
    log1p,
    minus,
    order_free_sum,
    plus,
    product,
    quick_two_sum,
    ratio,
    two_product,
    two_sum,
)
from harness.oracle.softmax import limits


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
        return plus(lifted(torch.ones_like(self.others.high)), self.others)

    @cached_property
    def share(self) -> Pair:
        """1 / (1 + S1) (R, 1)."""
        return ratio(lifted(torch.ones_like(self.others.high)), self.total)

    @cached_property
    def logarithm(self) -> Pair:
        """log1p(S1) (R, 1), the loss of the maximum."""
        return log1p(self.others)

    def loss_at(self, column: Tensor) -> Pair:
        """Returns l_c at one column per row (R, 1)."""
        return with_infinities(
            minus(self.logarithm, self.shifted.gathered(column)), self.shifted.high.gather(1, column)
        )

    def class_losses(self) -> Pair:
        """Returns l_c for every class (R, C)."""
        return with_infinities(minus(self.logarithm, self.shifted), self.shifted.high)

    def complement_at(self, column: Tensor) -> Pair:
        """Returns 1 - p_c at one column per row (R, 1), without cancellation."""
        without = minus(self.total, self.exponentials.gathered(column))
        return product(chosen(column == self.largest, self.others, without), self.share)

    def complements(self) -> Pair:
        """Returns 1 - p for every class (R, C), without cancellation."""
        without = minus(self.total, self.exponentials)
        without.high.scatter_(1, self.largest, self.others.high)
        without.low.scatter_(1, self.largest, self.others.low)
        return product(without, self.share)

    def times_probabilities(self, factor: Pair) -> Pair:
        """Returns factor p_c (R, C) for one factor per row (R, 1), normalised."""
        scale = product(factor, self.share)
        high, error = two_product(self.exponentials.high, scale.high)
        error.addcmul_(self.exponentials.low, scale.high).addcmul_(self.exponentials.high, scale.low)
        return quick_two_sum(high, error)


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
    top, largest = logits.max(1, keepdim=True)
    shifted = two_sum(logits, -top)
    high = limits(shifted.high, top, largest)
    low = shifted.low
    if not bool(low.sum().isfinite()):
        low = torch.where(high.isfinite(), low.nan_to_num(0.0, 0.0, 0.0), 0.0)
    exponentials = exponential(Pair(high, low))
    # The maximum's own term is 1 (or NaN): it is left out, not subtracted.
    own = exponentials.gathered(largest)
    exponentials.high.scatter_(1, largest, 0.0)
    exponentials.low.scatter_(1, largest, 0.0)
    others = order_free_sum(*exponentials)
    exponentials.high.scatter_(1, largest, own.high)
    exponentials.low.scatter_(1, largest, own.low)
    # A NaN row must not look finite because its maximum was cut out.
    return SoftmaxPairs(Pair(high, low), exponentials, Pair(others.high + 0 * own.high, others.low), largest)
