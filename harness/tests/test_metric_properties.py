"""The measures as laws: symmetry, scaling, every 16-bit number, and every row of the agreement table.

Hypothesis looks for a counter-example over random reals; where a format has only 2^16 numbers, all of
them are asked. What torch rounds is the witness, since it is torch that is judged by these measures.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from harness.judge import judge, yardstick
from harness.metrics import FORMATS, Terms, bits, error_bound, rounds_to_infinity, strict_bound, ulp

INF, NAN = math.inf, math.nan
SIXTEEN = ("float16", "bfloat16")
forms = st.sampled_from(list(FORMATS.values()))
narrow = st.sampled_from([FORMATS[name] for name in ("float32", *SIXTEEN)])
finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=0.0, allow_nan=False, allow_infinity=False)
lawful = settings(
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def one(function, value, *rest):
    return function(np.array([value], dtype=np.float64), *rest)[0]


def stored(values, form):
    """Returns values as torch rounds them to a dtype, in float64."""
    tensor = torch.from_numpy(np.array(values, dtype=np.float64, ndmin=1))
    return tensor.to(getattr(torch, form.name)).double().numpy()


@cache
def patterns(name):
    """Returns all 2^16 numbers of a 16-bit dtype by their pattern: 0, 1, ... 65535."""
    whole = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16)
    return torch.roll(whole, 1 << 15).view(getattr(torch, name)).double().numpy()


@lawful
@given(finite, forms)
def test_ulp_is_the_same_for_a_number_and_its_negative(value, form):
    assert one(ulp, value, form) == one(ulp, -value, form) > 0


@lawful
@given(finite, st.integers(-60, 60), forms)
def test_ulp_scales_with_powers_of_two_as_long_as_both_are_normal(value, power, form):
    scaled = math.ldexp(value, power) if abs(value) < 2.0**900 else INF
    top = min(2.0**900, 2.0 ** (math.frexp(form.largest)[1] - 1))
    assume(form.smallest_normal <= abs(value) <= top)
    assume(form.smallest_normal <= abs(scaled) <= top)
    assert one(ulp, scaled, form) == math.ldexp(one(ulp, value, form), power)


@lawful
@given(st.floats(min_value=0.0, max_value=1.0, exclude_max=True), forms)
def test_ulp_below_the_second_normal_binade_is_the_smallest_subnormal(share, form):
    for value in (share * 2 * form.smallest_normal, -share * form.smallest_normal, share * 0.0, -0.0):
        assert one(ulp, value, form) == form.smallest_subnormal


@lawful
@given(st.integers(-1000, 1000), forms)
def test_ulp_doubles_exactly_at_a_power_of_two(exponent, form):
    power = 2.0**exponent
    assume(2 * form.smallest_normal <= power <= form.largest)
    at = one(ulp, power, form)
    assert at == power * 2 * form.roundoff
    assert one(ulp, np.nextafter(power, INF), form) == at
    assert one(ulp, np.nextafter(power, 0), form) == at / 2


@pytest.mark.parametrize("form", FORMATS.values(), ids=lambda form: form.name)
@pytest.mark.parametrize("value", [INF, -INF, NAN])
def test_no_spacing_bound_or_number_of_bits_is_invented_for_what_is_not_finite(value, form):
    assert math.isnan(one(ulp, value, form))
    assert math.isnan(strict_bound(np.array([value]), np.array([1.0]), form, Terms(10))[0])
    assert one(rounds_to_infinity, value, form) == math.isinf(value)
    assert math.isnan(one(bits, NAN))


@lawful
@given(finite, narrow)
def test_what_torch_rounds_is_within_half_an_ulp_or_an_infinity_foretold(value, form):
    (rounded,) = stored(value, form)
    # Twice rounded: torch goes from float64 to 16 bits through float32, which can cost 2^-13 of an ulp.
    slack = 0.0 if form.name == "float32" else 2.0 ** (form.precision - 24)
    if math.isinf(rounded):
        edge = form.largest + one(ulp, form.largest, form) / 2
        assert abs(value) >= edge * (1 - 2.0**-24)
    else:
        assert not one(rounds_to_infinity, value, form)
        assert abs(rounded - value) <= (0.5 + slack) * one(ulp, value, form)
    assert math.copysign(1, rounded) == math.copysign(1, value)


@pytest.mark.parametrize("name", SIXTEEN)
def test_all_patterns_are_there_once(name):
    numbers, form = patterns(name), FORMATS[name]
    assert numbers.size == 1 << 16
    assert numbers[0] == 0
    assert math.copysign(1, numbers[1 << 15]) == -1
    assert np.isnan(numbers).sum() == 2 * (2 ** (form.precision - 1) - 1)
    assert np.isinf(numbers).sum() == 2
    assert np.unique(numbers[np.isfinite(numbers)]).size == np.isfinite(numbers).sum() - 1


@pytest.mark.parametrize("name", SIXTEEN)
def test_ulp_is_the_gap_to_the_next_larger_magnitude_for_every_16_bit_number(name):
    numbers, form = patterns(name), FORMATS[name]
    half = numbers[: 1 << 15]
    last = int(np.flatnonzero(np.isfinite(half))[-1])
    assert half[last] == form.largest
    gaps = half[1 : last + 1] - half[:last]
    spacing = ulp(half[:last], form)
    assert (spacing == gaps).all()
    assert (ulp(-half[:last], form) == gaps).all()
    subnormal = half[:last] < form.smallest_normal
    assert subnormal.sum() == 2 ** (form.precision - 1)
    assert (spacing[subnormal] == form.smallest_subnormal).all()
    # The largest number has no neighbour but infinity: its gap is that of its binade.
    assert one(ulp, form.largest, form) == gaps[-1]


@pytest.mark.parametrize("name", SIXTEEN)
def test_no_stored_16_bit_number_overflows_or_is_off_from_itself(name):
    numbers, form = patterns(name), FORMATS[name]
    assert (rounds_to_infinity(numbers, form) == np.isinf(numbers)).all()
    assert (stored(numbers, form)[~np.isnan(numbers)] == numbers[~np.isnan(numbers)]).all()


@pytest.mark.parametrize("name", ["float32", *SIXTEEN])
def test_the_edge_of_the_range_is_where_torch_puts_it(name):
    form = FORMATS[name]
    step = one(ulp, form.largest, form)
    # Every value here is exact in float32, through which torch rounds to 16 bits: no double rounding.
    values = form.largest + np.arange(-(1 << 13), 1 << 12) * 2.0**-12 * step
    foretold = rounds_to_infinity(values, form)
    assert (foretold == (values >= form.largest + step / 2)).all()
    assert (foretold.sum(), foretold.size) == (1 << 11, 3 << 12)
    for sign in (1, -1):
        assert (np.isinf(stored(sign * values, form)) == foretold).all()
        assert (rounds_to_infinity(sign * values, form) == foretold).all()


@lawful
@given(finite, positive, positive, forms, st.integers(1, 1 << 17), st.integers(1, 1 << 17))
def test_the_strict_bound_leaves_two_ulps_and_never_shrinks_with_sensitivity(
    truth, less, more, form, classes, rows
):
    less, more = sorted((less, more))
    assume(more < 1e300)

    def bound(sensitivity, classes=classes, rows=rows, rounding=0.0):
        return strict_bound(np.array([truth]), np.array([sensitivity]), form, Terms(classes, rows), rounding)[
            0
        ]

    assert bound(0.0) == 2 * one(ulp, truth, form)
    assert bound(0.0) <= bound(less) <= bound(more)
    assert bound(more) <= bound(more, classes=2 * classes)
    assert bound(more) <= bound(more, rows=rows + 1)
    assert bound(more) <= bound(more, rounding=2.0**-50)


def stick_of(truth, form, sensitivity, *, is_loss, poisoned=False, classes=10, rows=1):
    return yardstick(
        np.asarray(truth, dtype=np.float64),
        np.asarray(sensitivity, dtype=np.float64),
        form,
        Terms(classes, rows),
        groups=("all",),
        is_loss=is_loss,
        poisoned=poisoned,
    )


@lawful
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20),
    forms,
    st.booleans(),
    st.booleans(),
)
def test_the_correctly_rounded_truth_is_never_accused(truth, form, is_loss, poisoned):
    values = np.abs(truth) if is_loss else np.array(truth)
    # The extended reals hold the truth; its sensitivity is at least its size, as in every family.
    stick = stick_of(values, form, np.nan_to_num(np.abs(values)), is_loss=is_loss, poisoned=poisoned)
    found = judge(stick, stored(values, form))
    assert found.defects == ()
    assert found.finite


@lawful
@given(finite, positive, forms, st.booleans(), st.sampled_from([-1.0, 1.0]))
def test_an_answer_beyond_the_strict_bound_is_accused_and_one_within_it_is_not(
    truth, share, form, is_loss, side
):
    truth = abs(truth) if is_loss else truth
    assume(abs(truth) < form.largest / 4)
    stick = stick_of([truth], form, [abs(truth) * min(share, 2.0)], is_loss=is_loss)
    allowed = stick.strict[0]
    for factor, accused in ((0.99, False), (1.01, True)):
        got = truth + side * factor * allowed
        error = abs(got - truth)
        assume((error > allowed) == accused)
        found = judge(stick, np.array([got])).defects
        assert bool(found) == accused
        if accused:
            (defect,) = found
            severe = error > error_bound(np.array([truth]), form, Terms(10))[0]
            assert defect.kind in ("inaccurate", "negative", "dead_gradient", "dead_loss", "flushed")
            assert severe <= (defect.severity == "error") or defect.kind == "flushed"


# Rows of the agreement table: R the exact value, what came back, verdict for a loss and for a gradient.
TINY, SUBNORMAL, NOTHING = 2.0**-100, 2.0**-130, 2.0**-151
TABLE = [
    ("finite and right", 1.5, 1.5, None, None),
    ("genuine overflow", 1e39, INF, None, None),
    ("genuine overflow of the limit", INF, INF, None, None),
    ("genuine negative overflow", -1e39, -INF, None, None),
    ("spurious overflow", 1.5, INF, ("spurious_overflow", "error"), ("spurious_overflow", "error")),
    (
        "infinity of the wrong sign",
        1e39,
        -INF,
        ("spurious_overflow", "error"),
        ("spurious_overflow", "error"),
    ),
    ("saturated", 1e39, 100.0, ("saturated", "error"), ("saturated", "error")),
    ("saturated limit", INF, 3e38, ("saturated", "error"), ("saturated", "error")),
    ("spurious NaN", 1.5, NAN, ("spurious_nan", "error"), ("spurious_nan", "error")),
    ("spurious NaN for an overflow", 1e39, NAN, ("spurious_nan", "error"), ("spurious_nan", "error")),
    ("NaN for what is undefined", NAN, NAN, None, None),
    ("NaN swallowed", NAN, 1.5, ("nan_swallowed", "error"), ("nan_swallowed", "error")),
    ("NaN swallowed by infinity", NAN, INF, ("nan_swallowed", "error"), ("nan_swallowed", "error")),
    ("zero for what is undefined", NAN, 0.0, ("nan_swallowed", "error"), None),
    ("genuine underflow", NOTHING, 0.0, None, None),
    ("flushed", SUBNORMAL, 0.0, ("flushed", "note"), ("flushed", "note")),
    ("dead and small", TINY, 0.0, ("dead_loss", "note"), ("dead_gradient", "warning")),
    ("dead and large", 1e-3, 0.0, ("inaccurate", "error"), ("dead_gradient", "error")),
    ("negative", 1e-3, -1e-3, ("negative", "error"), ("inaccurate", "error")),
    ("negative and tiny", TINY, -TINY, ("negative", "error"), ("inaccurate", "warning")),
    ("negative zero", 0.0, -0.0, ("negative_zero", "note"), None),
    ("negative zero for an underflow", NOTHING, -0.0, ("negative_zero", "note"), None),
]


# A loss of these families is never negative.
ROWS = [(row, is_loss) for row in TABLE for is_loss in (True, False) if not (is_loss and row[1] < 0)]


@pytest.mark.parametrize(
    ("row", "is_loss"), ROWS, ids=[f"{row[0]}-{'loss' if is_loss else 'gradient'}" for row, is_loss in ROWS]
)
def test_every_row_of_the_agreement_table_is_told_apart(row, is_loss):
    _, exact, got, of_loss, of_gradient = row
    expected = of_loss if is_loss else of_gradient
    sensitivity = np.nan_to_num(abs(exact), posinf=0.0)
    stick = stick_of([1.0, exact], FORMATS["float32"], [1.0, sensitivity], is_loss=is_loss)
    found = judge(stick, np.array([1.0, got])).defects
    assert [(d.kind, d.severity) for d in found] == ([expected] if expected else [])
    assert [d.place for d in found] == [1] * len(found)


@pytest.mark.parametrize("is_loss", [True, False], ids=["loss", "gradient"])
def test_a_nan_of_another_input_is_a_leak_and_one_that_belongs_there_is_not(is_loss):
    stick = stick_of([1.0, NAN], FORMATS["float32"], [1.0, 0.0], is_loss=is_loss, poisoned=True)
    assert judge(stick, np.array([1.0, NAN])).defects == ()
    (defect,) = judge(stick, np.array([NAN, NAN])).defects
    assert (defect.kind, defect.severity, defect.place) == ("nan_leak", "error", 0)
