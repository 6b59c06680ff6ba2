"""The float64 closed forms are certified against Arb balls, on every variant, regime and format.

`ORACLE.exact` states the loss by its plain definition on python-flint balls; the working precision is
raised until a ball is narrower than what it certifies. Promised and held here:
loss      |B0 - exact| <= (C + 749) u |L|, u = 2^-53, whatever the order of summation;
gradient  |B0 - exact| <= (64 + D) u |g|, D the depth of the row below its maximum (at most 745) and
          counted for float64 logits alone, whose differences are rounded; float32 ones are exact.
Stated exception: dense coefficients (smoothing, probabilities) cancel where p ~ q, so that |g| is
replaced by p Q + q there, the terms that the gradient is the difference of.
"""

from __future__ import annotations

import math
from contextlib import contextmanager

import flint
import numpy as np
import pytest
import torch
from flint import arb

from harness.inputs import draw, resolved_options
from harness.sample import Shape
from harness.trial import Case
from suites.cross_entropy import SUITE
from suites.oracles.cross_entropy import ORACLE

U = 2.0**-53
# Results near the bottom of float64 carry absolute errors of a few of its smallest subnormals.
BOTTOM = 64 * 2.0**-1074
SHAPES = (Shape(4, 7), Shape(4, 2), Shape(3, 1))
VARIANTS = [variant.name for variant in SUITE.variants]
REGIMES = [regime.name for regime in SUITE.regimes]
SMOOTHED = {v.name for v in SUITE.variants if v.options.get("label_smoothing")}
DENSE = SMOOTHED | {"probability"}


@contextmanager
def working_precision(bits):
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def drawn(variant, regime, dtype, shape, seed=0):
    """Returns float64-free stored rows and options of a case, as the harness hands them to the oracle."""
    actual = SUITE.regime(regime).shape(shape)
    case = Case(SUITE.name, variant, regime, dtype, "cpu", actual.batch, actual.classes, 1)
    sample, options = draw(case, SUITE, seed=seed)
    return sample.in_rows(), options


def evaluated(inputs, options):
    wanted = ("logits", "target") if inputs["target"].is_floating_point() else ("logits",)
    return ORACLE.evaluate(inputs, options, wanted)


def as_floats(options):
    weight = options["weight"]
    return {**options, "weight": None if weight is None else weight.double().tolist()}


def narrow(ball):
    return not ball.is_finite() or ball.rad() <= abs(ball.mid()) * 2.0**-80 + arb(2) ** -1100


def exact_row(row, options):
    """Returns loss and gradient balls, all of them narrow enough to certify 53 bits."""
    for bits in (256, 1024, 4096):
        with working_precision(bits):
            loss, gradients = ORACLE.exact(row, options)
            if narrow(loss) and all(narrow(entry) for entry in gradients["logits"]):
                return loss, gradients["logits"]
    raise AssertionError(f"no narrow ball at 4096 bits for {row}")


def off_by(value, ball):
    """Returns an upper bound of |value - exact| as a float; inf against inf is right."""
    if math.isinf(value) and not ball.is_finite():
        return 0.0 if bool(ball > 0) == (value > 0) else math.inf
    with working_precision(4096):
        return float((arb(value) - ball).abs_upper())


def size_of(ball):
    return float(ball.abs_upper()) if ball.is_finite() else math.inf
