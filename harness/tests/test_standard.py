"""What one call is judged by: an upstream gradient that is not 1, and inputs that stay as they were."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from harness import Implementation
from harness.block import OpenBlock
from harness.observation import observe, overwritten
from harness.sample import Sample
from harness.trial import Case
from suites.cross_entropy import SUITE


class IgnoresUpstream(torch.autograd.Function):
    """A fused mean loss whose backward is right for an upstream gradient of 1 alone."""

    @staticmethod
    def forward(ctx, logits, target):
        probabilities = logits.double().softmax(1)
        probabilities[torch.arange(len(target)), target] -= 1
        ctx.save_for_backward((probabilities / len(target)).to(logits.dtype))
        return F.cross_entropy(logits.double(), target).to(logits.dtype)

    @staticmethod
    def backward(ctx, upstream):
        return ctx.saved_tensors[0], None


def ignores_upstream(logits, target):
    return IgnoresUpstream.apply(logits, target)


def overwrites_logits(logits, target):
    loss = F.cross_entropy(logits, target)
    with torch.no_grad():
        logits.mul_(0.5)
    return loss


def native(logits, target):
    return F.cross_entropy(logits, target)


def seen(function, regime="unit_normal", dtype="float32"):
    family = SUITE.extended(Implementation(function, name="planted"))
    block = OpenBlock(family, Case("cross_entropy", "mean", regime, dtype, "cpu", 64, 10, 1), 0)
    stand = block.standard("planted")
    return observe(block.bound("planted"), stand, dtype, "cpu", "accuracy")


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_a_backward_that_ignores_what_comes_from_above_is_caught(dtype):
    kinds = {f.kind for f in seen(ignores_upstream, dtype=dtype).findings if f.severity == "error"}
    assert "inaccurate" in kinds


def test_an_input_that_is_written_into_is_caught_and_named():
    (found,) = [f for f in seen(overwrites_logits).findings if f.kind == "overwrites"]
    assert (found.severity, found.message) == ("error", "wrote into logits")


@pytest.mark.parametrize("regime", ["unit_normal", "masked", "offset"])
def test_who_leaves_the_inputs_alone_is_not_accused(regime):
    assert not [f for f in seen(native, regime).findings if f.kind == "overwrites"]


def test_bits_are_compared_so_that_nan_is_itself_and_zeros_have_signs():
    stored = Sample(x=torch.tensor([math.nan, 0.0]), t=torch.tensor([1]), gradients=())
    assert overwritten(stored.mapped(torch.clone), stored) == []
    assert overwritten(stored.replaced(x=torch.tensor([math.nan, -0.0])), stored) == ["x"]
    assert overwritten(stored.replaced(t=torch.tensor([2])), stored) == ["t"]


def opened(variant="mean"):
    twins = (Implementation(native, name="one"), Implementation(native, name="twin"))
    case = Case("cross_entropy", variant, "unit_normal", "float32", "cpu", 8, 4, 1)
    return OpenBlock(SUITE.extended(*twins), case, 0)


def test_all_implementations_share_what_another_upstream_gradient_makes_of_the_truth():
    block, upstream = opened(), torch.tensor(8.0)
    first = block.under(upstream, "one")
    assert block.under(upstream.clone(), "twin") is first
    assert block.under(torch.tensor(-8.0), "twin") is not first
    known, name = block.standard("one"), first.sample.gradients[0]
    ratio = 8.0 / float(known.upstream)
    assert (first.gradients[name].truth == ratio * known.gradients[name].truth).all()


def test_equal_upstream_gradients_in_other_memory_are_asked_apart():
    block = opened("none")
    dense, expanded = torch.full((8,), 3.0), torch.tensor(3.0).expand(8)
    assert block.under(dense, "one").upstream.stride() == (1,)
    assert block.under(expanded, "one").upstream.stride() == (0,)
