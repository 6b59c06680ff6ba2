"""What a sweep over CTC must find and what not: controls, mistakes, examples, the gradient of native."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from harness import Contract, Implementation
from harness.block import OpenBlock
from harness.calling import admission, bind
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.probes.determinism import determinism
from harness.probes.invalid_input import invalid_input
from harness.probes.overflow import overflow
from harness.pytest_examples import example_call
from harness.sample import Shape
from harness.trial import DTYPES, Case
from suites.ctc import SUITE
from suites.oracles.ctc import FUSED


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


USUAL = Shape(4, 6)


def case_of(regime="typical", variant="mean", dtype="float32", shape=USUAL):
    return Case("ctc", variant, regime, dtype, "cpu", *SUITE.regime(regime).shape(shape), 1)


def found(name, suite=SUITE, **axes):
    answer = accuracy(OpenBlock(suite, case_of(**axes), 0), name)
    assert answer.status == "ok", answer.reason
    return {(f.kind, f.group.split("/")[0]) for f in answer.findings if f.severity != "note"}


@pytest.mark.parametrize("seed", range(5))
def test_clean_controls_have_no_finding_above_note(seed):
    accused, asked = [], 0
    cells = list(product((v.name for v in SUITE.variants), DTYPES, (r.name for r in SUITE.regimes)))
    # Every fifth cell: five seeds ask all of them.
    for variant, dtype, regime in cells[seed::5]:
        case = case_of(regime, variant, dtype, Shape(3, 5))
        block = OpenBlock(SUITE, case, seed)
        for control in (item for item in SUITE.implementations if item.control):
            if admission(SUITE, control, case) is None:
                answer, asked = accuracy(block, control.name), asked + 1
                if any(f.severity != "note" for f in answer.findings):
                    accused.append((case.id, control.name))
    assert accused == []
    assert asked > 60


@pytest.mark.parametrize("name", [i.name for i in SUITE.implementations if i.known_bad])
def test_every_mistake_is_an_error_somewhere_and_says_what_to_write(name):
    mistake = SUITE.implementation(name)
    kinds = set()
    for regime in ("typical", "repeated", "padded"):
        with np.errstate(all="ignore"):
            answer = accuracy(OpenBlock(SUITE, case_of(regime, dtype="float64"), 0), name)
        kinds |= {f.kind for f in answer.findings if f.severity == "error"}
    assert kinds
    assert len(mistake.known_bad) > 40


def test_every_example_holds_for_the_implementations_that_promise_it():
    for example in SUITE.examples:
        tensors, options = example_call(example, SUITE)
        held = 0
        for item in SUITE.implementations:
            contract = item.contract
            if item.known_bad or (contract.variants and example.variant not in contract.variants):
                continue
            if contract.dtypes and "float64" not in contract.dtypes:
                continue
            got = float(bind(item, options, SUITE.variant(example.variant).options).loss(tensors))
            assert got == example.value or example.holds(got), (example.source, item.name, got)
            held += 1
        assert held > 3, example.source


def test_native_has_another_gradient_than_its_name_says_and_the_sweep_tells_both_apart():
    assert found("native") == set()
    assert found("native_as_partial") == {("inaccurate", "log_probs")}
    promised = Implementation(F.ctc_loss, name="promised", contract=Contract(dtypes=("float32",)))
    assert found("promised", SUITE.extended(promised)) == {("inaccurate", "log_probs")}


def test_the_gradient_of_native_passes_gradcheck_behind_log_softmax_only():
    sample, _ = OpenBlock(SUITE, case_of(dtype="float64"), 0).drawn()
    x, *rest = sample.tensors
    leaf = x.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda z: F.ctc_loss(z.log_softmax(2), *rest), leaf)
    assert not torch.autograd.gradcheck(lambda z: F.ctc_loss(z, *rest), leaf, raise_exception=False)
    corrected = SUITE.implementation("native_corrected").function
    assert torch.autograd.gradcheck(lambda z: corrected(z, *rest), leaf)


def test_a_forbidden_class_makes_natives_gradient_nan_and_not_that_of_the_stable_form():
    assert found("native", regime="masked") == {("spurious_nan", "log_probs")}
    for name in ("log_space", "exact_gradient"):
        assert found(name, regime="masked") == set()


def test_a_loss_near_0_is_lost_by_native_and_not_by_the_stable_form():
    assert found("native", regime="saturated") == {("inaccurate", "loss")}
    assert found("log_space", regime="saturated") == set()


def test_products_of_probabilities_end_after_some_dozen_frames():
    assert ("spurious_overflow", "loss") in found("textbook", regime="long")
    block = OpenBlock(SUITE, case_of(), 0)
    climbed = overflow(block, "textbook").numbers
    assert 30 < climbed["first_failing_frames"] < 100
    assert "first_failing_frames" not in overflow(block, "log_space").numbers


def test_products_that_are_rescaled_go_on_and_are_one_graph():
    assert found("rescaled", regime="long") == set()
    climbed = overflow(OpenBlock(SUITE, case_of(), 0), "rescaled").numbers
    assert "first_failing_frames" not in climbed
    assert "first_failing_scale" in climbed
    sample, _ = OpenBlock(SUITE, case_of(), 0).drawn()
    form = SUITE.implementation("rescaled").function
    # A break in the graph raises.
    graph = torch.compile(form, backend="eager", fullgraph=True, dynamic=False)
    assert torch.equal(graph(*sample.tensors), form(*sample.tensors))
    assert SUITE.implementation("compiled").function is form


def test_a_label_beyond_the_classes_is_taken_by_native_and_refused_by_composed_forms():
    block = OpenBlock(SUITE, case_of(), 0)
    assert {f.group for f in invalid_input(block, "native").findings} == {"label_beyond_classes"}
    # Its kernel aborts the process in backward (pytorch#193794), so only the value is asked.
    sample, _ = block.drawn()
    for change in SUITE.invalid:
        with pytest.raises((ValueError, RuntimeError)):
            SUITE.implementation("log_space").function(*change.change(sample, {}).tensors)


def test_slices_and_permutations_are_of_sequences():
    numbers = determinism(OpenBlock(SUITE, case_of(variant="none"), 0), "native").numbers
    assert numbers["slicing_ulps"] == numbers["permutation_ulps"] == 0


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_module_and_both_forms_of_the_targets_answer_alike(reduction):
    sample, _ = OpenBlock(SUITE, case_of("repeated", dtype="float64"), 0).drawn()
    one, two = (
        SUITE.implementation(name).function(*sample.tensors, reduction=reduction)
        for name in ("native", "native_concatenated")
    )
    module = torch.nn.CTCLoss(reduction=reduction)
    assert torch.equal(one, two)
    assert torch.equal(one, module(*sample.tensors))


def test_ctc_has_no_legacy_pair():
    with pytest.raises(TypeError):
        torch.nn.CTCLoss(size_average=True)


def lengths_mixed_up(log_probs, targets, input_lengths, target_lengths):
    return F.ctc_loss(log_probs, targets, input_lengths.flip(0), target_lengths.flip(0))


def counts_one_frame_less(log_probs, targets, input_lengths, target_lengths):
    return F.ctc_loss(log_probs, targets, (input_lengths - 1).clamp(min=1), target_lengths)


@pytest.mark.parametrize("fault", [lengths_mixed_up, counts_one_frame_less])
def test_planted_faults_are_found(fault):
    planted = Implementation(fault, contract=Contract(dtypes=("float32",), derivative=FUSED))
    assert ("inaccurate", "loss") in found(fault.__name__, SUITE.extended(planted))
