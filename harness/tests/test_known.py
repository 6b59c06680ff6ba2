"""A Known entry is stale where it was looked for and did not occur, and covers errors up to its own size."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from harness import Implementation, Known
from harness.block import OpenBlock
from harness.errors import SuiteError
from harness.known import annotated, entry_for, stale
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.results import TIMES, Finding, Result, dumps
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


def sized(times, kind="inaccurate"):
    """A result with one finding in the scope of ENTRY whose error is so many bounds, None: of no size."""
    found = result("float16", "wide", "accuracy", kind=kind)
    witness = {} if times is None else {TIMES: times}
    return replace(found, findings=(replace(found.findings[0], witness=witness),))


def listed(*entries):
    return Implementation(lambda logits, target: logits.sum(), name="planted", known=entries)


def annotation(times, *entries):
    (finding,) = annotated(sized(times), listed(*entries), "2.13.0").findings
    return finding


SMALL, LARGE = replace(ENTRY, up_to=8, reason="small"), replace(ENTRY, up_to=100, reason="large")
BOUNDLESS = replace(ENTRY, up_to=Known.ANY_SIZE, reason="boundless")


@pytest.mark.parametrize(
    ("times", "entries", "reason"),
    [
        (8.0, (SMALL,), "small"),
        (8.01, (SMALL,), ""),
        (8.01, (SMALL, LARGE), "large"),
        (8.0, (SMALL, LARGE), "small"),
        (1e300, (SMALL, LARGE), ""),
        (1e300, (SMALL, BOUNDLESS), "boundless"),
        (None, (SMALL, BOUNDLESS), "small"),
        (Known.USUAL_SIZE, (ENTRY,), "planted"),
        (Known.USUAL_SIZE * 1.01, (ENTRY,), ""),
    ],
)
def test_an_entry_covers_errors_up_to_its_size_and_what_has_none(times, entries, reason):
    assert annotation(times, *entries).known == reason
    entry = entry_for(listed(*entries), sized(times), sized(times).findings[0], "2.13.0")
    assert (entry.reason if entry else "") == reason


def test_a_finding_that_outgrows_its_entries_says_both_sizes_and_says_them_once():
    told = annotation(123.0, SMALL, LARGE)
    assert not told.known
    assert told.message == "a sentence; larger than the known one: 123 error bounds, known up to 100 (large)"
    # Stored results are annotated anew when a run is resumed, under whatever is declared by then.
    stored = replace(sized(123.0), findings=(told,))
    (again,) = annotated(stored, listed(SMALL, LARGE), "2.13.0").findings
    assert again == told
    (covered,) = annotated(stored, listed(BOUNDLESS), "2.13.0").findings
    assert (covered.known, covered.message) == ("boundless", "a sentence")


def test_a_finding_of_another_scope_is_not_called_larger():
    told = annotated(sized(123.0, "dead_gradient"), listed(SMALL), "2.13.0").findings[0]
    assert (told.known, told.message) == ("", "a sentence")


def test_an_entry_that_was_outgrown_is_not_stale():
    family = SUITE.extended(listed(SMALL))
    assert stale({family.name: family}, [sized(123.0)], "2.13.0") == []


@pytest.mark.parametrize("size", [0, -1.0, math.nan, "4", None, True])
def test_a_size_that_is_no_positive_number_is_refused_with_a_sentence(size):
    with pytest.raises(SuiteError) as refused:
        Known("inaccurate", "a reason", up_to=size)
    assert f"up_to={size!r}): allowed is a number above 0" in str(refused.value)
    assert "up_to=Known.ANY_SIZE" in str(refused.value)


@pytest.mark.parametrize("times", [None, 0.25, 1.7976931348623157e308])
def test_a_size_is_stored_and_a_result_without_one_is_read(times):
    stored = dumps(sized(times).to_json())
    assert Result.from_json(json.loads(stored)).findings[0].times == times
    assert (TIMES in stored) is (times is not None)


@pytest.mark.parametrize("damage", ["8.0", None, [8.0]])
def test_a_damaged_size_is_none(damage):
    assert replace(sized(1.0).findings[0], witness={TIMES: damage}).times is None


@pytest.fixture
def on_one_thread():
    with one_thread():
        yield


def scaled(item, factor):
    """A form with its loss, and so every gradient, too large by a factor."""

    def fault(*tensors, **options):
        return factor * item.function(*tensors, **options)

    return fault


# Torch's own form, which stores 16 bits between its passes, and one that is unstable on purpose.
@pytest.mark.parametrize("name", ["log_softmax_gather", "softmax_log"])
@pytest.mark.parametrize(
    ("factor", "dtypes"),
    [
        (1.0, ()),
        (1.05, ("float64", "float32", "float16")),
        (1.5, ("float64", "float32", "float16", "bfloat16")),
    ],
)
def test_a_wrong_factor_beside_known_findings_is_told(name, factor, dtypes, on_one_thread):
    item = SUITE.implementation(name)
    assert any("inaccurate" in entry.kind for entry in item.known)
    family = SUITE.extended(Implementation(scaled(item, factor), name="planted", known=item.known))
    told = []
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        case = Case(SUITE.name, "mean", "unit_normal", dtype, "cpu", 64, 10, 1)
        answer = accuracy(OpenBlock(family, case, 0), "planted")
        made = Result(Trial(case, "planted"), "accuracy", answer.status, findings=answer.findings)
        shown = annotated(made, family.implementation("planted"), torch.__version__).findings
        if any(finding.severity == "error" and not finding.known for finding in shown):
            told.append(dtype)
    assert told == list(dtypes)
