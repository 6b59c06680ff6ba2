"""What every oracle returns: exact value and gradients after reduction, and what u multiplies.

With per-row losses L_i, gradients g_i and reduction weight c_i (1/denominator for mean, the
upstream gradient for none, 1 for sum): value = sum c_i L_i, gradient = c_i g_i, and the same factors
scale the sensitivities; an input that all rows share has the gradient sum c_i g_i. Tier B1 states every
number as high + low, two float64: the difference to a result is (got - high) - low, in this order. The
trap: the floor of the strict rule looks at gradients *before* reduction, so `row_scale` travels along.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from torch import Tensor

from harness.oracle.contraction import ROUNDOFFS, RowProducts
from harness.oracle.reduction import Array, exact_pair_sum, exact_sum, pair_quotient, quotient, scaled_pair

Tier = Literal["B0", "B1"]
FLOAT64_ROUNDOFF = 2.0**-53
LARGEST = sys.float_info.max
# Sum, quotient and product with the row factor: one rounding each, the factor's own two besides.
REDUCTION_ROUNDOFFS = 4.0
# The same with pairs: sums and quotients are right to 2^-106, the product of pairs to 2^-102; measured
# against exact fractions 2^-104.4 (`test_pair_reduction`), stated with room.
PAIR_REDUCTION_ROUNDING = 2.0**-100
# One more for the factor of a row.
CONTRACTION_ROUNDING = (ROUNDOFFS + 1) * FLOAT64_ROUNDOFF


@dataclass(frozen=True)
class RowTruth:
    """Per-row truth before reduction; gradients have the (rows, classes) of their input.

    `denominator` holds what each row adds to the mean's denominator. `rounding` is the oracle's own
    error in units of the sensitivity: |oracle - exact| <= rounding * N + floor, where `floor` is a few
    of the smallest numbers of float64. `gradient_ranges` holds the lowest and highest element of the
    subdifferential of an input; every element is right at a kink. With tier B1 the tails are the low
    parts: the truth is `losses + loss_tails` and `gradients[name] + gradient_tails[name]`. `shared` holds
    the gradients of inputs that all rows share, as what each row adds to them.
    """

    losses: Array
    sensitivities: Array
    gradients: Mapping[str, Array]
    gradient_sensitivities: Mapping[str, Array]
    denominator: Array
    rounding: float
    loss_tails: Array | None = None
    gradient_tails: Mapping[str, Array] = field(default_factory=dict)
    tier: Tier = "B0"
    floor: float = 0.0
    gradient_ranges: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    shared: Mapping[str, RowProducts] = field(default_factory=dict)


@dataclass(frozen=True)
class Truth:
    """Exact value and gradients of one call; `value` is a scalar array or one entry per row.

    NaN in `value` or a gradient means undefined: the implementation must answer NaN there (or 0, for
    a gradient that no NaN of the inputs made so). `reduced_rows` is 1 without reduction. With tier B1
    `value_tail` and `gradient_tails` are the low parts, 0 where the high part is not finite; without them
    the truth is the high part alone. |truth - exact| <= rounding * N + floor, and CONTRACTION_ROUNDING * N
    more for the gradients of `shared` inputs without a tail, which are sums over rows.
    """

    value: Array
    value_sensitivity: Array
    reduced_rows: int
    gradients: Mapping[str, Array]
    gradient_sensitivities: Mapping[str, Array]
    row_scale: Array
    row_losses: Array
    rounding: float
    value_tail: Array | None = None
    gradient_tails: Mapping[str, Array] = field(default_factory=dict)
    tier: Tier = "B0"
    floor: float = 0.0
    gradient_ranges: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()

    def rounding_of(self, tensor: str) -> float:
        """Returns the oracle's own error in units of N: of "loss", or of the gradient of an input."""
        in_float64 = tensor in self.shared and tensor not in self.gradient_tails
        return self.rounding + (CONTRACTION_ROUNDING if in_float64 else 0.0)


class RowOracle(Protocol):
    """Something that evaluates rows: a closed form or a reference under autograd."""

    @property
    def label(self) -> str:
        """How verdicts name this oracle."""

    def evaluate(
        self,
        inputs: Mapping[str, Tensor],
        options: Mapping[str, Any],
        wanted: tuple[str, ...],
        *,
        sensitivities: bool = True,
        tier: Tier = "B0",
    ) -> RowTruth:
        """Returns the truth of every row; `wanted` names the inputs whose gradients are asked for.

        An oracle that has no tier B1 answers with B0; `RowTruth.tier` says which it was.
        """


def reduced(rows: RowTruth, options: Mapping[str, Any], upstream: Array | None) -> Truth:
    """Returns the truth after the reduction named in `options`.

    `upstream` holds one gradient per row for none and a single one otherwise; None means ones.
    """
    reduction = options["reduction"]
    count = rows.losses.shape[0]
    # A row that adds nothing to the mean (ignored) keeps scale 1: it has no weight to be undone.
    weight = np.where(rows.denominator != 0, np.abs(rows.denominator), 1.0)
    from_above = 1.0 if upstream is None or reduction == "none" else float(upstream[0])
    factor_tail = 0.0
    value_tail = rows.loss_tails
    row_sensitivities = _bounded(rows.sensitivities, rows.tier)
    if reduction == "none":
        row_factor = np.ones(count) if upstream is None else upstream
        value: Array = rows.losses
        sensitivity: Array = row_sensitivities
    else:
        total, total_tail = exact_pair_sum(rows.losses, rows.loss_tails)
        divided_by = 1.0
        if reduction == "mean":
            denominator = exact_pair_sum(rows.denominator, None)
            total, total_tail = pair_quotient((total, total_tail), denominator)
            if denominator[0] == 0 and options.get("empty_mean") == "zero":
                total, total_tail = 0.0, 0.0
            divided_by = abs(denominator[0])
            factor, factor_tail = pair_quotient((from_above, 0.0), denominator)
        else:
            factor = from_above
        sensitivity = _bounded(np.asarray(_summed(row_sensitivities, divided_by)), rows.tier)
        value, row_factor = np.asarray(total), np.full(count, factor)
        value_tail = None if rows.loss_tails is None else np.asarray(total_tail, dtype=np.float64)
    row_factor = np.asarray(row_factor, dtype=np.float64)
    gradients, tails = {}, {}
    for name, entries in rows.gradients.items():
        if name in rows.gradient_tails:
            gradients[name], tails[name] = scaled_pair(
                entries, rows.gradient_tails[name], row_factor, factor_tail
            )
        else:
            gradients[name] = _scaled(entries, row_factor)
    sensitivities = {
        name: _bounded(_scaled(n, np.abs(row_factor)), rows.tier)
        for name, n in rows.gradient_sensitivities.items()
    }
    for name, products in rows.shared.items():
        gradients[name], sensitivities[name], tail = products.summed(row_factor, factor_tail)
        if tail is not None:
            tails[name] = tail
    if rows.tier == "B1":
        added = PAIR_REDUCTION_ROUNDING
    else:
        added = 0.0 if reduction == "none" else REDUCTION_ROUNDOFFS * FLOAT64_ROUNDOFF
    return Truth(
        value=np.asarray(value, dtype=np.float64),
        value_sensitivity=np.asarray(sensitivity, dtype=np.float64),
        reduced_rows=1 if reduction == "none" else max(count, 1),
        gradients=gradients,
        gradient_sensitivities=sensitivities,
        row_scale=np.abs(row_factor) * weight,
        row_losses=rows.losses,
        rounding=rows.rounding + added,
        value_tail=value_tail,
        gradient_tails=tails,
        tier=rows.tier,
        floor=rows.floor,
        gradient_ranges={
            name: _ordered(_scaled(low, row_factor), _scaled(high, row_factor))
            for name, (low, high) in rows.gradient_ranges.items()
        },
        shared=frozenset(rows.shared),
    )


def _summed(sensitivities: Array, denominator: float) -> float:
    """Returns the sum over a denominator, also where the sum is beyond the largest float64 and it is not."""
    total = exact_sum(sensitivities)
    if not math.isinf(total):
        return quotient(total, denominator)
    return quotient(exact_sum(sensitivities * 2.0**-128), denominator) * 2.0**128


def _bounded(sensitivities: Array, tier: Tier) -> Array:
    """Returns sensitivities of float64 with what is beyond the largest number put at it.

    An infinite one would make every answer right. It is a few times the size of inputs or truth at most.
    """
    return sensitivities if tier == "B0" else np.minimum(sensitivities, LARGEST)


def _ordered(one: Array, other: Array) -> tuple[Array, Array]:
    """Returns both ends with the lower first: a negative upstream gradient turns a range around."""
    return np.minimum(one, other), np.maximum(one, other)


def _scaled(entries: Array, row_factor: Array) -> Array:
    factor = row_factor.reshape(-1, *([1] * (entries.ndim - 1)))
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = entries * factor
    # 0 * inf comes from an empty mean: an ignored row has gradient 0 or NaN, both are accepted.
    return np.asarray(scaled, dtype=np.float64)
