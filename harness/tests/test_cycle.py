"""Truth of rows that repeat equals truth of every row, and what nearly repeats is evaluated whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.oracle import cycle
from harness.oracle.truth import RowTruth, Tier
from suites.cross_entropy import SUITE
from suites.oracles.cross_entropy import ORACLE


class Counting:
    """The oracle of cross-entropy, with the number of rows that it was asked for."""

    label = "counting"

    def __init__(self) -> None:
        self.rows: list[int] = []

    def evaluate(
        self,
        inputs: Mapping[str, Tensor],
        options: Mapping[str, Any],
        wanted: tuple[str, ...],
        *,
        sensitivities: bool = True,
        tier: Tier = "B0",
    ) -> RowTruth:
        self.rows.append(len(inputs["logits"]))
        return ORACLE.evaluate(inputs, options, wanted, sensitivities=sensitivities, tier=tier)


def rows_of(count: int, length: int = 61) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(length, 3, generator=generator, dtype=torch.float64)
    index = torch.arange(count) % length
    return {"logits": logits[index], "target": torch.ones(count, dtype=torch.long)}


@pytest.mark.parametrize("tier", ["B0", "B1"])
@pytest.mark.parametrize("count", [cycle.FEWEST, cycle.FEWEST + 7])
@pytest.mark.parametrize("length", [1, 15, 61, cycle.LONGEST])
def test_a_cycle_is_evaluated_once_and_gives_the_truth_of_all_rows(
    count: int, length: int, tier: Tier
) -> None:
    oracle, inputs = Counting(), rows_of(count, length)
    found = cycle.evaluated(oracle, inputs, SUITE.options, ("logits",), tier=tier)
    whole = ORACLE.evaluate(inputs, SUITE.options, ("logits",), tier=tier)
    assert oracle.rows == [length]
    for name in ("losses", "sensitivities", "denominator"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    for name in ("gradients", "gradient_sensitivities", "gradient_tails"):
        assert getattr(found, name).keys() == getattr(whole, name).keys()
        for tensor, entries in getattr(whole, name).items():
            np.testing.assert_array_equal(getattr(found, name)[tensor], entries)
    assert (found.tier, found.rounding, found.floor) == (whole.tier, whole.rounding, whole.floor)


def one_label(inputs: dict[str, Tensor]) -> None:
    inputs["target"][-1] = 0


def one_sign_of_zero(inputs: dict[str, Tensor]) -> None:
    inputs["logits"][:, 0] = 0.0
    inputs["logits"][-1, 0] = -0.0


def one_nan(inputs: dict[str, Tensor]) -> None:
    inputs["logits"][-1, 0] = torch.nan


@pytest.mark.parametrize("change", [one_label, one_sign_of_zero, one_nan])
def test_what_nearly_repeats_is_evaluated_row_by_row(change: Any) -> None:
    oracle, inputs = Counting(), rows_of(cycle.FEWEST)
    change(inputs)
    cycle.evaluated(oracle, inputs, SUITE.options, ("logits",))
    assert oracle.rows == [cycle.FEWEST]


def test_nan_that_repeats_is_a_cycle_too() -> None:
    inputs = rows_of(61)
    inputs["logits"][5, 1] = torch.nan
    index = torch.arange(cycle.FEWEST) % 61
    assert cycle.period({name: tensor[index] for name, tensor in inputs.items()}) == 61


def test_a_first_row_that_comes_again_within_the_cycle_does_not_end_it() -> None:
    inputs = rows_of(61)
    inputs["logits"][[7, 20]] = inputs["logits"][0].clone()
    index = torch.arange(cycle.FEWEST) % 61
    assert cycle.period({name: tensor[index] for name, tensor in inputs.items()}) == 61


def test_a_cycle_that_is_too_long_is_evaluated_row_by_row() -> None:
    assert cycle.period(rows_of(cycle.FEWEST, cycle.LONGEST + 1)) is None


def test_few_rows_are_not_worth_it() -> None:
    assert cycle.period(rows_of(cycle.FEWEST - 1)) is None
