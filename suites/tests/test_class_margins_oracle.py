"""The closed forms of the hinges between classes are certified against Arb balls and against autograd.

The fault that a certificate exists for is planted: a relative error of 1e-9. Held by hand are the rules that
the two losses do not share: what the power is taken of, where a list ends, what a repeated label counts.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.calling import bind
from harness.inputs import draw
from harness.oracle.certification import certificates
from harness.oracle.chunks import one_thread
from harness.sample import Shape
from harness.trial import Case
from suites.multi_margin import SUITE as MULTI
from suites.multilabel_margin import SUITE as LISTS

FAMILIES = pytest.mark.parametrize("suite", [MULTI, LISTS], ids=lambda suite: suite.name)
FEW = (Shape(6, 7), Shape(4, 2), Shape(3, 1))


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


@FAMILIES
def test_every_entry_lies_within_the_stated_bound_of_its_ball(suite):
    for certificate in certificates([suite], share=0.5, shapes=FEW, dtypes=("float64", "bfloat16")):
        assert certificate.misses == ()
        assert certificate.entries > 2000


@FAMILIES
@pytest.mark.parametrize("fault", ["rows", "gradient"])
def test_a_relative_error_of_1e_9_is_missed_by_no_certificate(suite, fault):
    form = suite.oracle
    planted = {
        "rows": lambda t: form.rows(t) * (1 + 1e-9),
        "gradient": lambda t: {n: g * (1 - 1e-9) for n, g in form.gradient(t).items()},
    }
    wrong = replace(suite, oracle=replace(form, **{fault: planted[fault]}))
    for certificate in certificates([wrong], share=0.2, shapes=FEW[:1], dtypes=("float32",)):
        assert {miss.tensor for miss in certificate.misses} == {"loss" if fault == "rows" else "scores"}


@FAMILIES
def test_closed_forms_are_those_of_native_under_autograd_in_float64(suite):
    for variant in suite.variants:
        case = Case(suite.name, variant.name, "unit_normal", "float64", "cpu", 64, 10, 1)
        sample, options = draw(case, suite, seed=0)
        leaves = {n: t.clone().requires_grad_(n in sample.gradients) for n, t in sample.named.items()}
        given = {**variant.options, "reduction": "sum"}
        loss = bind(suite.baseline, {**options, "reduction": "sum"}, given).loss(tuple(leaves.values()))
        (slope,) = torch.autograd.grad(loss, leaves["scores"])
        truth = suite.oracle.evaluate(sample.in_rows(), options, sample.gradients)
        assert truth.losses.sum() == pytest.approx(float(loss.detach()), rel=1e-13)
        assert np.allclose(truth.gradients["scores"], slope.numpy(), rtol=1e-12, atol=1e-15)


def truth_of(suite, scores, target, **options):
    inputs = {"scores": torch.tensor([scores], dtype=torch.float64), "target": torch.tensor([target])}
    return suite.oracle.evaluate(inputs, {**suite.options, **options}, ("scores",))


def test_the_power_inside_of_the_maximum_pays_for_classes_that_are_far_enough():
    outside, inside = (truth_of(MULTI, [0.0, 3.0], 1, p=2, power=power) for power in ("outside", "inside"))
    assert outside.losses.tolist() == [0.0]
    assert inside.losses.tolist() == [2.0]
    assert inside.gradients["scores"].tolist() == [[-2.0, 2.0]]


def test_at_the_kink_every_share_of_the_slope_is_right_and_a_square_has_none():
    linear, squared = (truth_of(MULTI, [0.0, 1.0], 1, p=p) for p in (1, 2))
    low, high = linear.gradient_ranges["scores"]
    assert (low.tolist(), high.tolist()) == ([[0.0, -0.5]], [[0.5, 0.0]])
    low, high = squared.gradient_ranges["scores"]
    assert (low.tolist(), high.tolist()) == ([[0.0, 0.0]], [[0.0, 0.0]])


def test_an_offset_of_all_scores_changes_nothing():
    for suite, target in ((MULTI, 1), (LISTS, [1, -1])):
        plain, moved = (truth_of(suite, [x, x + 0.25], target) for x in (0.0, 2.0**40))
        assert plain.losses.tolist() == moved.losses.tolist() == [0.375]
        assert plain.sensitivities.tolist() == moved.sensitivities.tolist()


def test_a_list_ends_at_its_first_minus_1_and_a_label_may_count_twice():
    scores = [0.1, 0.2, 0.4, 0.8]
    for target, expected in (
        ([3, 0, -1, 1], 0.85),
        ([3, 3, 0, -1], 1.1),
        ([-1, 3, 0, 1], 0.0),
        ([0, 1, 2, 3], 0.0),
    ):
        assert truth_of(LISTS, scores, target).losses[0] == pytest.approx(expected, abs=1e-15)
    assert truth_of(LISTS, scores, [3, 3, 0, -1], duplicates="once").losses[0] == pytest.approx(0.85)


def test_two_infinite_scores_have_no_difference_and_a_forbidden_class_costs_nothing():
    for suite, target in ((MULTI, 0), (LISTS, [0, -1])):
        assert math.isnan(truth_of(suite, [math.inf, math.inf], target).losses[0])
        assert truth_of(suite, [0.0, -math.inf], target).losses.tolist() == [0.0]
        assert truth_of(suite, [0.0, math.inf], target).losses.tolist() == [math.inf]
