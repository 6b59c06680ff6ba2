"""Edges of cross-entropy: each is planted, caught by its case and by no usual one."""

from __future__ import annotations

import pytest
import torch

from harness import Implementation
from harness.block import OpenBlock
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.trial import Case
from suites.cross_entropy import SUITE
from suites.implementations.cross_entropy import exact_gradient


def poisoned_by_a_zero_weight(logits, target, reduction="mean", weight=None, ignore_index=-100):
    """A class weight of 0 anywhere makes everything NaN, as dividing by it does."""
    loss = exact_gradient(logits, target, reduction, weight, ignore_index)
    return loss if weight is None or bool((weight != 0).all()) else loss * torch.nan


def answers_a_forbidden_label(logits, target, reduction="mean", weight=None, ignore_index=-100):
    """-inf is read as the lowest number of the dtype: a forbidden label costs something finite."""
    return exact_gradient(logits.clamp(min=-1e4), target, reduction, weight, ignore_index)


def answers_where_nothing_is_open(logits, target, reduction="mean", weight=None, ignore_index=-100):
    """A row without an open class costs log C, as if nothing were known."""
    nothing = (logits == -torch.inf).all(1, keepdim=True)
    return exact_gradient(logits.masked_fill(nothing, 0.0), target, reduction, weight, ignore_index)


def takes_bytes_for_classes(logits, target, reduction="mean", weight=None, ignore_index=-100):
    """An ignore index beyond the classes is looked up modulo their number in the denominator."""
    loss = exact_gradient(logits, target, reduction, weight, ignore_index)
    if reduction != "mean" or weight is None or ignore_index < logits.shape[1]:
        return loss
    dropped = target == ignore_index
    counted = weight[target[~dropped]].sum()
    return loss * counted / (counted + dropped.sum() * weight[ignore_index % logits.shape[1]])


PLANTED = [
    (poisoned_by_a_zero_weight, "zero_weights", "unit_normal"),
    (answers_a_forbidden_label, "none", "masked_label"),
    (answers_where_nothing_is_open, "none", "masked_rows"),
    (takes_bytes_for_classes, "images_weighted_ignored", "unit_normal"),
]
USUAL = [("mean", "unit_normal"), ("weighted", "masked"), ("weighted_ignored", "unit_normal")]


def found(function, variant, regime):
    family = SUITE.extended(Implementation(function, name="planted"))
    case = Case(family.name, variant, regime, "float32", "cpu", 64, 10, 1)
    with one_thread():
        answer = accuracy(OpenBlock(family, case, 0), "planted")
    assert answer.status == "ok", answer.reason
    return {finding.kind for finding in answer.findings if finding.severity == "error"}


@pytest.mark.parametrize(("function", "variant", "regime"), PLANTED)
def test_each_edge_is_seen_by_its_case_and_by_no_usual_one(function, variant, regime):
    assert found(function, variant, regime)
    assert [case for case in USUAL if found(function, *case)] == []
    assert found(exact_gradient, variant, regime) == set()
