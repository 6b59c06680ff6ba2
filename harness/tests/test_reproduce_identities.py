"""A broken identity becomes a script that torch alone runs: it fails for the fault, not for who is right."""

from __future__ import annotations

import pytest

from harness import Implementation
from harness.probes.identity import identity
from harness.reproducer.running import ended
from harness.reproducer.script import script
from harness.reproducer.search import reproduced
from harness.tests.test_identity import (
    BINARY,
    CROSS,
    DIVERGENCE,
    block_of,
    logarithms_unread,
    sigmoid_twice,
    tilted,
    to_base_2,
    turned_around,
)
from harness.trial import Trial


@pytest.mark.parametrize(
    ("suite", "fault", "name"),
    [
        (CROSS, to_base_2, "negative_log_likelihood"),
        (CROSS, tilted, "cross_entropy_is_entropy_plus_divergence"),
        (DIVERGENCE, turned_around, "never_negative"),
        (DIVERGENCE, logarithms_unread, "logarithms_are_probabilities"),
        (BINARY, sigmoid_twice, "two_class_cross_entropy"),
    ],
)
def test_a_broken_identity_fails_in_a_script_of_its_own(suite, fault, name):
    family = suite.extended(Implementation(fault, name="planted"))
    block = block_of(family)
    (finding,) = [f for f in identity(block, "planted").findings if f.group == name]
    found = reproduced(family, Trial(block.case, "planted"), finding, 0)
    assert found.again
    text = script(found, identity={}, command="lossgauge show")
    assert "from harness" not in text
    failure = ended(text).failure
    assert failure is not None
    assert "break: " in str(failure)
    assert ended(script(found, identity={}, command="", stand_in=suite.baseline)).failure is None
