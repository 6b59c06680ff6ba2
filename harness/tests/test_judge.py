"""The judge is judged: one planted defect gives one kind, severity, group, count and place; truth gives none.

The second half plants null answers (zeros, constants, flipped and scaled gradients) into a real block,
the way an implementation arrives, and wants every one of them rejected in every dtype.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from harness import Implementation
from harness.block import OpenBlock
from harness.judge import Defect, group_labels, judge, yardstick
from harness.metrics import FORMATS, Terms
from harness.observation import observe
from harness.outcome import KINDS
from harness.probes.accuracy import accuracy
from harness.sample import Sample
from harness.standard import standard
from harness.trial import DTYPES, Case
from suites.cross_entropy import SUITE

INF, NAN = math.inf, math.nan
GROUPS = ("off_target", "target")
# Ten entries of ordinary size; every third belongs to the second group.
ORDINARY = 1.0 + np.arange(10) / 16
LABELS = (np.arange(10) % 3 == 0).astype(np.int8)


def stick_of(truth, *, dtype="float32", is_loss=False, **given):
    truth = np.asarray(truth, dtype=np.float64)
    settings = {"labels": LABELS[: len(truth)], "groups": GROUPS}
    with np.errstate(invalid="ignore"):
        sensitivity = np.nan_to_num(np.abs(truth))
    return yardstick(truth, sensitivity, FORMATS[dtype], Terms(1), is_loss=is_loss, **{**settings, **given})


def planted(place, truth_there, got_there, **given):
    """Returns the defects of an ordinary truth in which one entry and its answer are exchanged."""
    truth, got = ORDINARY.copy(), ORDINARY.copy()
    truth[place], got[place] = truth_there, got_there
    return judge(stick_of(truth, **given), got).defects


def unsized(defects):
    """Returns defects without the sizes of their errors, which have tests of their own."""
    return tuple(replace(defect, times=None) for defect in defects)


TINY, SUBNORMAL = 2.0**-100, 2.0**-130
LOSS, GRADIENT = {"is_loss": True}, {"is_loss": False}
POISONED = {"poisoned": True}


@pytest.mark.parametrize(
    ("truth", "got", "given", "kind", "severity"),
    [
        (1.5, NAN, LOSS, "spurious_nan", "error"),
        (1.5, NAN, GRADIENT, "spurious_nan", "error"),
        (INF, NAN, LOSS, "spurious_nan", "error"),
        (1.5, NAN, POISONED, "nan_leak", "error"),
        (0.0, NAN, POISONED, "nan_leak", "error"),
        (1.5, INF, LOSS, "spurious_overflow", "error"),
        (-1.5, -INF, GRADIENT, "spurious_overflow", "error"),
        (INF, -INF, LOSS, "spurious_overflow", "error"),
        (-1e39, INF, GRADIENT, "spurious_overflow", "error"),
        (INF, 3e38, LOSS, "saturated", "error"),
        (1e39, 3e38, GRADIENT, "saturated", "error"),
        (NAN, 1.5, LOSS, "nan_swallowed", "error"),
        (NAN, 0.0, LOSS, "nan_swallowed", "error"),
        (NAN, INF, LOSS, "nan_swallowed", "error"),
        (NAN, 1.5, GRADIENT, "nan_swallowed", "error"),
        (NAN, 0.0, POISONED, "nan_swallowed", "error"),
        (NAN, -0.0, POISONED, "nan_swallowed", "error"),
        (NAN, 1.5, POISONED, "nan_swallowed", "error"),
        (NAN, 0.0, {**POISONED, **LOSS}, "nan_swallowed", "error"),
        (1e-3, 0.0, GRADIENT, "dead_gradient", "error"),
        (TINY, -0.0, GRADIENT, "dead_gradient", "warning"),
        (1e-3, 0.0, LOSS, "inaccurate", "error"),
        (TINY, 0.0, LOSS, "dead_loss", "note"),
        (SUBNORMAL, 0.0, GRADIENT, "flushed", "note"),
        (SUBNORMAL, -0.0, LOSS, "flushed", "note"),
        (0.0, -0.0, LOSS, "negative_zero", "note"),
        (1e-3, -1e-3, LOSS, "negative", "error"),
        (TINY, -TINY, LOSS, "negative", "error"),
        (0.0, -TINY, LOSS, "negative", "error"),
        (TINY, -TINY, GRADIENT, "inaccurate", "warning"),
        (-1e-3, 1e-3, LOSS, "inaccurate", "error"),
        (0.0, TINY, GRADIENT, "inaccurate", "warning"),
    ],
)
@pytest.mark.parametrize("place", [2, 6])
def test_a_planted_answer_gives_its_kind_and_nothing_else(truth, got, given, kind, severity, place):
    group = GROUPS[int(place % 3 == 0)]
    assert unsized(planted(place, truth, got, **given)) == (Defect(kind, severity, group, 1, place),)
    assert KINDS[kind].severity in (None, severity)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_loss", [True, False])
def test_an_error_is_nothing_then_a_warning_then_an_error_as_it_grows(dtype, is_loss):
    # Truth 2^-6 with sensitivity 2^-6: strict is 2 ulp + 4 u_a N, the floor s 4 u max(1, |y|).
    form, truth = FORMATS[dtype], 2.0**-6
    strict = 4 * form.roundoff * truth + 4 * form.arithmetic_roundoff * truth
    floor = form.error_factor * 4 * form.roundoff
    assert strict < floor
    for error, expected in (
        (strict, []),
        (strict * 1.25, ["warning"]),
        (floor, ["warning"]),
        (floor * 1.25, ["error"]),
    ):
        found = planted(4, truth, truth + error, dtype=dtype, is_loss=is_loss)
        assert [d.severity for d in found] == expected
        assert all((d.kind, d.place) == ("inaccurate", 4) for d in found)
        assert all(d.times == pytest.approx(error / floor, rel=1e-6) for d in found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_loss", [True, False])
def test_a_size_is_the_largest_error_over_its_bound_whatever_entry_is_furthest_off(dtype, is_loss):
    # The second entry is further off, the first further beyond its bound, which grows with the truth.
    bound = 4 * FORMATS[dtype].error_factor * FORMATS[dtype].roundoff
    truth = np.array([2.0**-6, 64.0])
    got = truth + bound * np.array([40.0, 192.0])
    (found,) = judge(stick_of(truth, dtype=dtype, is_loss=is_loss, labels=None), got).defects
    assert (found.severity, found.place) == ("error", 1)
    assert found.times == pytest.approx(40, rel=0.02)


@pytest.mark.parametrize(
    ("truth", "got", "given", "times"),
    [
        # Signs that differ: nothing of the answer is right.
        (1e-3, -1e-3, LOSS, 2e-3),
        (1e-3, 0.0, GRADIENT, 1e-3),
        (0.0, -TINY, LOSS, TINY),
        (TINY, 0.0, LOSS, TINY),
        (SUBNORMAL, 0.0, GRADIENT, SUBNORMAL),
    ],
)
def test_every_kind_that_compares_numbers_has_a_size(truth, got, given, times):
    (found,) = planted(2, truth, got, **given)
    assert found.times == pytest.approx(times / (8 * 4 * 2.0**-24))


@pytest.mark.parametrize(
    ("truth", "got", "given"),
    [
        (1.5, NAN, LOSS),
        (1.5, NAN, POISONED),
        (1.5, INF, LOSS),
        (INF, 3e38, LOSS),
        (INF, -INF, GRADIENT),
        (NAN, 1.5, LOSS),
    ],
)
def test_what_cannot_be_compared_has_no_size(truth, got, given):
    assert [defect.times for defect in planted(3, truth, got, **given)] == [None]


def test_a_size_is_finite_where_the_difference_or_the_quotient_is_not():
    largest = sys.float_info.max
    truth, got = np.array([largest, 0.0]), np.array([-largest, largest])
    for scale in (1.0, 0.0):
        found = judge(stick_of(truth, dtype="float64", scale=scale, labels=None), got).defects
        assert all(0 < defect.times <= largest for defect in found)
        assert len(found) == 1


def test_one_mask_of_defects_is_split_by_group_and_by_severity_and_points_at_the_worst():
    truth = np.full(10, 2.0**-6)
    got = truth + 2.0**-6 * np.array([1, 0, 3, 5, 2, 0, 4, 0, 1e-5, 2e-5])
    assert unsized(judge(stick_of(truth), got).defects) == (
        Defect("inaccurate", "error", "off_target", 2, 2),
        Defect("inaccurate", "error", "target", 3, 3),
        Defect("inaccurate", "warning", "off_target", 1, 8),
        Defect("inaccurate", "warning", "target", 1, 9),
    )


def test_several_kinds_in_one_answer_are_all_reported():
    truth = np.array([1.0, 1.0, 1e39, NAN, 1.0, TINY, 1.0])
    got = np.array([NAN, INF, 1.0, 1.0, 2.0, 0.0, 1.0])
    found = judge(stick_of(truth, labels=None), got).defects
    assert {(d.kind, d.place) for d in found} == {
        ("spurious_nan", 0),
        ("spurious_overflow", 1),
        ("saturated", 2),
        ("nan_swallowed", 3),
        ("inaccurate", 4),
        ("dead_gradient", 5),
    }
    assert len(found) == 6


def test_the_worst_place_of_a_class_is_the_largest_truth():
    truth, got = np.array([1.0, -8.0, 4.0, 2.0]), np.array([NAN, NAN, NAN, 2.0])
    assert judge(stick_of(truth, labels=None), got).defects == (
        Defect("spurious_nan", "error", "off_target", 3, 1),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_loss", [True, False])
def test_the_correctly_rounded_truth_is_silent(dtype, is_loss):
    generator = np.random.default_rng(0)
    truth = np.exp(generator.uniform(-90, 10, 5000)) * (1 if is_loss else generator.choice([-1, 1], 5000))
    special = [0.0, -0.0, INF, NAN, 2e38, 2.0**-149] if is_loss else [0.0, INF, -INF, NAN, -2e38]
    truth[: len(special)] = special
    got = torch.from_numpy(truth).to(getattr(torch, dtype)).double().numpy()
    found = judge(stick_of(truth, dtype=dtype, is_loss=is_loss, labels=None), got)
    assert found.defects == ()
    assert found.finite


@pytest.mark.parametrize(
    ("truth", "got", "given"),
    [
        (-0.0, -0.0, LOSS),
        (-0.0, 0.0, LOSS),
        (0.0, -0.0, GRADIENT),
        (-0.0, 0.0, GRADIENT),
        (NAN, NAN, LOSS),
        (NAN, NAN, POISONED),
        (NAN, 0.0, GRADIENT),
        (NAN, -0.0, GRADIENT),
        (INF, INF, LOSS),
        (1e39, INF, LOSS),
        (-1e39, -INF, GRADIENT),
        (2.0**-151, 0.0, GRADIENT),
    ],
)
def test_right_answers_of_unusual_form_are_silent(truth, got, given):
    assert planted(3, truth, got, **given) == ()


def test_errors_are_nan_where_nothing_is_comparable_and_finite_says_what_came_back():
    truth, got = np.array([1.0, INF, NAN, 2.0]), np.array([1.5, INF, NAN, NAN])
    found = judge(stick_of(truth, labels=None), got)
    assert found.errors[0] == 0.5
    assert np.isnan(found.errors[1:]).all()
    assert not found.finite
    assert judge(stick_of(truth[:3], labels=None), got[:3]).finite


def test_a_reduced_gradient_is_judged_at_the_scale_of_its_row():
    # An error of 1e-6 is small beside 1 and large beside the weight 1/1000 of a row of a mean.
    severities = [planted(2, 1e-4, 1.01e-4, scale=scale)[0].severity for scale in (1.0, 1e-3)]
    assert severities == ["warning", "error"]


def test_entries_are_grouped_by_mask_then_tail_and_an_ignored_row_goes_before_all():
    gradient = np.array([[1.0, -0.5, 2.0**-13], [1.0, -0.5, 2.0**-11], [0.0, 0.0, 0.0]])
    target = np.array([[False, True, False]] * 3)
    names, labels = group_labels(gradient, [("target", target)], np.array([False, False, True]))
    assert names == ("off_target", "tail", "target", "ignored")
    assert [[names[i] for i in row] for row in labels] == [
        ["off_target", "target", "tail"],
        ["off_target", "target", "off_target"],
        ["ignored"] * 3,
    ]
    assert group_labels(gradient[0], [], None)[0][0] == "all"


def answering(loss_of, gradient_of):
    """Returns an implementation whose loss and logit gradient are functions of the right ones."""

    def implementation(logits, target, reduction="mean"):
        exact = logits.detach().double().requires_grad_(True)
        loss = F.cross_entropy(exact, target, reduction=reduction)
        (gradient,) = torch.autograd.grad(loss, exact)
        answer = gradient_of(gradient, target).to(logits.dtype)
        # The difference is zero in value and carries the planted gradient backwards.
        carried = (answer * (logits - logits.detach())).sum()
        return loss_of(loss.detach()).to(logits.dtype) + carried

    return implementation


def unchanged(value, target=None):
    return value


def on_label_only(gradient, target):
    return gradient * F.one_hot(target, gradient.shape[1])


# Each with the sides that must be accused, so that a right loss is never blamed for its gradient.
BOTH, LOSS_ALONE, GRADIENT_ALONE = {"loss", "logits"}, {"loss"}, {"logits"}
NULL_ANSWERS = {
    "zeros": (BOTH, answering(lambda loss: 0 * loss, lambda g, t: 0 * g)),
    "zero_loss": (LOSS_ALONE, answering(lambda loss: 0 * loss, unchanged)),
    "zero_gradient": (GRADIENT_ALONE, answering(unchanged, lambda g, t: 0 * g)),
    "constant": (BOTH, answering(lambda loss: 0 * loss + math.log(10), lambda g, t: 0 * g)),
    "sign_flip": (BOTH, answering(lambda loss: -loss, lambda g, t: -g)),
    "flipped_gradient": (GRADIENT_ALONE, answering(unchanged, lambda g, t: -g)),
    "shrunk": (BOTH, answering(lambda loss: 0.97 * loss, lambda g, t: 0.97 * g)),
    "shrunk_loss": (LOSS_ALONE, answering(lambda loss: 0.97 * loss, unchanged)),
    "shrunk_gradient": (GRADIENT_ALONE, answering(unchanged, lambda g, t: 0.97 * g)),
    "label_only": (GRADIENT_ALONE, answering(unchanged, on_label_only)),
    "without_graph": (GRADIENT_ALONE, lambda logits, target: F.cross_entropy(logits.detach(), target)),
}
PLANTED = SUITE.extended(
    Implementation(answering(unchanged, unchanged), name="right"),
    *(Implementation(function, name=f"planted_{name}") for name, (_, function) in NULL_ANSWERS.items()),
)


def observed(name, dtype, variant="mean", seed=0):
    block = OpenBlock(PLANTED, Case(PLANTED.name, variant, "unit_normal", dtype, "cpu", 64, 10, 1), seed)
    return observe(block.bound(name), block.standard(name), dtype, "cpu", "accuracy")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", ["mean", "sum"])
def test_the_scaffold_with_nothing_planted_is_silent(dtype, variant):
    for seed in range(5):
        seen = observed("right", dtype, variant, seed)
        assert (seen.status, seen.findings) == ("ok", ())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("null", NULL_ANSWERS)
def test_a_null_answer_is_rejected_on_the_side_that_is_wrong(null, dtype):
    for seed in range(5):
        seen = observed(f"planted_{null}", dtype, seed=seed)
        accused = [finding for finding in seen.findings if finding.severity != "note"]
        assert {finding.group.split("/")[0] for finding in accused} == NULL_ANSWERS[null][0]
        # Three percent of a bfloat16 mean over 64 rows are below its error floor: a warning.
        assert seen.worst_is_error() or (null, dtype) == ("shrunk_loss", "bfloat16")


def native_answering(gradient_of):
    """Returns torch's cross-entropy with a hook on the gradient that it sends to the logits."""

    def implementation(logits, target, reduction="mean"):
        logits = logits.clone()
        if logits.requires_grad:
            logits.register_hook(gradient_of)
        return F.cross_entropy(logits, target, reduction=reduction)

    return implementation


@pytest.mark.parametrize("variant", ["mean", "sum", "none"])
def test_a_nan_that_is_swallowed_in_the_gradient_alone_is_told(variant):
    swallowing = Implementation(native_answering(torch.nan_to_num), name="swallowing")
    suite = SUITE.extended(swallowing)
    block = OpenBlock(suite, Case(suite.name, variant, "nan_logit", "float32", "cpu", 64, 10, 1), 0)
    told = [(f.kind, f.severity, f.group) for f in accuracy(block, "swallowing").findings]
    # The first row holds the NaN: its label and the other nine classes.
    assert told == [
        ("nan_swallowed", "error", "logits/off_target"),
        ("nan_swallowed", "error", "logits/target"),
    ]
    assert accuracy(block, suite.baseline.name).findings == ()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_where_no_row_counts_a_gradient_of_0_is_right_whatever_nan_is_ignored(reduction):
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    logits[1, 2] = NAN
    sample = Sample(logits=logits, target=torch.full((4,), -100))
    options = {**SUITE.options, "reduction": reduction}
    stand = standard(SUITE, sample, options, "float32", {})
    assert stand.loss.poisoned
    assert np.isnan(stand.gradients["logits"].truth).all() == (reduction == "mean")
    assert judge(stand.gradients["logits"], np.zeros((4, 3))).defects == ()
    if reduction == "mean":
        (defect,) = judge(stand.loss, np.zeros(())).defects
        assert defect.kind == "nan_swallowed"
