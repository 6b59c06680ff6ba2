"""The families that only third parties compute: certified, worked by hand, silent controls, faults seen."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from harness import Implementation
from harness.block import OpenBlock
from harness.calling import admission
from harness.oracle.certification import certificates
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.probes.protocol.probe import protocol
from harness.sample import Shape
from harness.trial import DTYPES, Case
from suites.third_party.families import info_nce, robust, sparse

SUITES = {suite.name: suite for suite in (robust.SUITE, sparse.SUITE, info_nce.SUITE)}
FAMILIES = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def case_of(suite, variant=None, regime=None, dtype="float32", batch=64, classes=10):
    variant, regime = variant or suite.variants[0].name, regime or suite.regimes[0].name
    return Case(suite.name, variant, regime, dtype, "cpu", batch, classes, 1)


def kinds(suite, name, **axes):
    answer = accuracy(OpenBlock(suite, case_of(suite, **axes), 0), name)
    assert answer.status == "ok", answer.reason
    return {finding.kind for finding in answer.findings if finding.severity != "note"}


@FAMILIES
def test_stated_bound_holds_against_arb(suite):
    for found in certificates([suite], share=0.01):
        assert found.misses == ()
        assert found.rows > 500


@FAMILIES
def test_certification_sees_an_oracle_that_is_off_by_its_last_digits(suite):
    form = suite.oracle
    planted = replace(form, rows=lambda terms: form.rows(terms) * (1 + 2.0**-40))
    for found in certificates([replace(suite, oracle=planted)], share=0.01, shapes=(Shape(16, 7),)):
        assert len(found.misses) > 50


@FAMILIES
def test_clean_controls_have_no_finding_above_note(suite):
    accused, asked = [], 0
    regimes, variants = ([item.name for item in items] for items in (suite.regimes, suite.variants))
    for variant, dtype, regime in product(variants, DTYPES, regimes):
        case = case_of(suite, variant, regime, dtype, 7, 5)
        if admission(suite, suite.implementation("exact_gradient"), case) is None:
            asked += 1
            answer = accuracy(OpenBlock(suite, case, 1), "exact_gradient")
            if any(finding.severity != "note" for finding in answer.findings):
                accused.append(case.id)
    assert accused == []
    assert asked > 100


def test_sparsemax_by_hand():
    # tau = (0.5 + 0.25 - 1) / 2 = -1/8: p = (5/8, 3/8, 0), L = ((3/8)^2 + (3/8)^2) / 2 at label 0.
    logits = torch.tensor([[0.5, 0.25, -1.0]] * 2, dtype=torch.float64)
    options = {"alpha": 2.0, "reduction": "none"}
    truth = sparse.ORACLE.evaluate(
        {"logits": logits, "target": torch.tensor([0, 2])}, options, ("logits",), sensitivities=False
    )
    # Outside of the support: (1 + 25/64 + 9/64) / 2 + tau - z_y.
    assert truth.losses.tolist() == [9 / 64, (1 + 34 / 64) / 2 - 1 / 8 + 1]
    assert truth.gradients["logits"].tolist() == [[-3 / 8, 3 / 8, 0.0], [5 / 8, 3 / 8, -1.0]]


def test_entmax_by_hand():
    # Two equal logits share, t = 1 / sqrt(2): L = 4/3 (1 - 2 t^3) from the entropy alone.
    logits = torch.tensor([[1.0, 1.0, -4.0]], dtype=torch.float64)
    inputs = {"logits": logits, "target": torch.tensor([1])}
    truth = sparse.ORACLE.evaluate(inputs, {"alpha": 1.5}, ("logits",), sensitivities=False)
    assert truth.losses[0] == pytest.approx(4 / 3 * (1 - 2 * 0.5**1.5), rel=1e-15)
    assert truth.gradients["logits"][0] == pytest.approx([0.5, -0.5, 0.0], rel=1e-15)


@pytest.mark.parametrize(("alpha", "lead"), [(2.0, 1.0), (1.5, 2.0)])
def test_sparse_loss_is_exactly_zero_from_its_margin_on_and_not_before(alpha, lead):
    logits = torch.tensor([[lead, 0.0, 0.0], [lead - 2.0**-10, 0.0, 0.0]], dtype=torch.float64)
    inputs = {"logits": logits, "target": torch.zeros(2, dtype=torch.long)}
    truth = sparse.ORACLE.evaluate(inputs, {"alpha": alpha}, ("logits",), sensitivities=False)
    assert truth.losses[0] == 0
    assert truth.losses[1] > 0
    assert not truth.gradients["logits"][0].any()
    assert truth.gradients["logits"][1].all()


def test_info_nce_is_cross_entropy_of_cosines():
    generator = torch.Generator().manual_seed(0)
    vectors = [torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in info_nce.NAMES]
    leaves = [vector.clone().requires_grad_() for vector in vectors]
    logits = torch.stack([F.cosine_similarity(leaves[0], key) for key in leaves[1:]], 1) / 0.1
    losses = F.cross_entropy(logits, torch.zeros(5, dtype=torch.long), reduction="none")
    losses.sum().backward()
    inputs = dict(zip(info_nce.NAMES, vectors, strict=True))
    truth = info_nce.ORACLE.evaluate(inputs, {"temperature": 0.1}, info_nce.NAMES, sensitivities=False)
    np.testing.assert_allclose(truth.losses, losses.detach(), rtol=1e-12)
    for name, leaf in zip(info_nce.NAMES, leaves, strict=True):
        np.testing.assert_allclose(truth.gradients[name], leaf.grad, rtol=1e-9, atol=1e-12)


def test_penalties_at_one():
    inputs = {"prediction": torch.tensor([1.0]).double(), "target": torch.zeros(1).double()}
    expected = {
        "charbonnier": (math.sqrt(2) - 1, 1 / math.sqrt(2)),
        "cauchy": (math.log(1.5), 2 / 3),
        "geman_mcclure": (2 / 5, 16 / 25),
        "welsch": (1 - math.exp(-0.5), math.exp(-0.5)),
    }
    for penalty, (loss, slope) in expected.items():
        options = {"penalty": penalty, "ignore_nan": False, "mean_denominator": "weights"}
        truth = robust.ORACLE.evaluate(inputs, options, ("prediction",), sensitivities=False)
        assert truth.losses[0] == pytest.approx(loss, rel=1e-15), penalty
        assert truth.gradients["prediction"][0] == pytest.approx(slope, rel=1e-15), penalty


def unshifted(logits, target, alpha, reduction="mean"):
    """The inner product with logits as they stand: what a common offset takes away."""
    found = sparse.exact_gradient(logits, target, alpha, reduction)
    p = torch.zeros_like(logits).scatter_(1, target.unsqueeze(1), -1.0)
    return found + (p.detach() * (logits - logits.detach())).sum() * 0 + _lost(logits)


def _lost(logits):
    top = logits.detach().abs().max()
    return top - top * (1 - 2 * torch.finfo(logits.dtype).eps)


def without_norms(query, *keys, temperature=0.1, reduction="mean"):
    logits = (query.unsqueeze(1) * torch.stack(keys, 1)).sum(2) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long), reduction=reduction)


def welsch_without_half(prediction, target, penalty, reduction="mean"):
    losses = 1 - torch.exp(-((prediction - target) ** 2))
    return losses if reduction == "none" else losses.mean()


@pytest.mark.parametrize(
    ("suite", "function", "axes"),
    [
        (sparse.SUITE, unshifted, {"regime": "offset"}),
        (info_nce.SUITE, without_norms, {"regime": "mixed_lengths"}),
        (robust.SUITE, welsch_without_half, {"variant": "welsch"}),
    ],
)
def test_planted_faults_are_found(suite, function, axes):
    planted = suite.extended(Implementation(function, name="planted"))
    assert "inaccurate" in kinds(planted, "planted", **axes)


def test_masked_classes_and_far_logits_leave_the_plain_sparse_form_in_peace():
    for regime in ("masked", "near_overflow", "offset"):
        assert kinds(sparse.SUITE, "by_sorting", regime=regime) <= {"inaccurate"}


def deaf_to_upstream(query, *keys, temperature=0.1, reduction="mean"):
    """Takes every upstream gradient for 2, the one of the plain answer."""
    by_cosines = info_nce.SUITE.implementation("by_cosines").function
    loss = by_cosines(query, *keys, temperature=temperature, reduction=reduction).clone()
    if loss.requires_grad:
        loss.register_hook(lambda upstream: torch.full_like(upstream, 2.0))
    return loss.clone()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("seed", range(3))
def test_a_form_that_rounds_a_lot_is_accused_of_its_upstream_only_where_it_ignores_it(dtype, seed):
    suite = info_nce.SUITE.extended(Implementation(deaf_to_upstream, name="planted"))
    block = OpenBlock(suite, case_of(suite, "sharp", dtype=dtype, classes=16), seed)
    # Its gradients are off by up to 38 error bounds, and elsewhere under every upstream gradient.
    assert any(finding.severity == "error" for finding in accuracy(block, "by_cosines").findings)
    assert protocol(block, "by_cosines").findings == ()
    accused = {finding.group for finding in protocol(block, "planted").findings}
    assert {"upstream 3", "random upstream", "negative upstream", "zero upstream"} <= accused
