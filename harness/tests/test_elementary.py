"""Elementary functions of pairs against Arb: accuracy over the whole range, and what is not ordinary."""

from __future__ import annotations

import math

import flint
import pytest
import torch
from flint import arb

from harness.oracle import elementary
from harness.oracle.pair import Pair, lifted
from harness.tests.pairs_and_balls import SMALLEST, balls, drawn, worst

INF, NAN = math.inf, math.nan


@pytest.fixture(autouse=True)
def wide_precision():
    with flint.ctx.workprec(2400):
        yield


def positive(count, low, high, seed):
    a = drawn(count, low, high, seed)
    return Pair(a.high.abs().T.contiguous(), (a.low * a.high.sign()).T.contiguous())


def column(*values):
    return lifted(torch.tensor(values, dtype=torch.float64).unsqueeze(1))


@pytest.mark.parametrize(("low", "high"), [(-1000, -60), (-60, -5), (-5, 5), (5, 60), (60, 1023)])
def test_log1p_keeps_72_bits_from_the_smallest_to_the_largest(low, high):
    a = positive(600, low, high, 6)
    # What underflows below the smallest number is no error of the method.
    assert worst(elementary.log1p(a), [x.log1p() for x in balls(a)], floor=arb(4 * SMALLEST)) < -72


@pytest.mark.parametrize(("low", "high"), [(-60, -2), (-2, -0.01), (-1e-3, -1e-9)])
def test_log1p_of_negative_numbers_keeps_72_bits(low, high):
    a = positive(600, low, high, 7)
    a = Pair(-a.high, -a.low)
    assert worst(elementary.log1p(a), [x.log1p() for x in balls(a)]) < -72


@pytest.mark.parametrize(
    ("low", "high"), [(-1074, -1000), (-1000, -5), (-0.5, 0.5), (-1e-6, 1e-6), (5, 1023.9)]
)
def test_logarithms_keep_72_bits_also_next_to_one(low, high):
    a = positive(600, low, high, 8)
    if low < -1000:
        a = lifted(a.high)
    assert worst(elementary.logarithm(a), [x.log() for x in balls(a)]) < -72


@pytest.mark.parametrize(("low", "high"), [(-1000, -60), (-60, -5), (-5, 9.6)])
def test_exponentials_keep_66_bits_up_to_the_largest_number(low, high):
    a = drawn(600, low, high, 9)
    a = Pair(a.high.clamp(max=709.78), a.low.where(a.high < 709.78, 0.0))
    exact = [x.exp() for x in balls(a)]
    assert worst(elementary.exp(a), exact, floor=arb(4 * SMALLEST)) < -66


@pytest.mark.parametrize(("low", "high"), [(-1000, -60), (-60, -5), (-5, -1), (-1.1, -0.9), (-1, 9.6)])
def test_expm1_keeps_65_bits_also_where_it_is_tiny(low, high):
    a = drawn(600, low, high, 10)
    a = Pair(a.high.clamp(max=709.78), a.low.where(a.high < 709.78, 0.0))
    exact = [x.expm1() for x in balls(a)]
    assert worst(elementary.expm1(a), exact, floor=arb(4 * SMALLEST)) < -65


@pytest.mark.parametrize(("low", "high"), [(-1074, -990), (-950, -850), (-5, 5), (1000, 1023.9)])
def test_roots_keep_100_bits_from_the_smallest_to_the_largest(low, high):
    a = positive(600, low, high, 11)
    if low < -900:
        a = lifted(a.high)
    assert worst(elementary.root(a), [x.sqrt() for x in balls(a)]) < -100


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0, 3.0, 8.0, 1.5, 2.5, -1.0, 0.1])
def test_powers_keep_60_bits(exponent):
    a = positive(400, -30, 30, 12)
    exact = [x ** arb(exponent) for x in balls(a)]
    assert worst(elementary.power(a, exponent), exact) < -60


def test_a_third_is_a_pair():
    a = positive(400, -30, 30, 13)
    third = Pair(
        torch.full_like(a.high, 1 / 3), torch.full_like(a.high, (arb(1) / 3 - arb(1 / 3)).mid().__float__())
    )
    exact = [x ** (arb(1) / 3) for x in balls(a)]
    assert worst(elementary.power(a, third), exact) < -61
    # A third of float64 is off by 2^-56, which shows.
    assert worst(elementary.power(a, 1 / 3), exact) > -58


@pytest.mark.parametrize(
    ("function", "plain"),
    [
        (elementary.log1p, torch.log1p),
        (elementary.logarithm, torch.log),
        (elementary.exp, torch.exp),
        (elementary.expm1, torch.expm1),
        (elementary.root, torch.sqrt),
        (lambda a: elementary.power(a, 1.5), lambda a: a**1.5),
        (lambda a: elementary.power(a, 2.0), lambda a: a**2.0),
        (lambda a: elementary.power(a, -1.5), lambda a: a**-1.5),
    ],
)
def test_what_is_not_ordinary_is_answered_as_float64_does(function, plain):
    a = column(0.0, -0.0, INF, -INF, NAN, -1.0, -2.0, 1e308, -1e308, 800.0, -800.0, 1600.0, 1e300)
    found, expected = function(a), plain(a.high)
    special = ~expected.isfinite() | (expected == 0)
    assert torch.equal(found.high[special].nan_to_num(7.0), expected[special].nan_to_num(7.0))
    assert bool((found.low[special] == 0).all())
    assert torch.allclose(found.high[~special], expected[~special], rtol=1e-13, atol=0)
    assert bool(found.low.isfinite().all())
