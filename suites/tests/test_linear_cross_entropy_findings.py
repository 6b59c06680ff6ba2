"""What the probes say about projected cross-entropy: silent controls, findings, planted faults, peaks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from harness import Implementation, Variant
from harness.block import OpenBlock
from harness.calling import admission
from harness.probes.accuracy import accuracy
from harness.probes.determinism import determinism
from harness.probes.identity import identity
from harness.probes.memory import memory
from harness.probes.overflow import overflow
from harness.probes.protocol.probe import protocol
from harness.trial import DTYPES, Case
from suites.implementations.linear_cross_entropy import exact_gradient
from suites.linear_cross_entropy import SUITE
from suites.mistakes.linear_cross_entropy import KNOWN_BAD

SEEDS = (0, 1, 2, 3, 4)


def opened(variant="mean", regime="unit", dtype="float32", batch=16, classes=10, seed=0, suite=SUITE):
    case = Case(SUITE.name, variant, regime, dtype, "cpu", batch, classes, 1)
    return OpenBlock(suite, case, seed)


def serious(answer):
    assert answer.status in ("ok", "unsupported"), answer.reason
    return {(f.kind, f.severity, f.group.split("/")[0]) for f in answer.findings if f.severity != "note"}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["float64_control", "exact_gradient"])
def test_controls_are_silent(name, seed):
    item = SUITE.implementation(name)
    for regime in SUITE.regimes:
        for variant in SUITE.variants[seed % 3 :: 3]:
            for dtype in DTYPES:
                if item.contract.excludes(variant.name, regime.name, dtype, "cpu"):
                    continue
                block = opened(variant.name, regime.name, dtype, batch=6, seed=seed)
                assert not serious(accuracy(block, name)), (regime.name, variant.name, dtype)


@pytest.mark.parametrize(
    ("name", "tensors"),
    [
        ("double_softmax", {"loss", "hidden", "linear_weight"}),
        ("weight_gradient_of_sum", {"linear_weight"}),
        ("last_chunk_gradient", {"linear_weight"}),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_mistakes_are_errors_in_the_tensors_that_they_spoil(name, tensors, dtype):
    found = serious(accuracy(opened(dtype=dtype, batch=64), name))
    assert {group for _, severity, group in found if severity == "error"} == tensors


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_small_gradients_that_are_dropped_are_missed_in_the_weights(dtype):
    # Cut cross-entropy #14: fine in the loss, and the same form with all its entries has no such finding.
    block = opened(regime="few_labels", dtype=dtype, classes=257, batch=33)
    dropped, kept = (serious(accuracy(block, name)) for name in ("drops_small_gradients", "class_chunks"))
    assert "linear_weight" in {group for _, _, group in dropped - kept}
    assert "loss" not in {group for _, _, group in dropped}


def test_a_mean_over_all_rows_is_wrong_where_rows_are_ignored():
    assert not serious(accuracy(opened(), "divides_by_rows"))
    found = serious(accuracy(opened(regime="ignored_half"), "divides_by_rows"))
    assert ("inaccurate", "error", "loss") in found


def test_every_mistake_is_declared_with_its_sentence():
    assert len(KNOWN_BAD) == 5
    assert all(len(item.known_bad) > 40 for item in KNOWN_BAD)


@pytest.mark.parametrize("name", ["native_chunked", "native_compact"])
def test_a_nan_in_an_ignored_row_reaches_the_loss_of_the_chunked_form(name):
    found = serious(accuracy(opened(regime="poisoned"), name))
    assert {group for kind, _, group in found if kind == "nan_leak"} == {"loss", "hidden", "linear_weight"}


def test_a_nan_in_an_ignored_row_reaches_every_parameter_of_the_composed_form():
    found = serious(accuracy(opened(variant="weighted_ignored", regime="poisoned"), "native"))
    assert {group for kind, _, group in found if kind == "nan_leak"} >= {"hidden", "linear_weight"}
    assert "loss" not in {group for _, _, group in found}
    assert not serious(accuracy(opened(regime="poisoned"), "class_chunks"))


def test_float16_logits_overflow_by_what_all_classes_share():
    composed, fused = (overflow(opened(dtype="float16"), name) for name in ("native", "class_chunks"))
    # 16 times 4096 is the first sum that float16 rounds to infinity.
    assert 4080 < composed.numbers["first_failing_common"] <= 4096
    assert "first_failing_common" not in fused.numbers


def test_the_float16_mean_of_the_default_breaks_by_the_number_of_rows_and_the_chunked_does_not():
    default, chunked = (overflow(opened(dtype="float16"), name) for name in ("native", "native_chunked"))
    assert 65_000 < default.numbers["first_failing_rows"] <= 65_520
    assert "first_failing_rows" not in chunked.numbers


def test_the_chunked_form_adds_up_frequent_labels_one_by_one():
    default, chunked = (overflow(opened(dtype="float32"), name) for name in ("native", "native_chunked"))
    assert "first_failing_rows" not in default.numbers
    assert 1000 < chunked.numbers["first_failing_rows"] < 1 << 17


def loses_the_last_row(hidden, linear_weight, target, linear_bias=None, reduction="mean"):
    """With several threads the last row does not reach the gradient of the weights."""
    if torch.get_num_threads() > 1:
        kept, lost = F.linear(hidden[:-1], linear_weight), F.linear(hidden[-1:], linear_weight.detach())
        logits = torch.cat([kept, lost])
    else:
        logits = F.linear(hidden, linear_weight)
    return F.cross_entropy(logits, target, reduction=reduction)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_row_that_threads_lose_in_the_weights_is_told_and_a_product_in_other_parts_is_not(seed, dtype):
    block = opened(dtype=dtype, seed=seed, suite=SUITE.extended(Implementation(loses_the_last_row)))
    answer = determinism(block, "loses_the_last_row")
    (found,) = answer.findings
    assert (found.kind, found.group) == ("nondeterministic", "threads")
    assert "linear_weight" in found.message
    for name in ("native", "exact_gradient"):
        assert not serious(determinism(block, name))


def test_a_second_backward_through_the_chunked_form_is_refused_not_wrong():
    answer = protocol(opened(), "native_chunked")
    assert not serious(answer)
    assert "unsupported: second backward" in answer.notes
    assert not serious(protocol(opened(variant="none"), "native_chunked"))


def test_a_gradient_scaled_by_the_first_upstream_alone_is_seen_in_the_weights():
    class First(torch.autograd.Function):
        @staticmethod
        def forward(ctx, hidden, weight, target):
            logits = F.linear(hidden, weight)
            slope = torch.softmax(logits, 1)
            slope[torch.arange(len(target)), target] -= 1
            ctx.save_for_backward(hidden, weight, slope)
            return F.cross_entropy(logits, target, reduction="none")

        @staticmethod
        def backward(ctx, upstream):
            hidden, weight, slope = ctx.saved_tensors
            scaled = slope * upstream.unsqueeze(1)
            return scaled @ weight, slope.T @ hidden * upstream[:1], None

    def first_upstream(hidden, linear_weight, target, linear_bias=None, reduction="mean"):
        losses = First.apply(hidden, linear_weight, target)
        return losses if reduction == "none" else getattr(losses, reduction)()

    suite = SUITE.extended(Implementation(first_upstream))
    assert not serious(accuracy(opened(suite=suite), "first_upstream"))
    unbiased = replace(suite, variants=(*suite.variants, Variant("rows", reduction="none")))
    found = serious(accuracy(opened("rows", suite=unbiased), "first_upstream"))
    assert {group for _, _, group in found} == {"linear_weight"}


def test_fused_forms_hold_less_than_the_logits_that_composed_ones_hold_twice():
    block = opened(batch=256, classes=4096)
    peaks = {
        name: memory(block, name).numbers["peak_multiple"]
        for name in ("native", "textbook", "row_chunks", "class_chunks", "native_chunked")
    }
    assert peaks["native"] == pytest.approx(peaks["textbook"], rel=0.05)
    assert peaks["native"] > 2
    assert peaks["native_chunked"] < 0.6
    assert peaks["class_chunks"] < 1


@pytest.mark.parametrize(("regime", "variant"), [("unit", "mean"), ("wide", "none"), ("offset_bias", "sum")])
def test_the_default_is_right_in_float32(regime, variant):
    assert not serious(accuracy(opened(variant, regime), "native"))


def test_regimes_have_a_feature_count_per_class_count_and_shared_tensors():
    for classes, features in ((5, 4), (10, 16), (50, 16), (257, 33), (4096, 64)):
        sample, _ = opened(classes=classes).drawn()
        assert sample["linear_weight"].shape == (classes, features)
        assert sample.shared == ("linear_weight",)
        assert sample.shape == (16, classes)
    assert opened("biased").drawn()[0].gradients == ("hidden", "linear_weight", "linear_bias")
    # The regime's own bias stays where a variant would add one.
    assert opened("biased", "offset_bias").drawn()[0]["linear_bias"].mean() > 250


def without_bias(hidden, linear_weight, target, linear_bias=None, reduction="mean"):
    """The bias forgotten: no shift of it changes anything."""
    zeros = None if linear_bias is None else torch.zeros_like(linear_bias)
    return exact_gradient(hidden, linear_weight, target, zeros, reduction)


def bias_outside(hidden, linear_weight, target, linear_bias=None, reduction="mean"):
    """The label's bias is taken off the loss, and the logsumexp has none."""
    losses = exact_gradient(hidden, linear_weight, target, None, "none")
    if linear_bias is not None:
        losses = losses - linear_bias[target]
    return losses if reduction == "none" else getattr(losses, reduction)()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("planted", "broken"),
    [
        (without_bias, {"cross_entropy_of_the_logits"}),
        (bias_outside, {"cross_entropy_of_the_logits", "bias_shift_invariance"}),
    ],
)
def test_a_bias_that_does_not_reach_all_logits_breaks_the_identities_that_it_must(planted, broken, dtype):
    block = opened(dtype=dtype, suite=SUITE.extended(Implementation(planted)))
    answer = identity(block, planted.__name__)
    assert answer.numbers["identities"] == 2.0
    assert {(f.kind, f.severity, f.group) for f in answer.findings} == {
        ("identity", "error", name) for name in broken
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_both_identities_are_held_by_every_form_that_is_asked(seed, dtype):
    block = opened(dtype=dtype, seed=seed)
    asked = 0
    for item in SUITE.implementations:
        if item.known_bad or item.compiled or admission(SUITE, item, block.case) is not None:
            continue
        answer = identity(block, item.name)
        asked += answer.status == "ok"
        assert not serious(answer)
    assert asked >= 8
