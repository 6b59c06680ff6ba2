"""A Known entry is stale where it was looked for and did not occur, and nowhere else."""

from __future__ import annotations

import pytest

from harness import Implementation, Known
from harness.known import stale
from harness.results import Finding, Result
from harness.trial import Case, Trial
from suites.cross_entropy import SUITE

ENTRY = Known(
    "inaccurate", probe="accuracy", dtype="float16", regime="wide", group="logits/*", reason="planted"
)
FAMILY = SUITE.extended(Implementation(lambda logits, target: logits.sum(), name="planted", known=(ENTRY,)))


def result(dtype, regime, probe, *, status="ok", kind=None):
    trial = Trial(Case(SUITE.name, "mean", regime, dtype, "cpu", 64, 10, 1), "planted")
    found = () if kind is None else (Finding(kind, "warning", probe, "logits/tail", "a sentence"),)
    return Result(trial, probe, status, findings=found)


def told(*results):
    return stale({FAMILY.name: FAMILY}, results, "2.13.0")


def test_an_entry_that_was_looked_for_and_did_not_occur_is_stale():
    (sentence,) = told(result("float16", "wide", "accuracy"))
    assert "planted" in sentence
    assert "did not occur" in sentence


def test_another_finding_in_its_scope_does_not_hide_that_it_is_stale():
    assert len(told(result("float16", "wide", "accuracy", kind="dead_gradient"))) == 1


def test_an_entry_that_occurred_is_not_stale():
    asked = result("float16", "wide", "accuracy"), result("float16", "wide", "accuracy", kind="inaccurate")
    assert told(*asked) == []


@pytest.mark.parametrize(
    "elsewhere",
    [
        result("float32", "wide", "accuracy"),
        result("float16", "unit_normal", "accuracy"),
        result("float16", "wide", "protocol"),
        result("float16", "wide", "accuracy", status="unsupported"),
    ],
    ids=["another dtype", "another regime", "another probe", "no answer"],
)
def test_an_entry_that_nobody_looked_for_is_not_stale(elsewhere):
    assert told(elsewhere) == []
