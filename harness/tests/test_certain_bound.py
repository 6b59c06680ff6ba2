"""Beyond the certain bound an answer is an error of some kind, so null answers need no judging in full."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.judge import certain_bound, judge
from harness.tests.test_judge import INF, NAN, ORDINARY, SUBNORMAL, TINY, stick_of
from harness.trial import DTYPES

NUMBERS = st.floats(width=32) | st.sampled_from([0.0, -0.0, TINY, SUBNORMAL, 1e39, 1.0, 1.0 + 2.0**-20])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_loss", [True, False])
@given(truth=NUMBERS, got=NUMBERS)
@example(truth=1.0, got=0.0)
@example(truth=1.0, got=-1.0)
def test_what_is_beyond_the_certain_bound_is_an_error_of_some_kind(dtype, is_loss, truth, got):
    stick = stick_of([truth], dtype=dtype, is_loss=is_loss)
    answer = np.array([got])
    beyond = bool((np.abs(stick.off(answer)) > certain_bound(stick)).any()) and math.isfinite(got)
    errors = [defect for defect in judge(stick, answer).defects if defect.severity == "error"]
    assert not beyond or [defect.count for defect in errors] == [1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_for_ordinary_numbers_are_beyond_the_certain_bound(dtype):
    stick = stick_of(ORDINARY, dtype=dtype)
    assert (np.abs(stick.off(np.zeros(10))) > certain_bound(stick)).all()
    assert np.isinf(certain_bound(stick_of([SUBNORMAL, INF, NAN], dtype="float16"))).all()
