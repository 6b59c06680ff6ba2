"""A loss half too large is told in every form with Known entries, in every dtype, where nothing is unusual.

A Known entry covers errors up to its `up_to`; one that covers any size, at the usual regime, lets a form
be wrong altogether and be counted known. The fault is put on what a form returns, so that its loss and all
its gradients are too large by the factor, beside whatever is known of it. A fault of one side alone is
wanted in 32 and 64 bits: in 16 bits a slope of cosines or a mean of 64 rows may be half too large and
within a few error bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from harness import Implementation, Suite
from harness.block import OpenBlock
from harness.calling import admission, read_loss
from harness.discovery import Selection, discover
from harness.known import annotated
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.results import Result
from harness.sample import Shape
from harness.trial import DTYPES, Case, Trial

SUITES = discover(Selection()).suites
FACTOR = 1.5
WIDE = ("float64", "float32")


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def all_too_large(loss: Tensor) -> Tensor:
    """The loss and every gradient."""
    return FACTOR * loss


def loss_too_large(loss: Tensor) -> Tensor:
    """The loss beside right gradients."""
    return loss + (FACTOR - 1) * loss.detach()


def gradient_too_large(loss: Tensor) -> Tensor:
    """Every gradient beside a right loss."""
    return FACTOR * loss - (FACTOR - 1) * loss.detach()


def planted(item: Implementation, fault: Callable[[Tensor], Tensor]) -> Implementation:
    """The form with a fault in what is read of it."""
    return replace(item, reads=lambda answer: fault(read_loss(answer, item)))


def forms(suite: Suite) -> Iterator[Implementation]:
    """The eager forms that have Known entries."""
    for item in suite.implementations:
        if item.known and not item.compiled and not item.control:
            yield item


def usual_case(suite: Suite, item: Implementation, dtype: str) -> Case:
    """The first variant at the first regime, at the usual shape or the largest that the form is asked at."""
    home = suite.regimes[0]
    shapes = (suite.shapes.usual, *sorted(suite.shapes.covering, key=math.prod, reverse=True))
    shape = next(home.shape(s) for s in shapes if item.skip is None or item.skip(home.shape(s)) is None)
    return Case(suite.name, suite.variants[0].name, home.name, dtype, "cpu", *Shape(*shape), 1)


def told(suite: Suite, item: Implementation, dtype: str) -> bool | None:
    """Tells whether an error of a form is open; None where the case is not asked or not supported."""
    case = usual_case(suite, item, dtype)
    if admission(suite, item, case) is not None:
        return None
    changed = replace(
        suite, implementations=tuple(item if i.name == item.name else i for i in suite.implementations)
    )
    answer = accuracy(OpenBlock(changed, case, 0), item.name)
    if answer.status != "ok":
        return None
    made = Result(Trial(case, item.name), "accuracy", answer.status, findings=answer.findings)
    shown = annotated(made, item, torch.__version__)
    return any(finding.severity == "error" and not finding.known for finding in shown.findings)


FAULTS = [(all_too_large, DTYPES), (loss_too_large, WIDE), (gradient_too_large, WIDE)]


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.parametrize(("fault", "dtypes"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_what_is_half_too_large_is_told_beside_what_is_known(name, fault, dtypes):
    suite = SUITES[name]
    answers = {
        (item.name, dtype): told(suite, planted(item, fault), dtype)
        for item in forms(suite)
        for dtype in dtypes
    }
    assert [cell for cell, is_told in answers.items() if is_told is False] == []
    assert not answers or any(answers.values())


@pytest.mark.parametrize("name", SUITES)
def test_what_is_known_is_covered_where_nothing_is_planted(name):
    suite = SUITES[name]
    for item in forms(suite):
        for dtype in DTYPES:
            assert not told(suite, item, dtype), (item.name, dtype)


def test_most_forms_have_known_findings_and_are_asked():
    asked = [1 for suite in SUITES.values() for _ in forms(suite)]
    assert len(asked) > 100
