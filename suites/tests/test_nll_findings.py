"""What the suite nll finds: silent controls, every known truth of torch, mistakes, examples, planted mutants.

Blocks are opened in process, without workers.
"""

from __future__ import annotations

import math
import warnings
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness import Implementation
from harness.block import OpenBlock
from harness.calling import admission, bind
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.probes.overflow import overflow
from harness.probes.protocol.probe import protocol
from harness.pytest_examples import example_call
from harness.sample import Shape
from harness.trial import DTYPES, Case
from suites.nll import SUITE

REGIMES = [regime.name for regime in SUITE.regimes]


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def opened(variant="mean", regime="unit_normal", dtype="float32", batch=64, seed=0, suite=SUITE):
    return OpenBlock(suite, Case("nll", variant, regime, dtype, "cpu", *Shape(batch, 10), 1), seed)


@cache
def climbed(name, dtype):
    """Returns the numbers of the overflow probe; several truths are read off one climb."""
    return overflow(opened(dtype=dtype), name).numbers


def serious(answer):
    assert answer.status == "ok", answer.reason
    return {(f.kind, f.group) for f in answer.findings if f.severity != "note"}


@pytest.mark.parametrize("seed", range(5))
def test_clean_controls_have_no_finding_above_note(seed):
    accused, asked = [], 0
    cells = list(product((variant.name for variant in SUITE.variants), DTYPES, REGIMES))
    # Every second cell: two seeds ask all of them.
    for variant, dtype, regime in cells[seed % 2 :: 2]:
        block = opened(variant, regime, dtype, batch=8, seed=seed)
        for control in (item for item in SUITE.implementations if item.control):
            if admission(SUITE, control, block.case) is None:
                asked += 1
                if serious(accuracy(block, control.name)):
                    accused.append((block.case.id, control.name))
    assert accused == []
    assert asked > 200


@pytest.mark.parametrize(
    "mistake", [item for item in SUITE.implementations if item.known_bad], ids=lambda item: item.name
)
def test_every_mistake_is_an_error_and_says_what_to_write(mistake):
    kinds = set()
    (variant,) = mistake.contract.variants
    for regime in ("unit_normal", "poisoned"):
        block = opened(variant, regime, "float64")
        if admission(SUITE, mistake, block.case) is None:
            kinds |= {f.kind for f in accuracy(block, mistake.name).findings if f.severity == "error"}
    assert kinds, mistake.name
    assert len(mistake.known_bad) > 40


def test_native_reads_the_label_alone_and_the_one_hot_product_does_not():
    for regime in ("masked", "poisoned_elsewhere"):
        assert serious(accuracy(opened(regime=regime), "native")) == set()
    assert serious(accuracy(opened(regime="masked"), "one_hot_dot")) == {("spurious_nan", "loss")}
    assert ("nan_leak", "loss") in serious(accuracy(opened(regime="poisoned_elsewhere"), "one_hot_dot"))
    assert serious(accuracy(opened(regime="poisoned_elsewhere"), "one_hot_where")) == set()


def test_an_ignored_row_may_hold_nan_to_native():
    # Unlike cross_entropy, whose log_softmax leaks it (catalogue row 11).
    assert serious(accuracy(opened("ignore_index", "poisoned"), "native")) == set()


def test_all_rows_ignored_is_nan_and_a_sum_of_nothing_is_0():
    # Catalogue row 10.
    x, target = torch.zeros(2, 3, requires_grad=True), torch.tensor([-100, -100])
    loss = F.nll_loss(x, target)
    (slope,) = torch.autograd.grad(loss, x)
    assert math.isnan(float(loss.detach()))
    assert not slope.any()
    assert float(F.nll_loss(x.detach(), target, reduction="sum")) == 0
    assert serious(accuracy(opened("ignore_index", "ignored_all"), "native")) == set()


def test_a_weight_of_0_does_not_cut_an_infinite_loss_out_of_native():
    # Catalogue row 12.
    assert ("spurious_nan", "loss") in serious(accuracy(opened("zero_weights", "forbidden_label"), "native"))
    assert serious(accuracy(opened("zero_weights", "forbidden_label"), "gather")) == set()


def test_the_float16_mean_breaks_at_65520_rows_or_when_the_sum_overflows():
    # Catalogue rows 13 and 14, mutant m14.
    numbers = climbed("native", "float16")
    assert numbers["first_failing_rows"] == 65520
    assert 6000 < numbers["first_failing_rows_untrained"] < 6200
    assert "first_failing_rows" not in climbed("upcast", "float16")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_native_is_right_on_every_finite_16_bit_log_probability(dtype):
    counted = {k: v for k, v in climbed("native", dtype).items() if k.startswith("exhaustive_")}
    assert counted == {"exhaustive_value_inputs": {"float16": 63488, "bfloat16": 65280}[dtype]}


def test_the_backward_of_native_refuses_images_in_other_strides():
    # pytorch#175084: the row forms do not.
    answer = protocol(opened("images", dtype="float32"), "native")
    assert serious(answer) == {("raises", "transposed inputs"), ("raises", "channels_last inputs")}
    assert serious(protocol(opened("images", dtype="float32"), "gather")) == set()


def test_labels_that_are_no_whole_numbers_are_refused():
    x = torch.zeros(2, 2)
    for target in (torch.tensor([0.0, 1.0]), torch.tensor([True, False])):
        with pytest.raises(RuntimeError, match="Long"):
            F.nll_loss(x, target)


def test_every_example_holds_for_every_implementation_that_takes_it():
    for example in SUITE.examples:
        tensors, options = example_call(example, SUITE)
        given = {**SUITE.variant(example.variant).options, **example.options}
        held = 0
        for item in SUITE.implementations:
            variants = item.contract.variants
            if item.compiled or item.known_bad or not (variants is None or example.variant in variants):
                continue
            got = float(bind(item, options, given).loss(tensors))
            assert example.holds(got), (example.source, item.name, got)
            assert not example.holds(got + 1e-3)
            held += 1
        assert held >= 8, example.source


def test_two_classes_are_the_binary_cross_entropy_of_the_second():
    z = torch.linspace(-30, 30, 61, dtype=torch.float64)
    x = torch.stack([F.logsigmoid(-z), F.logsigmoid(z)], 1)
    target = torch.arange(61) % 2
    binary = F.binary_cross_entropy_with_logits(z, target.double(), reduction="none")
    for item in (item for item in SUITE.implementations if item.contract.variants is None):
        if not item.known_bad and not item.compiled:
            got = bind(item, {**SUITE.options, "reduction": "none"}, {"reduction": "none"}).loss((x, target))
            assert np.allclose(got, binary, rtol=1e-5 if item.name == "upcast" else 1e-14), item.name


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
@pytest.mark.parametrize("kind", [getattr(nn, n) for n in ("NLLLoss", "NLLLoss2d") if hasattr(nn, n)])
def test_the_legacy_pair_is_a_reduction_and_reduce_false_wins(kind, size_average, reduce, reduction):
    sample = opened("images").standard("native").sample
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = kind(size_average=size_average, reduce=reduce)
    assert old.reduction == reduction
    assert torch.equal(old(*sample.tensors), F.nll_loss(*sample.tensors, reduction=reduction))


def over_all_rows(log_probabilities, target, reduction="mean", ignore_index=-100):
    kept = target != ignore_index
    picked = log_probabilities.gather(1, torch.where(kept, target, 0).unsqueeze(1)).squeeze(1)
    losses = torch.where(kept, -picked, 0.0)
    return losses if reduction == "none" else getattr(losses, reduction)()


def rounds_the_rows(log_probabilities, target, reduction="mean"):
    losses = -log_probabilities.gather(1, target.unsqueeze(1)).squeeze(1).bfloat16()
    return (losses if reduction == "none" else getattr(losses, reduction)()).to(log_probabilities.dtype)


def test_planted_mutants_are_found_and_only_where_they_are_wrong():
    # m9, mean over all rows; m19, row losses stored in bfloat16.
    suite = SUITE.extended(Implementation(over_all_rows), Implementation(rounds_the_rows))
    ignoring, plain = opened("ignore_index", suite=suite), opened(suite=suite)
    assert ("inaccurate", "loss") in serious(accuracy(ignoring, "over_all_rows"))
    assert serious(accuracy(plain, "over_all_rows")) == set()
    assert ("inaccurate", "loss") in serious(accuracy(plain, "rounds_the_rows"))
