"""Pairs of float64 against Arb at 400 bits: arithmetic, exp and order-free sums on wide ranges."""

from __future__ import annotations

import math

import flint
import pytest
import torch
from flint import arb

from harness.oracle import pair
from harness.oracle.pair import (
    Pair,
    exponential,
    lifted,
    minus,
    order_free_sum,
    plus,
    product,
    ratio,
    two_product,
    two_sum,
)
from harness.tests.pairs_and_balls import SMALLEST, balls, drawn, worst

INF = math.inf


@pytest.fixture(autouse=True)
def wide_precision():
    with flint.ctx.workprec(2400):
        yield


def test_sums_and_products_of_two_numbers_lose_nothing():
    a, b = drawn(500, -300, 300, 1, tails=False), drawn(500, -300, 300, 2, tails=False)
    for found, exact in (
        (two_sum(a.high, b.high), [x + y for x, y in zip(balls(a), balls(b), strict=True)]),
        (two_product(a.high, b.high), [x * y for x, y in zip(balls(a), balls(b), strict=True)]),
    ):
        assert worst(found, exact) == -INF


def test_without_a_fused_addcmul_products_lose_nothing_either(monkeypatch):
    a, b = drawn(500, -300, 300, 1, tails=False), drawn(500, -300, 300, 2, tails=False)
    fused = two_product(a.high, b.high)
    monkeypatch.setattr(pair, "addcmul_is_fused", lambda: False)
    split = two_product(a.high, b.high)
    assert torch.equal(fused.high, split.high)
    assert torch.equal(fused.low, split.low)
    near = torch.tensor([1.7e308], dtype=torch.float64)
    assert two_product(near, torch.ones(1, dtype=torch.float64)).low.item() == 0


def test_an_addcmul_that_rounds_twice_is_detected(monkeypatch):
    monkeypatch.setattr(torch, "addcmul", lambda a, b, c: a + b * c)
    pair.addcmul_is_fused.cache_clear()
    try:
        assert not pair.addcmul_is_fused()
    finally:
        pair.addcmul_is_fused.cache_clear()


@pytest.mark.parametrize("reach", [1, 30, 200])
def test_pair_arithmetic_keeps_a_hundred_bits(reach):
    a, b = drawn(400, -reach, reach, 3), drawn(400, -reach, reach, 4)
    x, y = balls(a), balls(b)
    together = list(zip(x, y, strict=True))
    magnitudes = [abs(p) + abs(q) for p, q in together]
    assert worst(plus(a, b), [p + q for p, q in together], magnitudes) < -103
    assert worst(minus(a, b), [p - q for p, q in together], magnitudes) < -103
    assert worst(product(a, b), [p * q for p, q in together]) < -101
    assert worst(ratio(a, b), [p / q for p, q in together]) < -99


@pytest.mark.parametrize(
    ("low", "high"), [(-1e-12, 0.0), (-1e-3, 1e-3), (-1.0, 0.0), (-30.0, 0.0), (-700.0, 0.0), (0.0, 700.0)]
)
def test_exponentials_are_right_to_66_bits(low, high):
    generator = torch.Generator().manual_seed(5)
    top = low + (high - low) * torch.rand(1, 4000, generator=generator, dtype=torch.float64)
    a = Pair(top, top * 2.0**-54 * torch.rand(1, 4000, generator=generator, dtype=torch.float64))
    found = exponential(a)
    # Next to the bottom the low part itself is subnormal.
    assert worst(found, [x.exp() for x in balls(a)], floor=arb(SMALLEST)) < -66
    assert (found.low.abs() <= 2.0**-15 * found.high).all()


def test_exponentials_below_the_normal_range_are_off_by_two_smallest_numbers_at_most():
    top = torch.linspace(-760, -700, 3001, dtype=torch.float64).unsqueeze(0)
    found = exponential(lifted(top))
    for got, ball in zip(balls(found), [x.exp() for x in balls(lifted(top))], strict=True):
        assert abs(got - ball) <= arb(2 * SMALLEST) + ball * arb(2) ** -66


def test_infinite_and_undefined_exponents_have_their_limits():
    high = torch.tensor([[0.0, -INF, -1e308, -5.0, math.nan]], dtype=torch.float64)
    found = exponential(lifted(high))
    assert found.high[0, :3].tolist() == [1.0, 0.0, 0.0]
    assert found.low[0, :3].tolist() == [0.0, 0.0, 0.0]
    assert found.high[0, 3].item() == pytest.approx(math.exp(-5), rel=1e-4)
    assert math.isnan(found.high[0, 4].item())


@pytest.mark.parametrize("columns", [1, 2, 7, 1000, 32000])
@pytest.mark.parametrize("scale", [1.0, 50.0, 700.0])
def test_sums_of_exponentials_have_the_same_bits_in_any_order_and_73_of_them_right(columns, scale):
    generator = torch.Generator().manual_seed(7)
    depth = -scale * torch.rand(3, columns, generator=generator, dtype=torch.float64)
    terms = exponential(lifted(depth))
    found = order_free_sum(*terms)
    for row in range(3):
        exact = sum(balls(Pair(terms.high[row], terms.low[row])), arb(0))
        assert worst(Pair(found.high[row], found.low[row]), [exact]) < -73
    for _ in range(3):
        order = torch.randperm(columns, generator=generator)
        again = order_free_sum(terms.high[:, order], terms.low[:, order])
        assert torch.equal(again.high, found.high)
        assert torch.equal(again.low, found.low)


def test_sums_of_both_signs_keep_their_bits_relative_to_the_largest_term():
    a = drawn(1000, -40, 40, 8)
    exact = sum(balls(a), arb(0))
    largest = max(balls(a), key=lambda b: float(abs(b).mid()))
    assert worst(order_free_sum(*a), [exact], [largest]) < -90
    flipped = order_free_sum(a.high.flip(1), a.low.flip(1))
    assert torch.equal(flipped.high, order_free_sum(*a).high)


def test_sums_next_to_the_largest_number_do_not_overflow_on_the_way():
    values = torch.tensor([[1.7e308, -1.7e308, 1e290], [1e308, 1e308, -1e308]], dtype=torch.float64)
    assert order_free_sum(values).high.reshape(-1).tolist() == pytest.approx([1e290, 1e308])


def test_a_row_that_is_not_finite_leaves_the_others_alone():
    values = torch.tensor([[1.0, INF], [1.0, 2.0], [math.nan, 1.0]], dtype=torch.float64)
    found = order_free_sum(values)
    assert found.high[:2].reshape(-1).tolist() == [INF, 3.0]
    assert math.isnan(found.high[2].item())
    assert found.low.tolist() == [[0.0], [0.0], [0.0]]


def test_an_anchor_at_one_loses_the_bits_that_the_terms_are_below_it():
    # What the anchor exists for: terms of e^-40 summed as if the largest one were the maximum's own 1.
    generator = torch.Generator().manual_seed(9)
    terms = exponential(lifted(-40 - torch.rand(1, 100, generator=generator, dtype=torch.float64)))
    exact = sum(balls(terms), arb(0))
    with_one = order_free_sum(
        torch.cat([torch.ones(1, 1, dtype=torch.float64), terms.high], 1),
        torch.cat([torch.zeros(1, 1, dtype=torch.float64), terms.low], 1),
    )
    subtracted = minus(with_one, lifted(torch.ones(1, 1, dtype=torch.float64)))
    assert worst(order_free_sum(*terms), [exact]) < -73
    assert worst(subtracted, [exact]) > -60
