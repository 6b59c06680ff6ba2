"""What the suites of the four binary losses find: silent clean controls, and every known truth."""

from __future__ import annotations

import warnings

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
from suites import binary_cross_entropy, binary_cross_entropy_with_logits, multilabel_soft_margin, soft_margin
from suites.implementations.binary_cross_entropy import exact_gradient

WITH_LOGITS = binary_cross_entropy_with_logits.SUITE
OF_PROBABILITIES = binary_cross_entropy.SUITE
SOFT = soft_margin.SUITE
MULTILABEL = multilabel_soft_margin.SUITE
SUITES = (WITH_LOGITS, OF_PROBABILITIES, SOFT, MULTILABEL)
MISTAKES = [(suite, item) for suite in SUITES for item in suite.implementations if item.known_bad]


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def opened(suite, variant="mean", regime="", dtype="float32", shape=(16, 5), seed=0):
    regime = regime or suite.regimes[0].name
    actual = suite.regime(regime).shape(Shape(*shape))
    return OpenBlock(suite, Case(suite.name, variant, regime, dtype, "cpu", *actual, 1), seed)


def serious(answer):
    assert answer.status == "ok", answer.reason
    return {(f.kind, f.group) for f in answer.findings if f.severity != "note"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_clean_controls_have_no_finding_above_note(suite, seed):
    accused, admitted = [], 0
    for regime in suite.regimes:
        for variant in suite.variants:
            for dtype in DTYPES:
                block = opened(suite, variant.name, regime.name, dtype, seed=seed)
                for control in (item for item in suite.implementations if item.control):
                    if admission(suite, control, block.case) is None:
                        admitted += 1
                        if serious(accuracy(block, control.name)):
                            accused.append((block.case.id, control.name))
    assert accused == []
    assert admitted >= 4 * len(suite.regimes) * len(suite.variants)


@pytest.mark.parametrize(("suite", "mistake"), MISTAKES, ids=lambda item: item.name)
def test_every_mistake_is_an_error_somewhere_and_says_what_to_write(suite, mistake):
    regimes = [r.name for r in suite.regimes if r.name not in ("poisoned", "infinite", "infinite_wrong")]
    answers = [
        accuracy(opened(suite, variant, regime, "float32"), mistake.name)
        for variant in mistake.contract.variants
        for regime in regimes[:5]
    ]
    assert any(f.severity == "error" for answer in answers for f in answer.findings)
    assert len(mistake.known_bad) > 40


@pytest.mark.parametrize(
    ("suite", "name", "dtype", "column", "expected"),
    [
        (WITH_LOGITS, "native", "float16", "positive_dead_gradient", 178),
        (WITH_LOGITS, "native", "bfloat16", "positive_dead_gradient", 487),
        (WITH_LOGITS, "native", "float16", "negative_dead_loss", 670),
        (WITH_LOGITS, "native", "bfloat16", "negative_dead_loss", 554),
        (SOFT, "native", "float16", "positive_spurious_nan", 12_916),
        (SOFT, "native", "bfloat16", "positive_spurious_nan", 15_566),
        (SOFT, "native", "float16", "positive_inputs", 63_488),
        (SOFT, "native", "bfloat16", "positive_inputs", 65_280),
        (OF_PROBABILITIES, "native", "float16", "positive_inputs", 15_362),
        (OF_PROBABILITIES, "native", "bfloat16", "positive_inputs", 16_258),
        (OF_PROBABILITIES, "native", "float16", "positive_spurious_nan", 1),
        (OF_PROBABILITIES, "native", "bfloat16", "positive_saturated", 34),
    ],
)
def test_counts_over_all_16_bit_inputs_are_those_of_the_catalogue(suite, name, dtype, column, expected):
    numbers = overflow(opened(suite, dtype=dtype), name).numbers
    found = {key: value for key, value in numbers.items() if key.endswith(column)}
    assert list(found.values()) == [expected], found


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_native_dies_where_the_sigmoid_rounds_to_1(dtype):
    # Catalogue row 26.
    first = {"float64": 36.75, "float32": 16.75, "bfloat16": 6.25, "float16": 8.5}
    assert overflow(opened(WITH_LOGITS, dtype=dtype), "native").numbers["first_dead_lead"] == first[dtype]


def saturated_then_clamped(logits, target):
    """BCE of the sigmoid with torch's clamp (mutant m16)."""
    return F.binary_cross_entropy(torch.sigmoid(logits), target)


def clamped_sigmoid(logits, target):
    """clamp(max=1 - 1e-6), which does nothing in half precision (mutant m22)."""
    p = torch.sigmoid(logits).clamp(max=1 - 1e-6)
    return -(target * torch.log(p) + (1 - target) * torch.log(1 - p)).mean()


@pytest.mark.parametrize("planted", [saturated_then_clamped, clamped_sigmoid])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_clamp_of_saturated_probabilities_is_an_error(planted, dtype):
    suite = WITH_LOGITS.extended(Implementation(planted))
    findings = accuracy(opened(suite, regime="confident_wrong", dtype=dtype), planted.__name__).findings
    assert any(f.severity == "error" for f in findings)


def test_the_printed_shifted_form_has_the_wrong_slope_at_0_and_the_right_loss():
    found = serious(accuracy(opened(WITH_LOGITS, regime="at_zero", dtype="float64"), "shifted"))
    assert {kind for kind, _ in found} == {"inaccurate", "dead_gradient"}
    assert not any(group == "loss" for _, group in found)


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinite_logits_on_the_right_side_are_nan_in_native(dtype):
    # Catalogue rows 27, 29 and 31.
    for suite in (WITH_LOGITS, MULTILABEL):
        assert ("spurious_nan", "loss") in serious(
            accuracy(opened(suite, regime="infinite", dtype=dtype), "native")
        )
        weighted = opened(suite, "weighted", "infinite_wrong", dtype)
        assert ("spurious_nan", "loss") in serious(accuracy(weighted, "native"))


def test_the_class_sum_of_float16_overflows_before_its_mean():
    # Catalogue row 31: classes of 3.05 each, 65504 / 3.05 = 21,477.
    first = overflow(opened(MULTILABEL, dtype="float16"), "native").numbers["first_failing_classes"]
    assert 20_000 < first < 23_000
    assert "first_failing_classes" not in overflow(opened(MULTILABEL, dtype="float16"), "upcast").numbers


def test_an_undeclared_clamp_is_found_and_a_declared_one_is_not():
    undeclared = OF_PROBABILITIES.extended(
        Implementation(
            lambda probabilities, target: F.binary_cross_entropy(probabilities, target), name="bare"
        )
    )
    block = opened(undeclared, regime="certain_wrong")
    assert ("saturated", "loss") in serious(accuracy(block, "bare"))
    assert not any(group == "loss" for _, group in serious(accuracy(block, "native")))


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_every_example_holds_for_the_form_that_has_its_definition(suite):
    for example in suite.examples:
        name = "text_sum" if example.options.get("over_classes") == "sum" else "exact_gradient"
        tensors, options = example_call(example, suite)
        given = {**suite.variant(example.variant).options, **example.options}
        got = float(bind(suite.implementation(name), options, given).loss(tensors))
        assert example.holds(got), (example.source, got)
        assert not example.holds(got + 2e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_torchs_own_definition_can_be_had_without_its_gradient_floor(dtype):
    regimes = ["underflowing", "certain", "certain_wrong", "sure", "sure_wrong"]
    for regime in regimes:
        assert serious(accuracy(opened(OF_PROBABILITIES, regime=regime, dtype=dtype), "floored")) == set()
    block = opened(OF_PROBABILITIES, regime="certain", dtype=dtype)
    assert serious(accuracy(block, "native"))
    assert serious(overflow(opened(OF_PROBABILITIES, dtype=dtype), "floored")) == set()


def test_a_floor_that_reaches_the_gradient_is_found():
    def clamped(probabilities, target, reduction="mean"):
        logs = torch.log(probabilities).clamp(min=-50), torch.log1p(-probabilities).clamp(min=-50)
        losses = -target * logs[0] - (1 - target) * logs[1]
        return losses.mean() if reduction == "mean" else losses

    contract = OF_PROBABILITIES.implementation("floored").contract
    planted = OF_PROBABILITIES.extended(Implementation(clamped, name="clamped", contract=contract))
    found = serious(accuracy(opened(planted, regime="underflowing"), "clamped"))
    assert ("dead_gradient", "probabilities/all") in found


def half_for_nan(probabilities, target, reduction="mean", weight=None, class_weights=None):
    """A NaN probability counts as 1/2."""
    return exact_gradient(probabilities.nan_to_num(0.5), target, reduction, weight, class_weights)


def zero_for_nan(probabilities, target, reduction="mean", weight=None, class_weights=None):
    """A NaN target counts as 0."""
    return exact_gradient(probabilities, target.nan_to_num(0.0), reduction, weight, class_weights)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", ["mean", "sum", "none", "weighted", "entry_weights"])
@pytest.mark.parametrize(
    ("planted", "regime"), [(half_for_nan, "nan_probability"), (zero_for_nan, "nan_target")]
)
def test_a_nan_that_is_replaced_by_a_number_is_seen_and_one_that_stays_is_silent(
    planted, regime, variant, dtype
):
    suite = OF_PROBABILITIES.extended(Implementation(planted))
    block = opened(suite, variant, regime, dtype)
    assert ("nan_swallowed", "loss") in serious(accuracy(block, planted.__name__))
    for name in ("exact_gradient", "double_where", "floored"):
        if admission(suite, suite.implementation(name), block.case) is None:
            # What is cut out has no slope by its target either, which is known and no matter of NaN.
            kinds = {kind for kind, group in serious(accuracy(block, name)) if group != "target/all"}
            assert kinds == set()


def test_a_nan_is_refused_by_native_and_its_acceptance_seen_beside_what_else_is_no_probability():
    suite = OF_PROBABILITIES.extended(Implementation(half_for_nan), Implementation(zero_for_nan))
    block = opened(suite)
    refused = invalid_input(block, "native").numbers
    assert refused["invalid_inputs"] == refused["invalid_inputs_refused"]
    assert invalid_input(block, "exact_gradient").findings == ()
    for name, group in (("half_for_nan", "probability_nan"), ("zero_for_nan", "target_nan")):
        found = {(f.kind, f.group) for f in invalid_input(block, name).findings}
        assert found == {("accepts_invalid", group)}


def first_row_of_weights(probabilities, target, reduction="mean", weight=None, class_weights=None):
    """The first row of a weight (N, C) read for every row."""
    row = weight if weight is None or weight.dim() == 1 else weight[:1]
    return exact_gradient(probabilities, target, reduction, row, class_weights)


@pytest.mark.parametrize("shape", [(16, 5), (7, 1), (2, 4)])
def test_a_weight_of_every_entry_that_is_read_as_one_row_is_found_by_its_variants_alone(shape):
    suite = OF_PROBABILITIES.extended(Implementation(first_row_of_weights))
    for variant in ("entry_weights", "entry_weights_sum"):
        block = opened(suite, variant, "uniform", "float64", shape)
        groups = {group for _, group in serious(accuracy(block, "first_row_of_weights"))}
        assert groups == {"loss", "probabilities/all"}
        for name in ("native", "native_module", "double_where", "floored", "exact_gradient"):
            assert serious(accuracy(block, name)) == set()
    for variant in ("mean", "weighted", "weighted_sum", "weighted_none"):
        block = opened(suite, variant, "uniform", "float64", shape)
        assert serious(accuracy(block, "first_row_of_weights")) == set()


LEGACY = {
    # (size_average, reduce) of the first releases, and what it means today.
    (None, None): "mean",
    (True, None): "mean",
    (False, None): "sum",
    (None, True): "mean",
    (True, True): "mean",
    (False, True): "sum",
    (None, False): "none",
    (True, False): "none",
    (False, False): "none",
}


@pytest.mark.parametrize(("pair", "reduction"), LEGACY.items())
@pytest.mark.parametrize(
    ("loss", "module"),
    [
        (F.binary_cross_entropy_with_logits, torch.nn.BCEWithLogitsLoss),
        (F.binary_cross_entropy, torch.nn.BCELoss),
        (F.soft_margin_loss, torch.nn.SoftMarginLoss),
        (F.multilabel_soft_margin_loss, torch.nn.MultiLabelSoftMarginLoss),
    ],
)
def test_the_legacy_pair_means_a_reduction(loss, module, pair, reduction):
    x = torch.tensor([[0.9, 0.2, 0.6], [0.3, 0.7, 0.5]])
    t = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    expected = loss(x, t, reduction=reduction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        names = {"size_average": pair[0], "reduce": pair[1]}
        answers = loss(x, t, **names), module(**names)(x, t)
    assert all(torch.equal(answer, expected) for answer in answers)
