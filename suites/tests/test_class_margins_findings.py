"""What the suites multi_margin and multilabel_margin find: silent controls and every known truth of torch.

Blocks are opened in process, without workers. For every check the fault that it exists for is planted.
"""

from __future__ import annotations

import warnings
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness import Implementation
from harness.block import OpenBlock
from harness.calling import admission, bind
from harness.inputs import draw
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.probes.overflow import overflow
from harness.probes.protocol.probe import protocol
from harness.pytest_examples import example_call
from harness.trial import DTYPES, Case
from suites.multi_margin import SUITE as MULTI
from suites.multilabel_margin import SUITE as LISTS

SUITES = (MULTI, LISTS)
FAMILIES = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
MISTAKES = [(suite, item) for suite in SUITES for item in suite.implementations if item.known_bad]


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def case_of(suite, variant="mean", regime="unit_normal", dtype="float32", batch=64, classes=10):
    return Case(suite.name, variant, regime, dtype, "cpu", batch, classes, 1)


def serious(answer):
    assert answer.status == "ok", answer.reason
    return {(f.kind, f.group) for f in answer.findings if f.severity != "note"}


def found(suite, name, *, seed=0, **axes):
    return serious(accuracy(OpenBlock(suite, case_of(suite, **axes), seed), name))


@pytest.mark.parametrize("seed", range(5))
@FAMILIES
def test_clean_controls_have_no_finding_above_note(suite, seed):
    accused, asked = [], 0
    names = [[item.name for item in items] for items in (suite.variants, suite.regimes)]
    # Every second cell: two seeds ask all of them.
    for variant, regime, dtype in list(product(*names, DTYPES))[seed % 2 :: 2]:
        case = case_of(suite, variant, regime, dtype, 12, 5)
        block = OpenBlock(suite, case, seed)
        for control in (item for item in suite.implementations if item.control or item.name == "stable"):
            if admission(suite, control, case) is None:
                asked += 1
                if serious(accuracy(block, control.name)):
                    accused.append((case.id, control.name))
    assert accused == []
    assert asked > 200 if suite is MULTI else asked > 100


@pytest.mark.parametrize(("suite", "mistake"), MISTAKES, ids=lambda item: item.name)
def test_every_mistake_is_an_error_and_says_what_to_write(suite, mistake):
    severities = set()
    for variant in mistake.contract.variants:
        answer = accuracy(OpenBlock(suite, case_of(suite, variant, dtype="float64"), 0), mistake.name)
        severities |= {f.severity for f in answer.findings}
    assert "error" in severities
    assert len(mistake.known_bad) > 40


@FAMILIES
def test_native_swallows_what_is_no_number_and_stable_does_not(suite):
    # Catalogue rows 38 and 41.
    assert ("nan_swallowed", "loss") in found(suite, "native", variant="none", regime="poisoned")
    assert found(suite, "stable", variant="none", regime="poisoned") == set()
    scores = torch.tensor([[torch.inf, torch.inf]])
    target = torch.tensor([[0, -1]]) if suite is LISTS else torch.tensor([0])
    assert float(suite.baseline.function(scores, target)) == 0


@FAMILIES
def test_native_loses_the_margin_under_large_scores_and_stable_does_not(suite):
    assert ("inaccurate", "loss") in found(suite, "native", regime="offset")
    assert found(suite, "stable", regime="offset") == set()


@FAMILIES
def test_native_reads_memory_that_nobody_wrote_for_an_empty_batch(suite):
    answer = protocol(OpenBlock(suite, case_of(suite, dtype="float64"), 0), "native")
    assert serious(answer) == {("edge_shape", "zero rows")}
    assert serious(protocol(OpenBlock(suite, case_of(suite, dtype="float64"), 0), "stable")) == set()


def test_native_adds_classes_and_rows_one_by_one():
    # Catalogue row 39: 70,000 equal scores.
    scores = torch.ones(1, 70000, requires_grad=True)
    (slope,) = torch.autograd.grad(F.multi_margin_loss(scores, torch.tensor([0])), scores)
    assert float(slope[0, 0]) == pytest.approx(-1.00051, abs=1e-5)
    numbers = overflow(OpenBlock(MULTI, case_of(MULTI), 0), "native").numbers
    assert numbers["first_failing_classes"] < 4096
    rows = overflow(OpenBlock(MULTI, case_of(MULTI, dtype="float64"), 0), "native").numbers
    assert rows["first_failing_rows"] <= 1 << 17
    stable = overflow(OpenBlock(MULTI, case_of(MULTI), 0), "stable").numbers
    assert not [name for name in stable if name.startswith("first_failing")]


def test_the_square_overflows_where_it_must_and_its_slope_does_not():
    # Catalogue row 40.
    scores = torch.tensor([[0.0, 1e20]], requires_grad=True)
    loss = F.multi_margin_loss(scores, torch.tensor([0]), p=2)
    (slope,) = torch.autograd.grad(loss, scores)
    assert loss.detach().isinf()
    assert slope.tolist() == [[pytest.approx(-1e20), pytest.approx(1e20)]]
    assert found(MULTI, "native", variant="squared", regime="infinite") == set()


@FAMILIES
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_not_implemented_and_said_to_be_unsupported(suite, dtype):
    answer = accuracy(OpenBlock(suite, case_of(suite, dtype=dtype), 0), "native")
    assert answer.status == "unsupported"
    assert "not implemented" in answer.reason
    assert found(suite, "upcast", dtype=dtype) == set()


def test_a_power_of_3_is_refused():
    with pytest.raises(ValueError, match="p == 1 and p == 2"):
        F.multi_margin_loss(torch.zeros(1, 2), torch.tensor([0]), p=3)


def test_duplicates_count_twice_to_torch_and_once_to_a_mask():
    # Catalogue row 41.
    scores, target = torch.tensor([[0.1, 0.2, 0.4, 0.8]]), torch.tensor([[3, 3, 0, -1]])
    native, masks = (LISTS.implementation(name).function for name in ("native", "by_masks"))
    assert float(native(scores, target)) == pytest.approx(1.1)
    assert float(masks(scores, target)) == pytest.approx(0.85)
    undeclared = LISTS.extended(Implementation(masks, name="masks_undeclared"))
    assert ("inaccurate", "loss") in found(undeclared, "masks_undeclared", variant="duplicates")
    assert found(LISTS, "by_masks", variant="duplicates") == set()


@FAMILIES
def test_every_example_holds_for_the_implementations_that_promise_it(suite):
    for example in suite.examples:
        tensors, options = example_call(example, suite)
        given = {**suite.variant(example.variant).options, **example.options}
        held = 0
        for item in suite.implementations:
            variants, says = item.contract.variants, {**suite.options, **item.contract.definition}
            if item.known_bad or item.compiled or not (variants is None or example.variant in variants):
                continue
            if any(options[name] != says[name] for name in ("power", "duplicates") if name in options):
                continue
            got = float(bind(item, options, given).loss(tensors))
            assert example.holds(got), (example.source, item.name, got)
            assert not example.holds(got + 1e-3)
            held += 1
        assert held, example.source


@pytest.mark.parametrize(
    ("size_average", "reduce", "reduction"),
    [
        (None, True, "mean"),
        (True, None, "mean"),
        (True, True, "mean"),
        (None, False, "none"),
        (True, False, "none"),
        (False, False, "none"),
        (False, None, "sum"),
        (False, True, "sum"),
    ],
)
@pytest.mark.parametrize(("suite", "kind"), [(MULTI, nn.MultiMarginLoss), (LISTS, nn.MultiLabelMarginLoss)])
def test_the_legacy_pair_is_a_reduction_and_reduce_false_wins(suite, kind, size_average, reduce, reduction):
    sample, _ = draw(case_of(suite), suite, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        old = kind(size_average=size_average, reduce=reduce)
    assert old.reduction == reduction
    assert torch.equal(old(*sample.tensors), suite.baseline.function(*sample.tensors, reduction=reduction))


def margin_of_99_per_cent(scores, target, reduction="mean"):
    return F.multi_margin_loss(scores, target, margin=0.99, reduction=reduction)


def label_pays(scores, target, reduction="mean"):
    rest = F.multi_margin_loss(scores, target, reduction=reduction)
    label = scores.gather(1, target.unsqueeze(1)).squeeze(1)
    own = (label - label.detach()) / scores.shape[1]
    return rest + (own if reduction == "none" else getattr(own, reduction)())


def test_planted_faults_of_value_and_of_slope_are_found():
    suite = MULTI.extended(Implementation(margin_of_99_per_cent), Implementation(label_pays))
    assert ("inaccurate", "loss") in found(suite, "margin_of_99_per_cent")
    seen = found(suite, "label_pays")
    assert ("inaccurate", "scores/target") in seen
    assert {group for _, group in seen} == {"scores/target"}
