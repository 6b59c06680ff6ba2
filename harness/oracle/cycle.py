"""Rows that repeat are evaluated once: truth of a long batch by algebra instead of by evaluation.

A ladder of rows climbs to 2^17 and beyond with rows from a short cycle, since what it asks about is the
sum. With rows x_i = x_(i mod P) every per-row number repeats likewise, L_i = L_(i mod P), so P rows are
evaluated and their truth is taken N times; only the reduction looks at all N. P is found, up to LONGEST.
The trap: a batch that nearly repeats (one ignored label at its end) must not be taken for one that does,
so every stored bit is compared first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.oracle.reduction import Array
from harness.oracle.truth import RowOracle, RowTruth, Tier

LONGEST = 64
# Below this many rows nothing is gained.
FEWEST = 16 * LONGEST


def evaluated(
    oracle: RowOracle,
    inputs: Mapping[str, Tensor],
    options: Mapping[str, Any],
    wanted: tuple[str, ...],
    *,
    tier: Tier = "B0",
) -> RowTruth:
    """Returns the truth of every row, of one cycle alone where the rows repeat.

    What `oracle` raises goes through. NaN in a row is a bit pattern like any other.
    """
    count = len(next(iter(inputs.values())))
    length = period(inputs)
    if length is None:
        return oracle.evaluate(inputs, options, wanted, tier=tier)
    cycle = {name: tensor[:length] for name, tensor in inputs.items()}
    once = oracle.evaluate(cycle, options, wanted, tier=tier)
    if once.shared:  # a sum over rows of outer products is no number of a row
        return oracle.evaluate(inputs, options, wanted, tier=tier)
    return _repeated(once, np.arange(count) % length)


def period(inputs: Mapping[str, Tensor]) -> int | None:
    """Returns the length of the cycle that so many rows of every tensor repeat, bit for bit; None of none."""
    counts = {tensor.shape[0] if tensor.dim() else 0 for tensor in inputs.values()}
    if len(counts) != 1 or next(iter(counts)) < FEWEST:
        return None
    started = (
        length
        for length in range(1, LONGEST + 1)
        if all(_repeats(tensor[: length + 1], length) for tensor in inputs.values())
    )
    return next((n for n in started if all(_repeats(tensor, n) for tensor in inputs.values())), None)


def _repeats(tensor: Tensor, length: int) -> bool:
    ahead, behind = tensor[length:], tensor[:-length]
    same = ahead == behind
    if tensor.is_floating_point():
        same = (same & (ahead.signbit() == behind.signbit())) | (torch.isnan(ahead) & torch.isnan(behind))
    return bool(same.all())


def _repeated(once: RowTruth, rows: NDArray[np.intp]) -> RowTruth:
    return replace(
        once,
        losses=once.losses[rows],
        sensitivities=once.sensitivities[rows],
        gradients=_taken(once.gradients, rows),
        gradient_sensitivities=_taken(once.gradient_sensitivities, rows),
        denominator=once.denominator[rows],
        loss_tails=None if once.loss_tails is None else once.loss_tails[rows],
        gradient_tails=_taken(once.gradient_tails, rows),
        gradient_ranges={name: (low[rows], high[rows]) for name, (low, high) in once.gradient_ranges.items()},
    )


def _taken(arrays: Mapping[str, Array], rows: NDArray[np.intp]) -> dict[str, Array]:
    return {name: array[rows] for name, array in arrays.items()}
