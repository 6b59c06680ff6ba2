"""Scripts of findings that no error bound tells: a NaN that a gradient swallows, garbage below the bound."""

from __future__ import annotations

import pytest

from harness.block import OpenBlock
from harness.probes.accuracy import accuracy
from harness.probes.protocol.probe import protocol
from harness.reproducer.running import Ended, ended
from harness.reproducer.script import script
from harness.reproducer.search import reproduced
from harness.trial import Case, Trial
from suites.kl_div import SUITE as DIVERGENCE
from suites.l1 import SUITE as ABSOLUTE


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
