"""A finding is proved: its ball encloses the truth, its inputs give it again, and notes are left alone."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import flint
import pytest
import torch

from harness import Implementation
from harness.block import OpenBlock
from harness.oracle.closed_form import ClosedForm
from harness.probes.registry import ask
from harness.tests.questioned import from_above
from harness.trial import Case
from suites.cross_entropy import SUITE

UNCERTIFIED = "uncertified: the suite states no exact form"


def off_by_a_little(logits, target, reduction="mean"):
    """Loss and gradient are a thousandth too large."""
    loss = torch.nn.functional.cross_entropy(logits, target, reduction=reduction)
    return loss * (1 + 2.0**-10)


def asked(function, probe="accuracy", variant="mean", dtype="float32", oracle=SUITE.oracle, **case):
    family = replace(SUITE.extended(Implementation(function, name="planted")), oracle=oracle)
    shape = {"batch": 64, "classes": 10, **case}
    trial = Case(family.name, variant, "unit_normal", dtype, "cpu", shape["batch"], shape["classes"], 1)
    return OpenBlock(family, trial, 0), ask(probe, OpenBlock(family, trial, 0), "planted").findings


def number(text):
    return float.fromhex(text)


@pytest.mark.parametrize("variant", ["mean", "sum", "none", "weighted", "ignore_index", "images"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_ball_of_a_finding_encloses_the_truth_that_it_was_judged_by(variant, dtype):
    def planted(logits, target, reduction="mean", weight=None, ignore_index=-100):
        loss = torch.nn.functional.cross_entropy(
            logits, target, weight, reduction=reduction, ignore_index=ignore_index
        )
        return loss * (1 + 2.0**-10)

    _, findings = asked(planted, variant=variant, dtype=dtype)
    tensors = {finding.witness["tensor"] for finding in findings}
    assert tensors == {"loss", "logits"}
    for finding in findings:
        ball, truth = finding.witness["ball"], number(finding.witness["truth"])
        assert (ball["kind"], ball["tier"]) == ("enclosed", "B2")
        assert number(ball["middle"]) == pytest.approx(truth, rel=1e-14)
        assert number(ball["radius"]) <= 2.0**-70 * abs(truth)
        assert number(finding.witness["got"]) == pytest.approx(truth * (1 + 2.0**-10), rel=1e-6)


def test_the_ball_encloses_what_the_inputs_of_the_witness_give_by_hand():
    _, findings = asked(off_by_a_little, variant="none")
    flint.ctx.prec = 300
    for finding in findings:
        witness = finding.witness
        row = [flint.arb(number(text)) for text in witness["inputs"]["logits"]]
        label = witness["inputs"]["target"]
        total = sum((x.exp() for x in row), flint.arb(0))
        scale = (0.5, 1.0, 2.0, 1.0, 0.5, 2.0, 2.0)[witness["place"][0] % 7]
        if witness["tensor"] == "loss":
            exact = total.log() - row[label]
        else:
            column = witness["place"][1]
            exact = scale * (row[column].exp() / total - (1 if column == label else 0))
        ball = witness["ball"]
        middle = flint.arb(number(ball["middle"])) + flint.arb(number(ball["tail"]))
        assert abs(exact - middle) <= flint.arb(number(ball["radius"]))
    assert len(findings) >= 2


def test_a_witness_goes_through_json_unchanged():
    _, findings = asked(off_by_a_little)
    for finding in findings:
        assert json.loads(json.dumps(finding.witness)) == dict(finding.witness)


def test_a_note_has_no_ball():
    def flushes(logits, target, reduction="mean"):
        return from_above(lambda upstream: upstream)(logits, target, reduction) * 0

    family = SUITE.extended(Implementation(flushes, name="planted"))
    block = OpenBlock(family, Case(family.name, "none", "confident", "float32", "cpu", 64, 10, 1), 0)
    findings = ask("accuracy", block, "planted").findings
    notes = [f for f in findings if f.severity == "note"]
    assert {f.kind for f in notes} >= {"dead_loss"}
    assert all("ball" not in f.witness for f in notes)
    assert all(f.witness["ball"]["kind"] == "enclosed" for f in findings if f.severity != "note")


@pytest.mark.parametrize(
    "oracle",
    [
        replace(SUITE.oracle, exact=None),
        lambda logits, target, **options: torch.nn.functional.cross_entropy(logits, target, reduction="none"),
    ],
)
def test_a_suite_without_an_exact_form_says_so(oracle):
    assert isinstance(SUITE.oracle, ClosedForm)
    _, findings = asked(off_by_a_little, oracle=oracle)
    assert {f.witness["tensor"] for f in findings} == {"loss", "logits"}
    assert {f.witness["ball"] for f in findings} == {UNCERTIFIED}


def test_the_truth_of_a_protocol_finding_is_that_of_its_own_upstream_gradient():
    def rounds(upstream):
        return upstream.sign() * upstream.abs().log2().round().exp2()

    _, findings = asked(from_above(rounds), "protocol")
    of_three = [f for f in findings if f.group == "upstream 3"]
    assert of_three
    for finding in of_three:
        ball, truth = finding.witness["ball"], number(finding.witness["truth"])
        assert number(ball["middle"]) == pytest.approx(truth, rel=1e-14)
        # log2(3) rounds to 2.
        assert number(finding.witness["got"]) == pytest.approx(truth * 4 / 3, rel=1e-5)


def test_a_long_row_is_shown_by_its_largest_entry_and_the_one_in_question():
    block, findings = asked(off_by_a_little, variant="none", classes=40)
    logits = block.standard("planted").row_inputs["logits"]
    for finding in findings:
        row, *column = finding.witness["place"]
        shown = finding.witness["inputs"]
        assert shown["logits_entries"] == 40
        assert set(shown["logits"]) == {str(int(logits[row].argmax())), *map(str, column)}
        for place, text in shown["logits"].items():
            assert number(text) == float(logits[row, int(place)])


def test_nan_and_infinity_are_written_and_read_back():
    def poisoned(logits, target, reduction="mean"):
        return off_by_a_little(logits, target, reduction) * torch.tensor(math.nan)

    _, findings = asked(poisoned)
    assert {f.kind for f in findings} == {"spurious_nan"}
    assert all(math.isnan(number(f.witness["got"])) for f in findings)
    assert all(math.isfinite(number(f.witness["ball"]["middle"])) for f in findings)
