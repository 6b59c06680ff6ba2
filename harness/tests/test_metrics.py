"""The measures are measured: against numpy, against torch over all 16-bit numbers, against fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.metrics import (
    FORMATS,
    Terms,
    bits,
    error_bound,
    rounds_to_infinity,
    spread,
    strict_bound,
    ulp,
)

NAMES = list(FORMATS)
INF, NAN = math.inf, math.nan
relaxed = settings(
    database=None, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow]
)
reals = st.floats(allow_nan=False, allow_infinity=False)
forms = st.sampled_from(list(FORMATS.values()))


def array(*values):
    return np.array(values, dtype=np.float64)


def one_ulp(value, form):
    return float(ulp(array(value), form)[0])


def all_finite(dtype):
    """Returns every finite number of a 16-bit dtype in ascending order of magnitude, per sign."""
    numbers = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype).double()
    return numbers[numbers.isfinite()]


def nearest(values, form):
    """Returns values rounded once, half to even, in exact integer arithmetic on the significand."""
    if form.name == "float32":
        return values.astype(np.float32).astype(np.float64)
    if form.name == "float16":
        return values.astype(np.float16).astype(np.float64)
    steps = np.ldexp(1.0, np.maximum(np.frexp(values)[1] - 1, form.smallest_exponent) - form.precision + 1)
    return np.rint(values / steps) * steps


@pytest.mark.parametrize("name", NAMES)
def test_a_format_agrees_with_what_torch_says_of_its_dtype(name):
    form, finfo = FORMATS[name], torch.finfo(getattr(torch, name))
    assert form.name == name
    assert 2 * form.roundoff == finfo.eps
    assert form.smallest_normal == finfo.tiny
    assert form.smallest_subnormal == float(torch.tensor(finfo.tiny, dtype=torch.float64)) * finfo.eps
    assert form.largest == finfo.max
    sixteen = finfo.bits == 16
    assert form.arithmetic_roundoff == (2.0**-24 if sixteen else form.roundoff)
    assert form.error_factor == (1.0 if sixteen else 8.0)


@relaxed
@given(reals, forms)
def test_ulp_is_symmetric_positive_and_never_below_the_smallest_subnormal(value, form):
    assert one_ulp(value, form) == one_ulp(-value, form) >= form.smallest_subnormal > 0


@relaxed
@given(reals, reals, forms)
def test_ulp_grows_with_the_magnitude(left, right, form):
    low, high = sorted((abs(left), abs(right)))
    assert one_ulp(low, form) <= one_ulp(high, form)


@relaxed
@given(st.floats(min_value=2.0**-1021, allow_infinity=False), forms)
def test_ulp_is_two_to_the_exponent_of_the_leading_bit(value, form):
    # Fractions are exact: 2^e <= y < 2^(e+1), and the format keeps p bits of that binade.
    spacing, exact = Fraction(one_ulp(value, form)), Fraction(value)
    if value >= form.smallest_normal:
        assert spacing * 2 ** (form.precision - 1) <= exact < spacing * 2**form.precision
    else:
        assert spacing == Fraction(form.smallest_subnormal)


@pytest.mark.parametrize("name", NAMES)
def test_ulp_doubles_at_every_power_of_two_and_not_just_below(name):
    form = FORMATS[name]
    top = math.frexp(form.largest)[1] - 1
    powers = np.ldexp(1.0, np.arange(form.smallest_exponent + 1, top + 1))
    at, below = ulp(powers, form), ulp(np.nextafter(powers, 0), form)
    assert (at == powers * (2 * form.roundoff)).all()
    assert (below == at / 2).all()


@pytest.mark.parametrize("name", NAMES)
def test_ulp_is_the_smallest_subnormal_from_zero_up_to_the_second_normal_binade(name):
    form = FORMATS[name]
    smallest, normal = form.smallest_subnormal, form.smallest_normal
    values = array(
        0.0, -0.0, smallest, smallest / 2, 3 * smallest, normal / 2, normal, np.nextafter(2 * normal, 0)
    )
    assert (ulp(values, form) == smallest).all()
    assert one_ulp(2 * normal, form) == 2 * smallest


@pytest.mark.parametrize("name", NAMES)
def test_ulp_of_infinities_and_nan_is_nan(name):
    assert np.isnan(ulp(array(INF, -INF, NAN), FORMATS[name])).all()


@pytest.mark.parametrize("name", NAMES)
def test_ulp_keeps_the_shape_down_to_a_scalar(name):
    for shape in ((), (0,), (2, 3)):
        assert ulp(np.ones(shape), FORMATS[name]).shape == shape


@pytest.mark.parametrize(("name", "kind"), [("float32", np.float32), ("float64", np.float64)])
def test_ulp_agrees_with_numpy_on_random_bit_patterns(name, kind):
    generator = np.random.default_rng(0)
    width = np.dtype(kind).itemsize
    words = generator.integers(0, 256, size=(100_000, width), dtype=np.uint8)
    numbers = words.view(kind).reshape(-1)
    numbers = numbers[np.isfinite(numbers) & (np.abs(numbers) < np.finfo(kind).max)]
    assert (ulp(numbers.astype(np.float64), FORMATS[name]) == np.abs(np.spacing(numbers))).all()


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_ulp_agrees_with_torch_on_every_finite_16_bit_number(name):
    dtype, form = getattr(torch, name), FORMATS[name]
    numbers = all_finite(dtype)
    assert len(numbers) == {"float16": 63488, "bfloat16": 65280}[name]
    stored = numbers.abs().to(dtype)
    # The next number away from zero is the next bit pattern; after the largest comes infinity.
    following = (stored.view(torch.int16) + 1).view(dtype).double()
    gaps = torch.where(
        following.isinf(), 2.0 ** (math.frexp(form.largest)[1] - form.precision), following - stored.double()
    )
    assert (ulp(numbers.numpy(), form) == gaps.numpy()).all()


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_every_midpoint_of_16_bit_numbers_is_exactly_half_an_ulp_away(name):
    dtype, form = getattr(torch, name), FORMATS[name]
    numbers = np.unique(all_finite(dtype).numpy())
    positive = numbers[numbers >= 0]
    middle = (positive[:-1] + positive[1:]) / 2
    assert ((middle - positive[:-1]) / ulp(middle, form) == 0.5).all()
    assert (np.abs(nearest(middle, form) - middle) / ulp(middle, form) == 0.5).all()


def random_reals(form, count=20_000):
    """Returns reals over the whole range of a format, subnormals and a band around each power of two."""
    generator = np.random.default_rng(1)
    top = math.frexp(form.largest)[1]
    exponents = generator.integers(form.smallest_exponent - form.precision, top - 1, count)
    values = np.ldexp(generator.uniform(1, 2, count), exponents)
    values[::4] = np.ldexp(1 + generator.uniform(-1, 1, values[::4].size) * form.roundoff, exponents[::4])
    return values * generator.choice([-1.0, 1.0], count)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_correct_rounding_is_within_half_an_ulp_and_never_breaks_the_strict_rule(name):
    form = FORMATS[name]
    truth = random_reals(form)
    errors = np.abs(nearest(truth, form) - truth)
    ulps = errors / ulp(truth, form)
    assert 0.49 < ulps.max() <= 0.5
    assert bits(ulps).max() <= 0.59
    assert (errors <= strict_bound(truth, np.abs(truth), form, Terms(1))).all()
    assert (errors <= error_bound(truth, form, Terms(1))).all()


def test_a_correctly_rounded_float64_sum_is_within_half_an_ulp():
    left, right = (np.random.default_rng(seed).normal(size=20_000) * 2.0**-seed for seed in (2, 9))
    total = left + right
    # Knuth's two-sum: what the rounding took away, exactly.
    part = total - left
    lost = (left - (total - part)) + (right - part)
    assert 0.49 < (np.abs(lost) / ulp(total, FORMATS["float64"])).max() <= 0.5


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_overflow_begins_half_a_step_above_the_largest_number(name):
    form = FORMATS[name]
    edge = form.largest + one_ulp(form.largest, form) / 2
    inside, outside = np.nextafter(edge, 0), np.nextafter(edge, INF)
    values = array(form.largest, inside, edge, outside, INF, NAN)
    expected = [False, False, True, True, True, False]
    assert rounds_to_infinity(values, form).tolist() == expected
    assert rounds_to_infinity(-values, form).tolist() == expected
    # torch rounds half to even too; numbers of float32 reach bfloat16 and float16 by one rounding.
    if name != "float32":
        stored = torch.tensor([form.largest, np.nextafter(np.float32(edge), np.float32(0)), edge]).float()
        assert stored.to(getattr(torch, name)).isinf().tolist() == [False, False, True]


def test_nothing_finite_overflows_float64():
    form = FORMATS["float64"]
    assert not rounds_to_infinity(array(form.largest, -form.largest, NAN), form).any()
    assert rounds_to_infinity(array(INF, -INF), form).all()


@pytest.mark.parametrize(
    ("classes", "rows", "expected"),
    [(1, 1, 4), (0, 1, 4), (2, 1, 5), (1024, 1, 14), (2, 2, 8), (2, 64, 13), (1, 0, 4)],
)
def test_the_depth_counts_four_roundings_and_two_logarithms(classes, rows, expected):
    assert Terms(classes, rows).depth == expected


def test_the_strict_bound_is_two_ulps_and_the_depth_times_the_sensitivity():
    truth, sensitivity = array(1.0, 3.0, 0.0), array(1.0, 8.0, 2.0)
    for form in FORMATS.values():
        expected = 2 * ulp(truth, form) + 5 * form.arithmetic_roundoff * sensitivity
        assert strict_bound(truth, sensitivity, form, Terms(2)).tolist() == expected.tolist()
        wider = strict_bound(truth, sensitivity, form, Terms(2), 2.0**-10)
        np.testing.assert_allclose(wider - expected, sensitivity * 2.0**-10, rtol=1e-9)


@pytest.mark.parametrize("rows", [1, 128, 131072])
def test_a_matrix_product_adds_a_rounding_for_every_block_of_rows(rows):
    truth, sensitivity = array(1.0), array(8.0)
    for form in FORMATS.values():
        plain = strict_bound(truth, sensitivity, form, Terms(2, rows))
        product = strict_bound(truth, sensitivity, form, Terms(2, rows, by_product=True))
        expected = rows / 128 * form.arithmetic_roundoff * sensitivity
        np.testing.assert_allclose(product - plain, expected, rtol=1e-6)


def test_the_strict_bound_of_a_truth_that_is_not_finite_is_nan_and_warns_of_nothing():
    truth = array(INF, -INF, NAN)
    for form in FORMATS.values():
        assert np.isnan(strict_bound(truth, np.abs(truth), form, Terms(10))).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_error_bound_has_a_floor_that_follows_the_reduction(name):
    form = FORMATS[name]
    unit = form.error_factor * 5 * form.roundoff
    assert error_bound(array(1e-6, 1.0, -4.0), form, Terms(2)).tolist() == [unit, unit, 4 * unit]
    assert error_bound(array(0.0, 1.0), form, Terms(2), array(2.0**-6, 2.0**-6)).tolist() == [unit / 64, unit]


@pytest.mark.parametrize("count", [1, 2, 3, 99, 100, 101, 1000])
def test_spread_reads_largest_percentile_and_lower_median_off_the_sorted_values(count):
    values = np.random.default_rng(count).permutation(count).astype(np.float64)
    found = spread(values)
    assert found.largest == count - 1
    assert found.p99 == math.ceil(0.99 * count) - 1
    assert found.median == (count - 1) // 2


def test_spread_takes_any_shape_and_nothing_at_all():
    assert spread(np.float64(3.0).reshape(())).median == 3.0
    assert all(math.isnan(v) for v in vars(spread(array())).values())
    assert spread(array(2.0, INF, 1.0)).largest == INF
