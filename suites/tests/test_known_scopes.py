"""Known entries are as narrow as their causes: a new defect beside an old one in the same form is told.

Each fault is planted on top of an implementation that has known findings, in a regime where the cause of
those cannot show; the entries of that implementation must not take it for the old one.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from harness import Implementation
from harness.block import OpenBlock
from harness.known import annotated
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.results import Result
from harness.sample import Shape
from harness.trial import Case, Trial
from suites.binary_cross_entropy_with_logits import SUITE as WITH_LOGITS
from suites.sigmoid_focal import SUITE as SIGMOID_FOCAL
from suites.softmax_focal import SUITE as SOFTMAX_FOCAL


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def off_by_a_share(item):
    """The loss and all slopes a hundredth too large."""

    def fault(logits, target, reduction="mean"):
        return 1.01 * item.function(logits, target, reduction)

    return fault


def not_a_number(item):
    """NaN in the first loss."""

    def fault(logits, target, reduction="mean"):
        losses = item.function(logits, target, reduction)
        return losses + torch.full_like(losses, torch.nan)

    return fault


def unlisted(suite, name, fault, regime, dtype="float32"):
    """The findings above note that no Known entry covers, by kind."""
    item = suite.implementation(name)
    planted = suite.extended(Implementation(fault(item), name="planted", known=item.known))
    case = Case(suite.name, "mean", regime, dtype, "cpu", *Shape(64, 10), 1)
    answer = accuracy(OpenBlock(planted, case, 0), "planted")
    assert answer.status == "ok", answer.reason
    result = Result(Trial(case, "planted"), "accuracy", answer.status, answer.reason, answer.findings)
    told = annotated(result, replace(item, name="planted"), torch.__version__)
    return {f.kind for f in told.findings if f.severity == "error" and not f.known}


FORMS = [
    (SOFTMAX_FOCAL, "composed"),
    (SOFTMAX_FOCAL, "log_softmax_gather"),
    (SOFTMAX_FOCAL, "softmax_gather"),
    (SOFTMAX_FOCAL, "one_hot"),
    (SOFTMAX_FOCAL, "logsumexp_gather"),
    (SOFTMAX_FOCAL, "naive_loop"),
    (SOFTMAX_FOCAL, "upcast"),
    (SIGMOID_FOCAL, "composed"),
    (SIGMOID_FOCAL, "naive_loop"),
    (WITH_LOGITS, "sigmoid_log"),
    (WITH_LOGITS, "sigmoid_then_bce"),
]


def identified(value):
    return value.name if hasattr(value, "name") else None


@pytest.mark.parametrize(("suite", "name"), FORMS, ids=identified)
def test_a_nan_that_the_known_causes_cannot_give_is_told(suite, name):
    assert unlisted(suite, name, not_a_number, "unit_normal") == {"spurious_nan"}


@pytest.mark.parametrize(("suite", "name"), FORMS, ids=identified)
def test_a_wrong_factor_is_told_where_nothing_is_sure(suite, name):
    regime = "tiny" if suite is not SIGMOID_FOCAL else "at_zero"
    assert "inaccurate" in unlisted(suite, name, off_by_a_share, regime)
