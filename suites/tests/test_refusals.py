"""What nine families must refuse: who checks is silent, who checks nothing is named for every input.

Blocks are opened in process, on the rows that the probe asks. For every check the fault that it exists for is
planted, one at a time.
"""

from __future__ import annotations

import pytest
import torch

from harness import Implementation
from harness.block import OpenBlock
from harness.oracle.chunks import one_thread
from harness.probes.invalid_input import invalid_input
from harness.sample import Sample
from harness.trial import Case
from suites.binary_cross_entropy_with_logits import SUITE as WITH_LOGITS
from suites.cosine_embedding import SUITE as COSINE
from suites.hinge_embedding import SUITE as HINGE
from suites.kl_div import SUITE as DIVERGENCE
from suites.l1 import SUITE as ABSOLUTE
from suites.margin_ranking import SUITE as RANKING
from suites.multilabel_soft_margin import SUITE as MULTILABEL
from suites.regimes import refusals
from suites.sigmoid_focal import SUITE as FOCAL
from suites.soft_margin import SUITE as SOFT_MARGIN
from suites.triplet_margin import SUITE as TRIPLET


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def is_sign(labels):
    """Whether every label is 1 or -1."""
    return bool(((labels == 1) | (labels == -1)).all())


def is_share(labels):
    """Whether every label lies between 0 and 1."""
    return bool(((labels >= 0) & (labels <= 1)).all())


def is_mass(labels):
    """Whether every label is 0 or more."""
    return bool((labels >= 0).all())


def alike(*tensors):
    """Whether all shapes are one."""
    return len({tensor.shape for tensor in tensors}) == 1


def of_pairs(first, second, target):
    """Whether two sets of vectors have one label per row."""
    return alike(first, second) and target.shape == first.shape[:1]


# What is asked of the labels, and of the shapes.
FAMILIES = {
    "hinge_embedding": (HINGE, is_sign, alike),
    "margin_ranking": (RANKING, is_sign, alike),
    "soft_margin": (SOFT_MARGIN, is_sign, alike),
    "cosine_embedding": (COSINE, is_sign, of_pairs),
    "sigmoid_focal": (FOCAL, is_share, alike),
    "multilabel_soft_margin": (MULTILABEL, is_share, alike),
    "binary_cross_entropy_with_logits": (WITH_LOGITS, is_share, alike),
    "kl_div": (DIVERGENCE, is_mass, alike),
    "triplet_margin": (TRIPLET, lambda labels: True, alike),
}
EVERY = pytest.mark.parametrize("name", FAMILIES)
OF_SHAPE = ("_more", "_flat", "_in_a_column")


def asked(name, *, labels=True, shapes=True):
    """What a form answers that checks labels and shapes, or not, and pays nothing."""
    suite, good_labels, good_shapes = FAMILIES[name]

    def planted(*tensors):
        if shapes and not good_shapes(*tensors):
            raise ValueError("shapes differ")
        if labels and not good_labels(tensors[-1]):
            raise ValueError("no such label")
        return tensors[0].sum() * 0.0

    case = Case(suite.name, suite.variants[0].name, suite.regimes[0].name, "float32", "cpu", 64, 10, 1)
    family = suite.extended(Implementation(planted))
    answer = invalid_input(OpenBlock(family, case, 0), "planted")
    assert answer.status == "ok", answer.reason
    return answer


def groups(answer):
    return {(finding.kind, finding.group) for finding in answer.findings}


@EVERY
def test_who_checks_labels_and_shapes_is_silent_and_everything_is_refused(name):
    answer = asked(name)
    assert answer.findings == ()
    assert answer.numbers["invalid_inputs"] == answer.numbers["invalid_inputs_refused"] > 0


@EVERY
@pytest.mark.parametrize("checked", ["labels", "shapes"])
def test_who_checks_one_of_both_is_named_for_every_input_of_the_other(name, checked):
    answer = asked(name, **{"labels": checked == "labels", "shapes": checked == "shapes"})
    expected = {
        ("accepts_invalid", invalid.name)
        for invalid in FAMILIES[name][0].invalid
        if invalid.name.endswith(OF_SHAPE) is (checked == "labels")
    }
    assert groups(answer) == expected
    assert expected or (name, checked) == ("triplet_margin", "shapes")


def test_a_valid_sample_is_left_as_it_is_and_only_the_last_entry_is_exchanged():
    before = Sample(layout="elements", distance=torch.ones(3, 2), target=torch.ones(3, 2).long())
    for invalid in refusals.OF_SIGNS:
        invalid.change(before, {})
    assert (before["target"] == 1).all()
    zero, nan = (invalid.change(before, {})["target"] for invalid in refusals.signs())
    assert zero.tolist() == [[1, 1], [1, 1], [1, 0]]
    assert nan.isnan().tolist() == [[False, False], [False, False], [False, True]]
    assert zero.dtype == torch.long
    assert nan.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "group", "answers"),
    [
        # (x + max(0, 1 - x)) for the label 0 instead of one of both; see the contract switches.
        ("hinge_embedding", "label_zero", True),
        ("hinge_embedding", "label_nan", True),
        ("cosine_embedding", "label_zero", True),
        ("cosine_embedding", "target_in_a_column", False),
        ("margin_ranking", "target_flat", False),
        ("soft_margin", "y_flat", False),
        ("multilabel_soft_margin", "target_flat", True),
        ("kl_div", "target_flat", True),
        ("kl_div", "mass_negative", False),
        ("binary_cross_entropy_with_logits", "target_flat", False),
        ("binary_cross_entropy_with_logits", "label_minus_one", True),
        ("triplet_margin", "negative_with_a_column_more", False),
    ],
)
def test_what_torch_answers_and_what_it_refuses(name, group, answers):
    suite = FAMILIES[name][0]
    case = Case(suite.name, suite.variants[0].name, suite.regimes[0].name, "float32", "cpu", 64, 10, 1)
    found = groups(invalid_input(OpenBlock(suite, case, 0), "native"))
    assert (("accepts_invalid", group) in found) is answers


@pytest.mark.parametrize("tensor", ["target", "y"])
def test_a_column_beside_labels_stays_small_whatever_the_number_of_rows(tensor):
    rows = Sample(**{"x": torch.ones(20480, 10), tensor: torch.ones(20480, 10)}, layout="elements")
    changed = next(each for each in refusals.shapes(tensor) if each.name.endswith("flat")).change(rows, {})
    assert changed["x"].shape == (refusals.FEW, 1)
    assert changed[tensor].shape == (refusals.FEW,)


@pytest.mark.parametrize(("variant", "answers"), [("mean", False), ("none", True), ("sum", True)])
def test_torch_subtracts_8_bit_integers_and_refuses_their_mean_alone(variant, answers):
    case = Case("l1", variant, ABSOLUTE.regimes[0].name, "float32", "cpu", 64, 10, 1)
    found = groups(invalid_input(OpenBlock(ABSOLUTE, case, 0), "native"))
    assert (("accepts_invalid", "integers_of_8_bits") in found) is answers
    wrapped = torch.nn.functional.l1_loss(
        *(torch.tensor([v], dtype=torch.int8) for v in (100, -100)), reduction="none"
    )
    assert wrapped.item() == 56
