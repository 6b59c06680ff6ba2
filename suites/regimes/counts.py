"""Input distributions for counts: logarithms of rates and what was counted, every entry its own loss.

Each function draws in float64 from the generator alone; predictions are logarithms of rates, and
`as_rates` turns them into rates for the variants that take those. The trap: rounding x to 16 bits moves
a rate of 10^3 by several per cent, so a regime of fits is a regime of near fits there.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor, finfo

from harness import Sample, Shape
from suites.regimes.repeated import PERIOD, places
from suites.regimes.residuals import signs, with_nan

Options = Any


def pair(prediction: Tensor, target: Tensor) -> Sample:
    """Returns the sample of two tensors (N, C) with the gradient of the prediction asked for."""
    return Sample(prediction=prediction, target=target, gradients=("prediction",), layout="elements")


def _normal(shape: Shape, generator: Generator) -> Tensor:
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float64)


def _uniform(shape: Shape, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(tuple(shape), generator=generator, dtype=torch.float64)


def counts(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Logarithms of rates are normal around 1/2, and the counts are drawn from these rates."""
    # Around 0 the losses would average to exactly 0: E[e^x - t x] = -m e^(m + 1/2) for x around m.
    prediction = 0.5 + _normal(shape, generator)
    return pair(prediction, torch.poisson(prediction.exp(), generator))


def fitted(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Counts between 2 and 2^11 whose rates are met to 1 %: the printed terms cancel."""
    target = (2.0 ** _uniform(shape, 1, 11, generator)).round()
    return pair(target.log() + 1e-2 * _normal(shape, generator), target)


def unit_rate(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Counts of 1 whose rates are met to between 2^-12 and 2^-3: the slope e^x - 1 cancels."""
    size = 2.0 ** _uniform(shape, -12, -3, generator)
    return pair(size * signs(shape, generator), torch.ones(tuple(shape), dtype=torch.float64))


def wide(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Logarithms of both signs up to 6, targets between 2^-6 and 2^6 that are no whole numbers."""
    return pair(_uniform(shape, -6, 6, generator), 2.0 ** _uniform(shape, -6, 6, generator))


def at_one(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Targets of 1 and one step of the dtype to either side: where Stirling's term begins."""
    steps = torch.randint(-1, 2, tuple(shape), generator=generator).double()
    target = 1 + steps * torch.where(steps < 0, 0.5, 1.0) * finfo.eps
    return pair(_normal(shape, generator), target)


def rare(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Rates between e^-16 and e^-4; about every eighth count is 1, all others are 0."""
    target = (torch.rand(tuple(shape), generator=generator) < 0.125).double()
    return pair(_uniform(shape, -16, -4, generator), target)


def zero_rate(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """About every fourth rate is exactly 0, and there the count is 0: the loss of such an entry is 0."""
    sample = counts(shape, finfo, generator)
    chosen = torch.rand(tuple(shape), generator=generator) < 0.25
    return pair(
        sample["prediction"].masked_fill(chosen, -math.inf), sample["target"].masked_fill(chosen, 0.0)
    )


def impossible(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """About every fourth rate is exactly 0, and its count is 1: infinite, or bounded by eps."""
    sample = counts(shape, finfo, generator)
    chosen = torch.rand(tuple(shape), generator=generator) < 0.25
    return pair(
        sample["prediction"].masked_fill(chosen, -math.inf), sample["target"].masked_fill(chosen, 1.0)
    )


def near_overflow(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Rates up to a size at which the exact sum of all losses, and its sensitivity, stay finite."""
    entries = max(shape.batch * shape.classes, 1)
    top = math.log(float(finfo.max)) - math.log(4 * entries) - math.log(1 + math.log(float(finfo.max)))
    prediction = _uniform(shape, top - 3, top, generator)
    share = _uniform(shape, 0, 1, generator)
    return pair(prediction, share * prediction.exp() / (1 + prediction.abs()))


def nan_prediction(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One prediction is NaN: its loss is NaN, and a sum that is a number has swallowed it."""
    return with_nan(counts(shape, finfo, generator))


def as_rates(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Turns logarithms of rates into rates."""
    return sample.replaced(prediction=sample["prediction"].exp())


def both_gradients(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Asks for the gradient of the target as well."""
    return sample.replaced(gradients=("prediction", "target"))


def both_gradients_of_rates(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Turns logarithms of rates into rates and asks for the gradient of the target as well."""
    return both_gradients(as_rates(sample, options, generator), options, generator)


def scaled(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two counts of 1 at log-rates `value` and -`value`."""
    return pair(torch.tensor([[value], [-value]], dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64))


def largest_logarithm(finfo: finfo) -> float:
    """Returns a log-rate whose rate is finite, and in float64 its sensitivity, x e^x, as well."""
    return math.log(float(finfo.max)) - (8.0 if finfo.bits == 64 else 0.5)


def many_rows(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Rows of one count of 1 from a cycle of log-rates between 0 and 1: losses between 1 and 1.72."""
    prediction = torch.rand(PERIOD, 1, generator=generator, dtype=torch.float64)[places(value)]
    return pair(prediction, torch.ones_like(prediction))


def every_prediction(values: Tensor, *, count: float) -> Sample:
    """One row per value of the log-rate, all against the same count."""
    return pair(values.unsqueeze(1), torch.full((len(values), 1), count, dtype=torch.float64))
