"""Robust penalties of a residual: Charbonnier, Cauchy, Geman-McClure and Welsch, as Barron (2019) scales
them.

With r = |x - t|: sqrt(r^2 + 1) - 1, log(1 + r^2 / 2), 2 r^2 / (r^2 + 4) and 1 - e^(-r^2 / 2), the general
loss at alpha = 1, 0, -2 and -infinity with c = 1. The option `penalty` says which. Each is a `Curve` of
`suites/oracles/residuals.py`. The traps: r^2 leaves every format long before the loss does, and all four
cancel next to r = 0 as they are printed, where L is r^2 / 2 to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from harness import Contract, Implementation, Ladder, Regime, Suite, Variant
from harness.oracle.closed_form import ClosedForm
from harness.sample import Shape
from harness.suite import Shapes
from suites.oracles.residuals import Curve, denominator, residual_form
from suites.regimes import residuals as draw

# e^(-r^2 / 2) is 0 in float64 beyond, and so is r times it.
FAR = 60.0


def _limit(size: Tensor, at_infinity: float, elsewhere: Tensor) -> Tensor:
    return torch.where(size.isinf(), at_infinity, elsewhere)


def _charbonnier(size: Tensor, _: float) -> Tensor:
    return _limit(size, math.inf, size * (size / (torch.hypot(size, torch.ones_like(size)) + 1)))


def _charbonnier_slope(size: Tensor, _: float) -> Tensor:
    return _limit(size, 1.0, size / torch.hypot(size, torch.ones_like(size)))


def _cauchy(size: Tensor, _: float) -> Tensor:
    # Beyond 1e8 the 1 is below the last bit, and further out r^2 is infinite.
    return torch.where(size > 1e8, 2 * size.log() - math.log(2), torch.log1p(size * size / 2))


def _cauchy_slope(size: Tensor, _: float) -> Tensor:
    return torch.where(size < 1, size / (1 + size * size / 2), 2 / (size + 2 / size))


def _geman_mcclure(size: Tensor, _: float) -> Tensor:
    return torch.where(size < 1, 2 * size * size / (size * size + 4), 2 / (1 + (2 / size) ** 2))


def _geman_mcclure_slope(size: Tensor, _: float) -> Tensor:
    near = 16 * size / (size * size + 4) ** 2
    return torch.where(size < 1, near, (4 / (size + 4 / size)) ** 2 / size)


def _welsch(size: Tensor, _: float) -> Tensor:
    return -torch.expm1(-size * size / 2)


def _welsch_slope(size: Tensor, _: float) -> Tensor:
    reached = size.clamp(max=FAR)
    # Far out the exponential is subnormal: r times its rounding would be more than the slope's own.
    far = torch.exp(reached.log() - reached * reached / 2)
    return torch.where(reached > 8, far, reached * torch.exp(-reached * reached / 2))


def _welsch_bend(size: Tensor, threshold: float) -> Tensor:
    reached = size.clamp(max=FAR)
    return (1 + reached * reached) * _welsch_slope(size, threshold)


def _exact_charbonnier(size: Any, _: Any, below: bool) -> tuple[Any, Any]:
    if not size.is_finite():
        return size, size.sgn()
    root = (size * size + 1).sqrt()
    return size * size / (root + 1), size / root


def _exact_cauchy(size: Any, _: Any, below: bool) -> tuple[Any, Any]:
    if not size.is_finite():
        return size, 0 * size.sgn()
    return (size * size / 2).log1p(), size / (1 + size * size / 2)


def _exact_geman_mcclure(size: Any, _: Any, below: bool) -> tuple[Any, Any]:
    if not size.is_finite():
        return 2 * size.sgn(), 0 * size.sgn()
    return 2 * size * size / (size * size + 4), 16 * size / (size * size + 4) ** 2


def _exact_welsch(size: Any, _: Any, below: bool) -> tuple[Any, Any]:
    if not size.is_finite():
        return size.sgn(), 0 * size.sgn()
    return -(-size * size / 2).expm1(), size * (-size * size / 2).exp()


def _reach(slope: Callable[[Tensor, float], Tensor], size: Tensor, threshold: float) -> Tensor:
    """Returns r dL/dr (R,); 0 where the slope is, however far that may be."""
    steep = slope(size, threshold)
    return torch.where(steep == 0, 0.0, size * steep)


def _curve(
    value: Callable[[Tensor, float], Tensor],
    slope: Callable[[Tensor, float], Tensor],
    exact: Callable[[Any, Any, bool], tuple[Any, Any]],
    bend: Callable[[Tensor, float], Tensor] | None = None,
) -> Curve:
    """Returns the curve; without a `bend`, |r d2L/dr2| is bounded by 3 |dL/dr|, as the rational ones are."""
    return Curve(
        value=value,
        slope=slope,
        reach=partial(_reach, slope),
        bend=bend or (lambda size, threshold: 3 * slope(size, threshold)),
        exact=exact,
        kinked=lambda threshold: False,
    )


FORMS: Mapping[str, ClosedForm] = {
    "charbonnier": residual_form(_curve(_charbonnier, _charbonnier_slope, _exact_charbonnier)),
    "cauchy": residual_form(_curve(_cauchy, _cauchy_slope, _exact_cauchy)),
    "geman_mcclure": residual_form(_curve(_geman_mcclure, _geman_mcclure_slope, _exact_geman_mcclure)),
    "welsch": residual_form(_curve(_welsch, _welsch_slope, _exact_welsch, _welsch_bend)),
}
Bound = tuple[ClosedForm, Any]


def _terms(inputs: Mapping[str, Tensor], options: Mapping[str, Any]) -> Bound:
    form = FORMS[options["penalty"]]
    return form, form.terms(inputs, options)


def _exact(row: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[Any, Mapping[str, list[Any]]]:
    exact = FORMS[options["penalty"]].exact
    assert exact is not None
    return exact(row, options)


ORACLE = ClosedForm(
    terms=_terms,
    rows=lambda bound: bound[0].rows(bound[1]),
    gradient=lambda bound: bound[0].gradient(bound[1]),
    sensitivity=lambda bound: bound[0].sensitivity(bound[1]),
    gradient_sensitivity=lambda bound: bound[0].gradient_sensitivity(bound[1]),
    denominator=denominator,
    exact=_exact,
    roundoffs=4.0,
)


def as_printed(prediction: Tensor, target: Tensor, penalty: str, reduction: str = "mean") -> Tensor:
    """The four penalties as the paper prints them."""
    square = (prediction - target) ** 2
    losses = {
        "charbonnier": lambda: (square + 1).sqrt() - 1,
        "cauchy": lambda: (square / 2 + 1).log(),
        "geman_mcclure": lambda: 2 * square / (square + 4),
        "welsch": lambda: 1 - (-square / 2).exp(),
    }[penalty]()
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()


class _ExactGradient(torch.autograd.Function):
    """Losses and slopes by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, target: Tensor, penalty: str) -> Tensor:
        form = FORMS[penalty]
        terms = form.terms({"prediction": prediction, "target": target}, {"ignore_nan": False})
        ctx.save_for_backward(form.gradient(terms)["prediction"])
        return form.rows(terms)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return upstream * slope, -upstream * slope, None


def exact_gradient(prediction: Tensor, target: Tensor, penalty: str, reduction: str = "mean") -> Tensor:
    """Clean control: an autograd.Function with the closed forms in float64, rounded once."""
    losses = _ExactGradient.apply(prediction.double(), target.double(), penalty)
    reduced = losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()
    return reduced.to(prediction.dtype)


SUITE = Suite(
    name="robust",
    formula="L = rho(|x - t|), Barron's general loss at alpha = 1, 0, -2, -inf",
    oracle=ORACLE,
    options={"reduction": "mean", "penalty": "", "mean_denominator": "weights", "ignore_nan": False},
    variants=(
        *(Variant(penalty, penalty=penalty) for penalty in FORMS),
        *(Variant(f"{penalty}_none", penalty=penalty, reduction="none") for penalty in FORMS),
        Variant("charbonnier_sum", penalty="charbonnier", reduction="sum"),
    ),
    regimes=(
        Regime(draw.unit_normal),
        Regime(draw.fitted),
        Regime(draw.wide),
        Regime(draw.offset),
        Regime(draw.half_equal),
        Regime(draw.outliers),
        Regime(draw.tiny),
        Regime(draw.near_overflow),
        Regime(draw.nan_prediction),
        Regime(draw.infinite),
    ),
    ladders=(
        Ladder(
            "scale",
            draw.scaled,
            start=1.0,
            stop=lambda finfo: 0.24 * float(finfo.max),
            resolution=0.25,
            relative=2.0**-10,
            names="|x - t|",
        ),
        Ladder(
            "small",
            draw.small,
            start=1.0,
            stop=draw.smallest_exponent,
            resolution=1.0,
            names="-log2 |x - t|",
        ),
    ),
    invalid=draw.INVALID_SHAPES,
    shapes=Shapes(timed=(Shape(256, 1000),), slow_regime=""),
    implementations=(
        Implementation(as_printed, baseline=True),
        Implementation(exact_gradient, control=True, contract=Contract()),
    ),
)
