"""Input distributions for a Gaussian likelihood: predictions, targets and variances, every entry its own.

Each function draws in float64 from the generator alone and asks for the gradients of prediction and
variance. The trap: eps = 1e-6 is no number of any dtype, so a variance "equal to eps" is one step away
from it; only the variant whose eps is a power of two has ties.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor, finfo

from harness import Invalid, Sample, Shape
from suites.regimes.repeated import PERIOD, places
from suites.regimes.residuals import INVALID_SHAPES, signs, with_infinities, with_nan

Options = Any


def triple(prediction: Tensor, target: Tensor, variance: Tensor) -> Sample:
    """Returns the sample of three tensors (N, C), gradients of prediction and variance asked for."""
    return Sample(
        prediction=prediction,
        target=target,
        variance=variance,
        gradients=("prediction", "variance"),
        layout="elements",
    )


def _normal(shape: Shape, generator: Generator) -> Tensor:
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float64)


def _powers(shape: Shape, low: float, high: float, generator: Generator) -> Tensor:
    """Returns log-uniform numbers between 2^low and 2^high."""
    share = torch.rand(tuple(shape), generator=generator, dtype=torch.float64)
    return 2.0 ** (low + (high - low) * share)


def unit_normal(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Predictions and targets are standard normal, variances lie between 1/8 and 8."""
    return triple(_normal(shape, generator), _normal(shape, generator), _powers(shape, -3, 3, generator))


def calibrated(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Residuals have the variance that is predicted, between 2^-8 and 2^8."""
    target, variance = _normal(shape, generator), _powers(shape, -8, 8, generator)
    return triple(target + variance.sqrt() * _normal(shape, generator), target, variance)


def balanced(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Squared residuals 2^-12 to 2^-3 of the variance away from it: the slope 1 - r^2 / v cancels."""
    size = _powers(shape, -3, 3, generator)
    off = _powers(shape, -12, -3, generator) * signs(shape, generator)
    zero = torch.zeros(tuple(shape), dtype=torch.float64)
    return triple(size * signs(shape, generator), zero, size * size * (1 + off))


def outliers(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Small residuals, and about every fourth of size 100, with variances between 1/8 and 8."""
    large = torch.rand(tuple(shape), generator=generator) < 0.25
    size = torch.where(large, 100 + 10 * _normal(shape, generator), 0.1 * _normal(shape, generator))
    target = _normal(shape, generator)
    return triple(target + size * signs(shape, generator), target, _powers(shape, -3, 3, generator))


def half_equal(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """About half of the predictions are their target exactly: only log v is left."""
    sample = unit_normal(shape, finfo, generator)
    met = torch.rand(tuple(shape), generator=generator) < 0.5
    return sample.replaced(prediction=torch.where(met, sample["target"], sample["prediction"]))


def tiny_variance(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Variances between 2^-24 and 2^-8, below eps and above, residuals of their size."""
    variance = _powers(shape, -24, -8, generator)
    zero = torch.zeros(tuple(shape), dtype=torch.float64)
    return triple(variance.sqrt() * _normal(shape, generator), zero, variance)


def zero_variance(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """About every fourth variance is exactly 0; residuals are of the size of 1/64."""
    variance = _powers(shape, -8, 0, generator)
    chosen = torch.rand(tuple(shape), generator=generator) < 0.25
    zero = torch.zeros(tuple(shape), dtype=torch.float64)
    return triple(_normal(shape, generator) / 64, zero, variance.masked_fill(chosen, 0.0))


def huge(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Residuals whose square leaves the range, with variances that bring it back to between 2^4 and 2^8."""
    size = _powers(shape, math.log2(float(finfo.max)) / 2, math.log2(float(finfo.max)) / 2 + 1, generator)
    # Multiplied from the right, so that the square is not formed in float64 either.
    variance = size * (size * _powers(shape, -8, -4, generator))
    zero = torch.zeros(tuple(shape), dtype=torch.float64)
    return triple(size * signs(shape, generator), zero, variance)


def nan_prediction(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One prediction is NaN: its loss is NaN, and a sum that is a number has swallowed it."""
    return with_nan(unit_normal(shape, finfo, generator))


def infinite(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """About every fourth prediction is an infinity of either sign; targets and variances are finite."""
    return with_infinities(unit_normal(shape, finfo, generator), generator)


def one_per_row(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Gives every entry of a row its first variance, and asks for the prediction's gradient alone."""
    variance = sample["variance"][:, :1].expand_as(sample["prediction"]).contiguous()
    return sample.replaced(variance=variance, gradients=("prediction",))


def all_gradients(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Asks for the gradient of the target as well."""
    return sample.replaced(gradients=("prediction", "target", "variance"))


def on_eps(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Puts about half of the variances within a factor of 8 of eps exactly on it."""
    variance, eps = sample["variance"], float(options["eps"])
    near = (variance > eps / 8) & (variance < eps * 8)
    chosen = torch.rand(variance.shape, generator=generator) < 0.5
    return sample.replaced(variance=variance.masked_fill(near & chosen, eps))


def scaled(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two residuals, `value` and -`value`, with a variance of `value`."""
    size = torch.tensor([[value], [-value]], dtype=torch.float64)
    return triple(size, torch.zeros_like(size), size.abs())


def shrinking(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two residuals of 2^-`value` / 2 with a variance of 4^-`value`: their ratio stays 1/4."""
    size = torch.tensor([[2.0**-value / 2], [-(2.0**-value) / 2]], dtype=torch.float64)
    return triple(size, torch.zeros_like(size), 4 * size * size)


def many_rows(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Rows of one entry from a cycle of residuals between 1 and 2 with a variance of 1."""
    size = (1 + torch.rand(PERIOD, 1, generator=generator, dtype=torch.float64))[places(value)]
    return triple(size, torch.zeros_like(size), torch.ones_like(size))


def every_variance(values: Tensor) -> Sample:
    """One row per value of the variance, negative ones by their magnitude, with a residual of 1."""
    variance = values.abs().unsqueeze(1)
    return triple(torch.ones_like(variance), torch.zeros_like(variance), variance)


def every_prediction(values: Tensor) -> Sample:
    """One row per value of the prediction, against a target of 0 with a variance of 1."""
    column = values.unsqueeze(1)
    return triple(column, torch.zeros_like(column), torch.ones_like(column))


def negative_variance(sample: Sample, options: Options) -> Sample:
    """The last variance is negative, which no variance is."""
    variance = sample["variance"].clone()
    variance.view(-1)[-1] = -0.5
    return sample.replaced(variance=variance)


INVALID = (*INVALID_SHAPES, Invalid("negative_variance", negative_variance))
