"""What the suites of the focal losses find: silent clean controls and stable forms, and every known truth."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from harness import Implementation
from harness.block import OpenBlock
from harness.calling import admission, bind
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.probes.invalid_input import invalid_input
from harness.probes.overflow import overflow
from harness.pytest_examples import example_call
from harness.sample import Shape
from harness.trial import DTYPES, Case
from suites import sigmoid_focal, softmax_focal
from suites.implementations.softmax_focal import exact_gradient

BINARY, CLASSES = sigmoid_focal.SUITE, softmax_focal.SUITE
SUITES = (BINARY, CLASSES)
STABLE = {"sigmoid_focal": "log_space", "softmax_focal": "off_target"}
MISTAKES = [(suite, item) for suite in SUITES for item in suite.implementations if item.known_bad]


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def opened(suite, variant="mean", regime="unit_normal", dtype="float32", shape=(16, 5), seed=0):
    actual = suite.regime(regime).shape(Shape(*shape))
    return OpenBlock(suite, Case(suite.name, variant, regime, dtype, "cpu", *actual, 1), seed)


def serious(answer):
    assert answer.status == "ok", answer.reason
    return {(f.kind, f.group) for f in answer.findings if f.severity != "note"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_clean_controls_and_the_stable_form_have_no_finding_above_note(suite, seed):
    accused, admitted = [], 0
    silent = [item for item in suite.implementations if item.control or item.name == STABLE[suite.name]]
    for regime in suite.regimes:
        for variant in suite.variants:
            block = opened(suite, variant.name, regime.name, DTYPES[seed % len(DTYPES)], seed=seed)
            for item in silent:
                if admission(suite, item, block.case) is None:
                    admitted += 1
                    if serious(accuracy(block, item.name)):
                        accused.append((block.case.id, item.name))
    assert accused == []
    assert admitted >= 2 * len(suite.regimes) * len(suite.variants)


@pytest.mark.parametrize(("suite", "mistake"), MISTAKES, ids=lambda item: item.name)
def test_every_mistake_is_an_error_somewhere_and_says_what_to_write(suite, mistake):
    answers = [
        accuracy(opened(suite, variant, regime), mistake.name)
        for variant in mistake.contract.variants
        for regime in ("unit_normal", "wide")
    ]
    assert any(f.severity == "error" for answer in answers for f in answer.findings)
    assert len(mistake.known_bad) > 40


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("suite", "ladder"), [(BINARY, "lead"), (CLASSES, "gap")])
def test_the_slope_of_the_usual_composition_dies_where_p_rounds_to_1_and_that_of_the_stable_form_does_not(
    suite, ladder, dtype
):
    # In float16 (gamma + 1) q^(gamma + 1) is below the normal numbers before q is lost.
    half = 6.25 if suite is BINARY else 5.75
    first = {"float64": 36.75, "float32": 16.75, "bfloat16": half, "float16": None}
    block = opened(suite, dtype=dtype)
    assert overflow(block, "composed").numbers.get(f"first_dead_{ladder}") == first[dtype]
    stable = overflow(block, STABLE[suite.name])
    assert f"first_dead_{ladder}" not in stable.numbers
    assert serious(stable) == set()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_below_gamma_1_the_slope_of_sure_elements_is_nan_and_the_loss_is_not(suite, dtype):
    found = serious(accuracy(opened(suite, "gamma_half", "confident", dtype, (64, 10)), "composed"))
    nan = {group for kind, group in found if kind == "spurious_nan"}
    assert nan
    assert "loss" not in nan
    silent = accuracy(opened(suite, "gamma_half", "confident", dtype, (64, 10)), STABLE[suite.name])
    assert serious(silent) == set()


def detached(logits, target, alpha=0.25, gamma=2.0):
    """The factor taken from detached logits (a fault of released code): the loss is right."""
    p = torch.sigmoid(logits.detach())
    factor = torch.where(target == 1, 1 - p, p) ** gamma
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((alpha * target + (1 - alpha) * (1 - target)) * factor * losses).mean()


def clamped(logits, target, alpha=0.25, gamma=2.0):
    """1 - p_t kept above the dtype's epsilon, as a repair of the NaN (optax#1346)."""
    p = torch.sigmoid(logits)
    rest = torch.where(target == 1, 1 - p, p).clamp(min=torch.finfo(logits.dtype).eps)
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((alpha * target + (1 - alpha) * (1 - target)) * rest**gamma * losses).mean()


def test_a_detached_factor_is_an_error_of_the_gradient_alone():
    found = serious(accuracy(opened(BINARY.extended(Implementation(detached))), "detached"))
    assert {group for _, group in found} == {"logits/all"}


def test_a_clamp_of_the_complement_is_no_nan_and_still_wrong_where_the_answer_is_sure():
    suite = BINARY.extended(Implementation(clamped))
    found = serious(accuracy(opened(suite, "gamma_half", "confident", shape=(64, 10)), "clamped"))
    assert found
    assert not any(kind == "spurious_nan" for kind, _ in found)


def wraps_labels(logits, target, reduction="mean", alpha=None, gamma=2.0, ignore_index=-100):
    """Labels beyond the classes, and negative ones, taken modulo C."""
    label = torch.where(target == ignore_index, target, target.remainder(logits.shape[1]))
    return exact_gradient(logits, label, reduction, alpha, gamma, ignore_index)


def drops_what_is_no_label(logits, target, reduction="mean", alpha=None, gamma=2.0, ignore_index=-100):
    """Every label outside of the classes ignored, whatever the ignore index is."""
    named = (target >= 0) & (target < logits.shape[1])
    label = torch.where(named, target, ignore_index)
    return exact_gradient(logits, label, reduction, alpha, gamma, ignore_index)


@pytest.mark.parametrize("planted", [wraps_labels, drops_what_is_no_label])
@pytest.mark.parametrize("variant", ["mean", "none", "weighted", "ignore_index"])
def test_an_answer_to_a_label_that_names_no_class_is_seen_and_an_ignored_one_is_none(planted, variant):
    suite = CLASSES.extended(Implementation(planted))
    found = invalid_input(opened(suite, variant), planted.__name__).findings
    assert {(f.kind, f.group) for f in found} == {
        ("accepts_invalid", group) for group in ("label_beyond_classes", "label_far_beyond", "label_negative")
    }
    # Nothing else tells: on labels that name a class the planted form is the control.
    assert serious(accuracy(opened(suite, variant), planted.__name__)) == set()


@pytest.mark.parametrize("variant", ["mean", "none", "weighted", "ignore_index"])
def test_every_form_refuses_a_label_that_names_no_class(variant):
    block = opened(CLASSES, variant)
    asked = [
        item.name
        for item in CLASSES.implementations
        if not (item.known_bad or item.compiled) and admission(CLASSES, item, block.case) is None
    ]
    assert len(asked) >= 6
    for name in asked:
        answer = invalid_input(block, name)
        assert answer.findings == ()
        assert answer.numbers["invalid_inputs"] == answer.numbers["invalid_inputs_refused"] > 0


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_every_example_holds_for_the_control(suite):
    for example in suite.examples:
        tensors, options = example_call(example, suite)
        given = {**suite.variant(example.variant).options, **example.options}
        got = float(bind(suite.implementation("exact_gradient"), options, given).loss(tensors))
        assert example.holds(got), (example.source, got)
        assert not example.holds(got * 1.1)
