"""Input distributions for losses of a residual: predictions and targets (N, C), every entry its own loss.

Each function draws in float64 from the generator alone and asks for both gradients; rounding to the
dtype comes afterwards. The trap: a residual drawn before rounding is not the residual of the stored
numbers, so where a residual must be exact (kinks, thresholds) both numbers are multiples of a power of two
that every dtype holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, finfo

from harness import Blind, Exhaustive, Invalid, Ladder, Regime, Sample, Shape, Shapes
from suites.regimes.climbs import scale_ladder
from suites.regimes.repeated import PERIOD, places, rows_ladder

Options = Any
BOTH = ("prediction", "target")


def pair(prediction: Tensor, target: Tensor) -> Sample:
    """Returns the sample of two tensors (N, C) with both gradients asked for."""
    return Sample(prediction=prediction, target=target, gradients=BOTH, layout="elements")


def _normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def signs(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Returns 1 and -1 of a shape at random, float64."""
    return (torch.randint(0, 2, shape, generator=generator) * 2 - 1).double()


def _sizes(shape: tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    """Returns log-uniform magnitudes with random signs."""
    share = torch.rand(shape, generator=generator, dtype=torch.float64)
    sizes = (math.log(low) + (math.log(high) - math.log(low)) * share).exp()
    return sizes * signs(shape, generator)


def unit_normal(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Predictions and targets are standard normal and know nothing of each other."""
    return pair(_normal(shape, generator), _normal(shape, generator))


def fitted(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Targets of a few digits that are met to 1 %: most residuals are small."""
    target = (16 * _normal(shape, generator)).round() / 16
    return pair(target + 1e-2 * _normal(shape, generator), target)


def wide(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Magnitudes of both signs between 2^-10 and 2^6, each number its own."""
    return pair(_sizes(shape, 2.0**-10, 2.0**6, generator), _sizes(shape, 2.0**-10, 2.0**6, generator))


def offset(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Both numbers near 2^10, residuals of a few steps of the dtype: the difference is exact."""
    base = torch.full(tuple(shape), 2.0**10, dtype=torch.float64)
    step = 2.0**10 * finfo.eps
    steps = torch.randint(-8, 9, (2, *shape), generator=generator).double()
    return pair(base + (8 + steps[0]) * step, base + (8 + steps[1]) * step)


def half_equal(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """About half of the predictions are their target exactly: residual 0, the kink of |x - t|."""
    sample = unit_normal(shape, finfo, generator)
    met = torch.rand(tuple(shape), generator=generator) < 0.5
    return sample.replaced(prediction=torch.where(met, sample["target"], sample["prediction"]))


def at_threshold(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Residuals of exactly 1 and -1, and one step of the dtype to either side of them."""
    steps = torch.randint(-1, 2, tuple(shape), generator=generator).double()
    size = 1 + steps * torch.where(steps < 0, 0.5, 1.0) * finfo.eps
    return pair(size * signs(shape, generator), torch.zeros(tuple(shape), dtype=torch.float64))


def outliers(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Small residuals, and about every fourth of size 100, of both signs."""
    target = _normal(shape, generator)
    large = torch.rand(tuple(shape), generator=generator) < 0.25
    size = torch.where(large, 100 + 10 * _normal(shape, generator), 0.1 * _normal(shape, generator))
    return pair(target + size * signs(shape, generator), target)


def tiny(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Residuals between the smallest normal number and 2^-6, against targets of 0."""
    target = torch.zeros(tuple(shape), dtype=torch.float64)
    return pair(_sizes(shape, finfo.smallest_normal, 2.0**-6, generator), target)


def near_overflow(shape: Shape, finfo: finfo, generator: Generator, *, power: int = 1) -> Sample:
    """Magnitudes of both signs up to a size at which the exact sum of all losses stays finite."""
    count = max(shape.batch * shape.classes, 1)
    top = 0.5 * (float(finfo.max) / (4 * count)) ** (1 / power)
    return pair(_sizes(shape, top / 8, top, generator), _sizes(shape, top / 8, top, generator))


def with_nan(sample: Sample) -> Sample:
    """Returns the sample with its first prediction NaN, where it has one."""
    prediction = sample["prediction"].clone()
    prediction.view(-1)[:1] = math.nan
    return sample.replaced(prediction=prediction)


def with_infinities(sample: Sample, generator: Generator) -> Sample:
    """Returns the sample with about every fourth prediction an infinity of either sign."""
    prediction = sample["prediction"]
    chosen = torch.rand(prediction.shape, generator=generator) < 0.25
    signed = math.inf * signs(prediction.shape, generator)
    return sample.replaced(prediction=torch.where(chosen, signed, prediction))


def nan_prediction(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One prediction is NaN: its loss is NaN, and a sum that is a number has swallowed it."""
    return with_nan(unit_normal(shape, finfo, generator))


def infinite(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """About every fourth prediction is an infinity of either sign; targets are finite."""
    return with_infinities(unit_normal(shape, finfo, generator), generator)


def ascending_weights(shape: Shape, dtype: torch.dtype) -> Tensor:
    """Weights (C,) of the entries of every row, from 1/2 to 2; from three entries on the last is 0."""
    weights = torch.linspace(0.5, 2.0, shape.classes, dtype=torch.float64)
    if shape.classes > 2:
        weights[-1] = 0.0
    return weights.to(dtype)


def with_missing(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Makes about a third of the targets NaN, and every second prediction there as well."""
    prediction, target = sample.tensors
    drawn = torch.rand(target.shape, generator=generator)
    return sample.replaced(
        prediction=prediction.masked_fill(drawn < 1 / 6, math.nan),
        target=target.masked_fill(drawn < 1 / 3, math.nan),
    )


def in_units_of(name: str) -> Callable[[Sample, Options, Generator], Sample]:
    """Returns a change of the sample to multiples, at most 8, of the threshold of that name.

    So a threshold far from 1 is asked the same question on both of its sides.
    """

    def change(sample: Sample, options: Options, generator: Generator) -> Sample:
        return sample.mapped(lambda tensor: tensor.clamp(-8, 8) * float(options[name]))

    return change


def huge_threshold(shape: Shape, dtype: torch.dtype) -> float:
    """A threshold that every dtype holds and whose square it does not: 2e20 in float32."""
    return {torch.float64: 2e160, torch.float16: 2000.0}.get(dtype, 2e20)


def tiny_threshold(shape: Shape, dtype: torch.dtype) -> float:
    """A normal threshold whose square is 0 in the dtype: 1e-30 in float32."""
    return {torch.float64: 1e-200, torch.float16: 2.0**-13}.get(dtype, 1e-30)


def scaled(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two residuals, `value` and -`value`, of numbers of opposite sign and half the size."""
    half = torch.tensor([[value / 2], [-value / 2]], dtype=torch.float64)
    return pair(half, -half)


def smallest_exponent(finfo: finfo) -> float:
    """Returns -log2 of the smallest normal number."""
    return -math.log2(finfo.smallest_normal)


def small(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two residuals, 2^-`value` and its negative, against targets of 0."""
    size = 2.0**-value
    return pair(torch.tensor([[size], [-size]], dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64))


def many_rows(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Rows of one entry from a cycle of residuals between 1 and 2, of both signs."""
    size = 1 + torch.rand(PERIOD, 1, generator=generator, dtype=torch.float64)
    target = _normal((PERIOD, 1), generator).round()
    prediction, cycle = target + size * signs((PERIOD, 1), generator), places(value)
    return pair(prediction[cycle], target[cycle])


def every_prediction(values: Tensor) -> Sample:
    """One row per value of the prediction, against a target of 0."""
    return pair(values.unsqueeze(1), torch.zeros(len(values), 1, dtype=torch.float64))


def target_with_a_row_more(sample: Sample, options: Options) -> Sample:
    """The target has a row more than the prediction, and more than one: nothing can be broadcast."""
    target = sample["target"]
    return sample.replaced(target=torch.cat([target, target[:1]]))


def integers_of_8_bits(sample: Sample, options: Options) -> Sample:
    """Predictions of 100 against targets of -100, in int8: 200 is no number of that type."""
    return sample.replaced(
        gradients=(),
        prediction=torch.full_like(sample["prediction"], 100, dtype=torch.int8),
        target=torch.full_like(sample["target"], -100, dtype=torch.int8),
    )


INVALID_SHAPES = (Invalid("target_with_a_row_more", target_with_a_row_more),)
# torch refuses the mean of integers, and answers 56 for 200 without one; the square refuses them anyway.
INVALID_INTEGERS = Invalid("integers_of_8_bits", integers_of_8_bits)

# What every loss of a residual is asked about size, smallness and the number of rows.
LADDERS = (
    # Two losses of this size: their sum is finite as well, and so is what bounds it.
    scale_ladder(scaled, "|x - t|", share=0.24),
    Ladder(
        "small",
        small,
        start=1.0,
        stop=smallest_exponent,
        resolution=1.0,
        names="-log2 |x - t|",
    ),
    rows_ladder(many_rows, "rows of one entry in the batch, residuals between 1 and 2"),
)
EXHAUSTIVE = (Exhaustive("prediction", every_prediction, "the prediction, against a target of 0"),)
# Element by element nothing depends on the number of classes: one shape is timed, in one regime.
SHAPES = Shapes(timed=(Shape(256, 1000),), slow_regime="", clocked=("float32", "bfloat16"))

# Powers of a residual; what is next to overflow depends on the power, so each family names it.
REGIMES = (
    Regime(unit_normal),
    Regime(fitted),
    Regime(wide),
    Regime(offset),
    Regime(half_equal),
    Regime(outliers),
    Regime(tiny),
)
NOT_FINITE = (Regime(nan_prediction), Regime(infinite))
# Losses that change their form at a threshold, linear beyond it.
THRESHOLD_REGIMES = (
    Regime(unit_normal),
    Regime(wide),
    Regime(offset),
    Regime(half_equal),
    Regime(at_threshold),
    Regime(outliers),
    Regime(tiny),
    Regime(near_overflow),
    *NOT_FINITE,
)
BLIND_AT_THRESHOLD = Blind(
    "the losses of residuals one step around the threshold differ in their last bits alone",
    check="loss",
    null="another row's",
    regime="at_threshold",
)
