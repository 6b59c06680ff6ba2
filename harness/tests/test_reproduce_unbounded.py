"""Scripts of findings that no error bound tells: a NaN that a gradient swallows, garbage below the bound."""

from __future__ import annotations

import pytest

from harness.block import OpenBlock
from harness.probes.accuracy import accuracy
from harness.probes.overflow import overflow
from harness.probes.protocol.probe import protocol
from harness.reproducer.running import Ended, ended
from harness.reproducer.script import script
from harness.reproducer.search import reproduced
from harness.trial import Case, Trial
from suites.binary_cross_entropy import SUITE as BINARY
from suites.kl_div import SUITE as DIVERGENCE
from suites.l1 import SUITE as ABSOLUTE
from suites.softmax_focal import SUITE as FOCAL


@pytest.mark.parametrize(
    ("suite", "case", "probe", "kind", "words"),
    [
        (
            ABSOLUTE,
            Case("l1", "mean", "nan_prediction", "float32", "cpu", 64, 10, 1),
            accuracy,
            "nan_swallowed",
            "gradient of prediction[0, 0] is 0.0",
        ),
        (
            DIVERGENCE,
            Case("kl_div", "mean", "independent", "float16", "cpu", 64, 10, 1),
            protocol,
            "edge_shape",
            "a prime number of classes: gradient of target",
        ),
    ],
    ids=["nan", "garbage"],
)
def test_the_script_fails_and_passes_with_a_clean_control(suite, case, probe, kind, words):
    finding = next(f for f in probe(OpenBlock(suite, case, 0), "native").findings if f.kind == kind)
    found = reproduced(suite, Trial(case, "native"), finding, 0)
    assert found.again
    assert ended(script(found, identity={}, command="")).failure.startswith(words)
    control = suite.implementation("exact_gradient")
    assert ended(script(found, identity={}, command="", stand_in=control)) == Ended()


def test_a_script_of_garbage_on_a_ladder_passes_with_a_right_loss_of_the_same_dtype():
    """The strict bound would accuse torch's own loss, whose 16-bit slopes are a few roundings off."""
    case = Case("softmax_focal", "mean", "unit_normal", "float16", "cpu", 64, 10, 1)
    found_there = overflow(OpenBlock(FOCAL, case, 0), "naive_loop").findings
    finding = next(f for f in found_there if (f.kind, f.group) == ("inaccurate", "ladder classes"))
    assert ": logits/off_target: " in finding.message
    found = reproduced(FOCAL, Trial(case, "naive_loop"), finding, 0)
    assert found.again
    text = script(found, identity={}, command="")
    assert "What 16-bit rounding explains" in text
    assert ended(text).failure.startswith("gradient of logits[")
    composed = FOCAL.implementation("composed")
    assert ended(script(found, identity={}, command="", stand_in=composed)) == Ended()


def test_a_finite_number_in_the_place_of_an_infinity_is_no_rounding():
    """torch's clamp of the logarithm: the slope is -1e12 where it is infinite."""
    case = Case("binary_cross_entropy", "mean", "uniform", "bfloat16", "cpu", 64, 10, 1)
    told = overflow(OpenBlock(BINARY, case, 0), "native").findings
    finding = next(f for f in told if f.kind == "saturated")
    found = reproduced(BINARY, Trial(case, "native"), finding, 0)
    assert ended(script(found, identity={}, command="")).failure.startswith("gradient of probabilities[")
