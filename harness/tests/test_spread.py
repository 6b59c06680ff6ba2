"""Bias and norm of a gradient error that is known, in every dtype and in whichever gradient it is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness import Implementation
from harness.block import OpenBlock
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.probes.spread import SEEDS, relative_error, signed_ulps, spread_over_seeds, stored_truth
from harness.reproducer.running import Ended, ended
from harness.reproducer.script import script
from harness.reproducer.search import reproduced
from harness.tests.questioned import Above
from harness.tests.reproducing import IDENTITY
from harness.trial import Case, Trial
from suites.cross_entropy import SUITE
from suites.implementations.cross_entropy import exact_gradient
from suites.implementations.mse import exact_gradient as exact_square
from suites.linear_cross_entropy import SUITE as PROJECTED
from suites.mse import SUITE as SQUARED

# In float64 the closed form itself is no longer rounded once.
DTYPES = ("float32", "bfloat16", "float16")


def asked(function, dtype="float32", regime="unit_normal"):
    family = SUITE.extended(Implementation(function, name="planted"))
    case = Case(family.name, "mean", regime, dtype, "cpu", 64, 10, 1)
    return spread_over_seeds(OpenBlock(family, case, 0), "planted")


def below(change):
    """Returns the closed form, rounded once, whose finished gradient is changed."""
    return lambda logits, target: exact_gradient(Above.apply(logits, change), target)


def one_up(gradient):
    return torch.nextafter(gradient, torch.full_like(gradient, math.inf))


def one_down(gradient):
    return torch.nextafter(gradient, torch.full_like(gradient, -math.inf))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_closed_form_has_no_bias(dtype):
    numbers = asked(exact_gradient, dtype).numbers
    # A rounding error is uniform within half an ulp: 640 entries of 8 samples leave 0.004 ulp.
    assert abs(numbers["bias_ulps"]) < 0.03
    assert 0 < numbers["bias_standard_error_ulps"] < 0.03
    assert numbers["seeds"] == SEEDS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("change", "expected"), [(one_up, 1.0), (one_down, -1.0)])
def test_an_ulp_on_every_entry_is_a_bias_of_an_ulp_and_no_finding(change, expected, dtype):
    answer = asked(below(change), dtype)
    assert answer.numbers["bias_ulps"] == pytest.approx(expected, abs=0.03)
    assert abs(answer.numbers["bias_ulps"]) > 20 * answer.numbers["bias_standard_error_ulps"]
    assert [f for f in answer.findings if f.severity != "note"] == []


@pytest.mark.parametrize("share", [2.0**-10, 0.5, 1.0])
def test_the_norm_of_a_known_perturbation(share):
    numbers = asked(below(lambda gradient: gradient * (1 + share))).numbers
    for name in ("norm_error_low", "norm_error_median", "norm_error_high"):
        assert numbers[name] == pytest.approx(share, rel=1e-4)


def test_an_error_of_one_sample_in_eight_moves_the_highest_alone():
    calls = []

    def once(gradient):
        calls.append(gradient)
        return gradient * 2 if len(calls) == 3 else gradient

    numbers = asked(below(once)).numbers
    assert len(calls) == SEEDS
    assert numbers["norm_error_high"] == pytest.approx(1.0, rel=1e-6)
    assert numbers["norm_error_median"] < 1e-7
    assert numbers["norm_error_low"] > 0


def test_who_gives_no_gradient_is_skipped_and_who_cannot_is_unsupported():
    assert asked(lambda logits, target: exact_gradient(logits.detach(), target)).status == "skipped"

    def refuses(logits, target):
        raise NotImplementedError("no")

    assert asked(refuses).status == "unsupported"


def test_errors_of_zeros_and_of_what_is_not_finite():
    zeros, nan = np.zeros(3), np.array([math.nan, 1.0, 2.0])
    assert relative_error(zeros, zeros) == 0
    assert relative_error(np.ones(3), zeros) == math.inf
    assert math.isnan(relative_error(nan, np.ones(3)))
    assert relative_error(np.array([5.0, 1.0, 2.0]), nan) == 0
    assert relative_error(np.array([3.0, 0.0]), np.array([0.0, 4.0])) == 1.25


def test_a_bias_is_taken_over_what_is_finite():
    case = Case(SUITE.name, "mean", "unit_normal", "float32", "cpu", 64, 10, 1)
    stick = OpenBlock(SUITE, case, 0).standard("native").gradients["logits"]
    answer = stick.truth + 2 * stick.spacing
    answer[0, 0] = math.nan
    assert signed_ulps(answer, stick) == pytest.approx(2)
    assert math.isnan(signed_ulps(np.full_like(answer, math.nan), stick))


def rounds_rows_first(logits, target):
    """m19: the losses of the rows are rounded to 16 bits before their mean is taken."""
    losses = torch.nn.functional.cross_entropy(logits.float(), target, reduction="none")
    return losses.to(logits.dtype).float().mean().to(logits.dtype)


def test_the_note_of_a_loss_rounded_twice_holds_its_sample_and_fails_in_a_script():
    family = SUITE.extended(Implementation(rounds_rows_first, name="planted"))
    # Over many rows the errors of their rounding cancel.
    case = Case(family.name, "mean", "unit_normal", "float16", "cpu", 2, 10, 1)
    with one_thread():
        assert not spread_over_seeds(OpenBlock(family, case, 0), "upcast").findings
        (found,) = spread_over_seeds(OpenBlock(family, case, 0), "planted").findings
        assert (found.kind, found.severity) == ("rounded_twice", "note")
        assert found.witness["inputs"]
        stand = OpenBlock(family, case, 0).standard("planted", int(found.witness["repeat"]))
        assert float.fromhex(found.witness["truth"]) == float(stand.loss.truth)
        again = reproduced(family, Trial(case, "planted"), found, 0)
        text = script(again, identity=IDENTITY, command="")
        assert again.again
        assert "further off than one rounding of the result" in ended(text).failure
        right = script(again, identity=IDENTITY, command="", stand_in=family.implementation("upcast"))
        assert ended(right) == Ended()


def of_squares(function, dtype="float32", rows=64):
    family = SQUARED.extended(Implementation(function, name="planted"))
    case = Case(family.name, "mean", family.regimes[0].name, dtype, "cpu", rows, 10, 1)
    block = OpenBlock(family, case, 0)
    return spread_over_seeds(block, "planted").numbers, accuracy(block, "planted").numbers


def changed(*, prediction=None, target=None):
    """Returns the squared residual, one or both of whose gradients are changed."""

    def planted(x, t):
        x = Above.apply(x, prediction) if prediction else x
        t = Above.apply(t, target) if target else t
        return exact_square(x, t)

    return planted


@pytest.mark.parametrize("wrong", ["prediction", "target"])
def test_the_norm_of_an_error_in_one_of_two_gradients_is_seen_whichever_it_is(wrong):
    share = 2.0**-10
    right = {"prediction": "target", "target": "prediction"}[wrong]
    spread, accurate = of_squares(changed(**{wrong: lambda gradient: gradient * (1 + share)}))
    for name in ("norm_error_low", "norm_error_median", "norm_error_high", f"norm_error_median/{wrong}"):
        assert spread[name] == pytest.approx(share, rel=1e-4)
    assert spread[f"norm_error_median/{right}"] < 1e-7
    assert accurate["gradient_ulps"] == accurate[f"gradient_ulps/{wrong}"] > 4000
    assert accurate["gradient_eta"] > 1000
    assert accurate["gradient_ulps_median"] > 4000
    assert accurate[f"gradient_ulps/{right}"] < 2


@pytest.mark.parametrize("wrong", ["prediction", "target"])
@pytest.mark.parametrize(("change", "expected"), [(one_up, 1.0), (one_down, -1.0)])
def test_a_bias_of_one_of_two_gradients_keeps_its_size_and_sign(wrong, change, expected):
    right = {"prediction": "target", "target": "prediction"}[wrong]
    spread, accurate = of_squares(changed(**{wrong: change}))
    assert spread["bias_ulps"] == spread[f"bias_ulps/{wrong}"] == pytest.approx(expected, abs=0.03)
    assert spread["bias_standard_error_ulps"] == spread[f"bias_standard_error_ulps/{wrong}"]
    assert abs(spread[f"bias_ulps/{right}"]) < 0.05
    assert accurate["gradient_bias_ulps"] == pytest.approx(expected, abs=0.2)


def test_two_biases_of_opposite_sign_do_not_cancel():
    spread, accurate = of_squares(changed(prediction=one_up, target=one_down))
    assert abs(spread["bias_ulps"]) == pytest.approx(1.0, abs=0.03)
    assert spread["bias_ulps/prediction"] * spread["bias_ulps/target"] < -0.9
    assert abs(accurate["gradient_bias_ulps"]) == pytest.approx(1.0, abs=0.2)


def test_a_second_gradient_that_is_lost_or_dead_is_no_good_number():
    lost = changed(target=lambda gradient: gradient * math.nan)
    spread, accurate = of_squares(lost)
    assert math.isnan(spread["norm_error_low"])
    assert spread["norm_error_median/prediction"] < 1e-7
    assert math.isnan(accurate["gradient_ulps"])
    assert math.isnan(accurate["gradient_ulps/target"])
    assert accurate["gradient_ulps/prediction"] < 2
    assert "gradient_ulps_median" not in accurate
    _, accurate = of_squares(changed(target=torch.zeros_like))
    assert accurate["gradient_dead_share"] == 1.0


def test_an_error_in_what_all_rows_share_is_seen():
    share, native = 2.0**-8, PROJECTED.baseline.function

    def planted(hidden, linear_weight, target, reduction="mean"):
        passed = Above.apply(linear_weight, lambda gradient: gradient * (1 + share))
        return native(hidden, passed, target, reduction=reduction)

    family = PROJECTED.extended(Implementation(planted))
    case = Case(family.name, "mean", family.regimes[0].name, "float32", "cpu", 16, 10, 1)
    found = {}
    for name in ("planted", family.baseline.name):
        block = OpenBlock(family, case, 0)
        found[name] = (spread_over_seeds(block, name).numbers, accuracy(block, name).numbers)
    (spread, accurate), (usual, right) = found["planted"], found[family.baseline.name]
    assert spread["norm_error_median"] == pytest.approx(share, rel=1e-3)
    assert spread["norm_error_median/hidden"] == usual["norm_error_median/hidden"] < 1e-6
    assert accurate["gradient_relative_error"] == pytest.approx(share, rel=1e-3)
    assert accurate["gradient_ulps/hidden"] == right["gradient_ulps/hidden"]
    assert accurate["gradient_ulps"] == accurate["gradient_ulps/linear_weight"]
    # At most a rounding of what a row adds at the most before, 2^24 share of it after.
    assert right["gradient_floor"] < 100 < accurate["gradient_floor"]


def test_one_gradient_has_no_columns_of_its_own():
    family = SUITE.extended(Implementation(exact_gradient, name="planted"))
    block = OpenBlock(family, Case(family.name, "mean", "unit_normal", "float32", "cpu", 64, 10, 1), 0)
    for probe in (accuracy, spread_over_seeds):
        assert not [name for name in probe(block, "planted").numbers if "/" in name]


def test_where_infinity_is_right_it_is_no_error_of_the_norm():
    case = Case(SUITE.name, "mean", "unit_normal", "float32", "cpu", 64, 10, 1)
    stick = OpenBlock(SUITE, case, 0).standard("native").gradients["logits"]
    truth, infinite = stick.truth.copy(), np.zeros_like(stick.infinite)
    truth[0, 0], infinite[0, 0] = -1e39, True
    beyond = replace(stick, truth=truth, infinite=infinite)
    answer = truth.copy()
    answer[0, 0] = -math.inf
    assert relative_error(answer, stored_truth(beyond)) == 0
    assert relative_error(answer, truth) == math.inf
