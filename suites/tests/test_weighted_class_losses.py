"""Every weight of the class losses is asked under every reduction, and so are the options beside it.

The fault is planted in a clean control, which forgets one option under one reduction and is right under the
others; the variant of that option and reduction has to tell, and no other.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness import Implementation
from harness.block import OpenBlock
from harness.probes.accuracy import accuracy
from harness.trial import Case
from suites.binary_cross_entropy import SUITE as OF_PROBABILITIES
from suites.binary_cross_entropy_with_logits import SUITE as WITH_LOGITS
from suites.cross_entropy import SUITE as CROSS_ENTROPY
from suites.ctc import SUITE as CTC
from suites.linear_cross_entropy import SUITE as LINEAR
from suites.softmax_focal import SUITE as SOFTMAX_FOCAL

WEIGHTED = {"mean": "weighted", "sum": "weighted_sum", "none": "weighted_none"}
ASKED = [
    (CROSS_ENTROPY, "weight", "exact_gradient", WEIGHTED),
    (CROSS_ENTROPY, "ignore_index", "exact_gradient", {"mean": "weighted_ignored"}),
    (CROSS_ENTROPY, "weight", "native", {"sum": "weighted_smoothed_sum", "mean": "weighted_probability"}),
    (CROSS_ENTROPY, "label_smoothing", "native", {"sum": "weighted_smoothed_sum"}),
    (LINEAR, "weight", "exact_gradient", {"sum": "weighted_sum", "none": "weighted_none"}),
    (LINEAR, "label_smoothing", "native", {"mean": "weighted_smoothed", "sum": "weighted_smoothed_sum"}),
    (SOFTMAX_FOCAL, "alpha", "exact_gradient", WEIGHTED),
    (SOFTMAX_FOCAL, "ignore_index", "exact_gradient", {"mean": "weighted_ignored"}),
    (WITH_LOGITS, "weight", "exact_gradient", WEIGHTED),
    (
        WITH_LOGITS,
        "pos_weight",
        "exact_gradient",
        {"mean": "pos_weight", "sum": "pos_weight_sum", "none": "weighted_none"},
    ),
    (
        WITH_LOGITS,
        "class_weights",
        "exact_gradient",
        {"mean": "class_weights", "sum": "class_weights_sum", "none": "class_weights_none"},
    ),
    (OF_PROBABILITIES, "weight", "floored", WEIGHTED),
    (
        OF_PROBABILITIES,
        "class_weights",
        "floored",
        {"mean": "class_weights", "sum": "class_weights_sum", "none": "class_weights_none"},
    ),
]


def forgetting(function, option, broken):
    """The function without an option under one reduction."""

    def planted(*tensors, reduction="mean", **options):
        if reduction == broken:
            options.pop(option, None)
        return function(*tensors, reduction=reduction, **options)

    return planted


def errors(suite, variant, name, regime=""):
    """What is an error in float64 at the usual shape."""
    regime = regime or suite.regimes[0].name
    case = Case(suite.name, variant, regime, "float64", "cpu", *suite.shapes.usual, 1)
    answer = accuracy(OpenBlock(suite, case, 0), name)
    assert answer.status == "ok", answer.reason
    return {(f.kind, f.group) for f in answer.findings if f.severity == "error"}


@pytest.mark.parametrize(
    ("suite", "option", "name", "variants"), ASKED, ids=[f"{a[0].name}-{a[1]}-{a[2]}" for a in ASKED]
)
def test_an_option_that_one_reduction_forgets_is_found_by_its_variant(suite, option, name, variants):
    right = suite.implementation(name)
    for broken in variants:
        item = replace(right, function=forgetting(right.function, option, broken), name="planted", known=())
        planted = suite.extended(replace(item, baseline=False))
        for reduction, variant in variants.items():
            found = errors(planted, variant, "planted")
            assert bool(found) == (reduction == broken), (variant, found)
            assert errors(suite, variant, name) == set()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_an_infinite_ctc_loss_that_one_reduction_keeps_is_found_by_its_variant(reduction):
    right = CTC.implementation("exact_gradient")
    fault = forgetting(right.function, "zero_infinity", reduction)
    planted = CTC.extended(Implementation(fault, name="planted"))
    for asked, variant in {
        "mean": "zero_infinity",
        "sum": "zero_infinity_sum",
        "none": "zero_infinity_none",
    }.items():
        found = {kind for kind, _ in errors(planted, variant, "planted", "impossible")}
        assert bool(found & {"spurious_overflow", "inaccurate", "spurious_nan"}) == (asked == reduction)
