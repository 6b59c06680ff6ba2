"""Puts the stated bound of every closed form to the test: a random share of rows against Arb balls.

A cell is variant x regime x dtype x shape; of its rows a share is taken and evaluated in every tier. An
entry (loss or gradient, before reduction) is certified when |oracle - exact| <= rounding * N + floor, where
`rounding` is `ClosedForm.rounding(tier)`, the number that the judge grants. The trap: an oracle that is
right on unit-normal rows may be wrong on confident ones, so every regime is drawn and not one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import flint
import numpy as np
import torch
from flint import arb
from torch import Tensor

from harness.inputs import draw, element_options, generator_for
from harness.oracle.ball import PRECISIONS, is_narrow, row_ball
from harness.oracle.closed_form import ClosedForm
from harness.oracle.truth import RowTruth, Tier
from harness.sample import Shape
from harness.suite import Suite
from harness.trial import Case

SHAPES = (Shape(16, 7), Shape(4, 2), Shape(3, 1), Shape(8, 101))
DTYPES = ("float64", "float32", "bfloat16", "float16")
LEAST_ROWS = 2


@dataclass(frozen=True)
class Miss:
    """An entry outside of its stated bound; `excess` is the error over the bound, inf for a wrong class."""

    cell: str
    tensor: str
    place: tuple[int, ...]
    excess: float


@dataclass(frozen=True)
class Certificate:
    """What was found for one suite and tier; `worst` is the largest error over its bound, at `where`.

    A suite without `exact` has no tier, no rows and the `reason` why it is uncertified.
    """

    suite: str
    tier: Tier | None
    rows: int = 0
    entries: int = 0
    worst: float = 0.0
    where: str = ""
    rounding: float = math.nan
    misses: tuple[Miss, ...] = ()
    reason: str = ""


def certificates(
    suites: Iterable[Suite],
    *,
    share: float = 0.01,
    seed: int = 0,
    shapes: tuple[Shape, ...] = SHAPES,
    dtypes: tuple[str, ...] = DTYPES,
) -> list[Certificate]:
    """Returns one certificate per suite and tier; draws are a function of the seed alone."""
    found: list[Certificate] = []
    for suite in suites:
        form = suite.oracle
        if not isinstance(form, ClosedForm):
            label = getattr(form, "__name__", type(form).__name__)
            found.append(Certificate(suite.name, None, reason=f"{label} is no closed form"))
        elif form.exact is None:
            found.append(Certificate(suite.name, None, reason="its closed form declares no `exact`"))
        else:
            found += _of_suite(suite, form, share, seed, shapes, dtypes)
    return found


def _of_suite(
    suite: Suite,
    form: ClosedForm,
    share: float,
    seed: int,
    shapes: tuple[Shape, ...],
    dtypes: tuple[str, ...],
) -> list[Certificate]:
    open_certificates = {tier: Certificate(suite.name, tier) for tier in form.tiers()}
    for cell, inputs, options, wanted in _cells(suite, share, seed, shapes, dtypes):
        truths = {tier: form.evaluate(inputs, options, wanted, tier=tier) for tier in open_certificates}
        for row in range(len(next(iter(inputs.values())))):
            balls = narrow_row(form, inputs, options, row)
            for tier, truth in truths.items():
                open_certificates[tier] = _extended(open_certificates[tier], cell, truth, balls, row)
    return list(open_certificates.values())


def _cells(
    suite: Suite, share: float, seed: int, shapes: tuple[Shape, ...], dtypes: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, Tensor], dict[str, Any], tuple[str, ...]]]:
    """Yields each cell once with the rows that were taken from it."""
    for variant in suite.variants:
        for regime in suite.regimes:
            for asked in dict.fromkeys(regime.shape(shape) for shape in shapes):
                for dtype in dtypes:
                    case = Case(suite.name, variant.name, regime.name, dtype, "cpu", *asked, 1)
                    sample, options = draw(case, suite, seed=seed)
                    inputs = {**sample.in_rows(), **element_options(sample, options)}
                    cell = f"{variant.name} {regime.name} {dtype} {asked.batch}x{asked.classes}"
                    count = len(next(iter(inputs.values())))
                    kept = min(count, max(LEAST_ROWS, math.ceil(share * count)))
                    generator = generator_for(seed, "certified rows", suite.name, cell)
                    taken = torch.randperm(count, generator=generator)[:kept]
                    kept_rows = {n: t if n in sample.shared else t[taken] for n, t in inputs.items()}
                    yield cell, kept_rows, options, sample.gradients


def narrow_row(
    form: ClosedForm, inputs: Mapping[str, Tensor], options: Mapping[str, Any], row: int
) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns balls of loss and gradients of a row that are narrow, or as narrow as 1024 bits make them."""
    for bits in PRECISIONS:
        with flint.ctx.workprec(bits):
            loss, gradients = row_ball(form, inputs, options, row)
            entries = (gradients[name][0] if name in form.shared else gradients[name] for name in gradients)
            if is_narrow(loss) and all(is_narrow(ball) for balls in entries for ball in balls):
                return loss, gradients
    return loss, gradients


def _extended(
    certificate: Certificate, cell: str, truth: RowTruth, balls: tuple[Any, Mapping[str, list[Any]]], row: int
) -> Certificate:
    """Returns the certificate with one more row."""
    loss, gradients = balls
    tail = 0.0 if truth.loss_tails is None else float(truth.loss_tails[row])
    entries: list[tuple[str, tuple[int, ...], float, float, float, Any]] = [
        ("loss", (row,), float(truth.losses[row]), tail, float(truth.sensitivities[row]), loss)
    ]
    for name, highs in truth.gradients.items():
        of_row = np.ravel(highs[row])
        tailed = name in truth.gradient_tails
        tails = np.ravel(truth.gradient_tails[name][row]) if tailed else np.zeros_like(of_row)
        bounds = np.ravel(truth.gradient_sensitivities[name][row])
        for column, ball in enumerate(gradients[name]):
            values = float(of_row[column]), float(tails[column]), float(bounds[column])
            entries.append((name, (row, column), *values, ball))
    for name, products in truth.shared.items():
        # The other factor of the product are stored numbers; what is left is the sum over rows.
        for column, ball in enumerate(gradients[name][0]):
            tail = 0.0 if products.left_tail is None else float(products.left_tail[row, column])
            values = float(products.left[row, column]), tail, float(products.sensitivity[row, column])
            entries.append((name, (row, column), *values, ball))
    worst, where, misses = certificate.worst, certificate.where, list(certificate.misses)
    for name, place, high, low, sensitivity, ball in entries:
        excess = share_of_bound(high, low, ball, truth.rounding * sensitivity, truth.floor)
        if not excess <= 1:
            misses.append(Miss(cell, name, place, excess))
        if not excess <= worst:
            worst, where = excess, f"{cell} {name}"
    return Certificate(
        certificate.suite,
        certificate.tier,
        certificate.rows + 1,
        certificate.entries + len(entries),
        worst,
        where,
        truth.rounding,
        tuple(misses),
    )


def share_of_bound(high: float, low: float, ball: Any, bound: float, floor: float) -> float:
    """Returns the largest possible |high + low - exact| over bound + floor; inf where the classes differ."""
    if not ball.is_finite():
        agrees = math.isnan(high) if ball.is_nan() else high == (math.inf if ball > 0 else -math.inf)
        return 0.0 if agrees else math.inf
    if not math.isfinite(high):
        # A finite value beyond float64 is an infinity there.
        return 0.0 if math.isinf(high) and float(ball.mid()) == high else math.inf
    with flint.ctx.workprec(PRECISIONS[-1]):
        error = float(abs(arb(high) + arb(low) - ball).abs_upper())
    # An error that vanishes in any unit needs no bound; a bound of NaN or 0 covers nothing else.
    return 0.0 if error == 0 else _over(error, bound + floor)


def _over(error: float, bound: float) -> float:
    return error / bound if bound > 0 else math.inf
