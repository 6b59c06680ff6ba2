"""Reduction of pairs against exact fractions: what it loses, and quotients at the ends of float64."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import numpy as np
import pytest

from harness.oracle.reduction import pair_quotient
from harness.oracle.truth import PAIR_REDUCTION_ROUNDING, RowTruth, reduced

LARGEST = sys.float_info.max
ULP = 2.0**971


def rows(seed, count=200, classes=5):
    """Returns a row truth in pairs, log-uniform over 2^-200 to 2^200; its losses are positive."""
    generator = np.random.default_rng(seed)

    def pairs(*shape):
        high = np.exp2(generator.uniform(-200, 200, shape))
        return high, high * generator.uniform(-1, 1, shape) * 2.0**-54

    losses, tails = pairs(count)
    entries, lows = pairs(count, classes)
    signs = generator.choice([-1.0, 1.0], (count, classes))
    return RowTruth(
        losses=losses,
        sensitivities=losses,
        gradients={"x": entries * signs},
        gradient_sensitivities={"x": entries},
        denominator=generator.uniform(0.1, 3.0, count),
        rounding=0.0,
        loss_tails=tails,
        gradient_tails={"x": lows * signs},
        tier="B1",
    )


def total(*arrays):
    return sum((Fraction(float(x)) for array in arrays for x in array.reshape(-1)), Fraction(0))


def relative(high, low, exact):
    return float(abs(Fraction(float(high)) + Fraction(float(low)) - exact) / abs(exact))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_the_reduction_of_pairs_is_within_what_is_stated_for_it(reduction):
    worst = 0.0
    for seed in range(5):
        given = rows(seed)
        above = np.array([0.7]) if reduction != "none" else np.linspace(0.1, 3.0, 200)
        truth = reduced(given, {"reduction": reduction}, above)
        denominator = total(given.denominator) if reduction == "mean" else Fraction(1)
        if reduction != "none":
            exact = total(given.losses, given.loss_tails) / denominator
            worst = max(worst, relative(truth.value, truth.value_tail, exact))
        for place in np.ndindex(200, 5):
            factor = Fraction(float(above[place[0] if reduction == "none" else 0])) / denominator
            entry, tail = given.gradients["x"][place], given.gradient_tails["x"][place]
            exact = (Fraction(float(entry)) + Fraction(float(tail))) * factor
            found = truth.gradients["x"][place], truth.gradient_tails["x"][place]
            worst = max(worst, relative(*found, exact))
        assert truth.rounding == PAIR_REDUCTION_ROUNDING
    # Measured 2^-104.4 to 2^-105.6: a sum or quotient is right to 2^-106, the product to 2^-104 in practice.
    assert worst < 2.0**-104
    assert worst < PAIR_REDUCTION_ROUNDING


def test_a_quotient_that_rounds_beyond_the_largest_number_is_an_infinity():
    # The highs alone give the largest number; with the tail half an ulp is reached, and a fraction raises.
    for sign in (1.0, -1.0):
        assert pair_quotient((sign * LARGEST, sign * ULP / 2), (1.0, 0.0)) == (sign * math.inf, 0.0)
    assert pair_quotient((LARGEST, 0.0), (1.0, -(2.0**-53))) == (math.inf, 0.0)
    assert pair_quotient((1.0, 0.0), (2.0**-1074, 0.0)) == (math.inf, 0.0)


def test_a_quotient_within_an_ulp_of_the_largest_number_keeps_both_parts():
    high, low = pair_quotient((LARGEST, ULP / 4), (1.0, 0.0))
    assert (high, low) == (LARGEST, ULP / 4)
    high, low = pair_quotient((LARGEST, 0.0), (1.0, 2.0**-60))
    exact = Fraction(LARGEST) / (1 + Fraction(2) ** -60)
    assert high == LARGEST
    assert abs(Fraction(high) + Fraction(low) - exact) <= Fraction(ULP) / 2**50


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [
        (0.0, 0.0, math.nan),
        (1.0, 0.0, math.inf),
        (-1.0, 0.0, -math.inf),
        (-0.0, 2.0, -0.0),
        (0.0, -2.0, -0.0),
    ],
)
def test_quotients_of_zeros_keep_their_rules_and_signs(numerator, denominator, expected):
    high, low = pair_quotient((numerator, 0.0), (denominator, 0.0))
    assert low == 0
    assert math.isnan(high) if math.isnan(expected) else high == expected
    assert math.isnan(expected) or math.copysign(1.0, high) == math.copysign(1.0, expected)
