"""What the manifest says of oracles and questions is what is used, and a report needs no torch to read it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from harness.block import OpenBlock
from harness.manifest import question_forms, suite_forms, tier_forms
from harness.oracle.autograd import Reference
from harness.probes.protocol.probe import QUESTIONS
from harness.trial import DTYPES, Case
from suites.cross_entropy import SUITE


def by_dtype(forms):
    return {dtype: form["tier"] for form in forms for dtype in form["dtypes"]}


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_tier_that_is_stated_is_the_tier_that_judges(dtype):
    block = OpenBlock(SUITE, Case("cross_entropy", "mean", "unit_normal", dtype, "cpu", 4, 3, 1), 0)
    truth = block.standard(SUITE.baseline.name).truth
    forms = tier_forms(SUITE.oracle)
    assert by_dtype(forms)[dtype] == truth.tier
    (stated,) = [form for form in forms if form["tier"] == truth.tier]
    # The reduction adds its own roundings to what the suite states for a row.
    assert stated["rounding"] <= truth.rounding <= stated["rounding"] + 2.0**-50
    assert stated["floor"] == truth.floor


def test_a_family_without_pairs_is_judged_by_float64_and_one_without_exact_form_has_no_ball():
    bare = replace(SUITE.oracle, pairs=None, in_pairs=False, exact=None)
    forms = tier_forms(bare)
    assert [form["tier"] for form in forms] == ["B0"]
    assert by_dtype(forms) == dict.fromkeys(DTYPES, "B0")


def test_a_plain_reference_states_no_bound():
    (form,) = tier_forms(Reference(torch.nn.functional.mse_loss))
    assert (form["tier"], form["rounding"]) == ("reference", None)
    assert "uncertified" in form["about"]


def test_every_question_is_named_and_the_forms_are_json():
    assert [form["name"] for form in question_forms()] == [question.name for question in QUESTIONS]
    assert len({form["name"] for form in question_forms()}) == len(QUESTIONS)
    forms = suite_forms({SUITE.name: SUITE})
    json.dumps([forms, question_forms()], allow_nan=False)
    assert set(forms[SUITE.name]["exhaustive"]) == {each.name for each in SUITE.exhaustive}
