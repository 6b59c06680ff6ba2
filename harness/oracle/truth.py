"""What every oracle returns: exact value and gradients after reduction, and what u multiplies.

With per-row losses L_i, gradients g_i and reduction weight c_i (1/denominator for mean, the
upstream gradient for none, 1 for sum): value = sum c_i L_i, gradient = c_i g_i, and the same factors
scale the sensitivities. The trap: the floor of the strict rule looks at gradients *before*
reduction, so `row_scale` travels along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from harness.oracle.reduction import Array, exact_sum, quotient


@dataclass(frozen=True)
class RowTruth:
    """Per-row truth before reduction; gradients have the (rows, classes) of their input.

    `denominator` holds what each row adds to the mean's denominator. `rounding` is the oracle's own
    error in units of the sensitivity: |oracle - exact| <= rounding * N.
    """

    losses: Array
    sensitivities: Array
    gradients: Mapping[str, Array]
    gradient_sensitivities: Mapping[str, Array]
    denominator: Array
    rounding: float


@dataclass(frozen=True)
class Truth:
    """Exact value and gradients of one call; `value` is a scalar array or one entry per row.

    NaN in `value` or a gradient means undefined: the implementation must answer NaN there (or, for
    a gradient, 0). `reduced_rows` is 1 without reduction.
    """

    value: Array
    value_sensitivity: Array
    reduced_rows: int
    gradients: Mapping[str, Array]
    gradient_sensitivities: Mapping[str, Array]
    row_scale: Array
    row_losses: Array
    rounding: float


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
    ) -> RowTruth:
        """Returns the truth of every row; `wanted` names the inputs whose gradients are asked for."""


def reduced(rows: RowTruth, options: Mapping[str, Any], upstream: Array | None) -> Truth:
    """Returns the truth after the reduction named in `options`.

    `upstream` holds one gradient per row for none and a single one otherwise; None means ones.
    """
    reduction = options["reduction"]
    count = rows.losses.shape[0]
    # A row that adds nothing to the mean (ignored) keeps scale 1: it has no weight to be undone.
    weight = np.where(rows.denominator != 0, np.abs(rows.denominator), 1.0)
    if reduction == "none":
        row_factor = np.ones(count) if upstream is None else upstream
        value: Array = rows.losses
        sensitivity: Array = rows.sensitivities
    elif reduction == "sum":
        row_factor = np.full(count, 1.0 if upstream is None else upstream[0])
        value = np.asarray(exact_sum(rows.losses))
        sensitivity = np.asarray(exact_sum(rows.sensitivities))
    else:
        denominator = exact_sum(rows.denominator)
        value = np.asarray(quotient(exact_sum(rows.losses), denominator))
        if denominator == 0 and options.get("empty_mean") == "zero":
            value = np.asarray(0.0)
        sensitivity = np.asarray(quotient(exact_sum(rows.sensitivities), abs(denominator)))
        row_factor = np.full(count, quotient(1.0 if upstream is None else upstream[0], denominator))
    row_factor = np.asarray(row_factor, dtype=np.float64)
    return Truth(
        value=np.asarray(value, dtype=np.float64),
        value_sensitivity=np.asarray(sensitivity, dtype=np.float64),
        reduced_rows=1 if reduction == "none" else max(count, 1),
        gradients={name: _scaled(g, row_factor) for name, g in rows.gradients.items()},
        gradient_sensitivities={
            name: _scaled(n, np.abs(row_factor)) for name, n in rows.gradient_sensitivities.items()
        },
        row_scale=np.abs(row_factor) * weight,
        row_losses=rows.losses,
        rounding=rows.rounding,
    )


def _scaled(entries: Array, row_factor: Array) -> Array:
    factor = row_factor.reshape(-1, *([1] * (entries.ndim - 1)))
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = entries * factor
    # 0 * inf comes from an empty mean: an ignored row has gradient 0 or NaN, both are accepted.
    return np.asarray(scaled, dtype=np.float64)
